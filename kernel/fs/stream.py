"""Stream: a host standard stream as the kernel sees it. The harness provides the objects, `stdio.py` uses them."""

from errno import ENOTTY
from typing import Protocol


class Stream(Protocol):
    """One host stream. Calls block on the host; virtual time stands still meanwhile. Failures raise OSError."""

    def read(self, n: int) -> bytes:
        """At most `n` bytes, at least one unless the stream has ended (then b"")."""

    def write(self, data: bytes) -> int:
        """Write some of `data`; how many bytes were taken (at least one). Raises BrokenPipeError, ENOSPC, …"""

    def isatty(self) -> bool:
        """Is it a terminal? Asked only where the config says `interactive`."""

    def winsize(self) -> tuple[int, int] | None:
        """(rows, columns) of the terminal, None where there is none."""

    def termios(self) -> bytes | None:
        """The terminal's struct termios as Linux's TCGETS gives it, None where the host has none of that kind."""

    def set_termios(self, when: int, termios: bytes) -> None:
        """Set it; `when` is 0 now (TCSETS), 1 once all is written (TCSETSW), 2 and what was typed is lost (TCSETSF)."""


class NullStream:
    """A Stream like /dev/null: for tests and for guests without standard streams."""

    def read(self, n: int) -> bytes:
        return b""

    def write(self, data: bytes) -> int:
        return len(data)

    def isatty(self) -> bool:
        return False

    def winsize(self) -> tuple[int, int] | None:
        return None

    def termios(self) -> bytes | None:
        return None

    def set_termios(self, when: int, termios: bytes) -> None:
        raise OSError(ENOTTY, "not a terminal")


class BytesStream(NullStream):
    """A Stream over memory: `source` is what reads give, `written` collects what was written."""

    def __init__(self, source: bytes = b"") -> None:
        self.source = source
        self.written = bytearray()

    def read(self, n: int) -> bytes:
        taken, self.source = self.source[:n], self.source[n:]
        return taken

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)
