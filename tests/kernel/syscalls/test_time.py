"""Time syscalls: virtual clocks, sleeping that jumps, timers at exact instructions."""

from __future__ import annotations

import struct

import pytest
from fakes import DATA, Spin, Syscall, World

from kernel.abi.errno import EFAULT, EINTR, EINVAL, EOPNOTSUPP, EPERM
from kernel.abi.nr import NR
from kernel.abi.signal import SIGALRM, SIGKILL, SIGPROF, SIGXCPU, Sa
from kernel.kernel import Outcome

SEC = 10**9
BAD = 8
HANDLER = 0x401100


@pytest.fixture
def world() -> World:
    return World()


def ns(world: World, at: int = DATA) -> int:
    sec: int
    nsec: int
    sec, nsec = struct.unpack("<qq", world.get(16, at))
    return sec * SEC + nsec


def spec(world: World, sec: int, nsec: int, at: int = DATA) -> int:
    return world.put(struct.pack("<qq", sec, nsec), at)


def handle(world: World, sig: int, flags: int = 0) -> None:
    world.put(struct.pack("<QQQQ", HANDLER, flags | Sa.RESTORER, 0x401200, 0), DATA + 0x100)
    world.call("rt_sigaction", sig, DATA + 0x100, 0, 8)


def test_an_instruction_is_a_nanosecond(world: World) -> None:
    world.call("clock_gettime", 1, DATA)
    first = ns(world)
    world.play(Spin(1_000_000))
    world.call("clock_gettime", 1, DATA)
    assert ns(world) == first + 1_000_001


def test_the_epoch_is_the_configs() -> None:
    world = World(epoch_ns=123 * SEC, boot_ns=7 * SEC)
    assert world.call("time", 0) == 123
    world.call("clock_gettime", 7, DATA)
    assert ns(world) // SEC == 7
    assert world.call("gettimeofday", DATA, DATA + 32) == 0
    assert struct.unpack("<qq", world.get(16))[0] == 123
    assert world.get(8, DATA + 32) == bytes(8)


@pytest.mark.parametrize(
    ("clock", "value"),
    [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, -EINVAL), (9, -EINVAL), (10, -EINVAL), (11, 0),
     (12, -EINVAL), (-6, 0), (-2, 0), (-1, -EINVAL), (-5, -EINVAL)],
)  # fmt: skip
def test_which_clocks_there_are(world: World, clock: int, value: int) -> None:
    assert world.call("clock_gettime", clock, DATA) == value


def test_coarse_clocks_tick(world: World) -> None:
    world.call("clock_getres", 6, DATA)
    assert ns(world) == 4_000_000
    world.call("clock_gettime", 6, DATA)
    assert ns(world) % 4_000_000 == 0
    world.call("clock_getres", 1, DATA)
    assert ns(world) == 1
    assert world.call("clock_getres", 1, 0) == 0


def test_sleeping_jumps(world: World) -> None:
    clock, insns = world.kernel.system.clock, world.cpu.insns
    before = clock.monotonic_ns()
    assert world.call("nanosleep", spec(world, 3600, 5), 0) == 0
    assert clock.monotonic_ns() == before + 3600 * SEC + 5 + (world.cpu.insns - insns)
    assert world.cpu.insns == insns + 1


