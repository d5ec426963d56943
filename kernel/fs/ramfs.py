"""RamFs: files in guest memory, as tmpfs(5) has them: sizes, inode numbers, directory order, capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EEXIST, ENODEV, ENOSPC, ENOTEMPTY, ENXIO, LinuxError
from kernel.abi.fcntl import DT_DIR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_ISGID
from kernel.fs.dentry import Dentry, Path
from kernel.fs.file import DirEntry, DirFile, File
from kernel.fs.inode import Cred, FileSystem, Inode
from kernel.fs.pipe import Pipe, open_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.mm.frames import Frames
    from kernel.mm.ram import Ram

DIRENT_SIZE = 20  # what tmpfs says a directory entry takes (BOGO_DIRENT_SIZE)
EOD = 0x7FFFFFFF  # d_off of the last entry (fs/libfs.c, DIR_OFFSET_EOD)


class RamFs(FileSystem):
    """A tmpfs: at most `capacity` pages of content, None for no limit (memfd, shared memory)."""

    def __init__(self, minor: int, now: Callable[[], int], ram: Ram, frames: Frames, capacity: int | None) -> None:
        super().__init__(minor, now)
        self.ram = ram
        self.frames = frames
        self.capacity = capacity
        self.used = 0
        self.inodes = 0
        self.max_inodes = (capacity or 0) // 2
        self.root = Dentry(b"/", None, RamDir(self, S_IFDIR | 0o755))
        self.root.children = {}

    def usage(self) -> tuple[int, int, int, int]:
        if self.capacity is None:
            return (0, 0, 0, 0)
        return (self.capacity, self.capacity - self.used, self.max_inodes, self.max_inodes - self.inodes)

    def options(self) -> str:
        return "" if self.capacity is None else f"size={self.capacity * 4}k"

    def make(self, mode: int, uid: int, gid: int, *, rdev: int = 0) -> Inode:
        """A new inode of `mode`'s type, without a name yet."""
        kind = mode & S_IFMT
        if kind == S_IFREG:
            from kernel.fs.ramfile import RamFile

            return RamFile(self, mode, uid, gid)
        if kind == S_IFDIR:
            return RamDir(self, mode, uid, gid)
        if kind == S_IFIFO:
            return RamFifo(self, mode, uid, gid)
        return RamNode(self, mode, uid, gid, rdev=rdev)


class RamNode(Inode):
    """Any inode of a RamFs; by itself a socket or device, which is known but not opened here."""

    __slots__ = ()
    fs: RamFs

    def reap(self) -> None:
        """The last name, description or mapping may have gone: let go of the content if so."""

    def xattr_table(self, name: bytes) -> dict[bytes, bytes]:
        if self.xattrs is None:
            self.xattrs = {}
        return self.xattrs

    def open(self, path: Path, flags: int) -> File:
        raise LinuxError(ENXIO, "a socket or device node cannot be opened here")


class RamFifo(RamNode):
    """A named pipe (fifo(7))."""

    __slots__ = ("pipe",)

    def __init__(self, fs: RamFs, mode: int, uid: int, gid: int) -> None:
        super().__init__(fs, mode, uid, gid)
        self.pipe = Pipe()

    def open(self, path: Path, flags: int) -> File:
        return open_end(path, flags, self.pipe)


class RamLink(RamNode):
    """A symbolic link; its length is its size."""

    __slots__ = ("target",)

    def __init__(self, fs: RamFs, target: bytes, uid: int = 0, gid: int = 0) -> None:
        super().__init__(fs, S_IFLNK | 0o777, uid, gid)
        self.target = target
        self.size = len(target)

    def readlink(self, dentry: Dentry) -> bytes:
        return self.target


