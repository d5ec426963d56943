"""The host streams that a guest's descriptors 0, 1 and 2 stand on; they keep kernel.fs.stream.Stream."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import BinaryIO

from emu.interrupts import Interrupts


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


def host_stream(fd: int, interrupts: Interrupts) -> HostStream | Closed:
    """The stream over our own descriptor `fd`, which may be closed (`<&-`)."""
    try:
        os.fstat(fd)
    except OSError:
        return Closed()
    return HostStream(fd, interrupts)
