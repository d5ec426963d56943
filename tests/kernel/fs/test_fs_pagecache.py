"""Files behind mappings: read, write and every mapping are one; truncation and holes reach into mappings."""

from __future__ import annotations

import pytest
from files import Files
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.abi.errno import EBUSY, EPERM
from kernel.abi.fcntl import FcntlCmd, Open, Seal
from kernel.cpu import Access
from kernel.mm.fault import Fault, handle_mm_fault
from kernel.mm.stats import mm_stats

SHARED, PRIVATE = 1, 2


@pytest.fixture
def file(root: Files) -> int:
    """A descriptor of a file of 10,000 bytes."""
    fd = root.open("/tmp/f", Open.CREAT | Open.RDWR)
    root.sys("pwrite64", fd, bytes(range(250)) * 40, 10_000, 0)
    return fd


def test_a_store_is_read_and_a_write_is_seen(root: Files, file: int) -> None:
    shared, private = root.map(file, 16384), root.map(file, 16384, PRIVATE)
    root.put(b"stored", shared + 4090)
    assert root.pread(file, 6, 4090) == b"stored"
    root.sys("pwrite64", file, b"written", 7, 8000)
    assert root.get(7, shared + 8000) == root.get(7, private + 8000) == b"written"
    root.put(b"own", private + 8000)
    root.sys("pwrite64", file, b"again", 5, 8000)
    assert root.get(7, private + 8000) == b"ownt" + b"ten"
    assert root.get(7, shared + 8000) == b"againen"


def test_past_the_end_is_zero_in_the_last_page_and_sigbus_beyond(root: Files, file: int) -> None:
    at = root.map(file, 16384)
    assert root.get(100, at + 10_000) == bytes(100)
    assert handle_mm_fault(root.task.mm, at + 12288, Access.READ) is Fault.BUS


def test_truncation_takes_the_pages_out_of_mappings_private_copies_too(root: Files, file: int) -> None:
    shared, private = root.map(file, 12288), root.map(file, 12288, PRIVATE)
    root.get(12288, shared)
    root.put(b"copy", private + 5000)
    root.sys("ftruncate", file, 4096)
    for at in (shared, private):
        assert handle_mm_fault(root.task.mm, at + 4096, Access.READ) is Fault.BUS
    root.sys("ftruncate", file, 8192)
    assert root.get(4, private + 5000) == bytes(4)


def test_a_hole_leaves_private_copies_alone(root: Files, file: int) -> None:
    shared, private = root.map(file, 12288), root.map(file, 12288, PRIVATE)
    root.put(b"copy", private + 5000)
    root.get(12288, shared)
    assert root.sys("fallocate", file, 3, 4096, 4096) == 0
    assert root.get(4, shared + 5000) == bytes(4)
    assert root.get(4, private + 5000) == b"copy"


def test_the_tail_of_a_shortened_page_is_zeroed(root: Files, file: int) -> None:
    at = root.map(file, 4096)
    root.sys("ftruncate", file, 100)
    root.sys("ftruncate", file, 4096)
    assert root.get(3, at + 99) == bytes([99, 0, 0])


def test_a_mapping_outlives_descriptor_and_name(root: Files, file: int) -> None:
    at = root.map(file, 12288)
    root.sys("close", file)
    root.sys("unlink", "/tmp/f")
    assert root.get(3, at) == bytes([0, 1, 2])
    assert b"/tmp/f (deleted)" in root.slurp("/proc/self/maps")
    used = root.kernel.system.frames.used
    root.sys("munmap", at, 12288)
    assert root.kernel.system.frames.used <= used - 3


def test_pages_of_tmpfs_count_as_shmem(root: Files, file: int) -> None:
    before = mm_stats(root.task.mm).rss_shmem
    at = root.map(file, 12288)
    root.get(12288, at)
    assert mm_stats(root.task.mm).rss_shmem == before + 3


@pytest.fixture
def memfd(root: Files) -> int:
    return root.sys("memfd_create", "x", 2)  # MFD_ALLOW_SEALING


def test_a_seal_on_writing_waits_for_the_last_writable_mapping(root: Files, memfd: int) -> None:
    root.sys("ftruncate", memfd, 4096)
    at = root.map(memfd, 4096)
    assert root.sys("fcntl", memfd, FcntlCmd.ADD_SEALS, Seal.WRITE) == -EBUSY
    root.sys("munmap", at, 4096)
    assert root.sys("fcntl", memfd, FcntlCmd.ADD_SEALS, Seal.WRITE) == 0
    assert root.sys("pwrite64", memfd, b"x", 1, 0) == -EPERM
    assert root.sys("fallocate", memfd, 3, 0, 4096) == -EPERM
    assert root.sys("mmap", 0, 4096, 3, SHARED, memfd, 0) == -EPERM
    assert root.map(memfd, 4096, PRIVATE) > 0


def test_seals_on_size(root: Files, memfd: int) -> None:
    root.sys("ftruncate", memfd, 100)
    root.sys("fcntl", memfd, FcntlCmd.ADD_SEALS, Seal.SHRINK)
    assert root.sys("ftruncate", memfd, 50) == -EPERM
    assert root.sys("ftruncate", memfd, 200) == 0
    root.sys("fcntl", memfd, FcntlCmd.ADD_SEALS, Seal.GROW | Seal.SEAL)
    assert root.sys("ftruncate", memfd, 300) == -EPERM
    assert root.sys("pwrite64", memfd, b"xxxx", 4, 198) == -EPERM
    assert root.sys("pwrite64", memfd, b"xx", 2, 198) == 2
    assert root.sys("fcntl", memfd, FcntlCmd.ADD_SEALS, Seal.WRITE) == -EPERM
    assert root.sys("fcntl", memfd, FcntlCmd.GET_SEALS) == Seal.SHRINK | Seal.GROW | Seal.SEAL


def test_an_ordinary_memfd_is_sealed_against_seals(root: Files) -> None:
    fd = root.sys("memfd_create", "x", 0)
    assert root.sys("fcntl", fd, FcntlCmd.GET_SEALS) == Seal.SEAL
    assert root.sys("fcntl", fd, FcntlCmd.ADD_SEALS, Seal.WRITE) == -EPERM


_guests: list[Files] = []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("swrtph"), st.integers(0, 16_383), st.integers(1, 5000)), max_size=20))
def test_mapping_and_file_never_part(steps: list[tuple[str, int, int]]) -> None:
    """Stores, writes, truncations and holes in any order: a shared mapping shows what pread gives."""
    if not _guests:
        _guests.append(Files(uid=0, gid=0))
    guest = _guests[0]
    fd = guest.open("/tmp/m", Open.CREAT | Open.RDWR | Open.TRUNC)
    guest.sys("ftruncate", fd, 16384)
    at = guest.map(fd, 16384)
    for i, (step, pos, n) in enumerate(steps):
        data = bytes([i + 1]) * n
        size = guest.kernel.system.vfs.find(b"/tmp/m").inode.size
        if step == "s" and pos + n <= size:
            guest.put(data, at + pos)
        elif step == "w" and pos + n <= 16384:
            guest.sys("pwrite64", fd, data, n, pos)
        elif step == "t":
            guest.sys("ftruncate", fd, pos)
        elif step == "h":
            guest.sys("fallocate", fd, 3, pos, n)
        size = guest.kernel.system.vfs.find(b"/tmp/m").inode.size
        assert guest.get(size, at) == guest.pread(fd, 16384, 0)
    guest.sys("munmap", at, 16384)
    guest.sys("close", fd)
