"""Pipe: bytes between two ends, in page-sized buffers as fs/pipe.c keeps them, so that it fills when Linux's does."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kernel.abi.errno import EBUSY, EINVAL, ENXIO, EPERM, EPIPE, LinuxError
from kernel.abi.fcntl import FIONREAD, S_IFIFO, Open, Poll
from kernel.abi.limits import PAGE_SIZE
from kernel.fs.dentry import Dentry, Path
from kernel.fs.file import PipeLike
from kernel.fs.inode import Inode

if TYPE_CHECKING:
    from kernel.fs.file import File
    from kernel.fs.inode import Cred, FileSystem
    from kernel.fs.vfs import Vfs
    from kernel.task.task import Task

SLOTS = 16  # PIPE_DEF_BUFFERS
MAX_SIZE = 1 << 20  # /proc/sys/fs/pipe-max-size


class Buffer:
    """One page's worth: `data[start:]` is still to be read. `packet`: a read never goes past its end (O_DIRECT);
    `spliced`: a file's page, which no write goes into."""

    __slots__ = ("data", "packet", "spliced", "start")

    def __init__(self, data: bytes, packet: bool, spliced: bool = False) -> None:
        self.data = bytearray(data)
        self.spliced = spliced
        self.start = 0
        self.packet = packet


