"""Pools, as mimalloc's heaps are: which live blocks are in each, and where plain calls of each thread allocate.

emu/native/heap_pools.h does the same, with equal results. A pool is known by the pointer that calls are told; 0 is the
first one of a thread, which nothing releases, or none.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.calls import DEFAULT_POOL
from emu.cpu.pythonevents import Block, Event


class Pools:
    """Told by the call hooks what is made and released."""

    def __init__(self) -> None:
        self._blocks: dict[int, dict[Block, None]] = {}  # in the order of their making
        self._chosen: dict[int, int] = {}  # by thread

    def of(self, event: Event) -> int:
        """Where a call that returns has allocated."""
        if event.function.pool == DEFAULT_POOL:
            return self._chosen.get(event.tid, 0)
        return event.pool

    def choose(self, tid: int, pool: int) -> None:
        """Plain calls of the thread allocate from `pool` now; of 0 they do not."""
        if pool:
            self._chosen[tid] = pool

    def join(self, block: Block, pool: int) -> None:
        block.pool = pool
        if pool:
            self._blocks.setdefault(pool, {})[block] = None

    def leave(self, block: Block) -> None:
        """It is no more."""
        if block.pool:
            self._blocks[block.pool].pop(block, None)

    def end(self, tid: int, pool: int) -> Iterator[Block]:
        """The pool is no more: its blocks, which the caller releases, or which are of the thread's first one now."""
        if pool and self._chosen.get(tid) == pool:
            self._chosen[tid] = 0
        yield from list(self._blocks.get(pool, ()))

    def merge(self, tid: int, pool: int) -> None:
        """It is no more, and its blocks are of the thread's first one."""
        for block in self.end(tid, pool):
            self.leave(block)
            block.pool = 0