def test_an_absolute_sleep_ends_at_its_time_whatever_the_clock(world: World) -> None:
    clock = world.kernel.system.clock
    assert world.call("clock_nanosleep", 0, 1, spec(world, clock.epoch_ns // SEC + 10, 0), 0) == 0
    assert clock.realtime_ns() // SEC == clock.epoch_ns // SEC + 10
    assert world.call("clock_nanosleep", 1, 1, spec(world, 1, 0), 0) == 0


@pytest.mark.parametrize(
    ("clock", "spec_at", "value"),
    [(1, BAD, -EFAULT), (77, BAD, -EINVAL), (3, BAD, -EOPNOTSUPP), (4, BAD, -EOPNOTSUPP), (5, BAD, -EOPNOTSUPP)],
)
def test_what_sleep_refuses(world: World, clock: int, spec_at: int, value: int) -> None:
    assert world.call("clock_nanosleep", clock, 0, spec_at, 0) == value


@pytest.mark.parametrize(("sec", "nsec"), [(-1, 0), (0, -1), (0, SEC)])
def test_what_is_no_time_is_refused(world: World, sec: int, nsec: int) -> None:
    assert world.call("nanosleep", spec(world, sec, nsec), 0) == -EINVAL


def test_an_alarm_interrupts_a_sleep_and_the_rest_is_told(world: World) -> None:
    handle(world, SIGALRM)
    assert world.call("alarm", 3) == 0
    world.play(Syscall(NR["nanosleep"], (spec(world, 10, 0), DATA + 32)))
    assert world.cpu.regs.rip == HANDLER
    assert 6 * SEC < ns(world, DATA + 32) <= 7 * SEC + 10
    frame_rax = world.u64(world.cpu.regs.rsp + 152)
    assert frame_rax == (1 << 64) - EINTR


def test_an_ignored_alarm_lets_the_sleep_go_on(world: World) -> None:
    world.put(struct.pack("<QQQQ", 1, 0, 0, 0))
    world.call("rt_sigaction", SIGALRM, DATA, 0, 8)
    world.call("alarm", 3)
    rip = world.cpu.regs.rip
    world.play(Syscall(NR["nanosleep"], (spec(world, 10, 0), 0)))
    if world.cpu.regs.rip == rip:  # the syscall is to be restarted: restart_syscall
        assert world.cpu.regs.rax == NR["restart_syscall"]
        assert world.call("restart_syscall") == 0
    clock = world.kernel.system.clock
    assert clock.monotonic_ns() >= clock.boot_ns + 10 * SEC


def test_a_timer_fires_at_an_exact_instruction(world: World) -> None:
    handle(world, SIGPROF)
    world.put(struct.pack("<4q", 0, 0, 0, 500))
    world.call("setitimer", 2, DATA, 0)
    armed = world.cpu.insns
    assert world.kernel.until == armed + 500_000
    world.cpu.script.append(Spin(2_000_000))
    trap = world.cpu.run(world.kernel, world.kernel.until)
    assert world.cpu.insns == armed + 500_000
    world.kernel.handle(trap)
    assert world.cpu.regs.rip == HANDLER
    assert world.kernel.until is None


def test_cpu_time_is_limited_to_the_instruction_and_sleep_is_none_of_it(world: World) -> None:
    handle(world, SIGXCPU)
    world.put(struct.pack("<4q", 3, 0, 1, 2))
    assert world.call("nanosleep", DATA, 0) == 0
    assert world.call("setrlimit", 0, DATA + 16) == 0
    for second, handled in ((1, True), (2, False)):
        assert world.kernel.until == second * SEC
        world.cpu.script.append(Spin(SEC))
        trap = world.cpu.run(world.kernel, world.kernel.until)
        assert world.cpu.insns == second * SEC
        assert world.kernel.handle(trap) == handled
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGKILL


def test_an_interval_timer_comes_again_and_can_be_read(world: World) -> None:
    handle(world, SIGALRM, Sa.NODEFER)
    world.put(struct.pack("<4q", 0, 100, 0, 100))
    world.call("setitimer", 0, DATA, 0)
    world.play(Spin(100_000))
    assert world.call("getitimer", 0, DATA) == 0
    assert struct.unpack("<4q", world.get(32))[:2] == (0, 100)
    assert world.kernel.until is not None
    assert world.call("setitimer", 0, 0, DATA) == 0
    assert world.kernel.until is None


def test_setitimer_refuses(world: World) -> None:
    world.put(struct.pack("<4q", 0, 0, 0, 10**6))
    assert world.call("setitimer", 0, DATA, 0) == -EINVAL
    assert world.call("setitimer", 3, 0, 0) == -EINVAL
    assert world.call("getitimer", 3, DATA) == -EINVAL
    assert world.call("setitimer", 0, BAD, 0) == -EFAULT


def test_alarm_tells_the_seconds_left(world: World) -> None:
    assert world.call("alarm", 100) == 0
    assert world.call("alarm", 0) == 100
    assert world.call("alarm", 0) == 0


def test_an_unhandled_alarm_kills(world: World) -> None:
    world.call("alarm", 1)
    world.play(Spin(2 * SEC))
    assert world.kernel.outcome is Outcome.KILLED
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGALRM


def test_the_clock_is_roots_to_set() -> None:
    assert World().call("clock_settime", 0, DATA) == -EPERM
    root = World(uid=0)
    assert root.call("clock_settime", 0, spec(root, 42, 0)) == 0
    assert root.call("time", 0) == 42
    assert root.call("clock_settime", 1, DATA) == -EINVAL


def test_times_counts_hundredths(world: World) -> None:
    world.play(Spin(50_000_000))
    uptime = world.call("times", DATA)
    assert uptime == world.kernel.system.clock.monotonic_ns() // 10_000_000
    assert world.u64() == 5


def test_a_cpu_clock_can_be_waited_for_in_vain(world: World) -> None:
    world.call("clock_nanosleep", 2, 0, spec(world, 1, 0), 0)
    assert world.kernel.outcome is Outcome.DEADLOCK
