"""Delivering signals on the way back to user mode (Linux: get_signal, handle_signal, do_signal_or_restart)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import Errno, LinuxError
from kernel.abi.signal import SIG_DFL, SIG_IGN, SIGKILL, SIGSEGV, Sa, Ss, signame
from kernel.events import SignalDelivered
from kernel.task import exit, rseq, sigframe, signal
from kernel.task.siginfo import SigInfo, kernel
from kernel.task.task import AltStack

if TYPE_CHECKING:
    from kernel.cpu import Regs
    from kernel.task.task import Task

M64 = (1 << 64) - 1
RESTARTS = {Errno.ERESTARTSYS, Errno.ERESTARTNOINTR, Errno.ERESTARTNOHAND, Errno.ERESTART_RESTARTBLOCK}
RESTART_SYSCALL = 219


def deliver(task: Task, nr: int | None) -> None:
    """Deliver everything that is due: frames are pushed, or the process ends. The CPU is stopped in user mode, its
    registers final. `nr` is the syscall it comes from, None when from an exception or a timer."""
    cpu = task.system.cpu
    while task.signals_due:
        info = signal.dequeue(task, ~task.blocked)
        if info is None:
            break
        _tell(task, info)
        action = signal.action_of(task.process, info.sig)
        if action.handler == SIG_IGN:
            continue
        if action.handler == SIG_DFL:
            if _default(task, info):
                return
            continue
        regs = cpu.read_regs()
        if nr is not None:
            _restart(regs, nr, action)
            nr = None
        _enter(task, info, action, regs)
        cpu.write_regs(regs)
    if nr is not None:
        regs = cpu.read_regs()
        if _restart(regs, nr, None):
            cpu.write_regs(regs)
    if task.saved_blocked is not None:
        mask, task.saved_blocked = task.saved_blocked, None
        signal.set_blocked(task, mask)


def _enter(task: Task, info: SigInfo, action: signal.SigAction, regs: Regs) -> None:
    """Run the handler next; when its frame cannot be pushed, SIGSEGV (Linux: signal_setup_done)."""
    if action.flags & Sa.RESETHAND:
        task.process.actions[info.sig] = action._replace(handler=SIG_DFL)
    if not _fix_rseq(task, regs) or not sigframe.push(task, info, action, regs):
        task.system.note(task.tid, f"no frame for {signame(info.sig)} could be pushed at sp {regs.rsp:#x}")
        if info.sig == SIGSEGV:
            signal.force_fatal(task, SIGSEGV)
        else:
            signal.force(task, kernel(SIGSEGV))
        return
    if task.altstack.flags & Ss.AUTODISARM:
        task.altstack = AltStack(0, Ss.DISABLE, 0)
    task.saved_blocked = None
    own = 0 if action.flags & Sa.NODEFER else 1 << info.sig - 1
    signal.set_blocked(task, task.blocked | action.mask | own)


def _fix_rseq(task: Task, regs: Regs) -> bool:
    """False: the thread's restartable sequence is broken, which Linux answers as a frame that cannot be pushed."""
    if task.rseq.addr:
        try:
            rseq.fix_ip(task, regs)
        except LinuxError as error:
            task.system.note(task.tid, f"rseq: {error.why}")
            return False
    return True


def _default(task: Task, info: SigInfo) -> bool:
    """The default action. True: the process is dead."""
    bit = 1 << info.sig - 1
    if signal.IGNORED_BY_DEFAULT & bit:
        return False
    if signal.STOPS & bit:
        task.system.note(task.tid, f"{signame(info.sig)} would stop the process; job control is not modelled")
        return False
    exit.kill(task, info)
    return True


def _restart(regs: Regs, nr: int, action: signal.SigAction | None) -> bool:
    """An interrupted syscall: EINTR, or make it happen again. `action` is the handler's, None when none will run."""
    error = -regs.rax & M64
    if error not in RESTARTS:
        return False
    if action is not None and (
        error in (Errno.ERESTARTNOHAND, Errno.ERESTART_RESTARTBLOCK)
        or (error == Errno.ERESTARTSYS and not action.flags & Sa.RESTART)
    ):
        regs.rax = -Errno.EINTR & M64
        return True
    regs.rax = RESTART_SYSCALL if error == Errno.ERESTART_RESTARTBLOCK else nr
    regs.rip -= 2
    return True


def _tell(task: Task, info: SigInfo) -> None:
    """SIGKILL is not told: no tracer sees it arrive, only what it did."""
    system = task.system
    if info.sig != SIGKILL and system.probes.wants(SignalDelivered):
        system.probes.emit(SignalDelivered(system.clock.monotonic_ns(), task.tid, info.sig, info.text))
