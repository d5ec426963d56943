"""Memory whose only home is swap: what tmpfs, memfds and MAP_SHARED|MAP_ANONYMOUS have in common, and the object behind
the last (mm/shmem.c)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kernel.mm.vma import LOCKED

if TYPE_CHECKING:
    from kernel.mm.frames import Frames
    from kernel.mm.mempolicy import SharedPolicy
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class SwapBacked:
    """Pages by index, in RAM (`pages`: pfn, one reference each) or in swap (`slots`, one reference each), never both.

    Keeps kernel.mm.reclaim.Evictable. While it has any, it stands in `Frames.caches`."""

    __slots__ = ()
    frames: Frames
    pages: dict[int, int]
    slots: dict[int, int]
    mappings: dict[int, tuple[Mm, Vma]]  # by id(vma)

    def held(self) -> Collection[int]:
        """The indices of all pages that there are."""
        return self.pages.keys() | self.slots.keys() if self.slots else self.pages

    def swapped(self, start: int, end: int) -> int:
        """How many of the pages [start, end) are in swap (shmem_swap_usage)."""
        return sum(start <= index < end for index in self.slots)

    def unmap(self, start: int, end: int) -> None:
        """Zap pages [start, end) wherever they are mapped; private copies stay."""
        for mm, vma in list(self.mappings.values()):
            lo = max(vma.start, vma.start + (start - vma.pgoff << 12))
            hi = min(vma.end, vma.start + (end - vma.pgoff << 12))
            if lo < hi:
                mm.zap_mapped(lo, hi, private=False)

    def swap_in(self, index: int, pfn: int) -> None:
        """Page `index`, which is in swap, gets this frame, the caller's reference with it."""
        frames, slot = self.frames, self.slots.pop(index)
        frames.ram.bytes[pfn << 12 : pfn + 1 << 12] = frames.swap.load(slot)
        frames.swap.put(slot)
        self.pages[index] = pfn

    def drop_slots(self, start: int, end: int | None) -> None:
        """Forget those of the pages [start, end) that are in swap."""
        for index in [index for index in self.slots if index >= start and (end is None or index < end)]:
            self.frames.swap.put(self.slots.pop(index))

    # kernel.mm.reclaim.Evictable

    def shrink(self) -> int:
        """No page can be had again but from swap."""
        return 0

    def evict(self, index: int, write: bool) -> bool:
        """Move a page to swap, if `write` (shmem_writeout)."""
        pfn, swap = self.pages.get(index), self.frames.swap
        if pfn is None or not write or swap.full or any(vma.flags & LOCKED for _, vma in self.mappings.values()):
            return False
        self.unmap(index, index + 1)
        if self.frames.refs[pfn] != 1:
            return False
        self.slots[index] = swap.store(self.frames.ram.bytes[pfn << 12 : pfn + 1 << 12])
        self.frames.release(self.pages.pop(index))
        return True

    def swap_out(self, wanted: int) -> int:
        """Move up to `wanted` pages that nobody maps to swap; how many."""
        refs = self.frames.refs
        free = [index for index, pfn in self.pages.items() if refs[pfn] == 1][:wanted]
        return sum(self.evict(index, True) for index in free)


class Shmem(SwapBacked):
    """`length` pages of shared memory, made when first touched, freed when the last mapping goes; keeps
    kernel.mm.mappable.Mappable."""

    shmem = True

    def __init__(self, frames: Frames, length: int, accounted: bool) -> None:
        self.frames = frames
        self.length = length
        self.accounted = accounted  # its pages count in Committed_AS for as long as it lives
        self.pages = {}
        self.slots = {}
        self.mappings = {}
        self.policies: SharedPolicy | None = None
        frames.caches[self] = None
        self.inode = frames.next_inode
        frames.next_inode += 1

    def frame(self, index: int, write: bool) -> int | None:
        """See Mappable. Raises OutOfMemory."""
        pfn = self.pages.get(index)
        if pfn is None:
            if index >= self.length:
                return None
            pfn = self.frames.alloc()
            if index in self.slots:
                self.swap_in(index, pfn)
            self.pages[index] = pfn
        self.frames.refs[pfn] += 1
        return pfn

    def resident(self, index: int) -> bool:
        return index in self.pages

    def relocate(self, index: int, pfn: int) -> None:
        """Page `index` is in frame `pfn` from now on; its reference is the caller's business."""
        self.pages[index] = pfn

    def added(self, mm: Mm, vma: Vma) -> None:
        self.mappings[id(vma)] = (mm, vma)

    def removed(self, mm: Mm, vma: Vma) -> None:
        self.mappings.pop(id(vma), None)
        if not self.mappings:
            self.release()

    def release(self) -> None:
        """No mapping is left: the memory and the promise of it go."""
        self.mappings.clear()
        self.punch(0, self.length)
        self.frames.caches.pop(self, None)
        if self.accounted:
            self.frames.commit.uncharge(self.length)
            self.accounted = False

    def punch(self, start: int, end: int) -> None:
        """Free the pages [start, end): they read zero again (MADV_REMOVE)."""
        self.unmap(start, end)
        self.drop_slots(start, end)
        if end - start > len(self.pages):
            doomed = [index for index in self.pages if start <= index < end]
        else:
            doomed = [index for index in range(start, end) if index in self.pages]
        for index in doomed:
            self.frames.release(self.pages.pop(index))

    def drop(self, first: int, last: int) -> None:
        """Let go of pages that are mapped nowhere and hold zeros."""
        for index in range(first, last):
            self.frames.release(self.pages.pop(index))

    def sync(self, start: int, end: int) -> None:
        """Nothing to write back."""

    @property
    def name(self) -> str:
        return "/dev/zero (deleted)"

    @property
    def identity(self) -> tuple[int, int, int]:
        return 0, 1, self.inode
