"""MAP_HUGETLB with a pool: what Linux 6.18 answered to the same calls with vm.nr_hugepages=4."""

from __future__ import annotations

import pytest
from files import Files

from kernel.abi.errno import EACCES, EBUSY, EINVAL, ENODEV, ENOMEM, EPERM
from kernel.cpu import Access
from kernel.mm.check import check
from kernel.mm.fault import Fault, handle_mm_fault

H = 2 << 20
RW, PRIVATE, SHARED, NORESERVE, FIXED, FREE = 3, 0x40022, 0x40021, 0x4000, 0x10, 8


@pytest.fixture
def guest() -> Files:
    return Files(uid=0, hugepages=4, ram_bytes=64 << 20)


def pool(guest: Files) -> tuple[int, ...]:
    """(Total, Free, Rsvd, Surp) of /proc/meminfo."""
    text = guest.slurp("/proc/meminfo").decode()
    return tuple(int(line.split()[1]) for line in text.splitlines() if line.startswith("HugePages_"))


def smaps(guest: Files, at: int) -> dict[str, str]:
    text = guest.slurp("/proc/self/smaps").decode().split(f"{at:x}-")[1]
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text.splitlines()[1:25]}


def huge(guest: Files, size: int, flags: int = PRIVATE, addr: int = 0) -> int:
    return guest.call("mmap", addr, size, RW, flags, -1, 0)


def test_pages_are_promised_then_taken_then_given_back(guest: Files) -> None:
    free = guest.kernel.system.frames.available
    at = huge(guest, 2 * H)
    assert (at % H, pool(guest)) == (0, (4, 4, 2, 0))
    assert guest.get(1, at) == b"\0"
    guest.put(b"x" * 5000, at + 100)
    assert pool(guest) == (4, 3, 1, 0)
    fields = smaps(guest, at)
    assert (fields["KernelPageSize"], fields["Rss"], fields["Private_Hugetlb"]) == ("2048 kB", "0 kB", "2048 kB")
    assert fields["VmFlags"] == "rd wr mr mw me de ht"
    assert b"HugetlbPages:\t    2048 kB" in guest.slurp("/proc/self/status")
    assert f"{at:x} default file=/anon_hugepage\\040(deleted) huge anon=1 dirty=1 N0=1 kernelpagesize_kB=2048" in (
        guest.slurp("/proc/self/numa_maps").decode()
    )
    assert guest.call("madvise", at, H, 4) == 0
    assert pool(guest) == (4, 4, 2, 0)
    assert guest.get(2, at + 100) == b"\0\0"
    assert guest.call("munmap", at, 2 * H) == 0
    assert pool(guest) == (4, 4, 0, 0)
    assert guest.kernel.system.frames.available <= free


def test_nothing_is_done_to_a_part_of_a_page(guest: Files) -> None:
    at = huge(guest, 2 * H)
    guest.put(b"keep", at)
    assert [guest.call("munmap", *args) for args in ((at + 4096, 4096), (at, 4096), (at + H + 4096, H - 4096))] == (
        [-EINVAL] * 3
    )
    assert [guest.call("mprotect", *args, 1) for args in ((at, 4096), (at + 4096, H))] == [-EINVAL] * 2
    assert [guest.call("madvise", *args, 4) for args in ((at, 4096), (at + 4096, 4096))] == [0, -EINVAL]
    assert guest.call("madvise", at, H, FREE) == -EINVAL
    assert guest.call("madvise", at, H, 9) == -EACCES
    assert guest.call("mprotect", at, H, 1) == 0
    assert handle_mm_fault(guest.task.mm, at, Access.WRITE) is Fault.ACCERR
    assert guest.get(4, at) == b"keep"
    checked(guest)


def test_mremap_moves_and_shrinks_but_does_not_grow(guest: Files) -> None:
    at = huge(guest, 2 * H)
    guest.put(b"here", at)
    assert guest.call("mremap", at, 2 * H, H, 0, 0) == at
    assert pool(guest) == (4, 3, 0, 0)
    assert guest.call("mremap", at, H, 2 * H, 1, 0) == -EINVAL
    assert guest.call("mremap", at, 4096, 8192, 1, 0) == at
    assert guest.call("mremap", at, H, H, 3, 0x20001000) == -EINVAL
    assert guest.call("mremap", at, H, H, 3, 0x20000000) == 0x20000000
    assert guest.get(4, 0x20000000) == b"here"
    checked(guest)


