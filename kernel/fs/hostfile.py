"""Open files of a host mount: read and write on the host's descriptor, pages in frames for what is mapped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kernel.abi.errno import ENXIO, EOPNOTSUPP, LinuxError
from kernel.abi.fcntl import DT_DIR, DT_LNK, DT_REG, DT_UNKNOWN, Open
from kernel.abi.limits import PAGE_SHIFT, PAGE_SIZE
from kernel.fs.file import DirEntry, DirFile, File
from kernel.fs.hostfs import HostFs, HostInode, translating
from kernel.fs.pagecache import PageCache

if TYPE_CHECKING:
    from kernel.fs.dentry import Path
    from kernel.mm.mappable import Mappable
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class HostPages(PageCache):
    """The mapped pages of a host file. They come by pread on demand and live while the file is mapped.

    `dirty`: pages that a shared mapping may have stored to. They are newer than the host until `write_back`, and stay
    in the set as long as they are mapped, since a writable PTE does not fault again.
    """

    __slots__ = ("dirty", "fd", "inode")

    def __init__(self, inode: HostInode, fd: int) -> None:
        super().__init__(inode.fs.ram, inode.fs.frames, (0, inode.fs.dev, inode.ino))
        self.inode = inode
        self.size = inode.size
        self.fd = os.dup(fd)
        self.dirty: set[int] = set()

    def add(self, index: int) -> int:
        pfn = super().add(index)
        with translating():
            data = os.pread(self.fd, PAGE_SIZE, index << PAGE_SHIFT)
        pa = pfn << PAGE_SHIFT
        self.ram[pa : pa + len(data)] = data
        return pfn

    def dirtied(self, index: int) -> None:
        self.dirty.add(index)

    def sync(self, start: int, end: int) -> None:
        self.write_back(start, end)

    def write_back(self, start: int = 0, end: int = 1 << 52) -> None:
        """Dirty pages of [start, end) to the host, none past the file's end."""
        if not self.dirty:
            return
        with translating():
            size = os.fstat(self.fd).st_size
            for index in sorted(self.dirty):
                pos = index << PAGE_SHIFT
                pfn = self.pages.get(index)
                if start <= index < end and pfn is not None and pos < size:
                    pa = pfn << PAGE_SHIFT
                    os.pwrite(self.fd, self.ram[pa : pa + min(PAGE_SIZE, size - pos)], pos)
        self.inode.touch()

    # kernel.mm.reclaim.Evictable
    def shrink(self) -> int:
        """Clean pages that nobody maps go."""
        refs = self.frames.refs
        gone = [index for index, pfn in self.pages.items() if refs[pfn] == 1 and index not in self.dirty]
        for index in gone:
            self.drop(index, index + 1)
        return len(gone)

    def evict(self, index: int, write: bool) -> bool:
        """Let go of one page, unmapped and (with `write`) written back before. False: it is dirty, or in use."""
        pfn = self.pages.get(index)
        if pfn is None or (index in self.dirty and not write):
            return False
        self.zap(index, index + 1, private=False)
        if self.frames.refs[pfn] != 1:
            return False
        if index in self.dirty:
            try:
                self.write_back(index, index + 1)
            except LinuxError:
                return False
            self.dirty.discard(index)
        self.drop(index, index + 1)
        return True

    def overlay(self, data: bytes, pos: int) -> bytes:
        """`data` that was read from the host at `pos`, with what is newer here."""
        first, last = pos >> PAGE_SHIFT, pos + len(data) - 1 >> PAGE_SHIFT
        newer = [index for index in self.dirty if first <= index <= last and index in self.pages]
        if not newer:
            return data
        out = bytearray(data)
        for index in newer:
            start = max(pos, index << PAGE_SHIFT)
            end = min(pos + len(data), index + 1 << PAGE_SHIFT)
            pa = (self.pages[index] << PAGE_SHIFT) + (start & (PAGE_SIZE - 1))
            out[start - pos : end - pos] = self.ram[pa : pa + end - start]
        return bytes(out)

    def written(self, data: bytes, pos: int) -> None:
        """`data` went to the host at `pos`: pages that are here follow."""
        self.size = max(self.size, pos + len(data))
        for index in range(pos >> PAGE_SHIFT, (pos + len(data) - 1 >> PAGE_SHIFT) + 1):
            pfn = self.pages.get(index)
            if pfn is not None:
                start, end = max(pos, index << PAGE_SHIFT), min(pos + len(data), index + 1 << PAGE_SHIFT)
                pa = (pfn << PAGE_SHIFT) + (start & (PAGE_SIZE - 1))
                self.ram[pa : pa + end - start] = data[start - pos : end - pos]

    def removed(self, mm: Mm, vma: Vma) -> None:
        super().removed(mm, vma)
        if self.mappings:
            return
        try:
            self.write_back()
        finally:
            self.dirty.clear()
            self.drop(0)
            if not self.inode.fds:
                self.close()

    def close(self) -> None:
        """Neither open nor mapped: the host's descriptor goes."""
        if self.inode.pages is self:
            self.inode.pages = None
            os.close(self.fd)


