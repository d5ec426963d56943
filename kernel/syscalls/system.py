"""System syscalls: what the machine is, limits, resource use, randomness."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import In, InBuf, Int, Out, Pid, RandomBuf, Size
from kernel.abi.credargs import Personality, PersonalityResult
from kernel.abi.errno import EACCES, EFAULT, EINVAL, EPERM, ESRCH, LinuxError
from kernel.abi.limits import (
    HOST_NAME_MAX,
    MAX_RW_COUNT,
    RLIM_NLIMITS,
    RLIMIT_CPU,
    RLIMIT_NOFILE,
    TASK_SIZE,
    RlimitChoice,
)
from kernel.abi.sched import Grnd, GrndFlags, Rusage, RusageChoice
from kernel.abi.structs import Rlimit64, Sysinfo, Timeval, Utsname
from kernel.abi.structs import Rusage as RusageStruct
from kernel.abi.taskargs import Prio, PrioChoice
from kernel.mm.mm import MAJ_FLT, MIN_FLT
from kernel.mm.uaccess import copy_to_user_partial
from kernel.syscalls.table import syscall
from kernel.task.task import Process, Task

NR_OPEN = 1_048_576  # /proc/sys/fs/nr_open
CHUNK = 1 << 18
NSEC = 1_000_000_000
READ_IMPLIES_EXEC = 0x0400000


@syscall
def uname(task: Task, name: Out[Utsname]) -> int:
    """uname(2)."""
    config, system = task.system.config, task.system
    text = (b"Linux", system.hostname.encode(), config.release.encode(), config.version.encode(), b"x86_64", b"(none)")
    task.mm.copy_to_user(name, Utsname(*text).pack())
    return 0


@syscall
def sethostname(task: Task, name: Annotated[int, InBuf("len")], len: Int) -> int:
    """sethostname(2)."""
    if not task.cred.privileged:
        raise LinuxError(EPERM, "setting the host name needs CAP_SYS_ADMIN")
    if not 0 <= len <= HOST_NAME_MAX:
        raise LinuxError(EINVAL, f"a host name has at most {HOST_NAME_MAX} bytes")
    task.system.hostname = task.mm.copy_from_user(name, len).decode("utf-8", "surrogateescape")
    return 0


@syscall
def sysinfo(task: Task, info: Out[Sysinfo]) -> int:
    """sysinfo(2), in bytes."""
    system, frames = task.system, task.system.frames
    total = frames.total * 4096
    shared = sum(len(cache.pages) for cache in frames.caches) * 4096
    facts = Sysinfo(
        system.clock.monotonic_ns() // NSEC, (0, 0, 0), total, frames.available * 4096, shared, 0,
        frames.swap.pages << 12, frames.swap.pages - frames.swap.used << 12, len(system.processes), 0, 0, 0, 1,
    )  # fmt: skip
    task.mm.copy_to_user(info, facts.pack())
    return 0


@syscall
def getrandom(task: Task, buf: Annotated[int, RandomBuf()], count: Size, flags: GrndFlags) -> int:
    """getrandom(2), from the config's seed."""
    if flags & 0xFFFFFFFF & ~(Grnd.NONBLOCK | Grnd.RANDOM | Grnd.INSECURE):
        raise LinuxError(EINVAL, "unknown flags")
    if flags & (Grnd.RANDOM | Grnd.INSECURE) == Grnd.RANDOM | Grnd.INSECURE:
        raise LinuxError(EINVAL, "GRND_RANDOM and GRND_INSECURE exclude each other")
    count = min(count, MAX_RW_COUNT)
    if buf + count > TASK_SIZE:
        raise LinuxError(EFAULT, "the buffer leaves user space")
    done = 0
    while done < count:
        want = min(CHUNK, count - done)
        got = copy_to_user_partial(task.mm, buf + done, task.system.rng.bytes(want))
        done += got
        if got < want:
            break
    if count and not done:
        raise LinuxError(EFAULT, "the buffer cannot be written")
    return done


# limits and use


@syscall
def getrlimit(task: Task, resource: RlimitChoice, rlim: Out[Rlimit64]) -> int:
    """getrlimit(2)."""
    task.mm.copy_to_user(rlim, _limit(task.process, resource).pack())
    return 0


@syscall
def setrlimit(task: Task, resource: RlimitChoice, rlim: In[Rlimit64]) -> int:
    """setrlimit(2)."""
    _set_limit(task, task.process, resource, Rlimit64.unpack(task.mm.copy_from_user(rlim, Rlimit64.SIZE)))
    return 0


