"""Advisory locks: ranges that split and join, two kinds of owners, whole-file locks."""

from __future__ import annotations

import struct

from files import Files
from hypothesis import given
from hypothesis import strategies as st

from kernel.abi.errno import EAGAIN, EBADF, EINVAL, EOVERFLOW
from kernel.abi.fcntl import FcntlCmd, Open
from kernel.fs.locks import Locks

READ, WRITE, UNLOCK = 0, 1, 2
SH, EX, NB, UN = 1, 2, 4, 8


def flock(kind: int, start: int = 0, length: int = 0, whence: int = 0, pid: int = 0) -> bytes:
    return struct.pack("<hhxxxxqqixxxx", kind, whence, start, length, pid)


STEP = st.tuples(st.sampled_from("rwu"), st.integers(0, 1), st.integers(0, 30), st.integers(0, 8))


@given(st.lists(STEP, max_size=30))
def test_ranges_against_a_byte_by_byte_oracle(steps: list[tuple[str, int, int, int]]) -> None:
    locks, owners = Locks(), ("one", "two")
    held: list[dict[int, bool]] = [{}, {}]
    for kind, who, start, extra in steps:
        span = range(start, start + extra + 1)
        if kind == "u":
            locks.release(start, span[-1], owners[who])
            for byte in span:
                held[who].pop(byte, None)
            continue
        exclusive = kind == "w"
        other = held[1 - who]
        clash = any(byte in other and (exclusive or other[byte]) for byte in span)
        assert (locks.conflict(start, span[-1], exclusive, owners[who]) is not None) == clash
        if not clash:
            locks.acquire(start, span[-1], exclusive, owners[who], 1)
            held[who].update(dict.fromkeys(span, exclusive))
    for who, owner in enumerate(owners):
        mine = {b: r.exclusive for r in locks.ranges if r.owner == owner for b in range(r.start, r.last + 1)}
        assert mine == held[who]


def test_a_process_never_stands_in_its_own_way(user: Files) -> None:
    fd = user.open("/tmp/f", Open.CREAT | Open.RDWR)
    again = user.open("/tmp/f", Open.RDWR)
    assert user.sys("fcntl", fd, FcntlCmd.SETLK, flock(WRITE, 0, 10)) == 0
    assert user.sys("fcntl", again, FcntlCmd.SETLK, flock(WRITE, 0, 10)) == 0
    assert user.sys("fcntl", again, FcntlCmd.OFD_SETLK, flock(WRITE, 5, 1)) == -EAGAIN
    at = user._place(flock(WRITE, 5, 1))
    assert user.call("fcntl", again, FcntlCmd.OFD_GETLK, at) == 0
    assert struct.unpack("<hhxxxxqqixxxx", user.get(32, at)) == (WRITE, 0, 0, 10, 1000)


def test_any_close_of_the_file_drops_the_processs_locks(user: Files) -> None:
    fd, again = user.open("/tmp/f", Open.CREAT | Open.RDWR), user.open("/tmp/f", Open.RDWR)
    user.sys("fcntl", fd, FcntlCmd.SETLK, flock(WRITE))
    user.sys("close", user.sys("dup", fd))
    assert user.sys("fcntl", again, FcntlCmd.OFD_SETLK, flock(WRITE)) == 0


def test_what_is_no_lock(user: Files) -> None:
    fd, reader = user.open("/tmp/f", Open.CREAT | Open.RDWR), user.open("/tmp/f")
    for lock, errno in (
        (flock(7), EINVAL), (flock(READ, whence=9), EINVAL), (flock(READ, -1), EINVAL), (flock(READ, 5, -6), EINVAL),
        (flock(READ, (1 << 63) - 1, 5), EOVERFLOW), (flock(READ, 5, -5), 0),
    ):  # fmt: skip
        assert user.sys("fcntl", fd, FcntlCmd.SETLK, lock) == -errno
    assert user.sys("fcntl", reader, FcntlCmd.SETLK, flock(WRITE)) == -EBADF
    assert user.sys("fcntl", fd, FcntlCmd.OFD_SETLK, flock(READ, pid=5)) == -EINVAL


def test_flock_is_the_open_descriptions(user: Files) -> None:
    fd, again = user.open("/tmp/f", Open.CREAT | Open.RDWR), user.open("/tmp/f")
    assert user.sys("flock", fd, EX) == 0
    assert user.sys("flock", again, SH | NB) == -EAGAIN
    assert user.sys("flock", user.sys("dup", fd), SH) == 0  # the same description: a conversion
    assert user.sys("flock", again, SH | NB) == 0
    assert user.sys("flock", fd, EX | NB) == -EAGAIN
    assert user.sys("close", again) == 0
    assert user.sys("flock", fd, EX | NB) == 0
    assert user.sys("flock", fd, 0) == -EINVAL
