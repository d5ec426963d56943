"""Kernel tracepoints: facts, in the past tense, immutable. Built only where `Probes.wants` says somebody listens.

`now` is virtual time in ns. House rule: emitted where the thing happens, never reconstructed.
"""

from typing import NamedTuple

from kernel.abi.errno import Errno
from kernel.cpu import Access


class SyscallExit(NamedTuple):
    """One syscall, answered. `value` is rax as signed 64 bits, None where there is none (exit, sigreturn: `= ?`)."""

    now: int
    tid: int
    nr: int
    name: str
    raw: tuple[int, ...]  # the six argument registers, unsigned
    text: str  # "name(arg, arg, …)" as strace prints it
    shown: str  # the result as strace prints it: "0", "0x7f…", "-1 EINVAL (Invalid argument)", "3 ([...])", "?"
    value: int | None
    errno: Errno | None
    why: str  # the reason of a refusal, "" otherwise
    took: int  # virtual ns between entry and return (sleeping jumps)


class PageFault(NamedTuple):
    now: int
    tid: int
    va: int
    access: Access
    kind: str  # "zero" (shared zero page), "anon", "file", "cow", "wp", "stack", "swap"
    pfn: int


class VmaMap(NamedTuple):
    """[start, end) was mapped, in place of whatever was there: by mmap, brk, mremap, shmat."""

    now: int
    tid: int
    cr3: int  # of the address space
    start: int
    end: int
    flags: int  # VM_ flags of the mapping
    kind: str  # "anon"; "file": a file or shared memory is behind it; "brk"


class VmaUnmap(NamedTuple):
    """Nothing is mapped in [start, end) any more; it may have had holes. An address space that ends says nothing."""

    now: int
    tid: int
    cr3: int
    start: int
    end: int


class UserCopy(NamedTuple):
    """The kernel is about to read [va, va + size), or to `store` there: on behalf of a program, in its memory. Of a
    string that is the part up to its end, or up to where it cannot be read."""

    cr3: int  # of the address space
    va: int
    size: int
    store: bool


class SignalDelivered(NamedTuple):
    now: int
    tid: int
    sig: int
    text: str  # strace's `{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}`


class TaskExit(NamedTuple):
    """A thread group ended: `status` is its exit code, or `sig` the signal that killed it (`core` if it would dump)."""

    now: int
    tid: int
    status: int
    sig: int
    core: bool


class Note(NamedTuple):
    """Something a reader of the trace must know: not modelled, OOM kill, a limit of the run."""

    now: int
    tid: int
    text: str
