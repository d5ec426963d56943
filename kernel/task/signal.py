"""Signals: actions, masks, pending queues, who gets what (kernel/signal.c). The frames are sigframe.py's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.abi.errno import EAGAIN, LinuxError
from kernel.abi.signal import (
    NSIG,
    SIG_DFL,
    SIG_IGN,
    SIGABRT,
    SIGBUS,
    SIGCHLD,
    SIGCONT,
    SIGFPE,
    SIGILL,
    SIGKILL,
    SIGQUIT,
    SIGRTMIN,
    SIGSEGV,
    SIGSTOP,
    SIGSYS,
    SIGTRAP,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    SIGURG,
    SIGWINCH,
    SIGXCPU,
    SIGXFSZ,
    Sa,
)
from kernel.task.siginfo import SigInfo, kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.task.task import Process, Task

ALL = (1 << NSIG) - 1


def sigset(signals: Iterable[int]) -> int:
    """The sigset of these signals: bit n-1 is signal n."""
    return sum(1 << sig - 1 for sig in signals)


UNBLOCKABLE = sigset((SIGKILL, SIGSTOP))
BLOCKABLE = ALL & ~UNBLOCKABLE
SYNCHRONOUS = sigset((SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS))  # delivered before all others
IGNORED_BY_DEFAULT = sigset((SIGCONT, SIGCHLD, SIGWINCH, SIGURG))
STOPS = sigset((SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU))
CORE = sigset((SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGXCPU, SIGXFSZ))
SA_KNOWN = (
    Sa.NOCLDSTOP | Sa.NOCLDWAIT | Sa.SIGINFO | Sa.ONSTACK | Sa.RESTART | Sa.NODEFER | Sa.RESETHAND
    | Sa.RESTORER | Sa.EXPOSE_TAGBITS
)  # fmt: skip


class SigAction(NamedTuple):
    """struct sigaction as the kernel keeps it. `handler` may be SIG_DFL or SIG_IGN."""

    handler: int = SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0


DEFAULT = SigAction()


class Pending:
    """Signals sent, not yet delivered. `bits` is the sigset of what `queue` holds; of a standard signal (below
    SIGRTMIN) there is at most one, real-time signals queue in order."""

    __slots__ = ("bits", "queue")

    def __init__(self) -> None:
        self.bits = 0
        self.queue: list[SigInfo] = []

    def add(self, info: SigInfo) -> None:
        bit = 1 << info.sig - 1
        if info.sig < SIGRTMIN and self.bits & bit:
            return
        self.bits |= bit
        self.queue.append(info)

    def take(self, wanted: int) -> SigInfo | None:
        """Remove and return the next signal of the set `wanted`: synchronous ones first, then the lowest number."""
        due = self.bits & wanted
        if not due:
            return None
        due = due & SYNCHRONOUS or due
        sig = (due & -due).bit_length()
        if len(self.queue) == 1:
            self.bits = 0
            return self.queue.pop()
        at = next(i for i, info in enumerate(self.queue) if info.sig == sig)
        info = self.queue.pop(at)
        if all(other.sig != sig for other in self.queue):
            self.bits &= ~(1 << sig - 1)
        return info

    def drop(self, signals: int) -> None:
        """Forget all pending signals of the set."""
        if self.bits & signals:
            self.bits &= ~signals
            self.queue = [info for info in self.queue if not signals >> info.sig - 1 & 1]


def recalc(task: Task) -> None:
    """`blocked` or a pending queue changed: is anything due? (Linux: recalc_sigpending)"""
    task.signals_due = (task.pending.bits | task.process.pending.bits) & ~task.blocked != 0


def set_blocked(task: Task, mask: int) -> None:
    """Replace the task's mask; SIGKILL and SIGSTOP cannot be blocked."""
    task.blocked = mask & BLOCKABLE
    recalc(task)


def action_of(process: Process, sig: int) -> SigAction:
    return process.actions.get(sig, DEFAULT)


def ignores(process: Process, sig: int) -> bool:
    """Would delivering `sig` do nothing? By SIG_IGN, or by its default."""
    handler = action_of(process, sig).handler
    return handler == SIG_IGN or (handler == SIG_DFL and IGNORED_BY_DEFAULT >> sig - 1 & 1 == 1)


def set_action(process: Process, sig: int, action: SigAction) -> None:
    """sigaction(2). POSIX 3.3.1.3: setting an action that ignores discards what is pending, blocked or not."""
    if action.mask & ~BLOCKABLE:
        action = action._replace(mask=action.mask & BLOCKABLE)
    process.actions[sig] = action
    if ignores(process, sig):
        bit = 1 << sig - 1
        for queue in (process.pending, *(task.pending for task in process.tasks)):
            queue.drop(bit)
        _recalc_all(process)


def send(process: Process, info: SigInfo, task: Task | None = None) -> None:
    """Queue a signal for a process, or for one `task` of it. Raises LinuxError EAGAIN at RLIMIT_SIGPENDING.

    One that is ignored and not blocked is delivered too, to be seen by a trace (as under ptrace); it does nothing."""
    sig = info.sig
    everywhere = (process.pending, *(each.pending for each in process.tasks))
    if STOPS >> sig - 1 & 1:
        for queue in everywhere:
            queue.drop(1 << SIGCONT - 1)
    elif sig == SIGCONT:
        for queue in everywhere:
            queue.drop(STOPS)
    if sig >= SIGRTMIN and info.code != 0:
        queued = sum(len(queue.queue) for queue in everywhere)
        if queued >= process.rlimits.soft("SIGPENDING"):
            raise LinuxError(EAGAIN, "RLIMIT_SIGPENDING signals are queued already")
    (task.pending if task is not None else process.pending).add(info)
    _recalc_all(process)


def force(task: Task, info: SigInfo) -> None:
    """A signal that cannot wait: an instruction raised it. Blocked or ignored, it kills (Linux: force_sig_info)."""
    process, sig = task.process, info.sig
    bit = 1 << sig - 1
    if task.blocked & bit or action_of(process, sig).handler == SIG_IGN:
        process.actions.pop(sig, None)
        task.blocked &= ~bit
    task.pending.drop(bit)
    task.pending.add(info)
    recalc(task)


def force_fatal(task: Task, sig: int) -> None:
    """Kill by `sig` whatever its action is (Linux: force_fatal_sig, e.g. a frame that cannot be pushed)."""
    task.process.actions.pop(sig, None)
    task.blocked &= ~(1 << sig - 1)
    task.pending.drop(1 << sig - 1)
    task.pending.add(kernel(sig))
    recalc(task)


def dequeue(task: Task, wanted: int) -> SigInfo | None:
    """The next signal of the set `wanted`, the task's own before the process's."""
    info = task.pending.take(wanted) or task.process.pending.take(wanted)
    recalc(task)
    return info


def flush_for_exec(process: Process) -> None:
    """execve(2): handled signals go back to their default, ignored ones stay ignored (SIGCHLD too, on Linux)."""
    process.actions = {
        sig: SigAction(SIG_IGN) for sig, action in process.actions.items() if action.handler == SIG_IGN
    }


def _recalc_all(process: Process) -> None:
    for task in process.tasks:
        recalc(task)
