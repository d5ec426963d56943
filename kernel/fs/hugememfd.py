"""A memfd in huge pages (MFD_HUGETLB): mapped shared, read, resized in whole pages (fs/hugetlbfs/inode.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, EPERM, LinuxError
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
        return super().page(number) if number < self.length else -1

    def removed(self, mm: Mm, vma: Vma) -> None:
        self.mappings.pop(id(vma), None)
        self.reap()

    def truncate(self, length: int) -> None:
        """Pages past the end go, promised or there."""
        for mm, vma in list(self.mappings.values()):
            mm.zap_mapped(max(vma.start, vma.start + ((length << 9) - vma.pgoff << 12)), vma.end, private=False)
        for number in [number for number in self.pages if number >= length]:
            self.pool.put(self.pages.pop(number))
        beyond = {number for number in self.promised if number >= length}
        self.pool.reserved -= len(beyond)
        self.promised -= beyond
        self.length = length

    def reap(self) -> None:
        if not self.opens and not self.mappings:
            self.truncate(0)


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
