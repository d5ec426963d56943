"""Signal syscalls: actions, masks, sending, waiting, and the way back from a handler."""

from __future__ import annotations

from kernel.abi.args import Call, In, Int, Out, OutSigset, Pid, Sig, Sigset, Size, UIntHex
from kernel.abi.errno import EAGAIN, EINVAL, EPERM, ESRCH, Errno, LinuxError
from kernel.abi.signal import (
    NSIG,
    SI_TKILL,
    SI_USER,
    SIG_BLOCK,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGKILL,
    SIGSTOP,
    SigHowChoice,
)
from kernel.abi.structs import Sigaction, StackT, Timespec
from kernel.abi.taskargs import rt_sigreturn_mask
from kernel.abi.words import InSiginfo, OutSiginfo
from kernel.syscalls.table import Outcome, Restored, syscall
from kernel.syscalls.time import read_timespec
from kernel.task import sigframe, signal
from kernel.task.pidfd import of_thread, pidfd_task
from kernel.task.siginfo import SIGINFO_SIZE, SigInfo, from_user, sent
from kernel.task.task import Process, Task
from kernel.wait import Block, Interrupted

SIGSET_SIZE = 8


def _check_sigset(size: int) -> None:
    if size != SIGSET_SIZE:
        raise LinuxError(EINVAL, f"a sigset has {SIGSET_SIZE} bytes, not {size}")


def _read_sigset(task: Task, va: int) -> int:
    return int.from_bytes(task.mm.copy_from_user(va, SIGSET_SIZE), "little")


def _write_sigset(task: Task, va: int, mask: int) -> None:
    task.mm.copy_to_user(va, mask.to_bytes(SIGSET_SIZE, "little"))


@syscall
def rt_sigaction(task: Task, sig: Sig, act: In[Sigaction], oact: Out[Sigaction], sigsetsize: Size) -> int:
    """rt_sigaction(2)."""
    _check_sigset(sigsetsize)
    new = Sigaction.unpack(task.mm.copy_from_user(act, Sigaction.SIZE)) if act else None
    if not 1 <= sig <= NSIG:
        raise LinuxError(EINVAL, f"there is no signal {sig}")
    if new is not None and sig in (SIGKILL, SIGSTOP):
        raise LinuxError(EINVAL, "SIGKILL and SIGSTOP cannot be handled or ignored")
    old = signal.action_of(task.process, sig)
    if new is not None:
        flags = new.sa_flags & 0xFFFFFFFF & signal.SA_KNOWN
        signal.set_action(task.process, sig, signal.SigAction(new.sa_handler, flags, new.sa_restorer, new.sa_mask))
    if oact:
        task.mm.copy_to_user(oact, Sigaction(old.handler, old.flags, old.restorer, old.mask).pack())
    return 0


@syscall
def rt_sigprocmask(task: Task, how: SigHowChoice, set: Sigset, oset: OutSigset, sigsetsize: Size) -> int:
    """rt_sigprocmask(2)."""
    _check_sigset(sigsetsize)
    old = task.blocked
    if set:
        mask = _read_sigset(task, set)
        if how == SIG_BLOCK:
            mask |= old
        elif how == SIG_UNBLOCK:
            mask = old & ~mask
        elif how != SIG_SETMASK:
            raise LinuxError(EINVAL, "how is SIG_BLOCK, SIG_UNBLOCK or SIG_SETMASK")
        signal.set_blocked(task, mask)
    if oset:
        _write_sigset(task, oset, old)
    return 0


@syscall
def rt_sigpending(task: Task, set: OutSigset, sigsetsize: Size) -> int:
    """rt_sigpending(2)."""
    if sigsetsize > SIGSET_SIZE:
        raise LinuxError(EINVAL, f"a sigset has {SIGSET_SIZE} bytes")
    due = (task.pending.bits | task.process.pending.bits) & task.blocked
    task.mm.copy_to_user(set, due.to_bytes(SIGSET_SIZE, "little")[:sigsetsize])
    return 0


@syscall
def sigaltstack(task: Task, uss: In[StackT], uoss: Out[StackT]) -> int:
    """sigaltstack(2)."""
    new = StackT.unpack(task.mm.copy_from_user(uss, StackT.SIZE)) if uss else None
    sp = task.system.cpu.read_regs().rsp
    old = task.altstack
    shown = StackT(old.sp, sigframe.altstack_flags(task, sp) | _signed(old.flags & ~3), old.size)
    if new is not None:
        sigframe.set_altstack(task, new.ss_sp, new.ss_flags & 0xFFFFFFFF, new.ss_size, sp)
    if uoss:
        task.mm.copy_to_user(uoss, shown.pack())
    return 0


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def _frame_mask(call: Call) -> str:
    return rt_sigreturn_mask(call, call.task.system.cpu.read_regs().rsp)


