"""Time syscalls: clocks, sleeping, interval timers. All time is virtual: retired instructions and what was slept."""

from __future__ import annotations

from kernel.abi.args import In, Out, UInt
from kernel.abi.errno import EINVAL, EOPNOTSUPP, EPERM, Errno, LinuxError
from kernel.abi.sched import TIMER_ABSTIME, Clock, ClockChoice, ItimerChoice, TimerFlags
from kernel.abi.structs import Itimerval, Timespec, Timeval, Timezone, Tms
from kernel.abi.timeargs import Remaining, TimePointer, TimeResult
from kernel.syscalls.table import Outcome, syscall
from kernel.task import timer
from kernel.task.task import RestartBlock, Task
from kernel.wait import Block, Interrupted

NSEC = 1_000_000_000
TICK = 4_000_000  # CONFIG_HZ=250: what the coarse clocks count
JIFFY = 10_000_000  # times(2): USER_HZ is 100
COARSE = (Clock.REALTIME_COARSE, Clock.MONOTONIC_COARSE)
WALL = (Clock.REALTIME, Clock.REALTIME_COARSE, Clock.TAI)
ALARMS = (Clock.REALTIME_ALARM, Clock.BOOTTIME_ALARM)
KNOWN = range(12)
SLEEPABLE = (Clock.REALTIME, Clock.MONOTONIC, Clock.BOOTTIME, Clock.TAI, Clock.PROCESS_CPUTIME_ID)
CPUCLOCK_FD = 3  # in the low bits of a negative clock id: a descriptor, not a process


def read_timespec(task: Task, va: int) -> int:
    """A struct timespec as ns. Raises EFAULT, and EINVAL where it is negative or not normalised."""
    spec = Timespec.unpack(task.mm.copy_from_user(va, Timespec.SIZE))
    if spec.tv_sec < 0 or not 0 <= spec.tv_nsec < NSEC:
        raise LinuxError(EINVAL, f"tv_sec {spec.tv_sec}, tv_nsec {spec.tv_nsec} is no time")
    return min(spec.tv_sec * NSEC + spec.tv_nsec, (1 << 63) - 1)


def _write_timespec(task: Task, va: int, ns: int) -> None:
    task.mm.copy_to_user(va, Timespec(*divmod(ns, NSEC)).pack())


