"""Standard streams: the same to the guest wherever the host's lead; the host's failures reach it as errnos."""

from __future__ import annotations

import errno

import pytest
from files import Files

from kernel.abi.errno import EFAULT, ENOSPC, ENOTTY, EPIPE, ESPIPE, LinuxError
from kernel.abi.fcntl import (
    FIONREAD,
    S_IFCHR,
    S_IFIFO,
    TCGETS,
    TCSETS,
    TCSETSF,
    TCSETSW,
    TIOCGWINSZ,
    TIOCSWINSZ,
    FcntlCmd,
    Open,
    Poll,
)
from kernel.abi.signal import SIGPIPE
from kernel.abi.structs import Stat
from kernel.fs.stream import BytesStream


class Failing(BytesStream):
    """A stream that takes `room` bytes and then fails."""

    def __init__(self, error: OSError, room: int = 0) -> None:
        super().__init__()
        self.error = error
        self.room = room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise self.error
        taken = min(self.room, len(data))
        self.room -= taken
        return super().write(data[:taken])


class Terminal(BytesStream):
    modes = bytes(range(36))
    when = -1

    def termios(self) -> bytes:
        return self.modes

    def set_termios(self, when: int, termios: bytes) -> None:
        self.when, self.modes = when, termios

    def isatty(self) -> bool:
        return True

    def winsize(self) -> tuple[int, int]:
        return 50, 132


def test_they_are_pipes_of_the_guests_user(user: Files) -> None:
    for fd in (0, 1, 2):
        assert user.sys("fstat", fd, user.buf) == 0
        found = Stat.unpack(user.get(Stat.SIZE, user.buf))
        assert (found.st_mode, found.st_uid) == (S_IFIFO | 0o600, 1000)
        assert user.sys("ioctl", fd, TCGETS, user.buf) == -ENOTTY
        assert user.sys("ioctl", fd, TIOCGWINSZ, user.buf) == -ENOTTY
        assert user.sys("lseek", fd, 0, 0) == -ESPIPE
        assert user.sys("fcntl", fd, FcntlCmd.GETFL) == (Open.RDONLY, Open.WRONLY, Open.WRONLY)[fd]


def test_an_ioctl_is_refused_with_the_reason_that_is_true(user: Files, interactive: Files) -> None:
    def why(guest: Files, cmd: int) -> str:
        with pytest.raises(LinuxError) as refusal:
            guest.task.files.get(1).ioctl(guest.task, cmd, guest.buf)
        assert refusal.value.errno == ENOTTY
        return refusal.value.why

    assert why(user, TIOCGWINSZ) == why(user, TCSETS) == "not a terminal"
    assert why(user, 0x1234) == "ioctl 0x1234 is not one that this file knows"
    assert "modelled" in why(interactive, TIOCSWINSZ)


def test_bytes_go_through(user: Files) -> None:
    user.stdin.source = b"question"
    assert user.read(0, 5) == b"quest"
    assert user.read(0, 50) == b"ion"
    assert user.read(0, 50) == b""
    assert user.write(1, b"answer") == 6
    assert user.write(2, b"complaint") == 9
    assert [bytes(user.stdout.written), bytes(user.stderr.written)] == [b"answer", b"complaint"]


def test_a_read_that_faults_loses_nothing(user: Files) -> None:
    user.stdin.source = b"question"
    edge = user.map(-1, 4096, 0x22)
    assert user.sys("read", 0, edge + 4090, 100) == 6
    assert user.read(0, 100) == b"on"


def test_poll_looks_without_taking(user: Files) -> None:
    user.stdin.source = b"abc"
    pollfd = b"\0\0\0\0\x05\0\0\0"
    assert user.sys("poll", pollfd, 1, -1) == 1
    assert user.sys("ioctl", 0, FIONREAD, user.buf) == 0
    assert user.ints(1) == (3,)
    assert user.read(0) == b"abc"
    at = user._place(pollfd)
    assert user.call("poll", at, 1, 0) == 1
    assert user.get(8, at)[6] == Poll.HUP


def test_a_closed_pipe_is_epipe_and_sigpipe(user: Files) -> None:
    user.sys("rt_sigprocmask", 0, (1 << SIGPIPE - 1).to_bytes(8, "little"), 0, 8)
    user.kernel.system.vfs.std[1].stream = Failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert user.write(1, b"x") == -EPIPE
    assert user.task.pending.bits == 1 << SIGPIPE - 1


def test_a_full_disk_is_enospc_after_what_fitted(user: Files) -> None:
    user.kernel.system.vfs.std[1].stream = Failing(OSError(errno.ENOSPC, "No space left on device"), room=10)
    assert user.write(1, b"0123456789ABCDEF") == 10
    assert user.write(1, b"ABCDEF") == -ENOSPC


def test_dev_stdout_is_another_end_of_the_same(user: Files) -> None:
    fd = user.open("/dev/stdout", Open.WRONLY)
    assert user.write(fd, b"by name") == 7
    assert user.stdout.written == b"by name"
    assert user.sys("readlink", "/proc/self/fd/1", user.buf, 100) == 8
    assert user.get(8, user.buf) == b"pipe:[2]"


@pytest.fixture
def interactive() -> Files:
    guest = Files(interactive=True)
    for std in guest.kernel.system.vfs.std:
        std.stream = Terminal(b"typed\n")
        std.terminal = True
        std.mode = S_IFCHR | 0o620
    return guest


def test_an_interactive_terminal_has_a_size(interactive: Files) -> None:
    assert interactive.sys("ioctl", 1, TIOCGWINSZ, interactive.buf) == 0
    assert interactive.get(8, interactive.buf) == bytes([50, 0, 132, 0, 0, 0, 0, 0])
    assert interactive.sys("ioctl", 1, TCGETS, interactive.buf) == 0
    tty = interactive.open("/dev/tty", Open.RDWR)
    assert interactive.read(tty) == b"typed\n"


def test_an_interactive_terminals_modes_are_the_hosts(interactive: Files) -> None:
    terminal = interactive.kernel.system.vfs.std[0].stream
    assert isinstance(terminal, Terminal)
    assert interactive.sys("ioctl", 0, TCGETS, interactive.buf) == 0
    assert interactive.get(37, interactive.buf) == bytes(range(36)) + b"\0"
    for when, cmd in enumerate((TCSETS, TCSETSW, TCSETSF)):
        assert interactive.sys("ioctl", 0, cmd, bytes(36)) == 0
        assert (terminal.when, terminal.modes) == (when, bytes(36))
    assert interactive.sys("ioctl", 0, TCSETS, 8) == -EFAULT


def test_tcsetsf_loses_what_was_typed(interactive: Files) -> None:
    assert interactive.sys("poll", b"\0\0\0\0\x05\0\0\0", 1, -1) == 1  # taken from the host, not yet read
    interactive.kernel.system.vfs.std[0].stream = Terminal(b"later\n")
    assert interactive.sys("ioctl", 0, TCSETSF, bytes(36)) == 0
    assert interactive.read(0) == b"later\n"
