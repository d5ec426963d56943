"""PageCache: a file's pages in frames of guest RAM. read, write and every mapping see the same frames."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kernel.abi.limits import PAGE_SHIFT, PAGE_SIZE
from kernel.fs.dentry import full_name

if TYPE_CHECKING:
    from kernel.fs.dentry import Path
    from kernel.mm.frames import Frames
    from kernel.mm.mm import Mm
    from kernel.mm.ram import Ram
    from kernel.mm.vma import Vma

ZEROS = bytes(PAGE_SIZE)


class PageCache:
    """The pages of one file that have content: index → pfn, each holding one reference of its frame.

    Keeps `kernel.mm.mappable.Mappable`. A page that is absent reads as `fill` says: zeros, or what the backing has.
    Bytes of the last page past `size` are zero.
    """

    __slots__ = ("frames", "identity", "mappings", "pages", "place", "ram", "size")
    shmem = False  # do its resident pages count as RssShmem (tmpfs), not as RssFile?

    def __init__(self, ram: Ram, frames: Frames, identity: tuple[int, int, int]) -> None:
        """`identity` is (major, minor, inode) for /proc/[pid]/maps."""
        self.ram = ram.bytes
        self.frames = frames
        self.identity = identity
        self.place: Path | None = None  # where it was opened by whoever mapped it last
        self.size = 0
        self.pages: dict[int, int] = {}
        self.mappings: dict[int, tuple[Mm, Vma]] = {}  # by id(vma)

    # Mappable
    @property
    def name(self) -> str:
        """The path that /proc/[pid]/maps shows; it follows renames and says when the name is gone."""
        return "" if self.place is None else full_name(self.place).decode("utf-8", "surrogateescape")

    def frame(self, index: int, write: bool) -> int | None:
        pfn = self.pages.get(index)
        if pfn is None:
            if index << PAGE_SHIFT >= self.size:
                return None
            pfn = self.add(index)
        elif index << PAGE_SHIFT >= self.size:
            return None
        if write:
            self.dirtied(index)
        self.frames.get(pfn)
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

    def sync(self, start: int, end: int) -> None:
        """Memory is where these pages belong."""

    # for the file systems
    def add(self, index: int) -> int:
        """Bring in an absent page, as `absent` reads; raises OutOfMemory (or ENOSPC, where the file system has a
        size)."""
        pfn = self.pages[index] = self.frames.alloc()
        return pfn

    def absent(self, pos: int, n: int) -> bytes:
        """What `n` bytes at `pos`, in pages that are not here, read as."""
        return bytes(n)

    def held(self) -> Collection[int]:
        """The indices of the pages that have content."""
        return self.pages

    def dirtied(self, index: int) -> None:
        """The page is about to differ from its backing."""

    def page(self, index: int) -> memoryview:
        """The bytes of a page, brought in if need be."""
        pfn = self.pages.get(index)
        if pfn is None:
            pfn = self.add(index)
        pa = pfn << PAGE_SHIFT
        return self.ram[pa : pa + PAGE_SIZE]

    def read(self, n: int, pos: int) -> bytes:
        """Up to `n` bytes at `pos`, fewer at the end of the file. Holes give zeros and stay holes."""
        n = min(n, self.size - pos)
        if n <= 0:
            return b""
        index, offset = pos >> PAGE_SHIFT, pos & (PAGE_SIZE - 1)
        if offset + n <= PAGE_SIZE:
            pfn = self.pages.get(index)
            if pfn is None:
                return self.absent(pos, n)
            pa = (pfn << PAGE_SHIFT) + offset
            return bytes(self.ram[pa : pa + n])
        return self._gather(index, offset, n)

    def _gather(self, index: int, offset: int, n: int) -> bytes:
        """A read over several pages: runs of neighbouring frames go as one slice."""
        pages, ram = self.pages, self.ram
        pieces: list[memoryview | bytes] = []
        last = (offset + n - 1 >> PAGE_SHIFT) + index
        pos = (index << PAGE_SHIFT) + offset
        while index <= last:
            pfn = pages.get(index)
            run = 1
            if pfn is None:
                while index + run <= last and index + run not in pages:
                    run += 1
            else:
                while index + run <= last and pages.get(index + run) == pfn + run:
                    run += 1
            take = min((run << PAGE_SHIFT) - offset, n)
            if pfn is None:
                pieces.append(self.absent(pos, take))
            else:
                pa = (pfn << PAGE_SHIFT) + offset
                pieces.append(ram[pa : pa + take])
            n -= take
            pos += take
            offset = 0
            index += run
        return b"".join(pieces)

    def write(self, data: bytes | memoryview, pos: int) -> int:
        """Write `data` at `pos`, growing the file; how much was (all, but for ENOSPC or no RAM after some)."""
        view = memoryview(data)
        total, done = len(view), 0
        ram, pages = self.ram, self.pages
        try:
            while done < total:
                index, offset = pos + done >> PAGE_SHIFT, (pos + done) & (PAGE_SIZE - 1)
                pfn = pages.get(index)
                if pfn is None:
                    pfn = self.add(index)
                take = min(PAGE_SIZE - offset, total - done)
                pa = (pfn << PAGE_SHIFT) + offset
                ram[pa : pa + take] = view[done : done + take]
                done += take
                if pfn in self.frames.code:
                    self.frames.invalidate((pfn,))
        finally:
            if pos + done > self.size and done:
                self.size = pos + done
        return done

    def drop(self, first: int, last: int | None = None) -> None:
        """Let go of pages [first, last) (None: to the end); mappings of them were zapped before."""
        pages = self.pages
        if last is not None and last - first < len(pages):
            gone = [index for index in range(first, last) if index in pages]
        else:
            gone = [index for index in pages if index >= first and (last is None or index < last)]
        release = self.frames.release
        for index in gone:
            release(pages.pop(index))

    def zap(self, first: int, last: int | None, *, private: bool) -> None:
        """Unmap pages [first, last) wherever they are mapped; `private` copies too (truncation, not hole punching)."""
        for mm, vma in list(self.mappings.values()):
            start = max(vma.start, vma.start + (first - vma.pgoff << PAGE_SHIFT))
            end = vma.end if last is None else min(vma.end, vma.start + (last - vma.pgoff << PAGE_SHIFT))
            if start < end:
                mm.zap_mapped(start, end, private=private)

    def truncate(self, size: int) -> None:
        """Set the size. Pages past the end go, mappings of them with them; the tail of the last page is zeroed."""
        if size < self.size:
            first = -(-size // PAGE_SIZE)
            if self.mappings:
                self.zap(first, None, private=True)
            self.drop(first)
            self.zero(size, first << PAGE_SHIFT)
        self.size = size

    def zero(self, start: int, end: int) -> None:
        """Zero the bytes [start, end) of one page, if it is there."""
        pfn = self.pages.get(start >> PAGE_SHIFT)
        if pfn is not None and start < end:
            pa = (pfn << PAGE_SHIFT) + (start & (PAGE_SIZE - 1))
            self.ram[pa : pa + end - start] = ZEROS[: end - start]
            if pfn in self.frames.code:
                self.frames.invalidate((pfn,))

    def punch(self, start: int, end: int) -> None:
        """Make [start, end) read as zeros, whole pages by letting go of them (fallocate(2), FALLOC_FL_PUNCH_HOLE)."""
        first, last = -(-start // PAGE_SIZE), end // PAGE_SIZE
        if first > last:
            self.zero(start, end)
            return
        self.zero(start, first << PAGE_SHIFT)
        self.zero(last << PAGE_SHIFT, end)
        if first < last:
            self.zap(first, last, private=False)
            self.drop(first, last)

    def seek(self, pos: int, data: bool) -> int | None:
        """The next byte from `pos` on that lies in a page with content (`data`) or in none; None: the file ends."""
        index, held = pos >> PAGE_SHIFT, self.held()
        last = -(-self.size // PAGE_SIZE)
        if data:
            later = [i for i in held if i >= index]
            found = min(later, default=last)
        else:
            found = index
            while found < last and found in held:
                found += 1
        if found >= last:
            return None if data else self.size
        return max(pos, found << PAGE_SHIFT)

    def release(self) -> None:
        """The file is gone: no name, no descriptor, no mapping."""
        self.drop(0)
