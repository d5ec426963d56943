"""What a run left behind, as plain values: counters, and the facts of a death. No machine is needed to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from emu.trace.recorder import Failure
from kernel.abi.signal import signame

if TYPE_CHECKING:
    from emu.analysis.heapresult import Heap
    from emu.analysis.misuse import Misuse
    from emu.machine import Stopped
    from kernel.task.system import NotModelled


class Counters(NamedTuple):
    """What a run cost the guest. Bytes unless the name says otherwise; taken when the guest ended, before its memory
    was given back."""

    instructions: int = 0
    faults: Mapping[str, int] = MappingProxyType({})  # page faults by kind, as Linux and mm/fault.py name them
    minor_faults: int = 0
    major_faults: int = 0
    rss: int = 0
    peak_rss: int = 0
    vsz: int = 0
    peak_vsz: int = 0
    start_brk: int = 0
    brk: int = 0
    mappings: int = 0  # VMAs
    ram_used: int = 0  # frames in use at the end, page tables included
    virtual_ns: int = 0  # instructions plus time slept


BACKTRACE_LIMIT = 64  # frames; what lies further out is not looked at


class Call(NamedTuple):
    """One frame of a dead guest's backtrace. `how` is how it was found (emu/unwind.py); "stack" is a guess."""

    pc: int
    place: str
    how: str


class Death(NamedTuple):
    """Why a signal killed the guest, and where it stood."""

    sig: int
    name: str  # "SIGSEGV"
    code: str  # "SEGV_MAPERR"
    siginfo: str  # as strace prints it
    addr: int | None  # si_addr of a fault
    meaning: str  # the si_code in words
    where: str  # what lies at addr
    pc: int
    place: str  # function+offset (file:line) of pc
    instruction: str  # "" where none could be read
    code_bytes: bytes
    remedy: str  # what to do about it, "" where nothing is known
    registers: dict[str, int]
    backtrace: tuple[Call, ...]


class SyscallCount(NamedTuple):
    """How often a syscall was made, and how many of those calls it refused."""

    count: int = 0  # type: ignore[assignment]  # nobody counts in it with tuple.count
    errors: int = 0


class Syscalls(dict[str, SyscallCount]):
    """Counts by name. A syscall that was never made is counted 0; a name that no syscall has is a KeyError."""

    def __missing__(self, name: str) -> SyscallCount:
        from kernel.abi.nr import NR

        if name not in NR:
            raise KeyError(f"{name}: there is no such syscall")
        return SyscallCount()


class Run(NamedTuple):
    """What a guest did. Exactly one of `exit_status` and `signal` is set when it ended by itself, neither when a limit
    of the run ended it (`stopped` says which)."""

    exit_status: int | None
    signal: int | None
    stopped: Stopped
    stdout: bytes  # what it wrote to descriptor 1; b"" where that was sent elsewhere
    stderr: bytes
    counters: Counters
    syscalls: Syscalls  # calls by name, of those traced or counted; empty without `trace` and `count_syscalls`
    events: list[object]  # kernel.events, in order; empty without `trace`
    notes: list[str]  # what a reader of the run must know: an OOM kill, a deadlock
    death: Death | None  # the post-mortem, where a fault or abort killed it
    core_dumped: bool = False
    not_modelled: Mapping[NotModelled, int] = MappingProxyType({})  # answered ENOSYS: how often
    failures: tuple[Failure, ...] = ()  # sinks that could not write
    heap: Heap | None = None  # where it was traced

    @property
    def returncode(self) -> int:
        """As a shell shows it: the exit status, 128+n for signal n, 124 for a limit."""
        if self.signal is not None:
            return 128 + self.signal
        return 124 if self.exit_status is None else self.exit_status

    @property
    def instructions(self) -> int:
        """Instructions retired, exact."""
        return self.counters.instructions

    @property
    def rss_peak(self) -> int:
        """The most bytes that were resident at one time."""
        return self.counters.peak_rss

    @property
    def misuse(self) -> Sequence[Misuse]:
        """What it did wrong with its heap, the first 100 of each program at most. Raises ValueError where it was
        not traced."""
        if self.heap is None:
            raise ValueError("the heap was not traced: run with heap=True")
        return [misuse for heap in self.heap.all for misuse in heap.misuse]

    @property
    def signal_name(self) -> str:
        """`SIGSEGV`; "" when no signal killed it."""
        return "" if self.signal is None else signame(self.signal)
