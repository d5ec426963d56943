"""Counting instructions block by block: the Python twin of `emu/native/hooks.c`, with equal results.

Unicorn reports each block as (address, bytes) before it runs. A block's instructions are added at once, and what did
not run is taken back: at a fault, at a look from inside the block, and when a store hits its own block.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Protocol

from emu.cpu import decode
from emu.cpu import libunicorn as u

FOREVER = (1 << 63) - 1
MOST = 1 << 20  # blocks known at one time


class Blocks(Protocol):
    """The running count. `total` is exact at block edges; `settle` and `here` make it exact at `rip` inside one."""

    total: int  # instructions of all reported blocks, less what was taken back
    limit: int  # a block that would take `total` past it, or has an absent instruction: `on_limit` is asked first

    @property
    def next_rip(self) -> int:
        """Inside a syscall: the address after it; 0 elsewhere."""

    def keep_rax(self) -> None:
        """The syscall under way has no value: leave rax as it is."""

    def flush_tlb(self) -> None:
        """Before the guest goes on, the TLB will be empty."""

    def take_stale_tlb(self) -> bool:
        """Is it to be flushed? Whoever asks does it."""

    def settle(self, rip: int) -> int:
        """The block was left at `rip`, before that instruction ran: take the rest back; the new total."""

    def here(self, rip: int) -> int:
        """The total as of `rip` in the current block, which goes on."""

    def dropped(self) -> None:
        """All translations were dropped: count every block anew."""

    @property
    def full(self) -> bool:
        """There is no room for one more block: drop all translations."""

    def switch(self, cr3: int) -> None:
        """The CPU runs on the page tables at `cr3` now."""

    def reset(self) -> None:
        """As new: nothing counted, no limit."""


OnLimit = Callable[[int, int], int]  # (address, size) of a block over the limit → 1: count it and go on, 0: do not


class PythonBlocks:
    """`Blocks` in Python: a dict from (address, size) to a block's instruction count, told of each new translation."""

    def __init__(self, read_code: Callable[[int, int], bytes], on_limit: OnLimit) -> None:
        self._read_code, self._on_limit = read_code, on_limit
        self._counts: dict[int, tuple[int, int, bool]] = {}  # by address: size, instructions, one of them is absent
        self.next_rip = 0
        self.kept_rax = self.stale_tlb = False
        self.watched: set[int] = set()  # where a traced function is entered or left (emu/cpu/pythoncalls.py)
        self.reached: Callable[[int], None] = lambda _address: None
        self.syscalls = self.cr3 = 0
        self.reset()
        self.block_callback = u.BlockCallback(self._on_block)
        self.edge_callback = u.EdgeCallback(self._on_edge)

    def reset(self) -> None:
        self._counts.clear()
        self.total, self.limit = 0, FOREVER
        self.block = (0, 0)  # address and size of the last counted block; size 0: none
        self._count = 0

    def keep_rax(self) -> None:
        self.kept_rax = True

    def flush_tlb(self) -> None:
        self.stale_tlb = True

    def take_stale_tlb(self) -> bool:
        stale, self.stale_tlb = self.stale_tlb, False
        return stale

    def dropped(self) -> None:
        self._counts.clear()

    @property
    def full(self) -> bool:
        return len(self._counts) >= MOST

    def switch(self, cr3: int) -> None:
        self.cr3 = cr3
        self._counts.clear()

    def _on_block(self, _uc: int, address: int, size: int, _data: int) -> None:
        start, length = self.block
        if start <= address < start + length and (address != start or size != length):
            self._came_again(address, size)
        known = self._counts.get(address)
        if known is None or known[0] != size:
            code = self._read_code(address, size)
            known = self._counts[address] = (size, len(decode.starts(code)), decode.first_absent(code) is not None)
        total = self.total + known[1]
        if (total > self.limit or known[2]) and not self._on_limit(address, size):
            self.block = (address, 0)
            return
        if address in self.watched:
            self.reached(address)
        self.total = total
        self.block = (address, size)
        self._count = known[1]

    def _came_again(self, address: int, size: int) -> None:
        """Inside the last block another begins: a jump back, or a store hit the block it stands in. After the latter
        Unicorn runs the storing instruction alone; no jump makes a block shorter than what is left of the old one."""
        left = self._left(address)
        if left > 1 and decode.length(self._read_code(address, decode.LONGEST), 0) & decode.LENGTH == size:
            self.total -= left

    def _left(self, rip: int) -> int:
        start, size = self.block
        if not start <= rip < start + size:
            return 0
        if rip == start:
            return self._count
        return sum(start + offset >= rip for offset in decode.starts(self._read_code(start, size)))

    def _on_edge(self, _uc: int, new: int, _old: int, _data: int) -> None:
        self._counts.pop(ctypes.c_uint64.from_address(new).value, None)

    def settle(self, rip: int) -> int:
        self.total -= self._left(rip)
        self.block = (rip, 0)
        return self.total

    def here(self, rip: int) -> int:
        return self.total - self._left(rip)
