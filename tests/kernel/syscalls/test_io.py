"""read(2), write(2) and their kin: lengths, pointers, positions, in Linux's order of checks."""

from __future__ import annotations

import struct

import pytest
from files import BAD, Files

from kernel.abi.errno import EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EISDIR, ENOSPC, ENXIO, EOPNOTSUPP, ESPIPE
from kernel.abi.fcntl import FcntlCmd, Open
from kernel.abi.limits import PAGE_SIZE

M64 = (1 << 64) - 1
HIGH = 1 << 63


@pytest.fixture
def guest() -> Files:
    """uid 1000, with /tmp/f = 0123456789 on 3 (O_RDWR), 4 (O_RDONLY), 5 (O_WRONLY), /tmp on 6, /dev/null on 7."""
    made = Files()
    made.spill("/tmp/f", b"0123456789")
    for flags in (Open.RDWR, Open.RDONLY, Open.WRONLY):
        made.open("/tmp/f", flags)
    made.open("/tmp")
    made.open("/dev/null", Open.RDWR)
    return made


@pytest.mark.parametrize(("call", "fd", "va", "n", "errno"), [
    ("read", 99, 0, 1, EBADF), ("read", 5, BAD, 1, EBADF), ("read", 3, BAD, 1, EFAULT), ("read", 3, BAD, 0, 0),
    ("read", 3, BAD, M64, EFAULT), ("read", 3, M64, 1, EFAULT), ("read", 3, BAD, HIGH, EFAULT),
    ("read", 6, BAD, 1, EISDIR), ("read", 1, BAD, 1, EBADF), ("write", 4, BAD, 1, EBADF),
    ("write", 3, BAD, 1, EFAULT), ("write", 3, BAD, 0, 0), ("write", 3, M64, 1, EFAULT), ("write", 6, BAD, 1, EBADF),
    ("write", 1, BAD, 1, EFAULT), ("write", 3, BAD, M64, EFAULT),
])  # fmt: skip
def test_what_is_refused(guest: Files, call: str, fd: int, va: int, n: int, errno: int) -> None:
    assert guest.sys(call, fd, va, n) == -errno


def test_a_huge_count_is_cut_not_refused(guest: Files) -> None:
    low = guest.call("mmap", 0x10000000, 4 << 20, 3, 0x32, -1, 0)
    assert guest.sys("read", 3, low, 1 << 40) == 10
    assert guest.sys("write", 7, low, (1 << 46) + 5) == 0x7FFFF000  # /dev/null looks at nothing
    assert guest.sys("read", guest.open("/dev/zero"), low, 1 << 40) == 4 << 20
    assert guest.sys("readv", 3, iov((low, 1 << 40)), 1) == 0


def test_a_fault_in_the_middle_gives_what_came_before(guest: Files) -> None:
    edge = guest.map(-1, 4096, 0x22)
    assert guest.sys("write", 3, edge + 4090, 100) == 6
    assert guest.sys("lseek", 3, 0, 1) == 6
    guest.sys("lseek", 3, 0, 0)
    assert guest.sys("read", 3, edge + 4090, 100) == 6
    assert guest.sys("lseek", 3, 0, 1) == 6
    assert guest.sys("pwrite64", 3, edge + 4090, 100, 1) == 6


@pytest.mark.parametrize(("fd", "offset", "whence", "result"), [
    (3, 5, 0, 5), (3, -1, 0, -EINVAL), (3, -3, 2, 7), (3, 100, 2, 110), (3, 0, 9, -EINVAL), (3, 0, 3, 0),
    (3, 3, 4, 10), (3, 10, 3, -ENXIO), (3, -1, 4, -ENXIO), (3, (1 << 63) - 1, 0, (1 << 63) - 1), (0, 0, 0, -ESPIPE),
    (99, 0, 0, -EBADF), (7, 1000, 0, 0), (6, 0, 2, -EINVAL), (6, 5, 0, 5),
])  # fmt: skip
def test_lseek(guest: Files, fd: int, offset: int, whence: int, result: int) -> None:
    assert guest.sys("lseek", fd, offset, whence) == result


