"""File: an open file description. What every file answers, and the directory's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.abi.errno import EBADF, EINVAL, EISDIR, ENODEV, ENOTDIR, ENOTTY, ESPIPE, LinuxError
from kernel.abi.fcntl import FIONBIO, FIONCLEX, FIONREAD, TCGETS, Open, Poll, Seek

if TYPE_CHECKING:
    from kernel.fs.dentry import Path
    from kernel.fs.inode import Inode
    from kernel.mm.mappable import Mappable
    from kernel.task.task import Task

ALWAYS_READY = Poll.IN | Poll.OUT | Poll.RDNORM | Poll.WRNORM
STATUS = Open.APPEND | Open.NONBLOCK | Open.DIRECT | Open.NOATIME | Open.FASYNC  # what F_SETFL changes
TERMINAL_IOCTLS = frozenset({*range(TCGETS, FIONREAD), *range(FIONREAD + 1, FIONBIO), *range(FIONBIO + 1, FIONCLEX)})


class DirEntry(NamedTuple):
    """One struct linux_dirent64: `after` is d_off, where a reading after this entry goes on."""

    ino: int
    after: int
    kind: int  # DT_*
    name: bytes


class File:
    """One open file description. `refs` counts the descriptors that hold it; `pos` means something if `seekable`.

    `read` and `write` move `pos` and may do less than asked; None from `read`, 0 from `write`: they would block.
    """

    __slots__ = ("flags", "path", "pos", "readable", "refs", "writable")
    seekable = True
    positioned = True  # do pread and pwrite work?
    unsigned = False  # are positions addresses (FMODE_UNSIGNED_OFFSET)?

    def __init__(self, path: Path, flags: int) -> None:
        """`flags` are open(2)'s, without those that only matter while opening."""
        self.path = path
        self.flags = flags & ~(Open.CREAT | Open.EXCL | Open.NOCTTY | Open.TRUNC | Open.CLOEXEC)
        self.pos = 0
        self.refs = 0
        mode = flags & Open.ACCMODE
        bare = flags & Open.PATH
        self.readable = not bare and mode in (Open.RDONLY, Open.RDWR)
        self.writable = not bare and mode in (Open.WRONLY, Open.RDWR)
        if self.writable and path.dentry.inode.is_regular:
            path.dentry.inode.get_write_access()

    @property
    def inode(self) -> Inode:
        return self.path.dentry.inode

    @property
    def nonblocking(self) -> bool:
        return bool(self.flags & Open.NONBLOCK)

    # data
    def pread(self, n: int, pos: int) -> bytes:
        """Up to `n` bytes at `pos`; b"" at the end."""
        raise LinuxError(EINVAL, "this file cannot be read")

    def pwrite(self, data: bytes, pos: int) -> int:
        """Write at `pos`; how much was."""
        raise LinuxError(EINVAL, "this file cannot be written")

    def read(self, n: int) -> bytes | None:
        """Up to `n` bytes from where the file stands."""
        data = self.pread(n, self.pos)
        self.pos += len(data)
        return data

    def unread(self, data: bytes, copied: int) -> int:
        """Of what `read` gave last, the guest's memory took `copied` bytes only; how many count as read."""
        self.pos -= len(data) - copied
        return copied

    @property
    def awaits_peer(self) -> bool:
        """Is the opening of it to sleep until somebody opens the other end (a fifo)?"""
        return False

    def swallow(self, total: int) -> int | None:
        """A write of `total` bytes that nobody looks at (/dev/null): the result; None: write as usual."""
        return None

    def acceptable(self, present: int, total: int) -> int:
        """Of a write of `total` bytes only `present` can be read from memory; how many are written."""
        return present

    def write(self, data: bytes) -> int:
        """Write where the file stands, or at its end if O_APPEND."""
        if self.flags & Open.APPEND:
            self.pos = self.inode.size
        done = self.pwrite(data, self.pos)
        self.pos += done
        return done

    def lseek(self, offset: int, whence: int) -> int:
        """lseek(2): the new position."""
        size = self.inode.size
        if whence == Seek.SET:
            pos = offset
        elif whence == Seek.CUR:
            pos = self.pos + offset
        elif whence == Seek.END:
            pos = size + offset
        else:
            pos = self.seek_sparse(offset, whence)
        if not 0 <= pos <= self.inode.fs.max_size:
            raise LinuxError(EINVAL, "the new offset is negative or past the largest file")
        self.pos = pos
        return pos

    def seek_sparse(self, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE, for a file without holes."""
        if whence not in (Seek.DATA, Seek.HOLE):
            raise LinuxError(EINVAL, f"whence {whence} is unknown")
        from kernel.abi.errno import ENXIO

        if not 0 <= offset < self.inode.size:
            raise LinuxError(ENXIO, "the offset is past the end of the file")
        return offset if whence == Seek.DATA else self.inode.size

    def getdents(self, room: int, extra: int = 0) -> list[DirEntry]:
        """The next entries of a directory that fit `room` bytes of linux_dirent64 (`extra`: what each takes more),
        moving `pos` behind them."""
        raise LinuxError(ENOTDIR, "not a directory")

    # the rest
    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """ioctl(2), for what this kind of file knows."""
        if cmd in TERMINAL_IOCTLS:
            raise LinuxError(ENOTTY, "not a terminal")
        raise LinuxError(ENOTTY, f"ioctl 0x{cmd:x} is not one that this file knows")

    def poll(self) -> int:
        """The POLL events that hold now."""
        return ALWAYS_READY

    def fdinfo(self) -> str:
        """What /proc/[pid]/fdinfo says of this kind of file alone."""
        return ""

    def mappable(self) -> Mappable | None:
        """What mmap(2) of this file maps; None: fresh anonymous memory (/dev/zero). Raises ENODEV."""
        raise LinuxError(ENODEV, "this file cannot be mapped")

    def sync(self) -> None:
        """fsync(2): everything written is where it belongs."""

    def may_resize(self, size: int) -> None:
        """Raises EPERM where a seal forbids this length."""

    def resize(self, size: int) -> None:
        """ftruncate(2)."""
        self.inode.truncate(self.path.dentry, size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2), its arguments checked."""
        from kernel.abi.errno import EOPNOTSUPP

        raise LinuxError(EOPNOTSUPP, "space is not allocated ahead in this kind of file")

    def flush(self) -> None:
        """A descriptor of it is being closed; others may stay (close(2) may report what a write could not)."""

    def release(self) -> None:
        """The last descriptor is gone."""

    def get(self) -> File:
        self.refs += 1
        return self

    def put(self) -> None:
        self.refs -= 1
        if not self.refs:
            self.release()
            inode = self.inode
            if self.writable and inode.is_regular:
                inode.writers -= 1
            if inode.locks is not None:
                inode.locks.forget(self)


class PathFile(File):
    """open(2) with O_PATH: a place, nothing more."""

    __slots__ = ()

    def lseek(self, offset: int, whence: int) -> int:
        raise LinuxError(EBADF, "the descriptor was opened with O_PATH")


class DirFile(File):
    """An open directory. It asks its inode for the entries after `pos`."""

    __slots__ = ("listing",)

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        self.listing: list[DirEntry] | None = None

    def pread(self, n: int, pos: int) -> bytes:
        raise LinuxError(EISDIR, "a directory is read by getdents64")

    def entries(self) -> list[DirEntry]:
        """All entries, in order, "." and ".." included; taken when reading starts at 0."""
        raise LinuxError(ENOTDIR, "this directory does not list itself")

    def upcoming(self) -> list[DirEntry]:
        """The entries behind `pos`: here `after` counts them."""
        if self.listing is None or self.pos == 0:
            self.listing = self.entries()
        return self.listing[self.pos :]

    def getdents(self, room: int, extra: int = 0) -> list[DirEntry]:
        if self.pos == 0:
            self.inode.accessed()
        taken: list[DirEntry] = []
        for entry in self.upcoming():
            size = (19 + extra + len(entry.name) + 1 + 7) & ~7
            if size > room:
                if not taken:
                    raise LinuxError(EINVAL, "the buffer is too small for the next entry")
                break
            room -= size
            taken.append(entry)
            self.pos = entry.after
        return taken

    def lseek(self, offset: int, whence: int) -> int:
        if whence not in (Seek.SET, Seek.CUR):
            raise LinuxError(EINVAL, "a directory is rewound or positioned, not sought from its end")
        pos = offset if whence == Seek.SET else self.pos + offset
        if pos < 0:
            raise LinuxError(EINVAL, "the offset is negative")
        self.pos = pos
        return pos

    def sync(self) -> None:
        """Names live in memory, or are already the host's."""


class PipeLike(File):
    """A file without a position: pipes, terminals, standard streams."""

    __slots__ = ()
    seekable = False
    positioned = False

    def lseek(self, offset: int, whence: int) -> int:
        raise LinuxError(ESPIPE, "a stream has no position")

    def pread(self, n: int, pos: int) -> bytes:
        raise LinuxError(ESPIPE, "a stream has no position")

    def pwrite(self, data: bytes, pos: int) -> int:
        raise LinuxError(ESPIPE, "a stream has no position")
