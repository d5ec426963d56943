"""Files in huge pages, mapped privately and allocated: what Linux 6.18 answered with vm.nr_hugepages=6."""

from __future__ import annotations

import pytest
from files import Files

from kernel.abi.errno import EACCES, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM
from kernel.cpu import Access
from kernel.mm.check import check
from kernel.mm.fault import Fault, handle_mm_fault

H = 2 << 20
RW, PRIVATE, SHARED, NORESERVE = 3, 2, 1, 0x4000
KEEP_SIZE, PUNCH = 1, 3


@pytest.fixture
def guest() -> Files:
    return Files(uid=0, hugepages=6, ram_bytes=64 << 20)


@pytest.fixture
def fd(guest: Files) -> int:
    """An empty one that may be sealed."""
    return guest.sys("memfd_create", b"h\0", 4 | 2)


def pool(guest: Files) -> tuple[int, ...]:
    """(Free, Rsvd) of /proc/meminfo; all is in order besides."""
    check(guest.task.mm)
    text = guest.slurp("/proc/meminfo").decode()
    counts = [int(line.split()[1]) for line in text.splitlines() if line.startswith("HugePages_")]
    return counts[1], counts[2]


def test_a_private_mapping_shows_the_file_until_it_is_written(guest: Files, fd: int) -> None:
    guest.sys("ftruncate", fd, 2 * H)
    own = guest.call("mmap", 0, 2 * H, RW, PRIVATE, fd, 0)
    theirs = guest.call("mmap", 0, 2 * H, RW, SHARED, fd, 0)
    assert pool(guest) == (6, 4)
    guest.put(b"\1", theirs)
    assert guest.get(1, own) == b"\1"
    assert pool(guest) == (5, 3)
    guest.put(b"\7", own)
    assert pool(guest) == (4, 2)
    assert (guest.get(1, own), guest.get(1, theirs)) == (b"\7", b"\1")
    guest.put(b"\t", own + H + 5)  # of its own at once: the file has none
    assert pool(guest) == (3, 1)
    guest.put(b"\3", theirs + H)
    assert (guest.get(1, own + H), guest.get(1, theirs + H + 5)) == (b"\0", b"\0")
    assert guest.call("munmap", own, H) == 0
    assert pool(guest) == (3, 0)
    assert guest.call("madvise", own + H, H, 4) == 0
    assert pool(guest) == (4, 1)  # promised again
    assert guest.get(1, own + H) == b"\3"
    guest.put(b"\4", own + H)
    assert guest.get(1, theirs + H) == b"\3"
    assert guest.sys("close", fd) == guest.call("munmap", theirs, 2 * H) == 0
    assert guest.get(1, own + H) == b"\4"
    assert guest.call("munmap", own + H, H) == 0
    assert pool(guest) == (6, 0)


def test_mprotect_makes_it_writable_and_mremap_moves_it(guest: Files, fd: int) -> None:
    guest.sys("ftruncate", fd, H)
    theirs = guest.call("mmap", 0, H, RW, SHARED, fd, 0)
    guest.put(b"\6", theirs)
    own = guest.call("mmap", 0, H, 1, PRIVATE, fd, 0)
    assert guest.get(1, own) == b"\6"
    assert guest.call("mprotect", own, H, RW) == 0
    guest.put(b"\t", own)
    assert guest.call("mremap", own, H, H, 3, 0x20000000) == 0x20000000
    assert (guest.get(1, 0x20000000), guest.get(1, theirs)) == (b"\t", b"\6")
    assert guest.call("madvise", theirs, H, 9) == 0  # MADV_REMOVE takes the copies as well
    assert (guest.get(1, 0x20000000), guest.get(1, theirs)) == (b"\0", b"\0")
    check(guest.task.mm)


def test_the_pool_may_be_empty(guest: Files, fd: int) -> None:
    assert guest.call("mmap", 0, 7 * H, RW, PRIVATE, fd, 0) == -ENOMEM
    own = guest.call("mmap", 0, 7 * H, RW, PRIVATE | NORESERVE, fd, 0)
    assert guest.sys("lseek", fd, 0, 2) == 7 * H  # writable: the file is longer
    assert guest.sys("fallocate", fd, 0, 0, 6 * H) == 0
    assert guest.get(1, own) == b"\0"
    assert handle_mm_fault(guest.task.mm, own, Access.WRITE) is Fault.BUS
    assert handle_mm_fault(guest.task.mm, own + 6 * H, Access.READ) is Fault.BUS
    assert guest.sys("ftruncate", fd, 5 * H) == 0
    guest.put(b"\1", own)
    assert pool(guest) == (0, 0)
    assert handle_mm_fault(guest.task.mm, own + 5 * H, Access.READ) is Fault.BUS
    assert guest.call("munmap", own, 7 * H) == 0
    assert pool(guest) == (1, 0)


