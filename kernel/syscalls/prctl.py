"""prctl(2): what a process may say about itself. One function an option."""

from __future__ import annotations

from collections.abc import Callable

from kernel.abi.errno import EINVAL, ENODEV, ENOSYS, EPERM, LinuxError
from kernel.abi.prctlargs import PrctlArg2, PrctlArg3, PrctlArg4, PrctlArg5, PrctlOption, PrctlResult
from kernel.abi.sched import Pr
from kernel.syscalls.table import syscall
from kernel.task.task import Task

LAST_CAP = 40  # CAP_CHECKPOINT_RESTORE
THP_DISABLE_EXCEPT_ADVISED = 2
SECBIT_KEEP_CAPS = 1 << 4
AMBIENT_IS_SET, AMBIENT_RAISE, AMBIENT_LOWER, AMBIENT_CLEAR_ALL = range(1, 5)


@syscall(result=PrctlResult, partly="the options that a single-threaded program uses")
def prctl(task: Task, option: PrctlOption, arg2: PrctlArg2, arg3: PrctlArg3, arg4: PrctlArg4, arg5: PrctlArg5) -> int:
    """prctl(2)."""
    handler = _PRCTL.get(option)
    if handler is None:
        raise LinuxError(EINVAL, f"prctl option {option} is unknown or not modelled")
    return handler(task, arg2, arg3, arg4, arg5)


def _none(*args: int) -> None:
    if any(args):
        raise LinuxError(EINVAL, "the unused arguments must be 0")


def _set_name(task: Task, a2: int, *rest: int) -> int:
    raw = b""
    while len(raw) < 15 and raw[-1:] != b"\0":
        raw += task.mm.copy_from_user(a2 + len(raw), 1)
    task.comm = raw.split(b"\0")[0].decode("utf-8", "surrogateescape")
    return 0


def _get_name(task: Task, a2: int, *rest: int) -> int:
    task.mm.copy_to_user(a2, task.comm.encode("utf-8", "surrogateescape").ljust(16, b"\0"))
    return 0


def _set_dumpable(task: Task, a2: int, *rest: int) -> int:
    if a2 not in (0, 1):
        raise LinuxError(EINVAL, "dumpable is 0 or 1")
    task.process.dumpable = a2
    return 0


def _set_pdeathsig(task: Task, a2: int, *rest: int) -> int:
    if a2 > 64:
        raise LinuxError(EINVAL, f"there is no signal {a2}")
    task.pdeathsig = a2
    return 0


def _get_pdeathsig(task: Task, a2: int, *rest: int) -> int:
    task.mm.copy_to_user(a2, task.pdeathsig.to_bytes(4, "little"))
    return 0


def _set_no_new_privs(task: Task, a2: int, *rest: int) -> int:
    if a2 != 1:
        raise LinuxError(EINVAL, "it can only be set to 1")
    _none(*rest)
    task.process.no_new_privs = True
    return 0


def _get_no_new_privs(task: Task, a2: int, *rest: int) -> int:
    _none(a2, *rest)
    return int(task.process.no_new_privs)


def _set_thp_disable(task: Task, a2: int, flags: int, *rest: int) -> int:
    _none(*rest)
    if flags not in (0, THP_DISABLE_EXCEPT_ADVISED) or (flags and not a2):
        raise LinuxError(EINVAL, "the only flag is PR_THP_DISABLE_EXCEPT_ADVISED, and it goes with disabling")
    task.process.thp_disabled = 1 | flags if a2 else 0
    return 0


def _get_thp_disable(task: Task, a2: int, *rest: int) -> int:
    _none(a2, *rest)
    return task.process.thp_disabled


def _set_timerslack(task: Task, a2: int, *rest: int) -> int:
    task.timerslack_ns = a2 if 0 < a2 < 1 << 63 else 50_000
    return 0


def _set_keepcaps(task: Task, a2: int, *rest: int) -> int:
    if a2 not in (0, 1):
        raise LinuxError(EINVAL, "keepcaps is 0 or 1")
    task.process.keep_caps = a2 == 1
    return 0


def _set_subreaper(task: Task, a2: int, *rest: int) -> int:
    task.process.subreaper = a2 != 0
    return 0


def _get_subreaper(task: Task, a2: int, *rest: int) -> int:
    task.mm.copy_to_user(a2, int(task.process.subreaper).to_bytes(4, "little"))
    return 0


def _capbset_read(task: Task, a2: int, *rest: int) -> int:
    if a2 > LAST_CAP:
        raise LinuxError(EINVAL, f"there is no capability {a2}")
    return 1


def _capbset_drop(task: Task, a2: int, *rest: int) -> int:
    if not task.cred.privileged:
        raise LinuxError(EPERM, "dropping from the bounding set needs CAP_SETPCAP")
    if a2 > LAST_CAP:
        raise LinuxError(EINVAL, f"there is no capability {a2}")
    raise LinuxError(ENOSYS, "capabilities are all or none here: none can be dropped by itself")


