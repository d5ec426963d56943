"""Signal syscalls, six registers in, one out. Frames and delivery are test_task_sigframe.py's."""

from __future__ import annotations

import struct

import pytest
from fakes import DATA, Syscall, World

from kernel.abi.errno import EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ESRCH
from kernel.abi.nr import NR
from kernel.abi.signal import SIG_IGN, SIGCHLD, SIGHUP, SIGKILL, SIGTERM, SIGUSR1, Sa
from kernel.events import SignalDelivered, SyscallExit
from kernel.kernel import Outcome

HANDLER, RESTORER = 0x401100, 0x401200
BAD = 8
ALL = (1 << 64) - 1
SET, INFO, SPEC = DATA, DATA + 0x100, DATA + 0x200


@pytest.fixture
def world() -> World:
    return World()


def mask(world: World, value: int) -> int:
    return world.put(value.to_bytes(8, "little"), SET)


def action(world: World, sig: int, handler: int, flags: int = 0) -> int:
    world.put(struct.pack("<QQQQ", handler, flags, RESTORER, 0))
    return world.call("rt_sigaction", sig, DATA, 0, 8)


def test_an_action_is_kept_as_given_less_what_is_unknown(world: World) -> None:
    world.put(struct.pack("<QQQQ", HANDLER, Sa.SIGINFO | 0x400 | Sa.RESTORER, RESTORER, ALL))
    assert world.call("rt_sigaction", SIGUSR1, DATA, 0, 8) == 0
    assert world.call("rt_sigaction", SIGUSR1, 0, DATA, 8) == 0
    unblockable = 1 << 8 | 1 << 18
    assert struct.unpack("<QQQQ", world.get(32)) == (HANDLER, Sa.SIGINFO | Sa.RESTORER, RESTORER, ALL & ~unblockable)


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ((SIGUSR1, DATA, 0, 7), -EINVAL),
        ((0, 0, 0, 8), -EINVAL),
        ((65, 0, 0, 8), -EINVAL),
        ((SIGKILL, DATA, 0, 8), -EINVAL),
        ((SIGKILL, 0, DATA, 8), 0),
        ((SIGUSR1, BAD, 0, 8), -EFAULT),
        ((SIGUSR1, 0, BAD, 8), -EFAULT),
    ],
)
def test_rt_sigaction_refuses(world: World, args: tuple[int, ...], value: int) -> None:
    assert world.call("rt_sigaction", *args) == value


def test_the_mask_is_changed_three_ways(world: World) -> None:
    assert world.call("rt_sigprocmask", 2, mask(world, ALL), 0, 8) == 0
    assert world.task.blocked == ALL & ~(1 << 8 | 1 << 18)
    world.call("rt_sigprocmask", 1, mask(world, 0xFF), 0, 8)
    world.call("rt_sigprocmask", 0, mask(world, 1), SET, 8)
    assert world.task.blocked & 0xFF == 1
    assert world.call("rt_sigprocmask", 9, SET, 0, 8) == -EINVAL
    assert world.call("rt_sigprocmask", 9, 0, 0, 8) == 0
    assert world.call("rt_sigprocmask", 0, BAD, 0, 8) == -EFAULT
    assert world.call("rt_sigprocmask", 0, SET, 0, 4) == -EINVAL


def test_blocked_signals_wait_and_are_seen_pending(world: World) -> None:
    world.call("rt_sigprocmask", 2, mask(world, ALL), 0, 8)
    for sig in (SIGTERM, SIGTERM, 40, 40):
        world.call("kill", 1000, sig)
    assert world.call("rt_sigpending", SET, 8) == 0
    assert world.u64(SET) == 1 << SIGTERM - 1 | 1 << 39
    assert [info.sig for info in world.task.process.pending.queue] == [SIGTERM, 40, 40]
    action(world, SIGTERM, SIG_IGN)
    world.call("rt_sigpending", SET, 8)
    assert world.u64(SET) == 1 << 39


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("kill", (4242, 0), -ESRCH),
        ("kill", (1000, 65), -EINVAL),
        ("kill", (1000, 0), 0),
        ("kill", (-1, SIGTERM), -ESRCH),
        ("kill", (-4242, 0), -ESRCH),
        ("kill", (-(1 << 31), 0), -ESRCH),
        ("kill", (0, 0), 0),
        ("tgkill", (1000, 1001, 0), -ESRCH),
        ("tgkill", (-1, 1000, 0), -EINVAL),
        ("tgkill", (999, 1000, 0), -ESRCH),
        ("tkill", (0, 0), -EINVAL),
        ("tkill", (1000, 0), 0),
        ("rt_sigqueueinfo", (1000, SIGUSR1, BAD), -EFAULT),
        ("rt_sigqueueinfo", (999, SIGUSR1, INFO), -EPERM),
        ("rt_tgsigqueueinfo", (1000, 0, SIGUSR1, INFO), -EPERM),
    ],
)
def test_sending_refuses(world: World, name: str, args: tuple[int, ...], value: int) -> None:
    assert world.call(name, *args) == value


