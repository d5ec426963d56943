"""poll(2) and select(2): what is ready, what waits, and what a signal does to a wait."""

from __future__ import annotations

import struct

import pytest
from files import BAD, Files

from kernel.abi.errno import EBADF, EFAULT, EINVAL
from kernel.abi.fcntl import Open, Poll

MS = 1_000_000


@pytest.fixture
def guest() -> Files:
    return Files()


def polled(guest: Files, timeout: int, *wanted: tuple[int, int]) -> tuple[int, list[int]]:
    """poll's value, and the revents."""
    at = guest._place(b"".join(struct.pack("<iHH", fd, events, 0x7777) for fd, events in wanted))
    value = guest.call("poll", at, len(wanted), timeout)
    return value, [struct.unpack("<H", guest.get(2, at + 8 * i + 6))[0] for i in range(len(wanted))]


def test_poll_says_what_each_file_is_ready_for(guest: Files) -> None:
    reader, writer = guest.pipe()
    both = Poll.IN | Poll.OUT
    assert polled(guest, 0, (reader, both), (writer, both), (-1, both), (99, 0)) == (2, [0, Poll.OUT, 0, Poll.NVAL])
    guest.write(writer, b"x")
    assert polled(guest, -1, (reader, both)) == (1, [Poll.IN])
    guest.sys("close", writer)
    assert polled(guest, -1, (reader, 0)) == (1, [Poll.HUP])
    file = guest.open("/tmp/f", Open.CREAT | Open.RDWR)
    assert polled(guest, -1, (file, both | Poll.PRI)) == (1, [both])
    assert polled(guest, 0, (guest.open("/tmp", Open.PATH), both)) == (1, [Poll.NVAL])


def test_a_timeout_takes_its_virtual_time(guest: Files) -> None:
    clock, reader = guest.kernel.system.clock, guest.pipe()[0]
    before = clock.monotonic_ns()
    assert polled(guest, 250, (reader, Poll.IN)) == (0, [0])
    assert 250 * MS <= clock.monotonic_ns() - before < 251 * MS
    assert guest.sys("poll", 0, 0, 10) == 0


def test_what_poll_refuses(guest: Files) -> None:
    assert guest.sys("poll", BAD, 1, 0) == -EFAULT
    assert guest.sys("poll", guest.buf, 2_000_000, 0) == -EINVAL
    assert guest.sys("ppoll", 0, 0, struct.pack("<qq", 0, 2 * 10**9), 0, 0) == -EINVAL
    assert guest.sys("ppoll", 0, 0, struct.pack("<qq", -1, 0), 0, 0) == -EINVAL
    assert guest.sys("ppoll", 0, 0, 0, guest.buf, 4) == -EINVAL


def test_ppoll_tells_the_time_that_is_left(guest: Files) -> None:
    reader, writer = guest.pipe()
    guest.write(writer, b"x")
    at = guest._place(struct.pack("<qq", 5, 0))
    fds = guest.buf
    guest.put(struct.pack("<iHH", reader, Poll.IN, 0), fds)
    assert guest.call("ppoll", fds, 1, at, 0, 0) == 1
    assert struct.unpack("<qq", guest.get(16, at))[0] in (4, 5)


def select(
    guest: Files, n: int, *sets: set[int], timeout: tuple[int, int] | None = (0, 0)
) -> tuple[int, list[set[int]]]:
    """select's value and its three sets after it."""
    area = guest.buf
    for i, members in enumerate(sets):
        guest.put(sum(1 << fd for fd in members).to_bytes(128, "little"), area + 128 * i)
    guest.put(struct.pack("<qq", *(timeout or (0, 0))), area + 1024)
    pointers = [area + 128 * i if i < len(sets) else 0 for i in range(3)]
    value = guest.call("select", n, *pointers, area + 1024 if timeout is not None else 0)
    out = []
    for i in range(len(sets)):
        bits = int.from_bytes(guest.get(128, area + 128 * i), "little")
        out.append({fd for fd in range(1024) if bits >> fd & 1})
    return value, out


def test_select(guest: Files) -> None:
    reader, writer = guest.pipe()
    assert select(guest, 10, {reader}, {writer}) == (1, [set(), {writer}])
    guest.write(writer, b"x")
    assert select(guest, 10, {reader}, {writer}, {reader}) == (2, [{reader}, {writer}, set()])
    assert select(guest, 10, {reader}, timeout=None) == (1, [{reader}])
    assert select(guest, reader, {reader})[0] == 0  # nfds leaves it out
    assert select(guest, 10, {7})[0] == -EBADF
    assert select(guest, -1)[0] == -EINVAL
    assert select(guest, 0, timeout=(-1, 0))[0] == -EINVAL
    assert guest.sys("select", 10, BAD, 0, 0, 0) == -EFAULT


def test_select_sleeps_and_counts_down(guest: Files) -> None:
    clock, reader = guest.kernel.system.clock, guest.pipe()[0]
    before = clock.monotonic_ns()
    assert select(guest, 10, {reader}, timeout=(0, 30_000)) == (0, [set()])
    assert clock.monotonic_ns() - before >= 30 * MS
    assert guest.get(16, guest.buf + 1024) == bytes(16)


def test_pselect6_takes_its_mask_by_address_and_size(guest: Files) -> None:
    mask = guest.buf + 2048
    guest.put(b"\xff" * 8, mask)
    sig = struct.pack("<QQ", mask, 8)
    assert guest.sys("pselect6", 0, 0, 0, 0, struct.pack("<qq", 0, 1000), sig) == 0
    assert guest.task.blocked == 0
    assert guest.sys("pselect6", 0, 0, 0, 0, struct.pack("<qq", 0, 1000), struct.pack("<QQ", mask, 4)) == -EINVAL