def test_positions_past_the_largest_are_refused(guest: Files) -> None:
    guest.sys("lseek", 3, (1 << 63) - 1, 0)
    assert guest.write(3, b"x") == -EINVAL
    assert guest.sys("pread64", 3, guest.buf, 10, (1 << 63) - 5) == -EINVAL
    assert guest.sys("pread64", 3, guest.buf, 1, -1) == -EINVAL
    assert guest.sys("pread64", 99, guest.buf, 1, -1) == -EINVAL  # the offset is looked at first
    assert guest.sys("pwrite64", 4, guest.buf, 1, 0) == -EBADF
    assert guest.sys("pread64", 0, guest.buf, 1, 0) == -ESPIPE


def test_appending_goes_to_the_end_pwrite_too(guest: Files) -> None:
    fd = guest.open("/tmp/f", Open.WRONLY | Open.APPEND)
    assert guest.write(fd, b"AB") == 2
    assert guest.sys("lseek", fd, 0, 1) == 12
    assert guest.sys("pwrite64", fd, b"CD", 2, 0) == 2
    assert guest.slurp("/tmp/f") == b"0123456789ABCD"


def iov(*parts: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<QQ", base, length) for base, length in parts)


def test_iovecs(guest: Files) -> None:
    at = guest.buf
    guest.put(b"abcdef", at)
    assert guest.sys("writev", 3, iov((at, 2), (BAD, 0), (at + 2, 4)), 3) == 6
    assert guest.sys("preadv", 3, iov((at + 100, 4), (at + 200, 100)), 2, 1, 0) == 9
    assert guest.get(4, at + 100) + guest.get(5, at + 200) == b"bcdef6789"
    assert guest.sys("writev", 3, iov((at, 2), (BAD, 4)), 2) == 2  # as far as it goes
    assert guest.sys("writev", 3, iov((BAD, 2), (at, 4)), 2) == -EFAULT
    assert guest.sys("writev", 3, iov((at, 2), (at, HIGH)), 2) == -EINVAL
    assert guest.sys("writev", 3, iov((at, 2), (M64, 1)), 2) == -EFAULT  # before anything is written
    assert guest.sys("writev", 3, 0, 1025) == -EINVAL
    assert guest.sys("writev", 3, BAD, 1) == -EFAULT
    assert guest.sys("writev", 3, BAD, 0) == 0


def test_preadv2_and_pwritev2_know_their_flags(guest: Files) -> None:
    at = guest.buf
    assert guest.sys("preadv2", 3, iov((at, 4)), 1, -1, -1, 0) == 4
    assert guest.sys("lseek", 3, 0, 1) == 4
    assert guest.sys("preadv2", 3, iov((at, 4)), 1, 0, 0, 0x100) == -EOPNOTSUPP
    assert guest.sys("pwritev2", 3, iov((at, 4)), 1, 0, 0, 0x10) == 4  # RWF_APPEND
    assert guest.sys("pwritev2", 3, iov((at, 4)), 1, 0, 0, 0x30) == -EINVAL
    assert len(guest.slurp("/tmp/f")) == 14


def test_the_devices(guest: Files) -> None:
    full, zero, random = (guest.open(f"/dev/{name}", Open.RDWR) for name in ("full", "zero", "urandom"))
    assert guest.write(full, b"x") == guest.sys("write", full, BAD, 0) == -ENOSPC
    assert guest.read(full, 5) == guest.read(zero, 5) == bytes(5)
    assert guest.read(7, 5) == b""
    assert guest.sys("write", 7, BAD, 10) == 10
    assert len(set(guest.read(random, 256))) > 100
    assert guest.sys("read", zero, BAD, 10) == -EFAULT
    assert guest.get(4, guest.map(zero, 4096, 2)) == bytes(4)
    assert guest.sys("mmap", 0, 4096, 1, 2, 7, 0) == -19


def test_random_bytes_repeat_with_the_seed() -> None:
    def drawn(seed: int) -> bytes:
        guest = Files(seed=seed)
        return guest.read(guest.open("/dev/urandom"), 32)

    assert drawn(1) == drawn(1) != drawn(2)


def test_sendfile(guest: Files) -> None:
    out = guest.open("/tmp/out", Open.CREAT | Open.RDWR)
    offset = guest._place(struct.pack("<q", 3))
    assert guest.call("sendfile", out, 3, offset, 4) == 4
    assert guest.u64(offset) == 7
    assert guest.sys("lseek", 3, 0, 1) == 0
    assert guest.sys("sendfile", out, 3, 0, 100) == 10
    assert guest.slurp("/tmp/out") == b"34560123456789"
    assert guest.sys("sendfile", 1, 3, struct.pack("<q", 8), 100) == 2
    assert guest.stdout.written == b"89"
    reader, writer = guest.pipe()
    for (to, source, at), errno in (
        ((out, reader, 0), EINVAL), ((out, 6, 0), EINVAL), ((4, 3, 0), EBADF), ((out, 5, 0), EBADF),
        ((out, 3, BAD), EFAULT), ((out, 3, struct.pack("<q", -1)), EINVAL),
        ((guest.open("/tmp/out", Open.WRONLY | Open.APPEND), 3, 0), EINVAL),
    ):  # fmt: skip
        assert guest.sys("sendfile", to, source, at, 4) == -errno
    assert writer


def test_sendfile_into_a_pipe_fills_it_once_page_by_page(guest: Files) -> None:
    """A small program on Linux 6.18 gave these counts; see splice_file_to_pipe()."""
    big = guest.open("/tmp/big", Open.CREAT | Open.RDWR)
    guest.sys("ftruncate", big, 1 << 20)
    reader, writer = guest.pipe()
    assert guest.sys("sendfile", writer, big, 0, 5) == 5
    assert guest.sys("sendfile", writer, big, 0, 1 << 20) == 15 * PAGE_SIZE - 5
    assert [len(guest.read(reader, 5000)), guest.sys("sendfile", writer, big, 0, 1 << 20)] == [5000, 2 * PAGE_SIZE]
    assert [len(guest.read(reader, 5000)), guest.sys("sendfile", writer, big, 0, 1 << 20)] == [5000, PAGE_SIZE]
    guest.sys("fcntl", writer, FcntlCmd.SETFL, Open.NONBLOCK)
    assert guest.sys("sendfile", writer, big, 0, 1) == -EAGAIN
    _, writer = guest.pipe()
    assert guest.sys("sendfile", writer, big, 0, 5) == 5
    assert guest.write(writer, b"x" * 10) == 10
    assert guest.sys("sendfile", writer, big, 0, 1 << 20) == 14 * PAGE_SIZE - 5


def test_copy_file_range(guest: Files) -> None:
    out = guest.open("/tmp/out", Open.CREAT | Open.RDWR)
    assert guest.sys("copy_file_range", 3, struct.pack("<q", 2), out, struct.pack("<q", 1), 5, 0) == 5
    assert guest.slurp("/tmp/out") == b"\x0023456"
    assert guest.sys("copy_file_range", 3, 0, out, 0, 100, 0) == 10
    for args, errno in (
        ((3, 0, out, 0, 5, 1), EINVAL), ((6, 0, out, 0, 5, 0), EISDIR), ((0, 0, out, 0, 5, 0), EINVAL),
        ((3, 0, 4, 0, 5, 0), EBADF), ((3, struct.pack("<q", 0), 3, struct.pack("<q", 2), 5, 0), EINVAL),
    ):  # fmt: skip
        assert guest.sys("copy_file_range", *args) == -errno


def test_a_pipe_that_would_block_says_so(guest: Files) -> None:
    reader, _ = guest.pipe(Open.NONBLOCK)
    assert guest.sys("readv", reader, iov((guest.buf, 10)), 1) == -EAGAIN
    assert guest.sys("ftruncate", 3, 1 << 62) == 0
    guest.task.rlimits.set("FSIZE", 1 << 20, 1 << 62)
    guest.sys("rt_sigprocmask", 0, (1 << 24).to_bytes(8, "little"), 0, 8)
    assert guest.sys("pwrite64", 3, b"x", 1, 1 << 20) == -EFBIG