def test_truncation_takes_private_copies_too(guest: Files, fd: int) -> None:
    own = guest.call("mmap", 0, 2 * H, RW, PRIVATE, fd, H)
    guest.put(b"\1", own + H)
    assert guest.get(1, own) == b"\0"
    assert pool(guest) == (4, 0)
    assert guest.sys("ftruncate", fd, 2 * H) == 0
    assert pool(guest) == (5, 1)
    assert handle_mm_fault(guest.task.mm, own + H, Access.READ) is Fault.BUS
    assert guest.sys("ftruncate", fd, 3 * H) == 0
    assert guest.get(1, own + H) == b"\0"
    assert pool(guest) == (4, 0)


def test_fallocate_takes_pages_and_punches_holes(guest: Files, fd: int) -> None:
    assert guest.sys("fallocate", fd, 0, 0, 3 * H + 5) == 0
    assert guest.sys("lseek", fd, 0, 2) == 3 * H + 5
    assert pool(guest) == (2, 0)
    assert guest.sys("fallocate", fd, KEEP_SIZE, 0, 100 * H) == -ENOSPC
    assert pool(guest) == (0, 0)  # as far as it went
    at = guest.call("mmap", 0, 2 * H, RW, SHARED, fd, 0)
    guest.put(b"\3" * 400, at + H)
    assert guest.sys("fallocate", fd, PUNCH, H + 100, 200) == 0
    assert guest.get(400, at + H) == b"\3" * 100 + bytes(200) + b"\3" * 100
    assert guest.sys("fallocate", fd, PUNCH, 100, H) == 0  # no whole page: both ends are zeroed
    assert guest.get(400, at + H) == bytes(300) + b"\3" * 100
    assert pool(guest) == (0, 0)
    assert guest.sys("fallocate", fd, PUNCH, 0, 100 * H) == 0
    assert pool(guest) == (6, 0)
    assert guest.get(1, at + H + 350) == b"\0"
    assert pool(guest) == (5, 0)
    assert guest.sys("fallocate", fd, 0x10, 0, H) == -EOPNOTSUPP
    assert guest.sys("lseek", fd, 0, 2) == 3 * H + 5


def test_seals_and_rights(guest: Files, fd: int) -> None:
    assert guest.sys("fallocate", fd, 0, 0, H) == guest.sys("fcntl", fd, 1033, 4) == 0
    assert guest.sys("fallocate", fd, 0, 0, 4 * H) == guest.sys("fallocate", fd, KEEP_SIZE, 0, 4 * H) == -EPERM
    assert guest.sys("fcntl", fd, 1033, 0x10) == 0  # F_SEAL_FUTURE_WRITE
    assert guest.sys("fallocate", fd, PUNCH, 0, H) == guest.call("mmap", 0, H, RW, SHARED, fd, 0) == -EPERM
    own = guest.call("mmap", 0, H, RW, PRIVATE, fd, 0)
    guest.put(b"\1", own)
    assert guest.pread(fd, 1, 0) == b"\0"
    reader = guest.open(f"/proc/self/fd/{fd}")
    assert guest.call("mmap", 0, H, RW, SHARED, reader, 0) == -EACCES
    seen = guest.call("mmap", 0, H, 1, SHARED, reader, 0)
    smaps = guest.slurp("/proc/self/smaps").decode().split(f"{seen:x}-")[1]
    assert "VmFlags: rd mr me ms de ht " in smaps
    other = guest.call("mmap", 0, H, RW, PRIVATE, reader, 0)
    guest.put(b"\2", other)
    assert [guest.get(1, at) for at in (own, seen, other)] == [b"\1", b"\0", b"\2"]
    check(guest.task.mm)


def test_memory_without_a_name_is_removed_too(guest: Files) -> None:
    at = guest.call("mmap", 0, 2 * H, RW, 0x40021, -1, 0)
    guest.put(b"\2", at)
    assert guest.call("madvise", at, H, 9) == 0
    assert guest.get(1, at) == b"\0"
    assert guest.call("munmap", at, 2 * H) == 0
    assert pool(guest) == (6, 0)
