"""The host streams that a guest's descriptors 0, 1 and 2 stand on; they keep kernel.fs.stream.Stream."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from emu.interrupts import Interrupts
from kernel.fs.stream import Stream

TCGETS, TERMIOS_SIZE = 0x5401, 36  # Linux's own: the termios module shows another struct


class HostStream:
    """A host file descriptor, not owned. A read that waits is cut short by Ctrl-C or the time limit (EINTR)."""

    def __init__(self, fd: int, interrupts: Interrupts) -> None:
        self.fd = fd
        self._interrupts = interrupts

    def read(self, n: int) -> bytes:
        self._wait(True)
        return os.read(self.fd, n)

    def write(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self.fd, data)
            except BlockingIOError:  # the other side of a shared terminal or pipe made it non-blocking
                self._wait(False)

    def _wait(self, to_read: bool) -> None:
        """Until the descriptor is ready. Raises what `Interrupts.cut` says when something comes between."""
        interrupts = self._interrupts
        poller = select.poll()
        poller.register(interrupts.wake_fd, select.POLLIN)
        poller.register(self.fd, select.POLLIN if to_read else select.POLLOUT)
        while not interrupts.due:
            remaining = interrupts.remaining
            ready = poller.poll(None if remaining is None else remaining * 1000 + 1)
            if any(fd == self.fd for fd, _ in ready):
                return
        raise interrupts.cut()

    def isatty(self) -> bool:
        return os.isatty(self.fd)

    def winsize(self) -> tuple[int, int] | None:
        try:
            columns, rows = os.get_terminal_size(self.fd)
        except OSError:
            return None
        return rows, columns

    def termios(self) -> bytes | None:
        return _termios(self.fd)

    def set_termios(self, when: int, termios: bytes) -> None:
        import fcntl

        fcntl.ioctl(self.fd, TCGETS + 1 + when, termios)


class Closed:
    """A stream that the host has closed: nothing to read, nowhere to write."""

    def read(self, n: int) -> bytes:
        return b""

    def write(self, data: bytes) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return False

    def winsize(self) -> tuple[int, int] | None:
        return None

    def termios(self) -> bytes | None:
        return None

    def set_termios(self, when: int, termios: bytes) -> None:
        raise OSError(errno.ENOTTY, "not a terminal")


class Source(Closed):
    """Standard input from bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    def read(self, n: int) -> bytes:
        taken = bytes(self._content[self._at : self._at + n])
        self._at += len(taken)
        return taken


class FileSource(Closed):
    """Standard input from a Python binary file, which need not have a descriptor."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, n: int) -> bytes:
        read1: Callable[[int], bytes] = getattr(self._file, "read1", self._file.read)
        return read1(n)


class Capture(Closed):
    """Standard output or error kept in memory."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


class FileTarget(Closed):
    """Standard output or error into a Python binary file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._file.flush()
        return len(data)


class Announced:
    """Another stream; `before` is called ahead of each read and write."""

    def __init__(self, stream: Stream, before: Callable[[], None]) -> None:
        self._stream, self._before = stream, before
        self.isatty, self.winsize = stream.isatty, stream.winsize
        self.termios, self.set_termios = stream.termios, stream.set_termios

    def read(self, n: int) -> bytes:
        self._before()
        return self._stream.read(n)

    def write(self, data: bytes) -> int:
        self._before()
        return self._stream.write(data)


def host_stream(fd: int, interrupts: Interrupts) -> HostStream | Closed:
    """The stream over our own descriptor `fd`, which may be closed (`<&-`)."""
    try:
        os.fstat(fd)
    except OSError:
        return Closed()
    return HostStream(fd, interrupts)


def _termios(fd: int) -> bytes | None:
    """What TCGETS says of the host's `fd`; None: it is no terminal, or the host is no Linux."""
    if sys.platform != "linux":
        return None
    import fcntl

    try:
        return fcntl.ioctl(fd, TCGETS, bytes(TERMIOS_SIZE))
    except OSError:
        return None


@contextlib.contextmanager
def terminals_kept(fds: Iterable[int]) -> Iterator[None]:
    """Whatever the guest does to the terminals among `fds` (no echo, raw), they come out as they went in."""
    before = [(fd, state) for fd in fds if (state := _termios(fd)) is not None]
    try:
        yield
    finally:
        for fd, state in before:
            if _termios(fd) not in (state, None):
                import fcntl

                # else a job in the background is stopped here
                blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
                with contextlib.suppress(OSError):
                    fcntl.ioctl(fd, TCGETS + 2, state)  # once all is written
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
