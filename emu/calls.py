"""Calls of traced functions, from entry to return: what emu/native/heap.c and its Python twin have in common.

The formats are those of heap.h; emu/trace/heap.py documents the fields of EVENT and BLOCK for whoever reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from emu.analysis.suppressions import Suppression
    from emu.trace.heap import HeapSink

EVENT = struct.Struct("<6Q6I2H2BH")  # hp_event
BLOCK = struct.Struct("<4Q4I2H3BxQ")  # hp_block
DEEPEST, FRAMES = 64, 64
ALL = (1 << 64) - 1

ALLOCATE, RESIZE, RELEASE, ASK, SWEEP, MERGE, CHOOSE = range(1, 8)  # verbs: heap.h
NO_POOL, DEFAULT_POOL = -1, -2  # instead of an argument's number
LOG2, EXACT_SIZE, ZEROES, NEVER_NULL, SETS_ERRNO, RULED, FREES_FAILED, IN_PLACE = (1 << bit for bit in range(8))
INNER, TAIL, UNFINISHED, ABANDONED, FREED_TWICE, NO_BLOCK, MISMATCHED, WRONG_SIZE, OVERLAPS, CUT, BROKEN = (
    1 << bit for bit in range(11)
)
MISUSE = FREED_TWICE | NO_BLOCK | MISMATCHED | WRONG_SIZE
GOES_ON, ENDS, NOTHING_TELLS = 1, 2, 3


class Function(NamedTuple):
    """A traced function: what it does to the heap, and which of its arguments (by number, -1: none) says what."""

    verb: int
    kind: int
    family: int  # bits: who may release what it makes, or whose blocks it may release
    options: int = 0
    size: int = -1
    times: int = -1  # multiplies the size
    pointer: int = -1
    alignment: int = -1
    out: int = -1  # where it stores the block, if it returns 0
    aligned: int = 4  # what it makes is aligned to 1 << aligned; up to 16, only as far as the size asks for it
    pool: int = NO_POOL  # whose block it makes, or whose blocks go; DEFAULT_POOL: the thread's, which CHOOSE sets


class RuleError(ValueError):
    """A rule that no program can follow, or that this one cannot. One line, for the person who wrote it."""


class AllocRule(NamedTuple):
    """A function by name or address, and what it does."""

    where: str
    does: Function
    program: str = ""  # that has it: its path in the guest, or the last part; "": the first, and whichever else has it


class _HeapFields(NamedTuple):
    """The fields of HeapOptions."""

    rules: tuple[AllocRule, ...] = ()
    stack: int = 0  # frames of each call stack, 64 at most; 0: the call site alone
    sinks: tuple[HeapSink, ...] = ()  # are given the whole stream
    record: str = ""  # the folder that keeps the run's heap; "": none
    suppressions: tuple[Suppression, ...] = ()  # findings to let pass, beside those of every C library's start
    default_suppressions: bool = True
    strict: bool = False  # check what the allocator promises
    memcheck: bool = False  # each load and store checked against the blocks
    uninitialised: bool = False  # and loads of bytes that nobody has written
    libraries: tuple[str, ...] = ()  # static ones by whose code functions are found that no symbol names


class HeapOptions(_HeapFields):
    """How the heap is traced. Making one raises RuleError for what cannot be."""

    __slots__ = ()

    if not TYPE_CHECKING:  # the signature is that of _HeapFields

        def __new__(cls, *args, **named):
            self = super().__new__(cls, *args, **named)
            if not 0 <= self.stack <= FRAMES:
                raise RuleError(f"call stacks of {self.stack} frames: it is 0 to {FRAMES}")
            if self.uninitialised and not self.memcheck:
                raise RuleError("uninitialised needs memcheck")
            return self


class Rule(NamedTuple):
    """How to find the caller's frame at one return address: the CFA is rsp or rbp plus `cfa`, the caller's rbp was
    saved at the CFA plus `rbp` (0: it is still in rbp)."""

    how: int  # GOES_ON, ENDS, NOTHING_TELLS
    cfa: int = 0
    rbp: int = 0
    by_rbp: bool = False


class Listener(NamedTuple):
    """Who is told. None of them may run the CPU."""

    events: Callable[[memoryview], None]  # whole EVENTs, in the order in which the calls ended; valid until it returns
    misuse: Callable[[bytes, bytes], None]  # the call's EVENT as far as it is known, and the BLOCK or b""; rip is at it
    rule: Callable[[int], Rule]  # asked once for each return address
    violation: Callable[[bytes, int, int], None] = lambda _event, _what, _detail: None  # see Strict


CLASSES, SMALL_COST = 66, 1024  # size classes; costs below are counted each
TOTALS = struct.Struct(f"<8Q4q{2 + 4 + 16 + CLASSES + 2 * CLASSES * SMALL_COST}Q")  # hp_totals


# What is told of an instruction that touches memory it has no business with
ALLOCATOR, SCANS, READS, WIDE = 2, 4, 8, 16  # memcheck.h
BOTH, APART, UNNAMED = 32, 64, 128  # not by loads and stores of the usual sizes; nobody knows what function it is in
COPIES = 256  # it loads to copy
READ, WRITE, BLANK_READ = 0, 1, 3  # how it touches that
TELLS = 50  # accesses of one instruction that a listener is told of


class MemoryListener(NamedTuple):
    """Who is told of bad accesses. The CPU's RIP is at the instruction."""

    # Of the instruction at an address, asked once: ALLOCATOR, SCANS, BOTH, READS, COPIES, UNNAMED
    traits: Callable[[int], int]
    # (rip, va, size, READ, WRITE or BLANK_READ): bytes there are bad, or all are blank
    access: Callable[[int, int, int, int], None]


