"""Reclaim: which pages leave RAM when it is full (mm/vmscan.c, as a clock over the real accessed bits).

First what costs nothing: file pages that nobody maps, then lazily freed (MADV_FREE), droppable (MAP_DROPPABLE) and
clean file pages. Then, as long as there is swap, anonymous and shared memory, tmpfs and memfds, mapped or not, and file
pages that must be written back. Never: pages of locked or huge-page mappings, private pages that several own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kernel.mm.mm import ANON as ANON_RSS
from kernel.mm.mm import SWAP as SWAPPED
from kernel.mm.pte import ANON, HERE, PFN, SPECIAL, SWAP, A, D
from kernel.mm.vma import DROPPABLE, HUGETLB, IO, LOCKED, PFNMAP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel.mm.frames import Frames
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma

BATCH = 32  # pages a call is content with (SWAP_CLUSTER_MAX)
UNEVICTABLE = LOCKED | IO | PFNMAP | HUGETLB
TOP = 1 << 47


@runtime_checkable
class Evictable(Protocol):
    """A Mappable whose pages can be had again from elsewhere."""

    def shrink(self) -> int:
        """Let go of all clean pages that nobody maps; how many."""

    def evict(self, index: int, write: bool) -> bool:
        """Unmap page `index` everywhere and let go of it; with `write` one that must be written back first, too.
        False: it has to stay."""


class Clock:
    """The hand, and its ways round. One stands at `Frames.reclaim`.

    It goes over address spaces in the order of their making, over addresses upwards, and goes on where it last
    stopped: equal runs take equal pages. A page that was accessed since the hand last passed is spared once."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.mm: Mm | None = None
        self.va = 0
        self.rest = 0  # pages to take the hard way before the easy one, which gave nothing, is tried again
        self.lazily_freed = 0  # pglazyfreed of /proc/vmstat
        self.stolen = 0  # pgsteal_direct

    def __call__(self) -> bool:
        """Free some frames. False: nothing can be had."""
        found = 0
        if self.rest <= 0:
            found = self.shrink_caches() or self._turn(hard=False)
            if not found:
                self.rest = self.frames.total >> 3
        if not found:
            found = self._turn(hard=True)
            self.rest = self.rest - found if found else 0
        self.stolen += found
        return found > 0

    def shrink_caches(self) -> int:
        """File pages that are clean and mapped nowhere go (also /proc/sys/vm/drop_caches)."""
        behind = {id(vma.mappable): vma.mappable for mm in self.frames.spaces for vma in mm.vmas if vma.mappable}
        return sum(each.shrink() for each in behind.values() if isinstance(each, Evictable))

    def _turn(self, hard: bool) -> int:
        """At most twice round: who was spared the first time is not the second. `hard`: what costs I/O, too."""
        found = 0
        for _ in range(2):
            for mm, vma, start, end in self._segments():
                found += self._segment(mm, vma, start, end, BATCH - found, hard)
                if found >= BATCH:
                    return found
            if found:
                break
        if hard:
            for cache in list(self.frames.caches):
                if found < BATCH and not self.frames.swap.full:
                    found += cache.swap_out(BATCH - found)
        return found

    def _segments(self) -> Iterator[tuple[Mm, Vma, int, int]]:
        """What may lose pages, from the hand on and once round, as (mm, vma, start, end) of at most one page table."""
        spaces = list(self.frames.spaces)
        at = spaces.index(self.mm) if self.mm in spaces else 0
        hand = self.va if self.mm in spaces else 0
        others = [(mm, 0, TOP) for mm in spaces[at + 1 :] + spaces[:at]]
        ways = [(spaces[at], hand, TOP), *others, (spaces[at], 0, hand)]
        for mm, low, high in ways:
            for vma in mm.vmas.overlapping(low, high):
                if vma.flags & UNEVICTABLE:
                    continue
                for va, i, j in list(mm.page_table.leaves_in(max(low, vma.start), min(high, vma.end))):
                    yield mm, vma, va, va + (j - i << 12)

    def _segment(self, mm: Mm, vma: Vma, start: int, end: int, wanted: int, hard: bool) -> int:
        """Take up to `wanted` pages of [start, end); the hand moves past what was looked at."""
        words = mm.words
        k = mm.page_table.index(start)
        found = aged = 0
        va = start
        mm.update_hiwater()
        while va < end and found < wanted:
            entry = words[k]
            if entry & HERE and not entry & SPECIAL and self._candidate(vma, entry, hard):
                if entry & A:
                    words[k] = entry & ~A
                    aged += 1
                elif self._evict(mm, vma, va, k, entry, hard):
                    found += 1
            va += 4096
            k += 1
        self.mm, self.va = mm, va
        if found or aged:
            mm.tlb()
        return found

    def _candidate(self, vma: Vma, entry: int, hard: bool) -> bool:
        """May this page go in this round, if it was not accessed lately?"""
        if not entry & ANON:
            return isinstance(vma.mappable, Evictable) and (hard or not (entry & D or vma.shmem))
        if self.frames.refs[(entry & PFN) >> 12] != 1:
            return False
        return not entry & D or bool(vma.flags & DROPPABLE) or (hard and not self.frames.swap.full)

    def _evict(self, mm: Mm, vma: Vma, va: int, k: int, entry: int, hard: bool) -> bool:
        if entry & ANON:
            return evict_anon(mm, vma, k, entry)
        assert isinstance(vma.mappable, Evictable)
        return vma.mappable.evict(vma.page_index(va), hard)


def evict_anon(mm: Mm, vma: Vma, k: int, entry: int) -> bool:
    """Take the anonymous page of PTE number `k`, whose only owner it is: drop it if it is lazily freed and was not
    written since, or of a MAP_DROPPABLE mapping, else move it to swap. False: swap is full. The TLB is the caller's
    business."""
    frames = mm.frames
    pfn = (entry & PFN) >> 12
    if not entry & D or vma.flags & DROPPABLE:
        mm.words[k] = 0
        if isinstance(frames.reclaim, Clock):
            frames.reclaim.lazily_freed += 1
    else:
        if frames.swap.full:
            return False
        slot = frames.swap.store(frames.ram.bytes[pfn << 12 : pfn + 1 << 12])
        mm.words[k] = slot << 12 | SWAP
        mm.counters[SWAPPED] += 1
    mm.counters[ANON_RSS] -= 1
    frames.release(pfn)
    return True
