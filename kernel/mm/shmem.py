"""Shared anonymous memory: the object behind MAP_SHARED|MAP_ANONYMOUS (mm/shmem.c, shmem_zero_setup)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.mm.vma import LOCKED

if TYPE_CHECKING:
    from kernel.mm.frames import Frames
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class Shmem:
    """`pages` pages of shared memory, made when first touched; keeps kernel.mm.mappable.Mappable.

    Always: `frames_by_index` holds one reference to each frame in it, `slots` one to each slot of swap, and no page is
    in both; they are freed when the last mapping goes."""

    shmem = True

    def __init__(self, frames: Frames, pages: int, accounted: bool) -> None:
        self.frames = frames
        self.pages = pages
        self.accounted = accounted  # its pages count in Committed_AS for as long as it lives
        self.frames_by_index: dict[int, int] = {}
        self.slots: dict[int, int] = {}
        self.mappings: dict[int, tuple[Mm, Vma]] = {}  # by id(vma)
        self.inode = frames.next_inode
        frames.next_inode += 1

    def frame(self, index: int, write: bool) -> int | None:
        """See Mappable. Raises OutOfMemory."""
        pfn = self.frames_by_index.get(index)
        if pfn is None:
            if index >= self.pages:
                return None
            pfn = self.frames_by_index[index] = self.frames.alloc()
            if index in self.slots:
                slot = self.slots.pop(index)
                self.frames.ram.bytes[pfn << 12 : pfn + 1 << 12] = self.frames.swap.load(slot)
                self.frames.swap.put(slot)
        self.frames.refs[pfn] += 1
        return pfn

    def resident(self, index: int) -> bool:
        return index in self.frames_by_index

    def relocate(self, index: int, pfn: int) -> None:
        """Page `index` is in frame `pfn` from now on; its reference is the caller's business."""
        self.frames_by_index[index] = pfn

    def added(self, mm: Mm, vma: Vma) -> None:
        self.mappings[id(vma)] = (mm, vma)

    def removed(self, mm: Mm, vma: Vma) -> None:
        self.mappings.pop(id(vma), None)
        if not self.mappings:
            self.release()

    def release(self) -> None:
        """No mapping is left: the memory and the promise of it go."""
        self.mappings.clear()
        self.punch(0, self.pages)
        if self.accounted:
            self.frames.commit.uncharge(self.pages)
            self.accounted = False

    def _unmap(self, start: int, end: int) -> None:
        for mm, vma in list(self.mappings.values()):
            lo = max(vma.start, vma.start + (start - vma.pgoff << 12))
            hi = min(vma.end, vma.start + (end - vma.pgoff << 12))
            if lo < hi:
                mm.zap_mapped(lo, hi, private=False)

    # kernel.mm.reclaim.Evictable

    def shrink(self) -> int:
        """No page can be had again but from swap."""
        return 0

    def evict(self, index: int, write: bool) -> bool:
        """Move a page to swap, if `write` (shmem_writeout)."""
        pfn, swap = self.frames_by_index.get(index), self.frames.swap
        if pfn is None or not write or swap.full or any(vma.flags & LOCKED for _, vma in self.mappings.values()):
            return False
        self._unmap(index, index + 1)
        if self.frames.refs[pfn] != 1:
            return False
        self.slots[index] = swap.store(self.frames.ram.bytes[pfn << 12 : pfn + 1 << 12])
        self.frames.release(self.frames_by_index.pop(index))
        return True

    def swapped(self, start: int, end: int) -> int:
        """How many of the pages [start, end) are in swap (shmem_swap_usage)."""
        return sum(start <= index < end for index in self.slots)

    def punch(self, start: int, end: int) -> None:
        """Free the pages [start, end): they read zero again (MADV_REMOVE)."""
        self._unmap(start, end)
        for index in [index for index in self.slots if start <= index < end]:
            self.frames.swap.put(self.slots.pop(index))
        if end - start > len(self.frames_by_index):
            doomed = [index for index in self.frames_by_index if start <= index < end]
        else:
            doomed = [index for index in range(start, end) if index in self.frames_by_index]
        for index in doomed:
            self.frames.release(self.frames_by_index.pop(index))

    def sync(self, start: int, end: int) -> None:
        """Nothing to write back."""

    @property
    def name(self) -> str:
        return "/dev/zero (deleted)"

    @property
    def identity(self) -> tuple[int, int, int]:
        return 0, 1, self.inode