def test_what_cannot_be_promised_is_refused_and_what_was_not_is_sigbus(guest: Files) -> None:
    assert huge(guest, 5 * H) == -ENOMEM
    at = huge(guest, 5 * H, PRIVATE | NORESERVE)
    assert pool(guest) == (4, 4, 0, 0)
    held = huge(guest, 4096)
    assert pool(guest) == (4, 4, 1, 0)
    faults = [handle_mm_fault(guest.task.mm, at + n * H, Access.WRITE) for n in range(4)]
    assert faults == [Fault.OK] * 3 + [Fault.BUS]
    guest.put(b"mine", held)
    assert pool(guest) == (4, 0, 0, 0)
    assert huge(guest, H, PRIVATE | 30 << 26) == -ENOMEM
    assert huge(guest, H, PRIVATE | 22 << 26) == -EINVAL
    assert huge(guest, 0) == -EINVAL
    assert huge(guest, H, PRIVATE | FIXED, 0x10001000) == -EINVAL
    assert huge(guest, H, PRIVATE | NORESERVE, 0x20001000) == 0x20200000


def test_a_shared_page_is_one_for_all_and_goes_with_the_last_mapping(guest: Files) -> None:
    at = huge(guest, H, SHARED)
    assert pool(guest) == (4, 4, 1, 0)
    guest.put(b"shared", at)
    again = guest.call("mremap", at, 0, H, 1, 0)
    assert again == -EINVAL or guest.get(6, again) == b"shared"
    assert guest.call("madvise", at, H, 4) == 0
    assert guest.get(6, at) == b"shared"
    guest.call("munmap", at, H)
    assert pool(guest) == (4, 4, 0, 0)


def test_root_sizes_the_pool(guest: Files) -> None:
    def ask(count: int) -> tuple[int, ...]:
        guest.write(guest.open("/proc/sys/vm/nr_hugepages", 1), b"%d" % count)
        return pool(guest)

    assert ask(6) == (6, 6, 0, 0)
    at = huge(guest, 3 * H)
    guest.put(b"x", at)
    assert ask(1) == (3, 2, 2, 2)
    guest.call("munmap", at, 3 * H)
    assert ask(0) == (0, 0, 0, 0)
    assert guest.slurp("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") == b"0\n"
    assert guest.call("mmap", 0, 30 << 20, RW, 0x8022, -1, 0) > 0  # their memory serves others now
    checked(guest)


def checked(guest: Files) -> None:

    check(guest.task.mm)


def test_a_memfd_in_huge_pages(guest: Files) -> None:
    fd = guest.sys("memfd_create", b"h\0", 4 | 2)
    assert guest.sys("write", fd, b"x", 1) == guest.sys("ftruncate", fd, 4096) == -EINVAL
    assert guest.sys("ftruncate", fd, 2 * H) == 0
    at = guest.call("mmap", 0, H, RW, 1, fd, 0)
    assert (at % H, pool(guest)) == (0, (4, 4, 1, 0))
    guest.put(b"\7", at + 5)
    assert pool(guest) == (4, 3, 0, 0)
    assert [guest.pread(fd, 8, pos) for pos in (4, H, 2 * H)] == [b"\0\7" + bytes(6), bytes(8), b""]
    again = guest.call("mmap", 0, 100, RW, 1 | 0x40000, fd, 0)
    assert guest.get(1, again + 5) == b"\7"
    assert guest.sys("munmap", again, 4096) == guest.call("mmap", 0, H, RW, 1, fd, 4096) == -EINVAL
    assert guest.sys("munmap", again, H) == 0
    grown = guest.call("mmap", 0, 2 * H, RW, 1, fd, H)  # a writable mapping past the end makes the file longer
    assert guest.sys("lseek", fd, 0, 2) == 3 * H
    assert pool(guest) == (4, 3, 2, 0)
    guest.put(b"x", grown + H)
    assert guest.sys("ftruncate", fd, H) == 0
    assert pool(guest) == (4, 3, 0, 0)
    assert handle_mm_fault(guest.task.mm, grown, Access.WRITE) is Fault.BUS
    assert guest.sys("munmap", grown, 2 * H) == 0
    assert guest.sys("fcntl", fd, 1033, 8) == -EBUSY
    assert guest.sys("fcntl", fd, 1033, 2) == 0
    assert guest.sys("ftruncate", fd, 0) == -EPERM
    assert "/memfd:h (deleted)" in guest.slurp("/proc/self/maps").decode()
    check(guest.task.mm)
    assert guest.sys("munmap", at, H) == 0
    assert pool(guest) == (4, 3, 0, 0)  # the file has it
    assert guest.sys("close", fd) == 0
    assert pool(guest) == (4, 4, 0, 0)


def test_sizes_of_huge_pages_for_a_memfd(guest: Files) -> None:
    assert guest.sys("memfd_create", b"h\0", 4 | 20 << 26) == -ENODEV
    assert guest.sys("memfd_create", b"h\0", 21 << 26) == -EINVAL
    gigabyte = guest.sys("memfd_create", b"h\0", 4 | 30 << 26)
    assert guest.call("mmap", 0, H, RW, 1, gigabyte, 0) == -ENOMEM
    two = guest.sys("memfd_create", b"h\0", 4 | 21 << 26)
    assert guest.call("mmap", 0, 5 * H, RW, 1, two, 0) == -ENOMEM
    assert pool(guest) == (4, 4, 0, 0)