class MemoryPlan(NamedTuple):
    """What the shadow of a heap must know."""

    cr3: int  # of the address space that is checked
    zero_pfn: int  # of the shared zero page
    barred: tuple[tuple[int, int], ...]  # ranges that no allocator owns: what lies beside a block there may be used
    # By function: bytes after its blocks (0: to a multiple of 8), and before, that are nobody's; are its blocks blank?
    slacks: tuple[tuple[int, int, bool], ...]
    loads_blank: bool  # loads of blank bytes are told, not exactly: copies of structures make some


class MemoryHooks(Protocol):
    """Each load and store of the CPU is checked. One exists for a CPU."""

    def more(self, pc: int) -> int:
        """Bad accesses of the instruction at `pc` that nobody was told of, as it had TELLS of them before."""

    def forget(self, start: int, end: int) -> None:
        """[start, end), whole pages, was mapped anew."""

    def hold(self, start: int, end: int, allocators: bool) -> None:
        """[start, end) is an allocator's from now on, or is not: what lies beyond the page of a block is checked there
        alone."""

    def first_bad(self, va: int, size: int) -> int:
        """The first byte of [va, va + size) that nobody has business with, counted from `va`; -1: none."""

    def first_blank(self, va: int, size: int) -> int:
        """So the first one of a live block that nobody has written to."""

    def wrote(self, va: int, size: int) -> None:
        """The kernel has written there."""

    def around(self, va: int, reach: int) -> tuple[int, int]:
        """Where the nearest block at or below `va` begins or began, and the next above, if within `reach`; else 0."""

    def end(self) -> None:
        """Check no more."""


class Unfreed(NamedTuple):
    """Live blocks of the program that were made by one call stack, or at one call site where no stack was taken (0)."""

    stack: int
    site: int
    blocks: int
    bytes: int


class Taken(NamedTuple):
    """What the allocator takes for a block of `size` bytes, and how many such blocks the table has."""

    size: int
    takes: int
    blocks: int


