"""Inode: what a file is, whatever its file system. FileSystem: the superblock that it belongs to. Permission checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernel.abi.errno import EACCES, EINVAL, EISDIR, ENOTDIR, EOPNOTSUPP, EPERM, ETXTBSY, Errno, LinuxError
from kernel.abi.fcntl import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.fs.dentry import Dentry, Path
    from kernel.fs.file import File
    from kernel.fs.locks import Locks

MAY_EXEC, MAY_WRITE, MAY_READ = 1, 2, 4
BLOCK = 512  # the unit of st_blocks
NSEC = 1_000_000_000


class Cred(Protocol):
    """Whose rights are asked about; `kernel.task.task.Cred` keeps it."""

    @property
    def fsuid(self) -> int: ...
    @property
    def fsgid(self) -> int: ...
    @property
    def groups(self) -> tuple[int, ...]: ...
    @property
    def privileged(self) -> bool: ...


class FileSystem:
    """One mounted file system: its device number, its clock, its inode numbers, and what statfs(2) says of it."""

    type = "tmpfs"
    magic = 0x01021994  # TMPFS_MAGIC
    max_size = (1 << 63) - 1

    def __init__(self, minor: int, now: Callable[[], int]) -> None:
        self.dev = minor  # an anonymous device: major 0, so st_dev is the minor number (below 256)
        self.now = now
        self.next_ino = 1
        self.readonly = False

    def new_ino(self) -> int:
        ino = self.next_ino
        self.next_ino = ino + 1
        return ino

    def sync(self) -> None:
        """Write back everything that is dirty. In memory nothing is."""

    def close(self) -> None:
        """The machine is gone: give back what the host lent."""

    def usage(self) -> tuple[int, int, int, int]:
        """statfs(2)'s (blocks, free blocks, inodes, free inodes), in blocks of 4 KiB."""
        return (0, 0, 0, 0)

    def options(self) -> str:
        """The file system's own part of a line in /proc/mounts."""
        return ""


