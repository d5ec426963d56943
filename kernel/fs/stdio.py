"""The host's standard streams as the guest's files 0, 1 and 2, and the one place that talks to them.

They look the same wherever the host's streams lead, so that runs repeat: the ends of pipes, or, with `interactive`
and on a terminal, a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, EIO, ENOTTY, ESRCH, Errno, LinuxError
from kernel.abi.fcntl import (
    FIONREAD,
    S_IFCHR,
    S_IFIFO,
    TCGETS,
    TCSETS,
    TCSETSF,
    TCSETSW,
    TIOCGPGRP,
    TIOCGWINSZ,
    TIOCSPGRP,
    Open,
    Poll,
)
from kernel.abi.limits import PAGE_SIZE
from kernel.abi.structs import Termios, Winsize
from kernel.fs.chardev import makedev
from kernel.fs.file import File, PipeLike
from kernel.fs.inode import FileSystem, Inode

if TYPE_CHECKING:
    from kernel.fs.dentry import Dentry, Path
    from kernel.fs.stream import Stream
    from kernel.task.task import Task

CHUNK = 65536  # what a pipe holds: the most one read takes from the host
COOKED = Termios(0x500, 0x5, 0xBF, 0x8A3B, 0, bytes.fromhex("03 1c 7f 15 04 00 01 00 11 13 1a 00 12 0f 17 16 00 00 00"))


def translated(error: OSError) -> LinuxError:
    """The host's errno, which on Linux is the guest's."""
    try:
        errno = Errno(error.errno or EIO)
    except ValueError:
        errno = EIO
    return LinuxError(errno, f"the host says: {error.strerror or error}")


class StdInode(Inode):
    """A host stream's place. `ahead` holds bytes that were taken from the host and not yet read by the guest."""

    __slots__ = ("ahead", "ended", "stream", "terminal")

    def __init__(self, fs: FileSystem, stream: Stream, uid: int, gid: int, terminal: bool) -> None:
        mode = S_IFCHR | 0o620 if terminal else S_IFIFO | 0o600
        super().__init__(fs, mode, uid, gid, rdev=makedev(136, 0) if terminal else 0)
        self.stream = stream
        self.terminal = terminal
        self.ahead = b""
        self.ended = False

    def open(self, path: Path, flags: int) -> File:
        return StdFile(path, flags)

    def set_mode(self, dentry: Dentry, mode: int) -> None:
        self.mode = self.kind | mode

    def fill(self) -> None:
        """Wait on the host until there is something to read, or the end."""
        if self.ahead or self.ended:
            return
        self.ahead = self.ask(CHUNK)

    def ask(self, n: int) -> bytes:
        try:
            data = self.stream.read(n)
        except OSError as error:
            raise translated(error) from None
        self.ended = not data and not self.terminal
        return data


class StdFile(PipeLike):
    """An open standard stream. Reads and writes block on the host, which takes no virtual time."""

    __slots__ = ("std",)

    def __init__(self, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        inode = path.dentry.inode
        assert isinstance(inode, StdInode)
        self.std = inode

    def read(self, n: int) -> bytes:
        std = self.std
        if not std.ahead:
            if std.ended:
                return b""
            return std.ask(min(n, CHUNK))
        data, std.ahead = std.ahead[:n], std.ahead[n:]
        return data

    def unread(self, data: bytes, copied: int) -> int:
        self.std.ahead = data[copied:] + self.std.ahead
        return copied

    def acceptable(self, present: int, total: int) -> int:
        """As a pipe that is empty: whole pages."""
        return present // PAGE_SIZE * PAGE_SIZE

    def write(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += self.std.stream.write(data[done:] if done else data)
        except OSError as error:
            if not done:
                raise translated(error) from None
        return done

    def poll(self) -> int:
        """A read never waits in virtual time: data is there, or the end is."""
        events = Poll.OUT | Poll.WRNORM if self.writable else 0
        if self.readable:
            self.std.fill()
            events |= Poll.IN | Poll.RDNORM if self.std.ahead else Poll.HUP
        return events

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        if cmd == FIONREAD and (self.readable or not self.std.terminal):
            if self.readable:
                self.std.fill()
            task.mm.copy_to_user(arg, len(self.std.ahead).to_bytes(4, "little"))
            return 0
        if not self.std.terminal:
            return super().ioctl(task, cmd, arg)
        if cmd == TCGETS:
            task.mm.copy_to_user(arg, self.std.stream.termios() or COOKED.pack())
        elif cmd in (TCSETS, TCSETSW, TCSETSF):
            self._set_termios(cmd - TCSETS, task.mm.copy_from_user(arg, Termios.SIZE))
        elif cmd == TIOCGWINSZ:
            rows, columns = self.std.stream.winsize() or (24, 80)
            task.mm.copy_to_user(arg, Winsize(rows, columns, 0, 0).pack())
        elif cmd == TIOCGPGRP:
            task.mm.copy_to_user(arg, task.process.pgid.to_bytes(4, "little"))
        elif cmd == TIOCSPGRP:
            pgid = int.from_bytes(task.mm.copy_from_user(arg, 4), "little", signed=True)
            if pgid < 0:
                raise LinuxError(EINVAL, "a process group's number is not negative")
            if pgid != task.process.pgid:  # the one there is, and it is in the foreground always
                raise LinuxError(ESRCH, f"there is no process group {pgid}")
        else:
            raise LinuxError(ENOTTY, "of a terminal only its modes, size and foreground process group are modelled")
        return 0

    def _set_termios(self, when: int, termios: bytes) -> None:
        try:
            self.std.stream.set_termios(when, termios)
        except OSError as error:
            raise translated(error) from None
        if when == 2:  # TCSETSF
            self.std.ahead = b""


ACCESS = (Open.RDONLY, Open.WRONLY, Open.WRONLY)  # of a pipe's ends on 0, 1 and 2; a terminal is O_RDWR
