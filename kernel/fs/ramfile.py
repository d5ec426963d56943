"""Regular files in memory: pages charged to their file system, seals, holes (mm/shmem.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import ENOSPC, ENXIO, EOPNOTSUPP, EPERM, LinuxError
from kernel.abi.fcntl import Open
from kernel.abi.limits import PAGE_SHIFT, PAGE_SIZE
from kernel.fs.file import File
from kernel.fs.pagecache import PageCache
from kernel.fs.ramfs import RamFs, RamNode
from kernel.mm.shmem import SwapBacked

if TYPE_CHECKING:
    from kernel.fs.dentry import Dentry, Path
    from kernel.mm.mappable import Mappable
    from kernel.mm.mempolicy import SharedPolicy
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class RamPages(SwapBacked, PageCache):
    """The pages of a RamFile, charged to its file system. Those that are absent are holes, but for what `source` has:
    the content a file was made with, which comes into frames as it is mapped (a program: most of it never does)."""

    __slots__ = ("file", "policies", "slots", "source")
    shmem = True

    def __init__(self, file: RamFile) -> None:
        super().__init__(file.fs.ram, file.fs.frames, (0, file.fs.dev, file.ino))
        self.file = file
        self.source = memoryview(b"")
        self.slots = {}
        self.policies: SharedPolicy | None = None

    def absent(self, pos: int, n: int) -> bytes:
        if self.slots:
            return self._absent_pages(pos, n)
        return bytes(self.source[pos : pos + n]).ljust(n, b"\0") if self.source else bytes(n)

    def _absent_pages(self, pos: int, n: int) -> bytes:
        """As `absent`, where some of the pages are in swap: they stay there."""
        parts: list[bytes] = []
        while n > 0:
            size = min(n, PAGE_SIZE - pos % PAGE_SIZE)
            slot, offset = self.slots.get(pos >> PAGE_SHIFT), pos % PAGE_SIZE
            if slot is not None:
                parts.append(bytes(self.frames.swap.load(slot)[offset : offset + size]))
            else:
                parts.append(bytes(self.source[pos : pos + size]).ljust(size, b"\0"))
            pos, n = pos + size, n - size
        return b"".join(parts)

    def seek(self, pos: int, data: bool) -> int | None:
        if self.source:
            return pos if data else self.size  # no holes
        return super().seek(pos, data)

    def bring_in(self) -> None:
        """The file is about to be changed: all of `source` goes into frames."""
        for index in range(-(-len(self.source) // PAGE_SIZE)):
            if index not in self.held():
                self.add(index)
        self.source = memoryview(b"")

    def add(self, index: int) -> int:
        fs = self.file.fs
        if index in self.slots:
            pfn = self.frames.alloc()
            self.swap_in(index, pfn)
            return pfn
        if fs.capacity is not None and fs.used >= fs.capacity:
            raise LinuxError(ENOSPC, f"the file system's {fs.capacity} pages are full (half of RAM, as tmpfs)")
        pfn = super().add(index)
        fs.used += 1
        self.frames.caches[self] = None
        if self.source:
            data = self.source[index << PAGE_SHIFT : index + 1 << PAGE_SHIFT]
            self.ram[pfn << PAGE_SHIFT : (pfn << PAGE_SHIFT) + len(data)] = data
        return pfn

    def drop(self, first: int, last: int | None = None) -> None:
        before = len(self.held())
        super().drop(first, last)
        self.drop_slots(first, last)
        self.file.fs.used -= before - len(self.held())

    def zero(self, start: int, end: int) -> None:
        if start >> PAGE_SHIFT in self.slots:
            self.add(start >> PAGE_SHIFT)
        super().zero(start, end)

    def release(self) -> None:
        super().release()
        self.frames.caches.pop(self, None)

    def frame(self, index: int, write: bool) -> int | None:
        try:
            return super().frame(index, write)
        except LinuxError:  # no space: SIGBUS, as shmem_fault() says
            return None

    def removed(self, mm: Mm, vma: Vma) -> None:
        super().removed(mm, vma)
        self.file.reap()


class RamFile(RamNode):
    """A regular file. Its pages live while it has a name, an open description or a mapping."""

    __slots__ = ("linkable", "opens", "pages", "seals")

    def __init__(self, fs: RamFs, mode: int, uid: int = 0, gid: int = 0) -> None:
        super().__init__(fs, mode, uid, gid)
        self.pages = RamPages(self)
        self.opens = 0
        self.linkable = False
        self.seals = 1  # F_SEAL_SEAL: only a memfd that asked for it can be sealed

    @property
    def blocks(self) -> int:
        pages = self.pages
        held = -(-len(pages.source) // PAGE_SIZE) if pages.source else len(pages.held())
        return held * (PAGE_SIZE // 512)

    def open(self, path: Path, flags: int) -> File:
        return RamOpen(path, flags)

    def truncate(self, dentry: Dentry, size: int) -> None:
        self.pages.bring_in()
        self.pages.truncate(size)
        self.size = size
        self.touch()

    def set_mode(self, dentry: Dentry, mode: int) -> None:
        if self.seals & 0x20 and (self.mode ^ mode) & 0o111:
            raise LinuxError(EPERM, "the file has F_SEAL_EXEC: whether it may be executed is settled")
        super().set_mode(dentry, mode)

    def reap(self) -> None:
        if not self.nlink and not self.opens and not self.pages.mappings:
            self.pages.release()


class RamOpen(File):
    """An open regular file of a RamFs."""

    __slots__ = ("file", "pages")

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        inode = path.dentry.inode
        assert isinstance(inode, RamFile)
        self.file = inode
        self.pages = inode.pages
        inode.opens += 1
        if self.writable and inode.pages.source:
            inode.pages.bring_in()

    def pread(self, n: int, pos: int) -> bytes:
        if not self.flags & Open.NOATIME and not self.path.mount.readonly:
            self.file.accessed()
        return self.pages.read(n, pos)

    def pwrite(self, data: bytes, pos: int) -> int:
        file = self.file
        if file.seals & ~1:
            data = self._within_seals(data, pos)
        try:
            return self.pages.write(data, pos)
        except LinuxError:
            if self.pages.size == file.size:
                raise
            return self.pages.size - pos  # the disk was full after some
        finally:
            file.size = self.pages.size
            file.touch()

    def _within_seals(self, data: bytes, pos: int) -> bytes:
        """F_SEAL_WRITE forbids all writing, F_SEAL_GROW what lies past the end (mm/shmem.c, shmem_write_begin)."""
        seals = self.file.seals
        if seals & 0x18:
            raise LinuxError(EPERM, "the file has F_SEAL_WRITE or F_SEAL_FUTURE_WRITE")
        if seals & 4 and pos + len(data) > self.file.size:
            cut = max(pos, self.file.size & -PAGE_SIZE)  # the page that would grow, and all after it
            if cut == pos:
                raise LinuxError(EPERM, "the write grows a file that has F_SEAL_GROW")
            return data[: cut - pos]
        return data

    def may_resize(self, size: int) -> None:
        """F_SEAL_SHRINK and F_SEAL_GROW (mm/shmem.c, shmem_setattr)."""
        seals = self.file.seals
        if (seals & 2 and size < self.file.size) or (seals & 4 and size > self.file.size):
            raise LinuxError(EPERM, "the file has F_SEAL_SHRINK or F_SEAL_GROW")

    def seek_sparse(self, offset: int, whence: int) -> int:
        super().seek_sparse(offset, whence)
        found = self.pages.seek(offset, whence == 3)
        if found is None:
            raise LinuxError(ENXIO, "there is no data behind the offset")
        return found

    def mappable(self) -> Mappable:
        self.pages.place = self.path
        return self.pages

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2): 0 or KEEP_SIZE (1), or PUNCH_HOLE (2) with KEEP_SIZE."""
        if mode & ~3:
            raise LinuxError(EOPNOTSUPP, "tmpfs allocates and punches holes, nothing else")
        end = offset + length
        seals = self.file.seals
        if mode & 2:
            if seals & 0x18:
                raise LinuxError(EPERM, "a hole in a file with F_SEAL_WRITE")
            self.pages.punch(offset, min(end, -(-self.pages.size // PAGE_SIZE) * PAGE_SIZE))
        else:
            if not mode & 1 and end > self.file.size and seals & 4:
                raise LinuxError(EPERM, "the file has F_SEAL_GROW")
            self._fill(offset >> PAGE_SHIFT, -(-end // PAGE_SIZE))
            if not mode & 1 and end > self.file.size:
                self.pages.size = self.file.size = end
        self.file.touch()

    def _fill(self, first: int, last: int) -> None:
        """Take pages for [first, last), all or none."""
        fs, pages = self.file.fs, self.pages
        held = pages.held()
        wanted = [index for index in range(first, last) if index not in held] if last - first < 1 << 24 else None
        if wanted is None or (fs.capacity is not None and fs.used + len(wanted) > fs.capacity):
            raise LinuxError(ENOSPC, f"{last - first} pages do not fit this file system")
        for index in wanted:
            pages.add(index)

    def release(self) -> None:
        self.file.opens -= 1
        self.file.reap()
