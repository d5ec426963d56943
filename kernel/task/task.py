"""Task: one thread. Process: one thread group, and what its threads share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.task.timer import DISARMED

if TYPE_CHECKING:
    from kernel.fs.dentry import Path
    from kernel.fs.fdtable import FdTable
    from kernel.fs.path import FsContext
    from kernel.mm.mm import Mm
    from kernel.rlimit import Rlimits
    from kernel.task.siginfo import SigInfo
    from kernel.task.signal import Pending, SigAction
    from kernel.task.system import System

NSIG = 64  # signals are 1…64; bit sig-1 of a sigset


class Cred:
    """Whose rights a process has (credentials(7)). Capabilities are all or none: root (euid 0) has them."""

    __slots__ = ("egid", "euid", "fsgid", "fsuid", "gid", "groups", "sgid", "suid", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...] = ()) -> None:
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups = groups

    @property
    def privileged(self) -> bool:
        """Stands for every CAP_* check."""
        return self.euid == 0


class AltStack(NamedTuple):
    """sigaltstack(2): where SA_ONSTACK handlers run. `size` 0 means disabled."""

    sp: int = 0
    flags: int = 0  # as given
    size: int = 0


class Process:
    """One thread group. `tasks` is never empty while it lives; `exit_status` is None exactly as long as it lives."""

    __slots__ = (
        "actions", "auxv", "children", "cred", "dumpable", "exe", "exit_status", "fatal", "itimers", "keep_caps",
        "membarriers", "nice", "no_new_privs", "oom_score_adj", "oom_score_adj_min", "parent", "pending", "personality",
        "pgid", "pid", "rlimits", "sid", "start_ns", "subreaper", "tasks", "thp_disabled",
    )  # fmt: skip

    def __init__(self, pid: int, rlimits: Rlimits, cred: Cred, pending: Pending) -> None:
        self.pid = pid
        self.parent: Process | None = None
        self.pgid = pid
        self.sid = pid
        self.rlimits = rlimits
        self.cred = cred
        self.pending = pending
        self.actions: dict[int, SigAction] = {}  # absent: SIG_DFL
        self.exe: Path | None = None  # the running program, as /proc/[pid]/exe leads to it
        self.auxv = b""  # as /proc/[pid]/auxv shows it
        self.children: list[Process] = []
        self.tasks: list[Task] = []
        self.dumpable = 1
        self.keep_caps = False
        self.no_new_privs = False
        self.thp_disabled = 0  # as PR_GET_THP_DISABLE says it
        self.subreaper = False
        self.personality = 0
        self.nice = 0
        self.oom_score_adj = 0
        self.oom_score_adj_min = 0  # the least that it may be given without CAP_SYS_RESOURCE
        self.membarriers = 0  # registrations, as MEMBARRIER_CMD_ bits
        self.start_ns = 0  # CLOCK_BOOTTIME when it was made
        self.itimers = list(DISARMED)
        self.exit_status: ExitStatus | None = None
        self.fatal: SigInfo | None = None  # the signal that killed it

    @property
    def ppid(self) -> int:
        """The parent's pid; the first process's parent lives outside and has the config's ppid."""
        parent = self.parent
        return parent.pid if parent is not None else self.tasks[0].system.config.ppid

    @property
    def leader(self) -> Task:
        return self.tasks[0]

    @property
    def comm(self) -> str:
        """The leader's name, as /proc/[pid]/comm shows it."""
        return self.tasks[0].comm

    @property
    def uid(self) -> int:
        return self.cred.uid

    @property
    def gid(self) -> int:
        return self.cred.gid


class ExitStatus(NamedTuple):
    """How a process ended: `code` of exit_group(2), or death by `sig` (`core`: Linux would dump one)."""

    code: int = 0
    sig: int = 0
    core: bool = False

    @property
    def wait_status(self) -> int:
        """The int that wait4(2) stores."""
        return (self.code & 0xFF) << 8 | self.sig | (0x80 if self.core else 0)


class Rseq(NamedTuple):
    """rseq(2): the registered area, all zero when there is none."""

    addr: int = 0
    length: int = 0
    sig: int = 0


class RestartBlock(NamedTuple):
    """restart_syscall(2): what an interrupted relative sleep continues with."""

    deadline: int
    rem: int  # user address of the remaining time, 0 for none


class Task:
    """One thread. `mm`, `files` and `fs` are what it shares or owns; while it runs its registers are in the CPU.

    `signals_due` is true exactly when an unblocked signal is pending (Linux: TIF_SIGPENDING); whoever changes
    `blocked` or a pending queue calls `signal.recalc(task)`.
    """

    __slots__ = (
        "altstack", "blocked", "clear_child_tid", "comm", "cr2", "cs", "ended", "files", "fs", "mm", "pdeathsig",
        "pending", "policy", "process", "restart", "robust_list", "rseq", "rt_priority", "saved_blocked",
        "signals_due", "ss", "system", "tid", "timerslack_ns", "trap_error", "trap_nr",
    )  # fmt: skip
    mm: Mm  # None before the first execve

    def __init__(
        self, tid: int, process: Process, system: System, files: FdTable, fs: FsContext, pending: Pending
    ) -> None:
        self.tid = tid
        self.process = process
        self.system = system
        self.files = files
        self.fs = fs
        self.mm = None  # type: ignore[assignment]
        self.comm = ""
        # signals
        self.pending = pending
        self.blocked = 0  # sigset: bit sig-1
        self.saved_blocked: int | None = None  # restored when no handler runs (rt_sigsuspend, ppoll)
        self.altstack = AltStack()
        self.signals_due = False
        self.restart: RestartBlock | None = None
        # the last exception, as a signal frame shows it: vector, error code, address
        self.trap_nr = self.trap_error = self.cr2 = 0
        self.cs, self.ss = 0x33, 0x2B  # but between a frame that restored others and the signal for that
        # what it registered
        self.clear_child_tid = 0
        self.robust_list = 0
        self.rseq = Rseq()
        self.timerslack_ns = 50_000
        self.pdeathsig = 0
        self.policy = 0  # SCHED_OTHER
        self.rt_priority = 0
        self.ended = False  # it will never run again

    @property
    def rlimits(self) -> Rlimits:
        return self.process.rlimits

    @property
    def cred(self) -> Cred:
        return self.process.cred

    @property
    def pid(self) -> int:
        return self.process.pid
