"""Thread syscalls, called the way a guest calls them. Values are Linux 6.18's, measured with the same calls."""

from __future__ import annotations

import struct

import pytest
from fakes import DATA, World

from kernel.abi.errno import (
    EAGAIN,
    EBUSY,
    EDEADLK,
    EFAULT,
    EINVAL,
    ENODEV,
    ENOSYS,
    EPERM,
    ESRCH,
    ETIMEDOUT,
)  # fmt: skip
from kernel.abi.sched import Futex
from kernel.kernel import Outcome

WAIT, WAKE, BITSET = Futex.WAIT, Futex.WAKE, Futex.WAIT_BITSET
REALTIME, PRIVATE = 256, 128
WORD, OTHER, SPEC = DATA, DATA + 4, DATA + 64
BAD = 8


@pytest.fixture
def world() -> World:
    return World(boot_ns=1_000_000_000_000)


def timespec(world: World, ns: int) -> int:
    return world.put(struct.pack("<qq", *divmod(ns, 10**9)), SPEC)


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ((WORD, WAKE, 1), 0),
        ((WORD, WAIT, 1), -EAGAIN),
        ((WORD + 1, WAIT, 1), -EINVAL),
        ((BAD, WAIT, 1), -EFAULT),
        ((BAD, WAKE, 1), -EFAULT),
        ((BAD, WAKE | PRIVATE, 1), 0),
        (((1 << 64) - 4, WAKE | PRIVATE, 1), -EFAULT),
        ((WORD, 99, 1), -ENOSYS),
        ((WORD, Futex.FD, 1), -ENOSYS),
        ((WORD, BITSET, 0, 0, 0, 0), -EINVAL),
        ((WORD, Futex.WAKE_BITSET, 1, 0, 0, 0), -EINVAL),
        ((WORD, WAKE | REALTIME, 1), -ENOSYS),
        ((WORD, WAIT, 0, BAD), -EFAULT),
        ((WORD, Futex.REQUEUE, 1, 1, OTHER), 0),
        ((WORD, Futex.CMP_REQUEUE, 1, 1, OTHER, 7), -EAGAIN),
        ((WORD, Futex.REQUEUE, -1, 1, OTHER), -EINVAL),
        ((WORD, Futex.UNLOCK_PI), -EPERM),
    ],
)
def test_futex_answers_at_once(world: World, args: tuple[int, ...], value: int) -> None:
    assert world.call("futex", *args) == value


def test_a_relative_wait_ends_when_virtual_time_has_jumped(world: World) -> None:
    before = world.kernel.system.clock.monotonic_ns()
    assert world.call("futex", WORD, WAIT, 0, timespec(world, 5 * 10**9)) == -ETIMEDOUT
    assert world.kernel.system.clock.monotonic_ns() - before in range(5 * 10**9, 5 * 10**9 + 10)


def test_an_absolute_wait_counts_on_its_clock(world: World) -> None:
    clock = world.kernel.system.clock
    assert world.call("futex", WORD, BITSET, 0, timespec(world, clock.boot_ns + 10**9), 0, 1) == -ETIMEDOUT
    assert clock.monotonic_ns() >= clock.boot_ns + 10**9
    at = timespec(world, clock.epoch_ns + 2 * 10**9)
    assert world.call("futex", WORD, BITSET | REALTIME, 0, at, 0, 1) == -ETIMEDOUT
    assert clock.realtime_ns() >= clock.epoch_ns + 2 * 10**9


@pytest.mark.parametrize("ns", [-1, 10**9])
def test_a_timeout_that_is_no_time_is_refused(world: World, ns: int) -> None:
    world.put(struct.pack("<qq", 0, ns), SPEC)
    assert world.call("futex", WORD, WAIT, 0, SPEC) == -EINVAL


def test_a_wait_that_nobody_can_end_is_a_deadlock_and_said_so(world: World) -> None:
    world.call("futex", WORD, WAIT, 0)
    assert world.kernel.outcome is Outcome.DEADLOCK
    assert "on the futex at 0x402000" in world.kernel.why
    assert not world.task.system.futexes


def test_wake_op_changes_the_second_word(world: World) -> None:
    world.put(struct.pack("<II", 0, 5))
    add_3_if_eq_5 = 1 << 28 | 0 << 24 | 3 << 12 | 5
    assert world.call("futex", WORD, Futex.WAKE_OP, 1, 1, OTHER, add_3_if_eq_5) == 0
    assert world.get(4, OTHER) == b"\x08\0\0\0"
    assert world.call("futex", WORD, Futex.WAKE_OP, 1, 1, OTHER, 7 << 28) == -ENOSYS


def test_a_pi_lock_is_taken_once(world: World) -> None:
    assert world.call("futex", WORD, Futex.LOCK_PI) == 0
    assert world.get(4) == (1000).to_bytes(4, "little")
    assert world.call("futex", WORD, Futex.LOCK_PI) == -EDEADLK
    assert world.call("futex", WORD, Futex.UNLOCK_PI) == 0
    world.put(b"\x77\x77\0\0")
    assert world.call("futex", WORD, Futex.TRYLOCK_PI) == -ESRCH