class Pipe:
    """At most `slots` buffers; `readers` and `writers` count open descriptions, `ever_written` whether there was a
    writer since the last reader came."""

    __slots__ = ("buffers", "ever_written", "readers", "slots", "writers")

    def __init__(self) -> None:
        self.buffers: deque[Buffer] = deque()
        self.slots = SLOTS
        self.readers = self.writers = 0
        self.ever_written = False

    @property
    def held(self) -> int:
        return sum(len(buffer.data) - buffer.start for buffer in self.buffers)

    def take(self, n: int) -> list[bytes]:
        """Up to `n` bytes, by buffers, at most one packet."""
        parts: list[bytes] = []
        while n and self.buffers:
            buffer = self.buffers[0]
            part = bytes(buffer.data[buffer.start : buffer.start + n])
            parts.append(part)
            buffer.start += len(part)
            n -= len(part)
            if buffer.packet:
                buffer.start = len(buffer.data)  # what the reader had no room for is lost
            if buffer.start == len(buffer.data):
                self.buffers.popleft()
            if buffer.packet:
                break
        return parts

    def put_back(self, data: bytes, packet: bool) -> None:
        """Bytes that a reader's memory did not take are first again."""
        if data:
            self.buffers.appendleft(Buffer(data, packet))

    def merges(self, odd: int) -> bool:
        """Do the odd bytes of a write go into the last buffer's page?"""
        if not odd or not self.buffers or self.buffers[-1].packet or self.buffers[-1].spliced:
            return False
        return len(self.buffers[-1].data) + odd <= PAGE_SIZE

    def give(self, data: bytes, packet: bool) -> int:
        """As much of `data` as there is room for (anon_pipe_write): the odd bytes first, into the last buffer's page if
        it has room, then page by page."""
        done = 0
        odd = len(data) % PAGE_SIZE
        if self.merges(odd):
            self.buffers[-1].data += data[:odd]
            done = odd
        while done < len(data) and len(self.buffers) < self.slots:
            part = data[done : done + PAGE_SIZE]
            self.buffers.append(Buffer(part, packet))
            done += len(part)
        return done

    def room(self, pos: int) -> int:
        """How many bytes of a file from `pos` on `splice` takes: each of its pages fills a buffer."""
        return max(0, (self.slots - len(self.buffers)) * PAGE_SIZE - pos % PAGE_SIZE)

    def splice(self, data: bytes, pos: int) -> None:
        """A file's bytes at `pos`, at most `room(pos)` of them."""
        done = 0
        while done < len(data):
            end = done + PAGE_SIZE - (pos + done) % PAGE_SIZE
            self.buffers.append(Buffer(data[done:end], packet=False, spliced=True))
            done = end

    def resize(self, size: int, cred: Cred) -> int:
        """F_SETPIPE_SZ: pages, a power of two (round_pipe_size)."""
        if size > 1 << 31:
            raise LinuxError(EINVAL, "the size is too large for a pipe")
        pages = max(-(-size // PAGE_SIZE), 1)
        slots = 1 << (pages - 1).bit_length()
        if slots > self.slots and slots * PAGE_SIZE > MAX_SIZE and not cred.privileged:
            raise LinuxError(EPERM, f"more than {MAX_SIZE} bytes (/proc/sys/fs/pipe-max-size) are for root")
        if slots < len(self.buffers):
            raise LinuxError(EBUSY, "the pipe holds more than that")
        self.slots = slots
        return slots * PAGE_SIZE


class PipeInode(Inode):
    """An unnamed pipe."""

    __slots__ = ("pipe",)

    def __init__(self, fs: FileSystem, uid: int, gid: int) -> None:
        super().__init__(fs, S_IFIFO | 0o600, uid, gid)
        self.pipe = Pipe()

    def open(self, path: Path, flags: int) -> File:
        """By way of /proc/[pid]/fd: one more reader or writer."""
        return open_end(path, flags, self.pipe)


class PipeFile(PipeLike):
    """One end of a pipe, or (opened O_RDWR) both."""

    __slots__ = ("pipe", "sizes")

    def __init__(self, path: Path, flags: int, pipe: Pipe) -> None:
        super().__init__(path, flags)
        self.sizes: list[int] = []  # of the buffers that the last read took from
        self.pipe = pipe
        pipe.readers += self.readable
        pipe.writers += self.writable
        if self.readable and pipe.readers == 1:
            pipe.ever_written = False
        if self.writable:
            pipe.ever_written = True

    @property
    def awaits_peer(self) -> bool:
        if self.nonblocking or (self.readable and self.writable):
            return False
        return not (self.pipe.ever_written if self.readable else self.pipe.readers)

    def read(self, n: int) -> bytes | None:
        pipe = self.pipe
        if pipe.buffers or not n:
            parts = pipe.take(n)
            self.inode.accessed()
            self.sizes = [len(part) for part in parts]
            return b"".join(parts)
        return None if pipe.writers else b""

    def unread(self, data: bytes, copied: int) -> int:
        """A buffer is read whole or not at all (anon_pipe_read)."""
        whole = 0
        for size in self.sizes:
            if whole + size > copied:
                break
            whole += size
        self.pipe.put_back(data[whole:], packet=False)
        return whole

    def acceptable(self, present: int, total: int) -> int:
        """A page is written whole or not at all; the odd bytes first, if they merge (anon_pipe_write)."""
        odd = total % PAGE_SIZE
        if not self.pipe.merges(odd):
            return present // PAGE_SIZE * PAGE_SIZE
        return 0 if present < odd else odd + (present - odd) // PAGE_SIZE * PAGE_SIZE

    def write(self, data: bytes) -> int:
        self.check_readers()
        done = self.pipe.give(data, bool(self.flags & Open.DIRECT))
        if done:
            self.inode.touch()
        return done

    def check_readers(self) -> None:
        """Raises EPIPE."""
        if not self.pipe.readers:
            raise LinuxError(EPIPE, "nobody has the pipe's other end open for reading")

    def poll(self) -> int:
        """pipe_poll()."""
        pipe, events = self.pipe, 0
        if self.readable:
            if pipe.buffers:
                events |= Poll.IN | Poll.RDNORM
            if not pipe.writers and pipe.ever_written:
                events |= Poll.HUP
        if self.writable:
            if len(pipe.buffers) < pipe.slots:
                events |= Poll.OUT | Poll.WRNORM
            if not pipe.readers:
                events |= Poll.ERR
        return events

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        if cmd == FIONREAD:
            task.mm.copy_to_user(arg, self.pipe.held.to_bytes(4, "little"))
            return 0
        return super().ioctl(task, cmd, arg)

    def release(self) -> None:
        pipe = self.pipe
        pipe.readers -= self.readable
        pipe.writers -= self.writable
        if not pipe.readers and not pipe.writers:
            pipe.buffers.clear()


def open_end(path: Path, flags: int, pipe: Pipe) -> PipeFile:
    """fifo_open(): an end by name. Raises ENXIO for a writer who will not wait for a reader."""
    writing = flags & Open.ACCMODE == Open.WRONLY
    if writing and flags & Open.NONBLOCK and not pipe.readers:
        raise LinuxError(ENXIO, "nobody has the fifo open for reading, and O_NONBLOCK does not wait")
    return PipeFile(path, flags, pipe)


def make_pipe(vfs: Vfs, cred: Cred, flags: int) -> tuple[PipeFile, PipeFile]:
    """A new pipe's ends for reading and for writing; `flags` may be O_NONBLOCK and O_DIRECT."""
    inode = PipeInode(vfs.pipes, cred.fsuid, cred.fsgid)
    path = Path(vfs.pipe_mount, Dentry(b"pipe:[%d]" % inode.ino, None, inode))
    reader = PipeFile(path, Open.RDONLY | flags & Open.NONBLOCK, inode.pipe)
    return reader, PipeFile(path, Open.WRONLY | flags, inode.pipe)
