"""Pipes: when they fill, what a fault leaves, packets, broken ones; all as fs/pipe.c counts it."""

from __future__ import annotations

import pytest
from files import BAD, Files

from kernel.abi.errno import EAGAIN, EBADF, EBUSY, EFAULT, EINVAL, EPERM, EPIPE, ESPIPE
from kernel.abi.fcntl import FIONREAD, FcntlCmd, Open
from kernel.abi.signal import SIGPIPE
from kernel.kernel import Outcome

NONBLOCK = Open.NONBLOCK


@pytest.mark.parametrize(("size", "capacity"), [
    (1, 65536), (1000, 64000), (4095, 65520), (4096, 65536), (4097, 45066), (5000, 54096), (100_000, 65536),
])  # fmt: skip
def test_a_pipe_fills_when_linuxs_does(user: Files, size: int, capacity: int) -> None:
    reader, writer = user.pipe(NONBLOCK)
    total = 0
    while (n := user.sys("write", writer, user.buf, size)) > 0:
        total += n
    assert (n, total) == (-EAGAIN, capacity)
    assert len(user.read(reader, 1 << 20)) == capacity


def test_reading_what_is_there_does_not_wait_for_more(user: Files) -> None:
    reader, writer = user.pipe()
    user.write(writer, b"abc")
    assert user.read(reader, 100) == b"abc"
    user.sys("close", writer)
    assert user.read(reader, 100) == b""


def test_an_empty_pipe_would_block(user: Files) -> None:
    reader, _ = user.pipe(NONBLOCK)
    assert user.sys("read", reader, user.buf, 10) == -EAGAIN
    assert user.sys("read", reader, user.buf, 0) == 0


def test_waiting_for_oneself_is_a_deadlock_and_said_so(user: Files) -> None:
    reader, _ = user.pipe()
    user.call("read", reader, user.buf, 10)
    assert user.kernel.outcome is Outcome.DEADLOCK
    assert "pipe" in user.kernel.why


def test_a_broken_pipe_is_a_signal_and_an_errno(user: Files) -> None:
    user.sys("rt_sigprocmask", 0, (1 << SIGPIPE - 1).to_bytes(8, "little"), 0, 8)
    reader, writer = user.pipe()
    user.sys("close", reader)
    assert user.write(writer, b"x") == -EPIPE
    assert user.sys("write", writer, BAD, 1) == -EPIPE
    assert user.sys("write", writer, BAD, 0) == 0
    assert user.task.pending.bits == 1 << SIGPIPE - 1


def test_a_fault_takes_whole_pages_or_nothing(user: Files) -> None:
    reader, writer = user.pipe(NONBLOCK)
    edge = user.map(-1, 8192, 0x22)
    user.sys("munmap", edge + 4096, 4096)
    assert user.sys("write", writer, edge + 4000, 200) == -EFAULT
    assert user.sys("write", writer, edge, 5000) == 4096
    assert user.sys("write", writer, edge + 1, 5000) == -EFAULT
    user.read(reader)
    user.write(writer, b"0123456789")
    assert user.sys("write", writer, edge, 5000) == 904  # the odd bytes went into the last page first
    user.read(reader)
    user.write(writer, b"0123456789")
    assert user.sys("read", reader, edge + 4090, 10) == -EFAULT
    assert user.read(reader) == b"0123456789"


def test_packets_keep_their_ends(user: Files) -> None:
    reader, writer = user.pipe(Open.DIRECT | NONBLOCK)
    user.write(writer, b"aaa")
    user.write(writer, b"bb")
    assert user.read(reader, 2) == b"aa"  # the rest of the packet is lost
    assert user.read(reader, 10) == b"bb"


def test_what_a_pipe_is_not(user: Files) -> None:
    reader, writer = user.pipe()
    assert user.sys("lseek", reader, 0, 0) == -ESPIPE
    assert user.sys("pread64", reader, user.buf, 1, 0) == -ESPIPE
    assert user.sys("ftruncate", writer, 0) == -EINVAL
    assert user.sys("fsync", writer) == -EINVAL
    assert user.sys("read", writer, user.buf, 1) == -EBADF
    assert user.sys("write", reader, user.buf, 1) == -EBADF
    assert user.sys("pipe2", user.buf, 1) == -EINVAL
    assert user.sys("pipe", BAD) == -EFAULT
    assert user.sys("dup", reader) == 5  # the pipe that could not be told was closed again


def test_its_size_is_a_power_of_two_pages(user: Files) -> None:
    reader, writer = user.pipe(NONBLOCK)
    assert user.sys("fcntl", reader, FcntlCmd.GETPIPE_SZ) == 65536
    assert user.sys("fcntl", writer, FcntlCmd.SETPIPE_SZ, 5000) == 8192
    assert user.sys("fcntl", writer, FcntlCmd.SETPIPE_SZ, 2 << 20) == -EPERM
    assert user.sys("write", writer, user.buf, 65536) == 8192
    assert user.sys("fcntl", writer, FcntlCmd.SETPIPE_SZ, 4096) == -EBUSY
    assert user.sys("ioctl", reader, FIONREAD, user.buf) == 0
    assert user.ints(1) == (8192,)
    assert user.sys("fcntl", 0, FcntlCmd.GETPIPE_SZ) == -EBADF