def _timeval(ns: int) -> Timeval:
    return Timeval(ns // NSEC, ns % NSEC // 1000)


def _is_cpu_clock(task: Task, clock: int) -> bool:
    """A CPU-time clock of the caller, by name or by id (clock_getcpuclockid). Raises EINVAL for one of nobody."""
    if clock in (Clock.PROCESS_CPUTIME_ID, Clock.THREAD_CPUTIME_ID):
        return True
    if clock >= 0:
        return False
    owner = ~(clock >> 3)
    if clock & 7 == CPUCLOCK_FD or clock & 3 == 3 or owner not in (0, task.tid):
        raise LinuxError(EINVAL, f"clock {clock} belongs to no task here")
    return True


def _read_clock(task: Task, clock: int) -> int:
    """The clock's time in ns. Raises EINVAL for a clock that there is not."""
    time = task.system.clock
    if _is_cpu_clock(task, clock):
        return time.cpu_ns()
    if clock not in KNOWN or clock == Clock.SGI_CYCLE:
        raise LinuxError(EINVAL, f"there is no clock {clock}")
    if clock in ALARMS:
        raise LinuxError(EINVAL, "there is no RTC that could wake the machine")
    ns = time.realtime_ns() if clock in WALL else time.monotonic_ns()
    return ns - ns % TICK if clock in COARSE else ns


@syscall
def clock_gettime(task: Task, which_clock: ClockChoice, tp: Out[Timespec]) -> int:
    """clock_gettime(2)."""
    _write_timespec(task, tp, _read_clock(task, which_clock))
    return 0


@syscall
def clock_getres(task: Task, which_clock: ClockChoice, tp: Out[Timespec]) -> int:
    """clock_getres(2): 1 ns, a tick for the coarse clocks."""
    _read_clock(task, which_clock)
    if tp:
        _write_timespec(task, tp, TICK if which_clock in COARSE else 1)
    return 0


@syscall
def clock_settime(task: Task, which_clock: ClockChoice, tp: In[Timespec]) -> int:
    """clock_settime(2)."""
    if which_clock != Clock.REALTIME:
        raise LinuxError(EINVAL, "only CLOCK_REALTIME can be set")
    _set_time(task, read_timespec(task, tp))
    return 0


def _set_time(task: Task, ns: int) -> None:
    if not task.cred.privileged:
        raise LinuxError(EPERM, "setting the clock needs CAP_SYS_TIME")
    clock = task.system.clock
    clock.epoch_ns += ns - clock.realtime_ns()


@syscall
def gettimeofday(task: Task, tv: Out[Timeval], tz: Out[Timezone]) -> int:
    """gettimeofday(2)."""
    if tv:
        task.mm.copy_to_user(tv, _timeval(task.system.clock.realtime_ns()).pack())
    if tz:
        task.mm.copy_to_user(tz, Timezone(0, 0).pack())
    return 0


@syscall
def settimeofday(task: Task, tv: In[Timeval], tz: In[Timezone]) -> int:
    """settimeofday(2)."""
    ns = None
    if tv:
        given = Timeval.unpack(task.mm.copy_from_user(tv, Timeval.SIZE))
        if given.tv_sec < 0 or not 0 <= given.tv_usec < 1_000_000:
            raise LinuxError(EINVAL, "tv is no time")
        ns = given.tv_sec * NSEC + given.tv_usec * 1000
    if tz:
        task.mm.copy_from_user(tz, Timezone.SIZE)
    if not task.cred.privileged:
        raise LinuxError(EPERM, "setting the clock needs CAP_SYS_TIME")
    if ns is not None:
        _set_time(task, ns)
    return 0


@syscall(result=TimeResult)
def time(task: Task, tloc: TimePointer) -> int:
    """time(2)."""
    seconds = task.system.clock.realtime_ns() // NSEC
    if tloc:
        task.mm.copy_to_user(tloc, seconds.to_bytes(8, "little"))
    return seconds


@syscall
def times(task: Task, buffer: Out[Tms]) -> int:
    """times(2): clock ticks of 10 ms since the start of the machine."""
    if buffer:
        task.mm.copy_to_user(buffer, Tms(task.system.clock.cpu_ns() // JIFFY, 0, 0, 0).pack())
    return task.system.clock.monotonic_ns() // JIFFY


# sleeping


@syscall
def nanosleep(task: Task, rqtp: In[Timespec], rmtp: Remaining) -> Outcome:
    """nanosleep(2): virtual time jumps."""
    ns = read_timespec(task, rqtp)
    return _sleep(task, task.system.clock.monotonic_ns() + ns, rmtp)


@syscall
def clock_nanosleep(
    task: Task, which_clock: ClockChoice, flags: TimerFlags, rqtp: In[Timespec], rmtp: Remaining
) -> Outcome:
    """clock_nanosleep(2)."""
    if which_clock in KNOWN and which_clock not in (*SLEEPABLE, Clock.SGI_CYCLE):
        raise LinuxError(EOPNOTSUPP, "nobody can sleep on this clock")
    now = _read_clock(task, which_clock)
    ns = read_timespec(task, rqtp)
    if _is_cpu_clock(task, which_clock):
        return _sleep_for_ever(f"for CPU time, of which a sleeper uses none (clock {which_clock})")
    if flags & TIMER_ABSTIME:
        return _sleep(task, ns - now + task.system.clock.monotonic_ns(), 0, Errno.ERESTARTNOHAND)
    return _sleep(task, task.system.clock.monotonic_ns() + ns, rmtp)


def _sleep(task: Task, deadline: int, rem: int, interrupted: Errno = Errno.ERESTART_RESTARTBLOCK) -> Outcome:
    """Until `deadline` (CLOCK_MONOTONIC). A signal leaves the rest in `rem`, and the way to go on in task.restart."""
    clock = task.system.clock
    while clock.monotonic_ns() < deadline:
        try:
            yield Block(deadline=deadline, why="for a time to come")
        except Interrupted:
            left = deadline - clock.monotonic_ns()
            if left <= 0:
                return 0
            if rem:
                _write_timespec(task, rem, left)
            task.restart = RestartBlock(deadline, rem)
            raise LinuxError(interrupted, "a signal arrived") from None
    return 0


def _sleep_for_ever(why: str) -> Outcome:
    while True:
        yield Block(why=why)


@syscall
def restart_syscall(task: Task) -> Outcome:
    """restart_syscall(2): the kernel's own way to continue an interrupted sleep."""
    restart, task.restart = task.restart, None
    if restart is None:
        raise LinuxError(Errno.EINTR, "nothing was interrupted")
    return _sleep(task, restart.deadline, restart.rem)


# interval timers


@syscall
def alarm(task: Task, seconds: UInt) -> int:
    """alarm(2): the seconds that were left of the one before, rounded as Linux rounds them."""
    clock, process = task.system.clock, task.process
    left = timer.remaining(clock, timer.REAL, process.itimers[timer.REAL])
    timer.arm(process, clock, timer.REAL, seconds * NSEC, 0)
    task.system.cpu.stop()  # it runs on with the new deadline
    whole, rest = divmod(left, NSEC)
    return whole + 1 if (not whole and rest) or rest >= NSEC // 2 else whole


@syscall
def getitimer(task: Task, which: ItimerChoice, value: Out[Itimerval]) -> int:
    """getitimer(2)."""
    if which not in range(3):
        raise LinuxError(EINVAL, "there are three timers: ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF")
    task.mm.copy_to_user(value, _itimerval(task, which).pack())
    return 0


def _itimerval(task: Task, which: int) -> Itimerval:
    one = task.process.itimers[which]
    return Itimerval(_timeval(one.interval), _timeval(timer.remaining(task.system.clock, which, one)))


@syscall
def setitimer(task: Task, which: ItimerChoice, value: In[Itimerval], ovalue: Out[Itimerval]) -> int:
    """setitimer(2). It fires at an exact instruction."""
    interval = first = 0
    if value:
        given = Itimerval.unpack(task.mm.copy_from_user(value, Itimerval.SIZE))
        for part in (given.it_value, given.it_interval):
            if part.tv_sec < 0 or not 0 <= part.tv_usec < 1_000_000:
                raise LinuxError(EINVAL, "not a time")
        first = given.it_value.tv_sec * NSEC + given.it_value.tv_usec * 1000
        interval = given.it_interval.tv_sec * NSEC + given.it_interval.tv_usec * 1000
    if which not in range(3):
        raise LinuxError(EINVAL, "there are three timers: ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF")
    old = _itimerval(task, which)
    timer.arm(task.process, task.system.clock, which, first, interval)
    task.system.cpu.stop()  # it runs on with the new deadline
    if ovalue:
        task.mm.copy_to_user(ovalue, old.pack())
    return 0