class HostOpen(File):
    """An open regular file of the host."""

    __slots__ = ("fd", "host")

    def __init__(self, path: Path, flags: int, fd: int) -> None:
        super().__init__(path, flags)
        inode = path.dentry.inode
        assert isinstance(inode, HostInode)
        self.host = inode
        self.fd = fd
        inode.fds.append(fd)

    def pread(self, n: int, pos: int) -> bytes:
        with translating():
            data = os.pread(self.fd, n, pos)
        pages = self.host.pages
        return pages.overlay(data, pos) if pages is not None and pages.dirty and data else data

    def pwrite(self, data: bytes, pos: int) -> int:
        with translating():
            done = os.pwrite(self.fd, data, pos)
        host = self.host
        if host.pages is not None:
            host.pages.written(data[:done], pos)
        host.size = max(host.size, pos + done)
        host.touch()
        return done

    def write(self, data: bytes) -> int:
        if self.flags & Open.APPEND:
            self.host.getattr(self.path.dentry)
        return super().write(data)

    def lseek(self, offset: int, whence: int) -> int:
        if whence >= 2:
            self.host.getattr(self.path.dentry)
        return super().lseek(offset, whence)

    def seek_sparse(self, offset: int, whence: int) -> int:
        if whence not in (3, 4):
            return super().seek_sparse(offset, whence)
        if offset < 0:
            raise LinuxError(ENXIO, "the offset is past the end of the file")
        with translating():
            return os.lseek(self.fd, offset, os.SEEK_DATA if whence == 3 else os.SEEK_HOLE)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2) with mode 0; the other modes have no portable way to the host."""
        if mode:
            raise LinuxError(EOPNOTSUPP, "on a host file only mode 0 is done")
        with translating():
            os.posix_fallocate(self.fd, offset, length)
        self.host.getattr(self.path.dentry)
        self.host.touch()

    def mappable(self) -> Mappable:
        host = self.host
        host.getattr(self.path.dentry)
        pages = host.pages
        if pages is None:
            pages = host.pages = HostPages(host, self.fd)
        elif self.readable and self.writable and not pages.dirty:
            with translating():
                os.dup2(self.fd, pages.fd, inheritable=False)  # one that can write back
        pages.place = self.path
        return pages

    def sync(self) -> None:
        if self.host.pages is not None:
            self.host.pages.write_back()
        if self.writable:
            with translating():
                os.fsync(self.fd)

    def flush(self) -> None:
        """close(2) is where a mapping's stores reach the host at the latest, if it is the last."""
        if self.refs == 1 and self.host.pages is not None:
            self.host.pages.write_back()

    def release(self) -> None:
        host = self.host
        host.fds.remove(self.fd)
        os.close(self.fd)
        if host.pages is not None and not host.fds and not host.pages.mappings:
            host.pages.close()


class HostDirFile(DirFile):
    """An open directory of the host, sorted by name, so that its order repeats."""

    __slots__ = ("fd",)

    def __init__(self, path: Path, flags: int, fd: int) -> None:
        super().__init__(path, flags)
        self.fd = fd

    def entries(self) -> list[DirEntry]:
        dentry = self.path.dentry
        fs = dentry.inode.fs
        assert isinstance(fs, HostFs)
        with translating():
            device = os.fstat(self.fd).st_dev
            with os.scandir(self.fd) as scan:
                found = sorted((os.fsencode(entry.name), entry.inode(), _kind(entry)) for entry in scan)
        listed = [(dentry.inode.ino, DT_DIR, b"."), (dentry.parent.inode.ino, DT_DIR, b"..")]
        listed += [(fs.number((device, ino)), kind, name) for name, ino, kind in found]
        names = {name for name, _, _ in found}
        for name, child in sorted((dentry.pinned or {}).items()):
            if name not in names:
                listed.append((child.inode.ino, DT_DIR, name))
        return [DirEntry(ino, after, kind, name) for after, (ino, kind, name) in enumerate(listed, 1)]

    def release(self) -> None:
        os.close(self.fd)


def _kind(entry: os.DirEntry[str]) -> int:
    """DT_ of a host entry, its link not followed."""
    if entry.is_dir(follow_symlinks=False):
        return DT_DIR
    if entry.is_file(follow_symlinks=False):
        return DT_REG
    if entry.is_symlink():
        return DT_LNK
    try:
        return entry.stat(follow_symlinks=False).st_mode >> 12
    except OSError:
        return DT_UNKNOWN
