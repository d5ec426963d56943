"""Shared anonymous memory: the object behind MAP_SHARED|MAP_ANONYMOUS (mm/shmem.c, shmem_zero_setup)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.mm.frames import Frames
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class Shmem:
    """`pages` pages of shared memory, made when first touched; keeps kernel.mm.mappable.Mappable.

    Always: `frames_by_index` holds one reference to each frame in it; they are freed when the last mapping goes."""

    shmem = True

    def __init__(self, frames: Frames, pages: int, accounted: bool) -> None:
        self.frames = frames
        self.pages = pages
        self.accounted = accounted  # its pages count in Committed_AS for as long as it lives
        self.frames_by_index: dict[int, int] = {}
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

    def punch(self, start: int, end: int) -> None:
        """Free the pages [start, end): they read zero again (MADV_REMOVE)."""
        for mm, vma in self.mappings.values():
            lo = max(vma.start, vma.start + (start - vma.pgoff << 12))
            hi = min(vma.end, vma.start + (end - vma.pgoff << 12))
            if lo < hi:
                mm.zap_mapped(lo, hi, private=False)
        if end - start > len(self.frames_by_index):
            doomed = [index for index in self.frames_by_index if start <= index < end]
        else:
            doomed = [index for index in range(start, end) if index in self.frames_by_index]
        for index in doomed:
            self.frames.put(self.frames_by_index.pop(index))

    def sync(self, start: int, end: int) -> None:
        """Nothing to write back."""

    @property
    def name(self) -> str:
        return "/dev/zero (deleted)"

    @property
    def identity(self) -> tuple[int, int, int]:
        return 0, 1, self.inode