def _get_tid_address(task: Task, a2: int, *rest: int) -> int:
    task.mm.copy_to_user(a2, task.clear_child_tid.to_bytes(8, "little"))
    return 0


def _get_tsc(task: Task, a2: int, *rest: int) -> int:
    task.mm.copy_to_user(a2, (1).to_bytes(4, "little"))  # PR_TSC_ENABLE
    return 0


def _set_tsc(task: Task, a2: int, *rest: int) -> int:
    if a2 != 1:
        raise LinuxError(EINVAL, "RDTSC cannot be switched off here")
    return 0


def _set_vma(task: Task, a2: int, *rest: int) -> int:
    """PR_SET_VMA_ANON_NAME is behind CONFIG_ANON_VMA_NAME, which is off by default."""
    raise LinuxError(EINVAL, "PR_SET_VMA needs CONFIG_ANON_VMA_NAME, which is off here as in Linux's default")


def _mce_kill_get(task: Task, a2: int, *rest: int) -> int:
    _none(a2, *rest)
    return 2  # PR_MCE_KILL_DEFAULT


def _set_timing(task: Task, a2: int, *rest: int) -> int:
    if a2:
        raise LinuxError(EINVAL, "timing is statistical, PR_TIMING_STATISTICAL")
    return 0


def _get_speculation(task: Task, a2: int, *rest: int) -> int:
    _none(*rest)
    if a2 > 2:
        raise LinuxError(ENODEV, f"there is no speculation control {a2}")
    return 0  # PR_SPEC_NOT_AFFECTED


def _cap_ambient(task: Task, a2: int, a3: int, *rest: int) -> int:
    """The ambient set is empty, and stays so: nobody here has inheritable capabilities."""
    _none(*rest)
    if a2 == AMBIENT_CLEAR_ALL:
        _none(a3)
    elif a3 > LAST_CAP or a2 not in (AMBIENT_IS_SET, AMBIENT_RAISE, AMBIENT_LOWER):
        raise LinuxError(EINVAL, "no such capability or operation")
    elif a2 == AMBIENT_RAISE:
        raise LinuxError(EPERM, "the capability is not inheritable")
    return 0


def _get_io_flusher(task: Task, *rest: int) -> int:
    if not task.cred.privileged:
        raise LinuxError(EPERM, "it needs CAP_SYS_RESOURCE")
    _none(*rest)
    return 0


_PRCTL: dict[int, Callable[..., int]] = {
    Pr.SET_NAME: _set_name,
    Pr.GET_NAME: _get_name,
    Pr.SET_DUMPABLE: _set_dumpable,
    Pr.GET_DUMPABLE: lambda task, *_: task.process.dumpable,
    Pr.SET_PDEATHSIG: _set_pdeathsig,
    Pr.GET_PDEATHSIG: _get_pdeathsig,
    Pr.SET_NO_NEW_PRIVS: _set_no_new_privs,
    Pr.GET_NO_NEW_PRIVS: _get_no_new_privs,
    Pr.SET_THP_DISABLE: _set_thp_disable,
    Pr.GET_THP_DISABLE: _get_thp_disable,
    Pr.SET_TIMERSLACK: _set_timerslack,
    Pr.GET_TIMERSLACK: lambda task, *_: task.timerslack_ns,
    Pr.SET_KEEPCAPS: _set_keepcaps,
    Pr.GET_KEEPCAPS: lambda task, *_: int(task.process.keep_caps),
    Pr.SET_CHILD_SUBREAPER: _set_subreaper,
    Pr.GET_CHILD_SUBREAPER: _get_subreaper,
    Pr.CAPBSET_READ: _capbset_read,
    Pr.CAPBSET_DROP: _capbset_drop,
    Pr.GET_TID_ADDRESS: _get_tid_address,
    Pr.GET_TSC: _get_tsc,
    Pr.SET_TSC: _set_tsc,
    Pr.GET_TIMING: lambda *_: 0,
    Pr.GET_SECCOMP: lambda *_: 0,
    Pr.GET_SECUREBITS: lambda task, *_: SECBIT_KEEP_CAPS if task.process.keep_caps else 0,
    Pr.SET_TIMING: _set_timing,
    Pr.TASK_PERF_EVENTS_DISABLE: lambda *_: 0,  # there are none to switch
    Pr.TASK_PERF_EVENTS_ENABLE: lambda *_: 0,
    Pr.GET_SPECULATION_CTRL: _get_speculation,
    Pr.CAP_AMBIENT: _cap_ambient,
    Pr.GET_IO_FLUSHER: _get_io_flusher,
    Pr.SET_VMA: _set_vma,
    Pr.MCE_KILL_GET: _mce_kill_get,
}