@syscall(shows=_frame_mask)
def rt_sigreturn(task: Task) -> int:
    """rt_sigreturn(2): back to where the signal came."""
    return Restored(_as_long(sigframe.restore(task)))


def _as_long(value: int) -> int:
    return (value ^ 1 << 63) - (1 << 63)


# sending


@syscall
def kill(task: Task, pid: Pid, sig: Sig) -> int | None:
    """kill(2). -1 means every process but the caller and the first, of which there are none."""
    targets = _processes(task, pid)
    info = _sent(task, sig, SI_USER)
    for process in targets:
        _check_kill(task, process)
        if sig:
            signal.send(process, info)
    return _back(task)


def _back(task: Task) -> int | None:
    """0, or no value for a caller that SIGKILL waits for: it never comes back from the kernel (strace: `= ?`)."""
    pending = task.pending.bits | task.process.pending.bits
    return None if pending >> SIGKILL - 1 & 1 else 0


def _processes(task: Task, pid: int) -> list[Process]:
    everybody = list(task.system.processes.values())
    if pid > 0:
        found = [process for process in everybody if process.pid == pid]
    elif pid == -1:
        found = [process for process in everybody if process is not task.process and process.pid != 1]
    elif pid == -(1 << 31):
        found = []
    else:
        group = -pid if pid else task.process.pgid
        found = [process for process in everybody if process.pgid == group]
    if not found:
        raise LinuxError(ESRCH, f"there is no process {pid}" if pid > 0 else "there is no such process group")
    return found


def _check_sig(sig: int) -> None:
    if not 0 <= sig <= NSIG:
        raise LinuxError(EINVAL, f"there is no signal {sig}")


def _sent(task: Task, sig: int, code: int) -> SigInfo:
    _check_sig(sig)
    return sent(sig, code, task.pid, task.cred.uid)


def _check_kill(task: Task, process: Process) -> None:
    """kill_ok_by_cred()."""
    own, other = task.cred, process.cred
    if own is not other and not own.privileged and not {own.euid, own.uid} & {other.suid, other.uid}:
        raise LinuxError(EPERM, f"process {process.pid} belongs to somebody else")


def _thread(task: Task, tgid: int, tid: int) -> Task:
    found = task.system.tasks.get(tid)
    if found is None or (tgid > 0 and found.process.pid != tgid):
        raise LinuxError(ESRCH, f"there is no thread {tid}" + (f" in process {tgid}" if tgid > 0 else ""))
    return found


@syscall
def tgkill(task: Task, tgid: Pid, pid: Pid, sig: Sig) -> int | None:
    """tgkill(2)."""
    if pid <= 0 or tgid <= 0:
        raise LinuxError(EINVAL, "thread ids are positive")
    return _tkill(task, tgid, pid, sig)


@syscall
def tkill(task: Task, pid: Pid, sig: Sig) -> int | None:
    """tkill(2)."""
    if pid <= 0:
        raise LinuxError(EINVAL, "thread ids are positive")
    return _tkill(task, 0, pid, sig)


def _tkill(task: Task, tgid: int, tid: int, sig: int) -> int | None:
    target = _thread(task, tgid, tid)
    info = _sent(task, sig, SI_TKILL)
    _check_kill(task, target.process)
    if sig:
        signal.send(target.process, info, target)
    return _back(task)


@syscall
def rt_sigqueueinfo(task: Task, pid: Pid, sig: Sig, uinfo: InSiginfo) -> int:
    """rt_sigqueueinfo(2)."""
    info = _queued(task, pid, sig, uinfo)
    process = task.system.processes.get(pid)
    if process is None:
        raise LinuxError(ESRCH, f"there is no process {pid}")
    _check_sig(sig)
    _check_kill(task, process)
    if sig:
        signal.send(process, info)
    return 0


@syscall
def rt_tgsigqueueinfo(task: Task, tgid: Pid, pid: Pid, sig: Sig, uinfo: InSiginfo) -> int:
    """rt_tgsigqueueinfo(2)."""
    info = _queued(task, pid, sig, uinfo)
    if pid <= 0 or tgid <= 0:
        raise LinuxError(EINVAL, "thread ids are positive")
    target = _thread(task, tgid, pid)
    _check_sig(sig)
    _check_kill(task, target.process)
    if sig:
        signal.send(target.process, info, target)
    return 0


