"""Interval timers: alarm(2), setitimer(2); and RLIMIT_CPU. Each fires at an exact instruction: time is instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.abi.limits import RLIMIT_CPU
from kernel.abi.signal import SIGALRM, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU
from kernel.rlimit import INFINITY
from kernel.task import signal
from kernel.task.siginfo import kernel

if TYPE_CHECKING:
    from kernel.task.clock import Clock
    from kernel.task.task import Process

REAL, VIRTUAL, PROF = range(3)
_SIGNALS = (SIGALRM, SIGVTALRM, SIGPROF)
_NSEC = 1_000_000_000


class Itimer(NamedTuple):
    """One interval timer, in ns. `expires` is on its own clock (CLOCK_MONOTONIC for REAL, CPU time for the others);
    0 means disarmed."""

    expires: int = 0
    interval: int = 0


DISARMED = [Itimer()] * 3


def now(clock: Clock, which: int) -> int:
    return clock.monotonic_ns() if which == REAL else clock.cpu_ns()


def remaining(clock: Clock, which: int, timer: Itimer) -> int:
    """ns left, at least one tick of it while armed; 0 when disarmed."""
    return max(timer.expires - now(clock, which), 1000) if timer.expires else 0


def arm(process: Process, clock: Clock, which: int, value: int, interval: int) -> None:
    """Fire in `value` ns, then every `interval` ns; `value` 0 disarms."""
    process.itimers[which] = Itimer(now(clock, which) + value if value else 0, interval if value else 0)


def next_insns(process: Process, clock: Clock) -> int | None:
    """The instruction count at which the first timer fires, or RLIMIT_CPU is met; None when none is armed."""
    if process.itimers == DISARMED and process.rlimits.cur[RLIMIT_CPU] == INFINITY:
        return None
    first = _cpu_limit(process)
    for which, timer in enumerate(process.itimers):
        if timer.expires:
            at = clock.insns_at(timer.expires) if which == REAL else timer.expires
            first = at if first is None else min(first, at)
    return first


def expire(process: Process, clock: Clock) -> None:
    """Send the signal of each timer that is due, once, and arm it again."""
    for which, timer in enumerate(process.itimers):
        present = now(clock, which)
        if timer.expires and timer.expires <= present:
            missed = (present - timer.expires) // timer.interval + 1 if timer.interval else 0
            again = timer.expires + missed * timer.interval if timer.interval else 0
            process.itimers[which] = timer._replace(expires=again)
            signal.send(process, kernel(_SIGNALS[which]))


def _cpu_limit(process: Process) -> int | None:
    """The CPU time at which RLIMIT_CPU is met, in ns. Without a soft limit the hard one is not looked at either."""
    limits = process.rlimits
    soft = limits.cur[RLIMIT_CPU]
    return None if soft == INFINITY else min(soft, limits.max[RLIMIT_CPU]) * _NSEC


def enforce_cpu_limit(process: Process, clock: Clock) -> None:
    """check_process_timers: SIGXCPU at the soft limit, which moves on by a second; SIGKILL at the hard one."""
    limits = process.rlimits
    if limits.cur[RLIMIT_CPU] == INFINITY:
        return
    limit = _cpu_limit(process)
    if limit is None or clock.cpu_ns() < limit:
        return
    if clock.cpu_ns() >= limits.max[RLIMIT_CPU] * _NSEC:
        signal.send(process, kernel(SIGKILL))
    else:
        signal.send(process, kernel(SIGXCPU))
        limits.cur[RLIMIT_CPU] += 1