class Inode:
    """A file's attributes and operations. Every operation that a kind of file lacks is refused as Linux refuses it.

    Times are ns since 1970. Directory operations take the directory's Dentry; permissions were checked before.
    """

    __slots__ = (
        "__weakref__", "atime", "btime", "ctime", "fs", "gid", "ino", "locks", "mode", "mtime", "nlink", "rdev",
        "size", "uid", "writers", "xattrs",
    )  # fmt: skip
    blksize = 4096
    linkable = False  # may it get a first name (O_TMPFILE without O_EXCL)?

    def __init__(self, fs: FileSystem, mode: int, uid: int = 0, gid: int = 0, *, rdev: int = 0, ino: int = 0) -> None:
        self.fs = fs
        self.ino = ino or fs.new_ino()
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.nlink = 1
        self.size = 0
        self.rdev = rdev
        self.atime = self.mtime = self.ctime = self.btime = fs.now()
        self.locks: Locks | None = None
        self.writers = 0  # open descriptions that may write; negative: so many processes run it (i_writecount)
        self.xattrs: dict[bytes, bytes] | None = None

    def get_write_access(self) -> None:
        """Somebody opens it for writing, or truncates it. Raises ETXTBSY while it runs."""
        if self.writers < 0:
            raise LinuxError(ETXTBSY, "the file is a program that runs")
        self.writers += 1

    def deny_write_access(self) -> None:
        """It starts to run, until `writers` is incremented again. Raises ETXTBSY while somebody may write it."""
        if self.writers > 0:
            raise LinuxError(ETXTBSY, "the file is open for writing")
        self.writers -= 1

    # what it is
    @property
    def kind(self) -> int:
        return self.mode & S_IFMT

    @property
    def is_dir(self) -> bool:
        return self.mode & S_IFMT == S_IFDIR

    @property
    def is_link(self) -> bool:
        return self.mode & S_IFMT == S_IFLNK

    @property
    def is_regular(self) -> bool:
        return self.mode & S_IFMT == S_IFREG

    @property
    def blocks(self) -> int:
        """st_blocks: 512-byte units held."""
        return 0

    def getattr(self, dentry: Dentry) -> None:
        """Bring the attributes up to date, where they live elsewhere."""

    def owner_ids(self) -> tuple[int, int]:
        """(uid, gid) that permission checks go by."""
        return self.uid, self.gid

    # times
    def touch(self) -> None:
        """Its content changed now: mtime and ctime."""
        self.mtime = self.ctime = self.fs.now()

    def changed(self) -> None:
        """Its attributes changed now: ctime."""
        self.ctime = self.fs.now()

    def accessed(self) -> None:
        """It was read: relatime, as every mount has it (mount(8))."""
        now = self.fs.now()
        if self.atime <= self.mtime or self.atime <= self.ctime or now - self.atime >= 86_400 * NSEC:
            self.atime = now

    # attributes a guest sets
    def set_mode(self, dentry: Dentry, mode: int) -> None:
        """chmod(2): `mode` is the twelve permission bits."""
        self.mode = self.kind | mode
        self.changed()

    def set_owner(self, dentry: Dentry, uid: int, gid: int) -> None:
        """chown(2): -1 leaves one as it is. Losing the setuid bits is the caller's to say, by set_mode."""
        self.uid = self.uid if uid < 0 else uid
        self.gid = self.gid if gid < 0 else gid
        self.changed()

    def set_times(self, dentry: Dentry, atime: int | None, mtime: int | None) -> None:
        """utimensat(2), ns since 1970; None leaves one as it is."""
        self.atime = self.atime if atime is None else atime
        self.mtime = self.mtime if mtime is None else mtime
        self.changed()

    def drop_privileges(self) -> None:
        """A write by somebody without rights takes S_ISUID, and S_ISGID where the group may execute."""
        kill = self.mode & S_ISUID
        if self.mode & (S_ISGID | 0o010) == S_ISGID | 0o010:
            kill |= S_ISGID
        if kill and self.is_regular:
            self.mode &= ~kill

    # content
    def open(self, path: Path, flags: int) -> File:
        raise LinuxError(Errno.ENXIO, "this kind of file cannot be opened")

    def truncate(self, dentry: Dentry, size: int) -> None:
        raise LinuxError(EISDIR if self.is_dir else EINVAL, "only a regular file has a length to set")

    def readlink(self, dentry: Dentry) -> bytes:
        raise LinuxError(EINVAL, "not a symbolic link")

    def follow(self, dentry: Dentry) -> Path | None:
        """Where a magic link of /proc leads, past any name; None: it is an ordinary link, follow its text."""
        return None

    # directory
    def lookup(self, directory: Dentry, name: bytes) -> Dentry | None:
        """The entry `name`, None where there is none."""
        raise LinuxError(ENOTDIR, "not a directory")

    def create(self, directory: Dentry, name: bytes, mode: int, cred: Cred) -> Dentry:
        """A new regular file, directory, fifo or device, by `mode`'s type."""
        raise LinuxError(EPERM, "nothing can be made in this directory")

    def symlink(self, directory: Dentry, name: bytes, target: bytes, cred: Cred) -> Dentry:
        raise LinuxError(EPERM, "no links can be made in this directory")

    def link(self, old: Dentry, directory: Dentry, name: bytes) -> Dentry:
        raise LinuxError(EPERM, "no links can be made in this directory")

    def unlink(self, victim: Dentry) -> None:
        raise LinuxError(EPERM, "nothing can be removed from this directory")

    def rmdir(self, victim: Dentry) -> None:
        raise LinuxError(EPERM, "nothing can be removed from this directory")

    def rename(self, old: Dentry, directory: Dentry, name: bytes, target: Dentry | None, exchange: bool) -> None:
        """Move `old` from this directory to `directory`/`name`, over or (exchange) against `target`."""
        raise LinuxError(EPERM, "nothing can be renamed in this directory")

    # extended attributes
    def xattr_table(self, name: bytes) -> dict[bytes, bytes]:
        raise LinuxError(EOPNOTSUPP, "this file system has no extended attributes")


def permits(cred: Cred, inode: Inode, mask: int) -> bool:
    """May `cred` do `mask` (MAY_ bits) to `inode`, by its mode bits (fs/namei.c, generic_permission)?"""
    uid, gid = inode.owner_ids()
    mode = inode.mode
    if cred.fsuid == uid:
        bits = mode >> 6
    elif cred.fsgid == gid or gid in cred.groups:
        bits = mode >> 3
    else:
        bits = mode
    if mask & ~(bits & 7) == 0:
        return True
    if not cred.privileged:
        return False
    return not mask & MAY_EXEC or inode.is_dir or bool(mode & 0o111)


def owns(cred: Cred, inode: Inode) -> bool:
    """inode_owner_or_capable()."""
    return cred.privileged or cred.fsuid == inode.owner_ids()[0]


def check_permission(cred: Cred, inode: Inode, mask: int) -> None:
    """Raises EACCES, naming the right that is missing."""
    if not permits(cred, inode, mask):
        uid, gid = inode.owner_ids()
        right = "search" if mask == MAY_EXEC and inode.is_dir else _RIGHTS[mask]
        raise LinuxError(
            EACCES, f"uid {cred.fsuid} may not {right}: the mode is {inode.mode & 0o7777:04o}, the owner {uid}:{gid}"
        )


_RIGHTS = {1: "execute", 2: "write", 3: "write and search", 4: "read", 5: "read and execute", 6: "read and write",
           7: "read, write and execute"}  # fmt: skip