class RamDir(RamNode):
    """A directory: its dentry's `children`, newest last; each entry has a cookie, which is its d_off to come."""

    __slots__ = ("next_cookie",)

    def __init__(self, fs: RamFs, mode: int, uid: int = 0, gid: int = 0) -> None:
        super().__init__(fs, mode, uid, gid)
        self.nlink = 2
        self.size = 2 * DIRENT_SIZE
        self.next_cookie = 3  # 0, 1 and 2 are the start, "." and ".."

    def open(self, path: Path, flags: int) -> File:
        return RamDirFile(path, flags)

    def lookup(self, directory: Dentry, name: bytes) -> Dentry | None:
        assert directory.children is not None
        return directory.children.get(name)

    def enter(self, directory: Dentry, name: bytes, inode: Inode) -> Dentry:
        """Give `inode` a name here."""
        assert directory.children is not None
        dentry = Dentry(name, directory, inode)
        if inode.is_dir:
            dentry.children = {}
            self.nlink += 1
        self.insert(directory, dentry)
        return dentry

    def insert(self, directory: Dentry, dentry: Dentry, cookie: int = 0) -> None:
        """Under its name, last, or in the place of what had `cookie` (simple_offset_rename)."""
        assert directory.children is not None
        directory.children[dentry.name] = dentry
        dentry.cookie = cookie or self.next_cookie
        self.next_cookie += not cookie
        self.size += DIRENT_SIZE
        self.touch()

    def remove(self, dentry: Dentry) -> None:
        """Take a name out; the inode keeps its links."""
        children = dentry.parent.children
        assert children is not None
        del children[dentry.name]
        self.size -= DIRENT_SIZE
        self.touch()

    def owner_of_new(self, mode: int, cred: Cred) -> tuple[int, int, int]:
        """(mode, uid, gid) of what `cred` makes here: a setgid directory hands its group down (inode_init_owner)."""
        if not self.mode & S_ISGID:
            return mode, cred.fsuid, cred.fsgid
        return mode | (S_ISGID if mode & S_IFMT == S_IFDIR else 0), cred.fsuid, self.gid

    def create(self, directory: Dentry, name: bytes, mode: int, cred: Cred) -> Dentry:
        self.room()
        mode, uid, gid = self.owner_of_new(mode, cred)
        return self.enter(directory, name, self.fs.make(mode, uid, gid))

    def room(self) -> None:
        """One more inode, if the file system has it."""
        if self.fs.capacity is not None and self.fs.inodes >= self.fs.max_inodes:
            raise LinuxError(ENOSPC, f"the file system's {self.fs.max_inodes} inodes are used")
        self.fs.inodes += 1

    def symlink(self, directory: Dentry, name: bytes, target: bytes, cred: Cred) -> Dentry:
        self.room()
        _, uid, gid = self.owner_of_new(S_IFLNK, cred)
        return self.enter(directory, name, RamLink(self.fs, target, uid, gid))

    def link(self, old: Dentry, directory: Dentry, name: bytes) -> Dentry:
        old.inode.nlink += 1
        old.inode.changed()
        return self.enter(directory, name, old.inode)

    def unlink(self, victim: Dentry) -> None:
        self.remove(victim)
        self._unlinked(victim)

    def _unlinked(self, victim: Dentry) -> None:
        """The name is gone: one link fewer, and the content with the last."""
        inode = victim.inode
        victim.unlinked = True
        inode.nlink -= 2 if inode.is_dir else 1
        inode.changed()
        if not inode.nlink:
            self.fs.inodes -= 1
            if isinstance(inode, RamNode):
                inode.reap()

    def rmdir(self, victim: Dentry) -> None:
        if victim.children:
            raise LinuxError(ENOTEMPTY, f"the directory has {len(victim.children)} entries")
        self.nlink -= 1
        self.unlink(victim)

    def rename(self, old: Dentry, directory: Dentry, name: bytes, target: Dentry | None, exchange: bool) -> None:
        other = directory.inode
        assert isinstance(other, RamDir)
        if exchange:
            assert target is not None
            self._exchange(old, target, other)
            return
        if target is not None:
            if target.children:
                raise LinuxError(ENOTEMPTY, "the directory to be replaced is not empty")
            if target.inode.is_dir:
                other.nlink -= 1
            other.remove(target)
            self._unlinked(target)
        self.remove(old)
        if old.inode.is_dir:
            self.nlink -= 1
            other.nlink += 1
        old.name, old.parent = name, directory
        other.insert(directory, old, target.cookie if target is not None else 0)
        old.inode.changed()

    def _exchange(self, old: Dentry, target: Dentry, other: RamDir) -> None:
        self.remove(old)
        other.remove(target)
        for inode, source, goal in ((old.inode, self, other), (target.inode, other, self)):
            if inode.is_dir:
                source.nlink -= 1
                goal.nlink += 1
            inode.changed()
        old.name, target.name = target.name, old.name
        old.parent, target.parent = target.parent, old.parent
        cookies = old.cookie, target.cookie
        self.insert(target.parent, target, cookies[0])
        other.insert(old.parent, old, cookies[1])


class RamDirFile(DirFile):
    """An open directory. As tmpfs since Linux 6.6: what was made or renamed last comes first, d_off is the cookie of
    the entry after, so that a position survives changes."""

    __slots__ = ()

    def upcoming(self) -> list[DirEntry]:
        dentry, pos = self.path.dentry, self.pos
        assert dentry.children is not None
        listed = list(dentry.children.values())
        listed.reverse()
        if pos > 2:
            listed = _from_cookie(listed, pos)
        after = [*(child.cookie for child in listed[1:]), EOD]
        out = [
            DirEntry(child.inode.ino, cookie, child.inode.mode >> 12, child.name)
            for child, cookie in zip(listed, after, strict=False)
        ]
        if pos < 2:
            first = listed[0].cookie if listed else EOD
            out.insert(0, DirEntry(dentry.parent.inode.ino, first, DT_DIR, b".."))
        if pos < 1:
            out.insert(0, DirEntry(dentry.inode.ino, 1, DT_DIR, b"."))
        return out


def _from_cookie(listed: list[Dentry], pos: int) -> list[Dentry]:
    """The entries from the one with cookie `pos` on, or, if it has gone, from the next higher (offset_find_next)."""
    at = min((child.cookie for child in listed if child.cookie >= pos), default=EOD)
    for i, child in enumerate(listed):
        if child.cookie == at:
            return listed[i:]
    return []


def make_at(directory: Dentry, name: bytes, inode: Inode) -> Dentry:
    """Enter a ready-made inode into a RamFs directory while the machine is being built."""
    if not isinstance(directory.inode, RamDir):
        raise LinuxError(ENODEV, "not a directory in memory")
    if directory.children is not None and name in directory.children:
        raise LinuxError(EEXIST, "the name is taken")
    return directory.inode.enter(directory, name, inode)
