"""The calls that shape the address space, called the way a guest calls them: six registers in, one register out.

What each refuses, with its reason. Placement, merging and the rest are compared with Linux in tests/kernel/mm.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from fakes import World

from kernel.abi.errno import (
    EACCES,
    EAGAIN,
    EBADF,
    EEXIST,
    EFAULT,
    EINVAL,
    ENODEV,
    ENOMEM,
    ENOSYS,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
)
from kernel.abi.mman import Madv, Map, Mremap, Prot
from kernel.abi.nr import NR
from kernel.events import SyscallExit
from kernel.mm.check import check
from kernel.syscalls.table import dispatch

PAGE, M64, GIB = 4096, (1 << 64) - 1, 1 << 30
BASE = 0x7000_0000_0000
RW = Prot.READ | Prot.WRITE
ANON = Map.PRIVATE | Map.ANONYMOUS
FIXED = ANON | Map.FIXED


@pytest.fixture
def world() -> World:
    """Two pages that may be written, a hole, a read-only page."""
    world = World()
    world.call("mmap", BASE, 2 * PAGE, RW, FIXED, M64, 0)
    world.call("mmap", BASE + 3 * PAGE, PAGE, Prot.READ, FIXED, M64, 0)
    return world


def refusal(world: World, name: str, *args: int) -> tuple[int, str]:
    """(result, why) of a call."""
    seen: list[SyscallExit] = []
    world.probes.listen(SyscallExit, seen.append)
    value = dispatch(world.task, NR[name], *[*[arg & M64 for arg in args], 0, 0, 0, 0, 0, 0][:6])
    world.probes.forget(SyscallExit, seen.append)
    check(world.task.mm)
    assert isinstance(value, int)
    assert value >= 0 or seen[-1].why, "a refusal without a reason"
    return value, seen[-1].why


@pytest.mark.parametrize(("name", "args", "errno", "why"), [
    ("mmap", (0, PAGE, RW, ANON, M64, 1), EINVAL, "offset is not page-aligned"),
    ("mmap", (0, 0, RW, ANON, M64, 0), EINVAL, "length is 0"),
    ("mmap", (0, M64, RW, ANON, M64, 0), ENOMEM, "length overflows"),
    ("mmap", (0, 1 << 47, RW, ANON, M64, 0), ENOMEM, "exceeds the address space"),
    ("mmap", (0, PAGE, RW, Map.ANONYMOUS, M64, 0), EINVAL, "neither MAP_SHARED nor MAP_PRIVATE"),
    ("mmap", (0, PAGE, RW, ANON | Map.SHARED, M64, 0), EINVAL, "neither MAP_SHARED nor MAP_PRIVATE"),
    ("mmap", (BASE + 1, PAGE, RW, FIXED, M64, 0), EINVAL, "addr is not page-aligned"),
    ("mmap", (1 << 47, PAGE, RW, FIXED, M64, 0), ENOMEM, "beyond the address space"),
    ("mmap", (PAGE, PAGE, RW, FIXED, M64, 0), EPERM, "vm.mmap_min_addr"),
    ("mmap", (BASE, PAGE, RW, ANON | Map.FIXED_NOREPLACE, M64, 0), EEXIST, "is mapped"),
    ("mmap", (0, PAGE, RW, Map.SHARED | Map.ANONYMOUS | Map.GROWSDOWN, M64, 0), EINVAL, "MAP_GROWSDOWN"),
    ("mmap", (0, 8 * GIB, RW, ANON, M64, 0), ENOMEM, "vm.overcommit_memory"),
    ("mmap", (0, PAGE, RW, Map.PRIVATE, 77, 0), EBADF, "fd 77 is not open"),
    ("mmap", (0, PAGE, RW, ANON | Map.HUGETLB, M64, 0), ENOMEM, "no free huge pages"),
    ("mmap", (0, PAGE, RW, ANON | Map.HUGETLB | 5 << 26, M64, 0), EINVAL, "there are no huge pages of 2"),
    ("mmap", (0, PAGE, RW, ANON | Map.LOCKED | Map.HUGETLB | 21 << 26, M64, 0), ENOMEM, "huge"),
    ("munmap", (BASE + 1, PAGE), EINVAL, "addr is not page-aligned"),
    ("munmap", (BASE, 0), EINVAL, "length is 0"),
    ("munmap", (BASE, 1 << 63), EINVAL, "beyond the address space"),
    ("mprotect", (BASE + 1, PAGE, RW), EINVAL, "addr is not page-aligned"),
    ("mprotect", (BASE, M64, RW), ENOMEM, "wraps"),
    ("mprotect", (BASE, PAGE, 0x40), EINVAL, "unknown bits"),
    ("mprotect", (BASE, PAGE, Prot.GROWSDOWN | Prot.GROWSUP), EINVAL, "together"),
    ("mprotect", (BASE, PAGE, Prot.GROWSDOWN | 1), EINVAL, "does not grow down"),
    ("mprotect", (BASE, PAGE, Prot.GROWSUP | 1), EINVAL, "PROT_GROWSUP"),
    ("mprotect", (BASE + 2 * PAGE, PAGE, RW), ENOMEM, "nothing is mapped|hole"),
    ("mprotect", (BASE, 4 * PAGE, RW), ENOMEM, "hole"),
    ("pkey_mprotect", (BASE, PAGE, RW, 1), EINVAL, "protection key 1 is not allocated"),
    ("pkey_alloc", (1, 0), EINVAL, "flags must be 0"),
    ("pkey_alloc", (0, 8), EINVAL, "unknown access rights"),
    ("pkey_alloc", (0, 0), EINVAL, "no protection keys"),
    ("pkey_free", (1,), EINVAL, "not allocated"),
    ("mremap", (BASE, PAGE, PAGE, 8), EINVAL, "unknown bits"),
    ("mremap", (BASE + 1, PAGE, PAGE, 0), EINVAL, "old_address is not page-aligned"),
    ("mremap", (BASE, PAGE, 0, 0), EINVAL, "new_size is 0"),
    ("mremap", (BASE, PAGE, 1 << 48, 1), EINVAL, "new_size exceeds"),
    ("mremap", (BASE, PAGE, PAGE, Mremap.FIXED, BASE + 8 * PAGE), EINVAL, "need MREMAP_MAYMOVE"),
    ("mremap", (BASE, PAGE, PAGE, 3, BASE + 1), EINVAL, "new_address is not page-aligned"),
    ("mremap", (BASE, PAGE, PAGE, 3, 1 << 47), EINVAL, "beyond the address space"),
    ("mremap", (BASE, 2 * PAGE, 2 * PAGE, 3, BASE + PAGE), EINVAL, "overlap"),
    ("mremap", (BASE, PAGE, 2 * PAGE, 5, 0), EINVAL, "does not resize"),
    ("mremap", (BASE, 0, PAGE, 1), EINVAL, "shared mappings only"),
    ("mremap", (BASE + 2 * PAGE, PAGE, PAGE, 1), EFAULT, "nothing is mapped"),
    ("mremap", (BASE, 4 * PAGE, 8 * PAGE, 1), EFAULT, "past the end"),
    ("mremap", (BASE, PAGE, 2 * PAGE, 0), ENOMEM, "no room behind"),
    ("madvise", (BASE + 1, PAGE, Madv.DONTNEED), EINVAL, "addr is not page-aligned"),
    ("madvise", (BASE, M64, Madv.DONTNEED), EINVAL, "wraps"),
    ("madvise", (BASE, PAGE, 99), EINVAL, "unknown"),
    ("madvise", (BASE, 3 * PAGE, Madv.DONTNEED), ENOMEM, "nothing is mapped"),
    ("madvise", (BASE, PAGE, Madv.REMOVE), EINVAL, "shared mappings"),
    ("madvise", (BASE, PAGE, Madv.HWPOISON), EPERM, "CAP_SYS_ADMIN"),
    ("madvise", (BASE, PAGE, Madv.COLLAPSE), EINVAL, "huge pages"),
    ("madvise", (BASE + 3 * PAGE, PAGE, Madv.POPULATE_WRITE), EINVAL, "protection"),
    ("madvise", (BASE + 2 * PAGE, PAGE, Madv.POPULATE_READ), ENOMEM, "nothing is mapped"),
    ("mseal", (BASE, PAGE, 1), EINVAL, "flags must be 0"),
    ("mseal", (BASE, 3 * PAGE, 0), ENOMEM, "nothing is mapped"),
    ("remap_file_pages", (BASE, PAGE, 1, 0, 0), EINVAL, "prot must be 0"),
    ("remap_file_pages", (BASE, PAGE, 0, 0, 0), EINVAL, "not a shared mapping"),
    ("memfd_secret", (0,), ENOSYS, "off"),
    ("map_shadow_stack", (0, PAGE, 0), ENOSYS, "shadow stacks"),
    ("userfaultfd", (0,), ENOSYS, "user space"),
    ("process_madvise", (3, 0, 0, Madv.COLD, 1), EINVAL, "flags must be 0"),
    ("process_vm_readv", (1000, 0, 0, 0, 0, 1), EINVAL, "flags must be 0"),
])  # fmt: skip
def test_what_is_refused_and_why(world: World, name: str, args: tuple[int, ...], errno: int, why: str) -> None:
    import re

    value, reason = refusal(world, name, *args)
    assert value == -errno, reason
    assert re.search(why, reason), reason


def test_a_hole_is_enomem_but_both_sides_of_it_are_advised(world: World) -> None:
    world.put(b"\xaa" * 8, BASE)
    assert refusal(world, "madvise", BASE, 4 * PAGE, Madv.DONTNEED)[0] == -ENOMEM
    assert world.u64(BASE) == 0


def test_mprotect_changes_what_lies_before_the_hole(world: World) -> None:
    assert refusal(world, "mprotect", BASE, 4 * PAGE, Prot.READ)[0] == -ENOMEM
    assert [vma.prot for vma in world.task.mm.vmas.overlapping(BASE, BASE + 3 * PAGE)] == [Prot.READ]


def test_the_break_goes_up_and_down_and_reads_zero_again(world: World) -> None:
    start = world.call("brk", 0)
    assert world.call("brk", start + 100) == start + 100
    world.put(b"heap", start)
    assert world.call("brk", start - 1) == start + 100
    assert world.call("brk", start) == start
    assert world.call("brk", start + PAGE) == start + PAGE
    assert world.u64(start) == 0
    world.call("mmap", start + 8 * PAGE, PAGE, RW, FIXED, M64, 0)
    assert world.call("brk", start + 9 * PAGE) == start + PAGE
    check(world.task.mm)


def test_files_say_what_may_be_mapped(world: World) -> None:
    name = world.put(b"/tmp/f\0")
    assert world.call("close", world.call("open", name, 0o102, 0o600)) == 0
    writer, reader = world.call("open", name, 1), world.call("open", name, 0)
    folder = world.call("open", world.put(b"/tmp\0"), 0)
    for fd, prot, flags, errno in (
        (writer, 1, Map.PRIVATE, EACCES),
        (reader, RW, Map.SHARED, EACCES),
        (folder, 1, Map.PRIVATE, ENODEV),
        (reader, 1, Map.SHARED_VALIDATE | Map.SYNC, EOPNOTSUPP),
        (reader, 1, 0, EINVAL),
        (reader, 1, Map.PRIVATE | Map.HUGETLB, EINVAL),
        (reader, 1, Map.PRIVATE | Map.GROWSDOWN, EINVAL),
    ):
        assert refusal(world, "mmap", 0, PAGE, prot, flags, fd, 0)[0] == -errno
    assert refusal(world, "mmap", 0, PAGE, 1, Map.PRIVATE, reader, (1 << 63) - PAGE)[0] == -EOVERFLOW
    shared = world.call("mmap", 0, PAGE, 1, Map.SHARED, reader, 0)
    assert refusal(world, "mprotect", shared, PAGE, RW)[0] == -EACCES


def test_a_shared_file_mapping_and_the_file_are_one(world: World) -> None:
    fd = world.call("open", world.put(b"/tmp/f\0"), 0o102, 0o600)
    assert world.call("ftruncate", fd, 100) == 0
    at = world.call("mmap", 0, 2 * PAGE, RW, Map.SHARED, fd, 0)
    world.put(b"written", at)
    assert world.call("pread64", fd, BASE, 100, 0) == 100
    assert world.get(7, BASE) == b"written"
    assert world.call("ftruncate", fd, 0) == 0
    assert refusal(world, "madvise", at, PAGE, Madv.POPULATE_READ)[0] == -EFAULT


def test_limits_without_privileges(world: World) -> None:
    limits = world.task.rlimits
    mm = world.task.mm
    limits.cur[8] = PAGE
    assert refusal(world, "mmap", 0, 2 * PAGE, RW, ANON | Map.LOCKED, M64, 0) == (
        -EAGAIN, "more locked memory than RLIMIT_MEMLOCK (4096 bytes)"
    )  # fmt: skip
    limits.cur[8] = 0
    assert refusal(world, "mmap", 0, PAGE, RW, ANON | Map.LOCKED, M64, 0)[0] == -EPERM
    limits.cur[9] = mm.total_vm * PAGE
    assert "RLIMIT_AS" in refusal(world, "mmap", 0, PAGE, RW, ANON, M64, 0)[1]
    limits.cur[9] = M64
    limits.cur[2] = PAGE
    assert "RLIMIT_DATA" in refusal(world, "mmap", 0, PAGE, RW, ANON, M64, 0)[1]
    assert refusal(world, "mmap", 0, PAGE, Prot.READ, ANON, M64, 0)[0] > 0
    mm.max_map_count = mm.map_count - 1
    assert "max_map_count" in refusal(world, "mmap", 0, PAGE, Prot.READ, ANON, M64, 0)[1]


def test_the_commit_limit_of_overcommit_mode_2() -> None:
    world = World(overcommit=2)
    assert "vm.overcommit_memory=2" in refusal(world, "mmap", 0, 64 << 20, RW, ANON | Map.NORESERVE, M64, 0)[1]
    assert refusal(world, "mmap", 0, 64 << 20, Prot.READ, ANON, M64, 0)[0] > 0


def test_what_is_sealed_stays(world: World) -> None:
    assert world.call("mseal", BASE, PAGE, 0) == 0
    for name, args in (
        ("munmap", (BASE, PAGE)),
        ("mprotect", (BASE, PAGE, 1)),
        ("mremap", (BASE, PAGE, 2 * PAGE, 1, 0)),
        ("mmap", (BASE, PAGE, RW, FIXED, M64, 0)),
    ):
        value, why = refusal(world, name, *args)
        assert value == -EPERM
        assert "sealed" in why
    assert world.call("madvise", BASE, PAGE, Madv.DONTNEED) == 0


def test_memory_of_ones_own_by_pid(world: World) -> None:
    world.put(b"from here", BASE)
    world.put((BASE).to_bytes(8, "little") + (9).to_bytes(8, "little"), BASE + 256)
    world.put((BASE + 512).to_bytes(8, "little") + (9).to_bytes(8, "little"), BASE + 272)
    assert world.call("process_vm_readv", world.task.pid, BASE + 272, 1, BASE + 256, 1, 0) == 9
    assert world.get(9, BASE + 512) == b"from here"