@syscall
def prlimit64(task: Task, pid: Pid, resource: RlimitChoice, new_rlim: In[Rlimit64], old_rlim: Out[Rlimit64]) -> int:
    """prlimit(2)."""
    new = Rlimit64.unpack(task.mm.copy_from_user(new_rlim, Rlimit64.SIZE)) if new_rlim else None
    process = _process(task, pid)
    old = _limit(process, resource)
    if new is not None:
        _set_limit(task, process, resource, new)
    if old_rlim:
        task.mm.copy_to_user(old_rlim, old.pack())
    return 0


def _process(task: Task, pid: int) -> Process:
    if pid == 0:
        return task.process
    found = task.system.tasks.get(pid)
    if found is None:
        raise LinuxError(ESRCH, f"there is no process {pid}")
    return found.process


def _limit(process: Process, resource: int) -> Rlimit64:
    if not 0 <= resource < RLIM_NLIMITS:
        raise LinuxError(EINVAL, f"there is no resource {resource}")
    return Rlimit64(process.rlimits.cur[resource], process.rlimits.max[resource])


def _set_limit(task: Task, process: Process, resource: int, new: Rlimit64) -> None:
    old = _limit(process, resource)
    if new.rlim_cur > new.rlim_max:
        raise LinuxError(EINVAL, "the soft limit exceeds the hard one")
    if resource == RLIMIT_NOFILE and new.rlim_max > NR_OPEN:
        raise LinuxError(EPERM, f"at most {NR_OPEN} files (fs.nr_open)")
    if new.rlim_max > old.rlim_max and not task.cred.privileged:
        raise LinuxError(EPERM, "raising a hard limit needs CAP_SYS_RESOURCE")
    process.rlimits.cur[resource] = new.rlim_cur
    process.rlimits.max[resource] = new.rlim_max
    if resource == RLIMIT_CPU:
        task.system.cpu.stop()  # it runs on with the new deadline


@syscall
def getrusage(task: Task, who: RusageChoice, ru: Out[RusageStruct]) -> int:
    """getrusage(2). All CPU time is user time."""
    if who == Rusage.CHILDREN:
        facts = _rusage(0, 0, 0, 0)
    elif who in (Rusage.SELF, Rusage.THREAD):
        counters, mm = task.mm.counters, task.mm
        facts = _rusage(
            task.system.clock.cpu_ns(), max(mm.hiwater_rss, mm.rss) * 4, counters[MIN_FLT], counters[MAJ_FLT]
        )
    else:
        raise LinuxError(EINVAL, "who is RUSAGE_SELF, RUSAGE_CHILDREN or RUSAGE_THREAD")
    task.mm.copy_to_user(ru, facts.pack())
    return 0


def _rusage(cpu_ns: int, maxrss_kb: int, minflt: int, majflt: int) -> RusageStruct:
    user = Timeval(cpu_ns // NSEC, cpu_ns % NSEC // 1000)
    return RusageStruct(user, Timeval(0, 0), maxrss_kb, 0, 0, 0, minflt, majflt, *[0] * 8)


@syscall
def getpriority(task: Task, which: PrioChoice, who: Pid) -> int:
    """getpriority(2): 20 less the nice value."""
    return 20 - _nice_target(task, which, who).nice


@syscall
def setpriority(task: Task, which: PrioChoice, who: Pid, niceval: Int) -> int:
    """setpriority(2)."""
    process = _nice_target(task, which, who)
    nice = max(-20, min(19, niceval))
    if nice < process.nice and not task.cred.privileged and 20 - nice > task.rlimits.soft("NICE"):
        raise LinuxError(EACCES, "a better priority needs CAP_SYS_NICE or RLIMIT_NICE")
    process.nice = nice
    return 0


def _nice_target(task: Task, which: int, who: int) -> Process:
    if which == Prio.PROCESS:
        return _process(task, who)
    process = task.process
    own = {Prio.PGRP: process.pgid, Prio.USER: process.cred.uid}.get(which)
    if own is None:
        raise LinuxError(EINVAL, "which is PRIO_PROCESS, PRIO_PGRP or PRIO_USER")
    if who not in (0, own):
        raise LinuxError(ESRCH, "nobody is there")
    return process


# what a process may say about itself


@syscall(result=PersonalityResult)
def personality(task: Task, personality: Personality) -> int:
    """personality(2): the one before. Of the bits, those about memory layout count at the next execve."""
    process, old = task.process, task.process.personality
    personality &= 0xFFFFFFFF
    if personality != 0xFFFFFFFF:
        process.personality = personality
        task.mm.read_implies_exec = bool(personality & READ_IMPLIES_EXEC)
    return old