def test_queued_values_arrive_in_order(world: World) -> None:
    world.call("rt_sigprocmask", 2, mask(world, ALL), 0, 8)
    for number in (1, 2):
        world.put(struct.pack("<iiiiiIq", 0, 0, -1, 0, 1000, 1000, number).ljust(128, b"\0"), INFO)
        assert world.call("rt_sigqueueinfo", 1000, 40, INFO) == 0
    mask(world, 1 << 39)
    for number in (1, 2):
        assert world.call("rt_sigtimedwait", SET, INFO, 0, 8) == 40
        assert world.u64(INFO + 24) == number
        assert struct.unpack("<iii", world.get(12, INFO)) == (40, 0, -1)


def test_rlimit_sigpending_bounds_the_queue() -> None:
    world = World(rlimits={"SIGPENDING": (1, 1)})
    world.call("rt_sigprocmask", 2, mask(world, ALL), 0, 8)
    world.put(struct.pack("<iii", 0, 0, -1).ljust(128, b"\0"), INFO)
    assert world.call("rt_sigqueueinfo", 1000, 40, INFO) == 0
    assert world.call("rt_sigqueueinfo", 1000, 40, INFO) == -EAGAIN


def test_sigtimedwait_gives_up_in_virtual_time(world: World) -> None:
    world.put(struct.pack("<qq", 7, 0), SPEC)
    before = world.kernel.system.clock.monotonic_ns()
    assert world.call("rt_sigtimedwait", mask(world, 1), 0, SPEC, 8) == -EAGAIN
    assert world.kernel.system.clock.monotonic_ns() - before >= 7 * 10**9
    world.put(struct.pack("<qq", 0, -1), SPEC)
    assert world.call("rt_sigtimedwait", SET, 0, SPEC, 8) == -EINVAL


def test_sigsuspend_delivers_and_puts_the_mask_back(world: World) -> None:
    action(world, SIGHUP, HANDLER, Sa.RESTORER)
    world.call("rt_sigprocmask", 2, mask(world, 0xFF), 0, 8)
    world.call("kill", 1000, SIGHUP)
    world.play(Syscall(NR["rt_sigsuspend"], (mask(world, 0), 8)))
    assert world.cpu.regs.rip == HANDLER
    assert world.u64(world.cpu.regs.rsp + 304) == 0xFF
    world.cpu.regs.rsp += 8
    world.play(Syscall(NR["rt_sigreturn"]))
    assert world.task.blocked == 0xFF
    assert world.cpu.regs.rax == (1 << 64) - 4


@pytest.mark.parametrize("name", ["pause", "rt_sigsuspend"])
def test_waiting_for_a_signal_that_cannot_come_is_a_deadlock(world: World, name: str) -> None:
    seen = world.watch(SyscallExit)
    world.call(name, mask(world, 0), 8)
    assert world.kernel.outcome is Outcome.DEADLOCK
    assert "for a signal" in world.kernel.why
    assert seen[0].shown == "?"


def test_sigaltstack_keeps_what_it_is_given(world: World) -> None:
    def stack(sp: int, flags: int, size: int) -> int:
        return world.put(struct.pack("<QixxxxQ", sp, flags, size))

    assert world.call("sigaltstack", 0, DATA) == 0
    assert struct.unpack("<QixxxxQ", world.get(24)) == (0, 2, 0)
    assert world.call("sigaltstack", stack(0x1000, 5, 4096), 0) == -EINVAL
    assert world.call("sigaltstack", stack(0x1000, 0, 2047), 0) == -ENOMEM
    assert world.call("sigaltstack", BAD, 0) == -EFAULT
    assert world.call("sigaltstack", stack(0x1000, 1, 4096), DATA) == 0
    assert world.call("sigaltstack", stack(0, 2, 0), DATA) == 0
    assert struct.unpack("<QixxxxQ", world.get(24)) == (0x1000, 0, 4096)
    world.cpu.regs.rsp = 0x1800
    world.call("sigaltstack", stack(0x1000, 0, 4096), 0)
    assert world.call("sigaltstack", stack(0x2000, 0, 4096), 0) == -EPERM


def test_default_actions_ignore_or_kill(world: World) -> None:
    seen = world.watch(SignalDelivered)
    assert world.call("kill", 1000, SIGCHLD) == 0
    assert world.kernel.running
    world.call("kill", 1000, 40)
    assert [event.sig for event in seen] == [SIGCHLD, 40]
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == 40


def test_the_trace_shows_what_sigreturn_restores(world: World) -> None:
    action(world, SIGUSR1, HANDLER, Sa.RESTORER)
    seen = world.watch(SyscallExit)
    world.call("kill", 1000, SIGUSR1)
    world.cpu.regs.rsp += 8
    world.play(Syscall(NR["rt_sigreturn"]))
    assert [f"{event.text} = {event.shown}" for event in seen] == [
        "kill(1000, SIGUSR1) = 0", "rt_sigreturn({mask=[]}) = 0",
    ]  # fmt: skip
