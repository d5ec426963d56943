"""A memfd in huge pages (MFD_HUGETLB): mapped, read, allocated, resized in whole pages (fs/hugetlbfs/inode.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, ENOSPC, EOPNOTSUPP, EPERM, LinuxError
from kernel.abi.fcntl import S_IFREG, Open, Seal
from kernel.fs.dentry import Dentry, Path
from kernel.fs.file import File
from kernel.fs.inode import FileSystem, Inode
from kernel.mm.hugetlb import HugeFile

if TYPE_CHECKING:
    from kernel.fs.inode import Cred
    from kernel.fs.vfs import Vfs
    from kernel.mm.hugetlb import HugePool
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


LOG2 = 21  # of the pages in the pool
EVERYTHING = 1 << 40  # pages; beyond any file


class HugeFs(FileSystem):
    """The kernel's own hugetlbfs."""

    type = "hugetlbfs"
    magic = 0x958458F6


class HugePages(HugeFile):
    """The pages of one such file; they live as long as it is open or mapped. `length` pages are within its size."""

    def __init__(self, pool: HugePool, name: str, log2: int) -> None:
        super().__init__(pool, 0, 0, shared=True, reserve=False)
        self.name = f"/memfd:{name} (deleted)"
        self.log2 = log2
        self.length = self.opens = 0

    def promise(self, first: int, end: int) -> None:
        """Reserve the pages [first, end) that are not yet. Raises LinuxError(ENOMEM)."""
        wanted = set(range(first, end)) - self.promised - self.pages.keys()
        self.pool.reserve(len(wanted))
        self.promised |= wanted

    def page(self, number: int) -> int:
        return super().page(number) if number < self.length or number in self.pages else -1

    def fill(self, first: int, end: int) -> None:
        """Take the pages [first, end) that are not there. Raises LinuxError(ENOSPC), those before it taken."""
        for number in range(first, end):
            if number in self.pages:
                continue
            taken = self.pool.take(number in self.promised) if self.log2 == LOG2 else -1
            if taken < 0:
                raise LinuxError(ENOSPC, f"the pool has no page left for page {number}")
            self.promised.discard(number)
            self.pages[number] = taken

    def removed(self, mm: Mm, vma: Vma) -> None:
        self.mappings.pop(id(vma), None)
        self.reap()

    def truncate(self, length: int) -> None:
        """Pages past the end go, promised or there."""
        self.unmap(length, EVERYTHING)
        for number in [number for number in self.pages if number >= length]:
            self.pool.put(self.pages.pop(number))
        beyond = {number for number in self.promised if number >= length}
        self.pool.reserved -= len(beyond)
        self.promised -= beyond
        self.length = length

    def reap(self) -> None:
        if not self.opens and not self.mappings:
            self.truncate(0)


class HugeView(HugeFile):
    """A private mapping of one: the file's pages until they are written, from then on copies of its own."""

    def __init__(self, source: HugePages, first: int, pages: int, reserve: bool) -> None:
        super().__init__(source.pool, first, pages, shared=False, reserve=reserve)
        self.source = source
        self.name, self.identity = source.name, source.identity

    def deliver(self, number: int, write: bool) -> tuple[int, bool]:
        there = self.source.pages.get(number, -1)
        if there < 0:
            return (self.page(number) if number < self.source.length else -1), True
        if write:
            return self.copy(number, there), True
        self.pool.own(there, 1)
        return there, False

    def added(self, mm: Mm, vma: Vma) -> None:
        super().added(mm, vma)
        self.source.added(mm, vma)

    def removed(self, mm: Mm, vma: Vma) -> None:
        super().removed(mm, vma)
        self.source.removed(mm, vma)


class HugeInode(Inode):
    """The inode of one."""

    __slots__ = ("pages", "seals")

    def __init__(self, fs: FileSystem, mode: int, cred: Cred, pages: HugePages) -> None:
        super().__init__(fs, mode, cred.fsuid, cred.fsgid)
        self.nlink = 0
        self.pages = pages
        self.seals = int(Seal.SEAL)
        pages.identity = 0, fs.dev, self.ino

    @property
    def blksize(self) -> int:  # type: ignore[override]
        return 1 << self.pages.log2

    @property
    def blocks(self) -> int:
        return len(self.pages.pages) * (self.blksize >> 9)

    def open(self, path: Path, flags: int) -> File:
        return HugeOpen(path, flags)

    def truncate(self, dentry: Dentry, size: int) -> None:
        if size % self.blksize:
            raise LinuxError(EINVAL, "its length is a multiple of its page size")
        self.pages.truncate(size // self.blksize)
        self.size = size


class HugeOpen(File):
    """An open one. It is not written but through a mapping."""

    __slots__ = ("file", "pages")

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        inode = path.dentry.inode
        assert isinstance(inode, HugeInode)
        self.file, self.pages = inode, inode.pages
        inode.pages.opens += 1

    def pread(self, n: int, pos: int) -> bytes:
        """Holes read as zeros."""
        parts, ram = [], self.pages.pool.frames.ram.bytes
        n = min(n, self.file.size - pos)
        while n > 0:
            number, offset = divmod(pos, self.file.blksize)
            size, first = min(n, self.file.blksize - offset), self.pages.pages.get(number)
            at = offset if first is None else (first << 12) + offset
            parts.append(bytes(size) if first is None else bytes(ram[at : at + size]))
            pos, n = pos + size, n - size
        return b"".join(parts)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2): 0 or KEEP_SIZE (1), or PUNCH_HOLE (2) with KEEP_SIZE (hugetlbfs_fallocate)."""
        if mode & ~3:
            raise LinuxError(EOPNOTSUPP, "hugetlbfs allocates and punches holes, nothing else")
        end, inode = offset + length, self.file
        if mode & 2:
            if inode.seals & (Seal.WRITE | Seal.FUTURE_WRITE):
                raise LinuxError(EPERM, "a hole in a file with F_SEAL_WRITE")
            self.pages.punch(offset, end)
        else:
            if inode.seals & Seal.GROW and end > inode.size:
                raise LinuxError(EPERM, "the file has F_SEAL_GROW")
            self.pages.fill(offset >> self.pages.log2, -(-end >> self.pages.log2))
            if not mode & 1 and end > inode.size:
                inode.size, self.pages.length = end, end >> self.pages.log2
        inode.touch()

    def may_resize(self, size: int) -> None:
        seals = self.file.seals
        if (seals & Seal.SHRINK and size < self.file.size) or (seals & Seal.GROW and size > self.file.size):
            raise LinuxError(EPERM, "the file has F_SEAL_SHRINK or F_SEAL_GROW")

    def release(self) -> None:
        self.pages.opens -= 1
        self.pages.reap()


def make_huge_memfd(vfs: Vfs, cred: Cred, pool: HugePool, name: bytes, log2: int, executable: bool) -> HugeOpen:
    """A new one, empty, in pages of 2^`log2` bytes."""
    pages = HugePages(pool, name.decode("utf-8", "surrogateescape"), log2)
    inode = HugeInode(vfs.huge_mount.fs, S_IFREG | (0o777 if executable else 0o666), cred, pages)
    path = Path(vfs.huge_mount, Dentry(b"/memfd:" + name + b" (deleted)", None, inode))
    return HugeOpen(path, Open.RDWR | Open.LARGEFILE)
