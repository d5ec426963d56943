"""Scheduling syscalls. One CPU, and one thread so far: policies and masks are checked, kept and told."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import In, Out, Pid, UInt
from kernel.abi.errno import EINVAL, EPERM, LinuxError
from kernel.abi.sched import Policy, PolicyChoice
from kernel.abi.structs import SchedParam, Timespec
from kernel.abi.taskargs import CpuMaskKind, PolicyResult
from kernel.syscalls.table import syscall
from kernel.syscalls.thread import find_task
from kernel.task.task import Task

SCHED_RESET_ON_FORK = 0x40000000


@syscall
def sched_yield(task: Task) -> int:
    """sched_yield(2)."""
    return 0


@syscall
def sched_getaffinity(
    task: Task, pid: Pid, cpusetsize: UInt, mask: Annotated[int, CpuMaskKind("cpusetsize", after=True)]
) -> int:
    """sched_getaffinity(2): the bytes written."""
    if cpusetsize * 8 < task.system.config.cpus:
        raise LinuxError(EINVAL, f"a mask of {cpusetsize} bytes cannot hold {task.system.config.cpus} CPUs")
    if cpusetsize % 8:
        raise LinuxError(EINVAL, "the mask's size is not a multiple of 8")
    find_task(task, pid)
    size = min(cpusetsize, 8)
    task.mm.copy_to_user(mask, ((1 << task.system.config.cpus) - 1).to_bytes(size, "little"))
    return size


@syscall
def sched_setaffinity(task: Task, pid: Pid, cpusetsize: UInt, mask: Annotated[int, CpuMaskKind("cpusetsize")]) -> int:
    """sched_setaffinity(2): any set that holds a CPU there is."""
    wanted = int.from_bytes(task.mm.copy_from_user(mask, min(cpusetsize, 8)), "little")
    find_task(task, pid)
    if not wanted & (1 << task.system.config.cpus) - 1:
        raise LinuxError(EINVAL, "the mask holds no CPU that exists")
    return 0


@syscall(result=PolicyResult)
def sched_getscheduler(task: Task, pid: Pid) -> int:
    """sched_getscheduler(2)."""
    if pid < 0:
        raise LinuxError(EINVAL, "pid is negative")
    return find_task(task, pid).policy


@syscall
def sched_getparam(task: Task, pid: Pid, param: Out[SchedParam]) -> int:
    """sched_getparam(2)."""
    if not param or pid < 0:
        raise LinuxError(EINVAL, "param is NULL, or pid negative")
    task.mm.copy_to_user(param, SchedParam(find_task(task, pid).rt_priority).pack())
    return 0


@syscall
def sched_setparam(task: Task, pid: Pid, param: In[SchedParam]) -> int:
    """sched_setparam(2)."""
    return _set_scheduler(task, pid, None, param)


@syscall
def sched_setscheduler(task: Task, pid: Pid, policy: PolicyChoice, param: In[SchedParam]) -> int:
    """sched_setscheduler(2). With one thread every policy runs it the same."""
    if policy < 0:
        raise LinuxError(EINVAL, "unknown policy")
    return _set_scheduler(task, pid, policy, param)


def _set_scheduler(task: Task, pid: int, policy: int | None, param: int) -> int:
    if not param or pid < 0:
        raise LinuxError(EINVAL, "param is NULL, or pid negative")
    priority = SchedParam.unpack(task.mm.copy_from_user(param, SchedParam.SIZE)).sched_priority
    target = find_task(task, pid)
    policy = target.policy if policy is None else policy & ~SCHED_RESET_ON_FORK
    if policy not in (Policy.OTHER, Policy.FIFO, Policy.RR, Policy.BATCH, Policy.IDLE):
        raise LinuxError(EINVAL, "unknown policy")
    low, high = _priorities(policy)
    if not low <= priority <= high:
        raise LinuxError(EINVAL, f"this policy's priorities are {low} to {high}")
    if high and not task.cred.privileged and priority > task.rlimits.soft("RTPRIO"):
        raise LinuxError(EPERM, "real-time policies need CAP_SYS_NICE or RLIMIT_RTPRIO")
    target.policy, target.rt_priority = policy, priority
    return 0


def _priorities(policy: int) -> tuple[int, int]:
    if policy in (Policy.FIFO, Policy.RR):
        return 1, 99
    if policy in (Policy.OTHER, Policy.BATCH, Policy.IDLE, Policy.DEADLINE):
        return 0, 0
    raise LinuxError(EINVAL, "unknown policy")


@syscall
def sched_get_priority_max(task: Task, policy: PolicyChoice) -> int:
    """sched_get_priority_max(2)."""
    return _priorities(policy)[1]


@syscall
def sched_get_priority_min(task: Task, policy: PolicyChoice) -> int:
    """sched_get_priority_min(2)."""
    return _priorities(policy)[0]


@syscall
def sched_rr_get_interval(task: Task, pid: Pid, tp: Out[Timespec]) -> int:
    """sched_rr_get_interval(2): 100 ms for SCHED_RR; the fair policies' slice is below a tick, and shown as 0."""
    if pid < 0:
        raise LinuxError(EINVAL, "pid is negative")
    policy = find_task(task, pid).policy
    ns = 100_000_000 if policy == Policy.RR else 0
    task.mm.copy_to_user(tp, Timespec(0, ns).pack())
    return 0