def test_rseq_is_registered_once_with_linuxs_checks(world: World) -> None:
    area = DATA + 0x40
    assert world.call("rseq", area, 31, 0, 1) == -EINVAL
    assert world.call("rseq", area + 4, 32, 0, 1) == -EINVAL
    assert world.call("rseq", area, 32, 2, 1) == -EINVAL
    assert world.call("rseq", area, 32, 1, 1) == -EINVAL
    assert world.call("rseq", 0x2000, 32, 0, 1) == -EFAULT
    assert world.call("rseq", area, 32, 0, 1) == 0
    assert world.get(8, area) == bytes(8)
    assert world.call("rseq", area, 32, 0, 1) == -EBUSY
    assert world.call("rseq", area, 32, 0, 2) == -EPERM
    assert world.call("rseq", area, 64, 0, 1) == -EINVAL
    assert world.call("rseq", area, 32, 1, 2) == -EPERM
    assert world.call("rseq", area, 32, 1, 1) == 0
    assert world.get(8, area) == b"\0\0\0\0\xff\xff\xff\xff"


def test_robust_lists_are_kept_and_shown(world: World) -> None:
    assert world.call("set_robust_list", DATA, 23) == -EINVAL
    assert world.call("set_robust_list", 0x1234, 24) == 0
    assert world.call("get_robust_list", 0, DATA, DATA + 8) == 0
    assert (world.u64(DATA), world.u64(DATA + 8)) == (0x1234, 24)
    assert world.call("get_robust_list", 4242, DATA, DATA + 8) == -ESRCH
    assert world.call("get_robust_list", 0, BAD, DATA) == -EFAULT


def test_segment_bases_go_to_the_cpu(world: World) -> None:
    assert world.call("arch_prctl", 0x1002, 0x7000_0000_1000) == 0
    assert world.cpu.fs_base == 0x7000_0000_1000
    assert world.call("arch_prctl", 0x1001, 0x1234) == 0
    assert world.call("arch_prctl", 0x1004, DATA) == 0
    assert world.u64() == 0x1234
    assert world.call("arch_prctl", 0x1003, BAD) == -EFAULT
    assert world.call("arch_prctl", 0x1002, 1 << 47) == -EPERM
    assert world.call("arch_prctl", 0x1012, 0) == -ENODEV
    assert world.call("arch_prctl", 0x3001, DATA) == -EINVAL


def test_there_is_one_cpu(world: World) -> None:
    assert world.call("sched_getaffinity", 0, 128, DATA) == 8
    assert world.u64() == 1
    assert world.call("sched_getaffinity", 0, 4, DATA) == -EINVAL
    assert world.call("sched_getaffinity", 0, 0, DATA) == -EINVAL
    assert world.call("sched_getaffinity", 4242, 8, DATA) == -ESRCH
    assert world.call("sched_setaffinity", 0, 8, DATA) == 0
    world.put(b"\x02" + bytes(7))
    assert world.call("sched_setaffinity", 0, 8, DATA) == -EINVAL
    assert world.call("getcpu", DATA, DATA + 4, 0) == 0
    assert world.call("getcpu", BAD, 0, 0) == -EFAULT


def test_scheduling_policies_are_kept_but_real_time_needs_a_right(world: World) -> None:
    world.put(bytes(4))
    assert world.call("sched_setscheduler", 0, 3, DATA) == 0
    assert world.call("sched_getscheduler", 0) == 3
    world.put(b"\x05\0\0\0")
    assert world.call("sched_setscheduler", 0, 1, DATA) == -EPERM
    assert world.call("sched_setscheduler", 0, 0, DATA) == -EINVAL
    assert [world.call("sched_get_priority_max", policy) for policy in (0, 1, 6, 9)] == [0, 99, 0, -EINVAL]


def test_membarrier_wants_a_registration(world: World) -> None:
    assert world.call("membarrier", 0, 0, 0) == 0x3FF
    assert world.call("membarrier", 8, 0, 0) == -EPERM
    assert world.call("membarrier", 16, 0, 0) == 0
    assert world.call("membarrier", 8, 0, 0) == 0
    assert world.call("membarrier", 0, 1, 0) == -EINVAL
    assert world.call("membarrier", 3, 0, 0) == -EINVAL


def test_membarrier_tells_its_registrations(world: World) -> None:
    """All as a native Linux 6.18 answers."""
    assert world.call("membarrier", 512, 0, 0) == 0
    assert world.call("membarrier", 64, 0, 0) == 0
    assert world.call("membarrier", 512, 0, 0) == 0x50
    assert world.call("membarrier", 8, 0, 0) == -EPERM
    assert world.call("membarrier", 256, 0, 0) == 0
    assert world.call("membarrier", 128, 1, 5000) == 0
    assert world.call("membarrier", 128, 3, 0) == -EINVAL
    assert world.call("membarrier", 4, 1, 0) == -EINVAL
    assert world.call("membarrier", 4, 0, 0) == 0
    assert world.call("membarrier", 512, 0, 0) == 0x154


@pytest.mark.parametrize("name", ["clone", "clone3", "fork", "vfork"])
def test_more_tasks_are_refused(world: World, name: str) -> None:
    assert world.call(name) == -ENOSYS


def test_ids_of_the_only_thread(world: World) -> None:
    assert world.call("gettid") == world.call("set_tid_address", DATA) == 1000
    assert world.task.clear_child_tid == DATA