class Ends(NamedTuple):
    """In bytes that the program asked for. Where blocks overlap, live ones win."""

    live: int  # in memory that is held by the allocator
    freed: int  # there
    elsewhere: int  # live, in other memory
    unfreed: list[Unfreed]
    taken: list[Taken]  # from small to large


class Totals(NamedTuple):
    """hp_totals, what emu/analysis/heap.py makes of the events, as arrays of u64 for it."""

    head: bytes  # TOTALS
    places: bytes  # (calls, bytes) by call stack, or by site
    dear: bytes  # (cost | class << 32 | group << 40 | 1 << 63, calls), all zero where the table is empty


# What an allocator may break, and the number that tells more of it.
VIOLATIONS = (
    "",
    "overlap",  # start of the live block that it overlaps
    "misaligned",  # the alignment it should have
    "not-zero",  # offset of the first such byte
    "too-small",  # bytes that the block was asked to have
    "outside",  # offset of the first byte in memory that is not the allocator's
    "lost-bytes",  # bytes of which some changed
    "impossible-size",
    "no-errno",  # what errno is
    "null",
)
NO_PLACE, IN_TLS, AT_ADDRESS = range(3)


class ErrnoPlace(NamedTuple):
    """Where errno is: at an offset from the FS base, at an address, or not known."""

    how: int = NO_PLACE
    at: int = 0


class Strict(Protocol):
    """Checks what the allocator promises, at each call of the program; Listener.violation is told."""

    @property
    def unchecked(self) -> int:
        """Checks that were left out: part of the block was in swap, or in a file and not read yet."""

    def mapped(self, instructions: int, where: tuple[int, int, int], /) -> None:
        """(start, end, kind): see emu.trace.space.SpaceSink."""


class CallHooks(Protocol):
    """Entry and return hooks on functions, and the table of the blocks that they made. One exists for a CPU."""

    @property
    def lost(self) -> int:
        """Calls that could not be traced: more than DEEPEST inside each other, or without a return address."""

    @property
    def stopped(self) -> bool:
        """The host had no memory for the tables: nothing was traced from there on."""

    def add(self, va: int, function: Function) -> int:
        """Trace the function that begins at `va`; its number, counted from 0."""

    def be_strict(self, errno: ErrnoPlace) -> Strict:
        """Check what the functions promise from now on."""

    def look_at(self, cr3: int, counters: memoryview | None) -> None:
        """Calls count in the address space `cr3` only; `counters` are its Mm.counters."""

    def switch(self, tid: int) -> None:
        """`tid` runs now: each thread has its own shadow stack."""

    def reached(self, address: int) -> None:
        """The block at `address` is about to run, on the way to an exact count; the block hook tells of all others."""

    def inside(self) -> bool:
        """Is the thread that runs inside a traced function? To be asked in a syscall."""

    def mute(self) -> None:
        """From here on nobody takes the events."""

    def live(self) -> tuple[int, int]:
        """Bytes and blocks that the program has now."""

    def drain(self) -> None:
        """Hand over the events that are waiting."""

    def end(self) -> None:
        """Nothing runs any more: hand over everything, calls that never returned included."""

    def sites(self) -> list[int]:
        """Return addresses by number; 0 is none."""

    def stacks(self, first: int = 0) -> list[tuple[int, ...]]:
        """Call stacks by number, each the return addresses from the call site outwards; 0 is none. From `first` on."""

    def totals(self) -> Totals | None:
        """What the events add up to, where that was counted along the way; None: the events must be folded."""

    def sum_up(self, held: Sequence[tuple[int, int]]) -> Ends | None:
        """What stands in the table, added up with the ranges [start, end) that are the allocator's; None: not here."""

    def block_at(self, pointer: int) -> bytes:
        """The BLOCK that begins at `pointer`, live or not; b"" where none is known."""

    def blocks(self) -> bytes:
        """The BLOCKs at all addresses where one began, live or not (`freed_at`), in no order."""