@syscall
def pidfd_send_signal(task: Task, pidfd: Int, sig: Sig, info: InSiginfo, flags: UIntHex) -> int | None:
    """pidfd_send_signal(2)."""
    if flags not in (0, THREAD, THREAD_GROUP, PROCESS_GROUP):
        raise LinuxError(EINVAL, "flags may be one of PIDFD_SIGNAL_THREAD, _THREAD_GROUP and _PROCESS_GROUP")
    target = pidfd_task(task, pidfd)
    scope = flags or (THREAD if of_thread(task, pidfd) else THREAD_GROUP)
    own = target is task and scope != PROCESS_GROUP
    if info:
        sending = from_user(sig, raw := task.mm.copy_from_user(info, SIGINFO_SIZE))
        if int.from_bytes(raw[:4], "little", signed=True) != sig:
            raise LinuxError(EINVAL, "si_signo is another signal")
        if not own and (sending.code >= 0 or sending.code == SI_TKILL):
            raise LinuxError(EPERM, f"si_code {sending.code} is the kernel's to give")
    else:
        sending = sent(sig, SI_TKILL if scope == THREAD else SI_USER, task.pid, task.cred.uid)
    if scope == PROCESS_GROUP:
        processes = [process for process in task.system.processes.values() if process.pgid == target.pid]
        if not processes:
            raise LinuxError(ESRCH, f"there is no process group {target.pid}")
    else:
        processes = [target.process]
    _check_sig(sig)
    for process in processes:
        _check_kill(task, process)
        if sig:
            signal.send(process, sending, target if scope == THREAD else None)
    return _back(task)


THREAD, THREAD_GROUP, PROCESS_GROUP = 1, 2, 4  # PIDFD_SIGNAL_*


def _queued(task: Task, pid: int, sig: int, uinfo: int) -> SigInfo:
    """The caller's siginfo, as far as it does not pose as somebody else's (kernel/signal.c, do_rt_sigqueueinfo)."""
    info = from_user(sig, task.mm.copy_from_user(uinfo, SIGINFO_SIZE))
    if (info.code >= 0 or info.code == SI_TKILL) and task.pid != pid:
        raise LinuxError(EPERM, f"si_code {info.code} is the kernel's to give")
    return info


# waiting


@syscall
def rt_sigsuspend(task: Task, unewset: Sigset, sigsetsize: Size) -> Outcome:
    """rt_sigsuspend(2)."""
    _check_sigset(sigsetsize)
    mask = _read_sigset(task, unewset)
    task.saved_blocked = task.blocked
    signal.set_blocked(task, mask)
    return _until_signal()


@syscall
def pause(task: Task) -> Outcome:
    """pause(2)."""
    return _until_signal()


def _until_signal() -> Outcome:
    try:
        while True:
            yield Block(why="for a signal")
    except Interrupted:
        raise LinuxError(Errno.ERESTARTNOHAND, "a signal arrived") from None


@syscall
def rt_sigtimedwait(task: Task, uthese: Sigset, uinfo: OutSiginfo, uts: In[Timespec], sigsetsize: Size) -> Outcome:
    """rt_sigtimedwait(2): the signal's number; it is not delivered."""
    _check_sigset(sigsetsize)
    these = _read_sigset(task, uthese) & signal.ALL & ~signal.UNBLOCKABLE
    clock = task.system.clock
    deadline = clock.monotonic_ns() + read_timespec(task, uts) if uts else None
    info = signal.dequeue(task, these)
    if info is not None:
        return _waited(task, info, uinfo)
    if deadline is not None and deadline <= clock.monotonic_ns():
        raise LinuxError(EAGAIN, "none of these signals is pending")
    return _wait_for(task, these, uinfo, deadline)


def _wait_for(task: Task, these: int, uinfo: int, deadline: int | None) -> Outcome:
    def arrived() -> bool:
        return (task.pending.bits | task.process.pending.bits) & these != 0

    clock = task.system.clock
    while True:
        interrupted = False
        try:
            yield Block(arrived, deadline, "for one of a set of signals")
        except Interrupted:
            interrupted = True
        info = signal.dequeue(task, these)
        if info is not None:
            return _waited(task, info, uinfo)
        if interrupted:
            raise LinuxError(Errno.EINTR, "another signal arrived")
        if deadline is not None and clock.monotonic_ns() >= deadline:
            raise LinuxError(EAGAIN, "none of these signals came in time")


def _waited(task: Task, info: SigInfo, uinfo: int) -> int:
    if uinfo:
        task.mm.copy_to_user(uinfo, info.raw)
    return info.sig


