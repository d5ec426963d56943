"""The heap stream: each call of an allocator function as one element of EVENT, in batches, in the order of returning.

EVENT and BLOCK are the formats of emu/calls.py, which the hooks write, as numpy dtypes; both are documented here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emu.calls import EVENT as EVENT_FORMAT
from emu.calls import NO_BLOCK, CallHooks, Listener, Rule, Totals
from emu.symbols import Symbols
from emu.trace.events import UserCopy, VmaMap, VmaUnmap
from emu.trace.space import FILE, STACK, STATIC, Range, SpaceSink, SpaceTracer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emu.elf import Elf
    from emu.trace.memcheck import Access, BadAccess, MemoryChecker
    from emu.trace.strict import Broken, Promises
    from emu.unwind import Unwinder
    from emu.uprobes import Uprobe
    from kernel.cpu import Regs
    from kernel.probes import Probes

    Events = NDArray[np.void]

EVENT = (
    ("entry", "<u8"),  # instructions that had retired when its first one was to run
    ("size", "<u8"),  # bytes asked for; 2^64-1: a product that does not fit
    ("pointer", "<u8"),  # the block that came in; 0: none
    ("result", "<u8"),  # the block that came out, or the usable size that was asked for; 0: none
    ("born", "<u8"),  # number (from 1) of the event that made the block which this one released; 0: none
    ("freed", "<u8"),  # bytes that had been asked for that block
    ("cost", "<u4"),  # instructions from entry to return, its own inner calls included; 2^32-1: or more
    ("site", "<u4"),  # number of the return address (Heap.sites)
    ("stack", "<u4"),  # number of the call stack (Heap.stacks); 0: not taken
    ("tid", "<u4"),
    ("alignment", "<u4"),  # asked for; 0: none
    ("faults", "<u4"),  # page faults from entry to return
    ("syscalls", "<u2"),
    ("function", "<u2"),  # index in Heap.functions
    ("kind", "u1"),  # index in uprobes.KINDS; 0: no call, but a block that went with its pool, by `function`
    ("depth", "u1"),  # of how many traced calls it is inside
    ("flags", "<u2"),  # emu.calls: INNER, TAIL, …
)
BLOCK = (
    ("pointer", "<u8"),
    ("size", "<u8"),
    ("born", "<u8"),
    ("freed_at", "<u8"),  # instructions when the call that released it was entered; 0: it lives
    ("site", "<u4"),
    ("stack", "<u4"),
    ("freed_site", "<u4"),
    ("freed_stack", "<u4"),
    ("function", "<u2"),
    ("freed_function", "<u2"),
    ("family", "u1"),
    ("inner", "u1"),  # made inside another traced call: the allocator's own
    ("used", "u1"),  # 0: an empty place in the table
    ("unused", "V1"),
    ("pool", "<u8"),  # the one that it was made in; 0: none, or the first one of its thread
)
GATHERED = 1 << 16  # events that are handed to the folds at one time
MISUSES = 100  # reported with their stacks; all are counted


class HeapSink(Protocol):
    """Whoever takes the stream."""

    def batch(self, events: Events, /) -> None:
        """Some more events, in order. The array is taken back when this returns."""


class HeapTotals(HeapSink, Protocol):
    """A fold that may also be handed the sums at the end."""

    def take(self, totals: Totals, /) -> None: ...

    def totals(self) -> Totals: ...


class Caught(NamedTuple):
    """A misuse as it happened: the call (EVENT), the block that it names (BLOCK or None), the one that its pointer lies
    in (BLOCK or None), what lies at the pointer, and the return addresses of the call, innermost first."""

    event: np.void
    block: np.void | None
    around: np.void | None
    place: str
    stack: tuple[int, ...]


class Record(HeapSink, Protocol):
    """Whoever keeps the stream, and each finding at the moment it is made: the first MISUSES, trace.memcheck.KEPT and
    trace.strict.MOST of them."""

    def misused(self, caught: Caught, /) -> None: ...

    def accessed(self, access: BadAccess, /) -> None: ...

    def broke(self, broken: Broken, /) -> None: ...


class Guest(NamedTuple):
    """What the tracer may see of the machine."""

    elf: Elf
    bias: int
    tid: int
    cr3: int
    counters: memoryview  # Mm.counters
    peek: Callable[[int, int], bytes]
    registers: Callable[[], Regs]
    describe: Callable[[int], str]
    hook: Callable[[Listener, int], CallHooks]  # UnicornCpu.trace_calls
    probes: Probes
    now: Callable[[], int]  # instructions retired
    ranges: Callable[[], list[Range]]  # what is mapped
    gone: Callable[[], bool]  # has execve put another program in its place?
    resident: Callable[[int, int], int]  # bytes of [start, end) that are in RAM
    access: Access | None  # to check each load and store; None: do not


class HeapTracer:
    """Traces the functions of one program while it runs: `begin` before its first instruction, `end` after its last."""

    def __init__(
        self, fold: HeapTotals, spaces: Sequence[SpaceSink], sinks: Sequence[HeapSink],
        probes: Sequence[Uprobe], guest: Guest, depth: int, record: Record | None = None,
        strict: bool = False,
    ) -> None:  # fmt: skip
        """`sinks` are given the stream; `fold` is too, unless the hooks add up by themselves. `spaces` are told of the
        mappings. `record` is given each event at once, from the ring, and each finding. `strict`: promises are
        checked."""
        self._guest, self.functions = guest, probes
        self.names = tuple(probe.name for probe in probes)
        self._used = 0
        self._record = record
        self.caught: list[Caught] = []
        self.misuses = 0
        self.fatal: BadAccess | None = None  # the one that killed the program, if it was in a block that is gone
        self.symbols = Symbols(guest.elf, guest.bias)
        self.place = functools.cache(lambda ret: str(self.symbols.place(ret - 1)._replace(va=ret)))
        self.promises = self._promises() if strict else None
        broken = {"violation": self._violation} if self.promises else {}
        listener = Listener(self._events, self._misuse, lambda pc: self._rules(pc), **broken)
        self.calls = calls = guest.hook(listener, depth)
        self._adds = fold
        self._fold = fold if calls.totals() is not None else None
        self._sinks = sinks if self._fold is not None else (fold, *sinks)
        if record is None and not self._sinks:
            calls.mute()
        calls.look_at(guest.cr3, guest.counters)
        calls.switch(guest.tid)
        for probe in probes:
            calls.add(probe.va, probe.function)
        if self.promises is not None:
            self.promises.strict = calls.be_strict(self.promises.errno)
            spaces = (*spaces, self.promises)
        self._space = SpaceTracer(guest.probes, guest.cr3, guest.now, guest.ranges(), calls, spaces, guest.gone)
        self.resident = guest.resident
        self.memory = self._check_memory(guest.access) if guest.access is not None else None

    @functools.cached_property
    def _unwinder(self) -> Unwinder:
        from emu.unwind import Unwinder

        return Unwinder(self.symbols, self._guest.peek)

    @functools.cached_property
    def _rules(self) -> Callable[[int], Rule]:
        from emu.trace.framerules import FrameRules

        return FrameRules(self._unwinder)

    def _promises(self) -> Promises:
        from emu.trace.strict import Promises, errno_place

        told = self._record.broke if self._record is not None else None
        errno = errno_place(self._guest.elf, self._guest.bias)
        return Promises(_dtype(EVENT), errno, lambda: self._stack(None), told)

    def _check_memory(self, access: Access) -> MemoryChecker:
        from emu.trace.memcheck import MemoryChecker

        guest = self._guest
        barred = [(each.start, each.end) for each in guest.ranges() if each.kind & ~FILE in (STATIC, STACK)]
        checker = MemoryChecker(
            self.calls, self.symbols, self._unwinder, guest.registers, guest.peek, self.functions, _dtype(BLOCK),
            guest.cr3, barred, access, self._record.accessed if self._record is not None else None,
        )  # fmt: skip
        guest.probes.listen(VmaMap, self._mapped)
        guest.probes.listen(VmaUnmap, self._unmapped)
        guest.probes.listen(UserCopy, checker.copied)
        return checker

    def _mapped(self, event: VmaMap) -> None:
        if event.cr3 == self._guest.cr3 and self.memory is not None:
            self.memory.mapped(event.start, event.end)

    def _unmapped(self, event: VmaUnmap) -> None:
        if event.cr3 == self._guest.cr3 and self.memory is not None:
            self.memory.unmapped(event.start, event.end)

    def drain(self) -> None:
        """The record is given all calls that have ended."""
        self.calls.drain()

    def end(self) -> None:
        """The run is over: the last events go out."""
        self._space.end()
        if self.memory is not None:
            self._guest.probes.forget(VmaMap, self._mapped)
            self._guest.probes.forget(VmaUnmap, self._unmapped)
            self._guest.probes.forget(UserCopy, self.memory.copied)
            self.memory.end()
        self.calls.end()
        self._flush()
        totals = self.calls.totals()
        if self._fold is not None and totals is not None:
            self._fold.take(totals)

    def killed_at(self, va: int, store: bool) -> None:
        """The program died of an access to `va`: of a block, maybe, that was freed, and given back to the kernel. Where
        accesses are checked this is the one that no hook saw, as it never took place."""
        block = None if self.calls.lost or self.calls.inside() else self._around(va)
        if block is None or not int(block["freed_at"]):
            return
        from emu.trace.memcheck import BadAccess, gone

        regs = self._guest.registers()
        name, stack = self.symbols.name_of(regs.rip).split("+")[0] or f"{regs.rip:#x}", self._stack(None)[1:]
        self.fatal = BadAccess(
            "use-after-free", gone(va, block), va, 0, store, regs.rip, name, self._guest.now(), block, stack
        )
        if self._record is not None:
            self._record.accessed(self.fatal)

    def totals(self) -> Totals:
        """What the events up to now add up to; those that the fold was not given yet, if it adds up, are left out."""
        return self.calls.totals() or self._adds.totals()

    @property
    def ended_early(self) -> str:
        """Why the rest of the run was not traced; empty: it was."""
        return "the host had no memory for what is known of the heap" if self.calls.stopped else ""

    def blocks(self) -> Events:
        """BLOCKs in the order of their making; dead ones too, where nothing took their address since."""
        return self._decode(self.calls.blocks())

    def blocks_at_end(self) -> Callable[[], Events]:
        """Those of now, to be looked at when somebody asks."""
        raw = self.calls.blocks()
        return functools.cache(lambda: self._decode(raw))

    def _decode(self, raw: bytes) -> Events:
        import numpy as np

        table = np.frombuffer(raw, _dtype(BLOCK))
        table = table[table["used"] == 1]
        found: Events = table[np.argsort(table["born"], kind="stable")]
        return found

    @functools.cached_property
    def _gathered(self) -> Events:
        import numpy as np

        return np.empty(GATHERED, _dtype(EVENT))

    def _events(self, raw: memoryview) -> None:
        import numpy as np

        batch = np.frombuffer(raw, _dtype(EVENT))
        if self._record is not None:
            self._record.batch(batch)
        if not self._sinks:
            return
        if self._used + len(batch) > GATHERED:
            self._flush()
        if len(batch) > GATHERED:
            self._tell(batch)
            return
        self._gathered[self._used : self._used + len(batch)] = batch
        self._used += len(batch)

    def _flush(self) -> None:
        used, self._used = self._used, 0
        if used:
            self._tell(self._gathered[:used])

    def _tell(self, events: Events) -> None:
        for sink in self._sinks:
            sink.batch(events)

    def _violation(self, raw: bytes, what: int, detail: int) -> None:
        if self.promises is not None and not self.calls.lost:
            self.promises.violation(raw, what, detail)

    def _misuse(self, raw: bytes, block: bytes) -> None:
        import numpy as np

        if self.calls.lost:  # one that was not traced may have made or freed the block
            return
        self.misuses += 1
        if len(self.caught) >= MISUSES:
            return
        event = np.frombuffer(raw, _dtype(EVENT))[0]
        known = np.frombuffer(block, _dtype(BLOCK))[0] if block else None
        pointer = int(event["pointer"])
        around = self._around(pointer) if int(event["flags"]) & NO_BLOCK else None
        stack = self._stack(self.functions[int(event["function"])].va)[1:]
        self.caught.append(Caught(event, known, around, self._lies(pointer), stack))
        if self._record is not None:
            self._record.misused(self.caught[-1])

    def _lies(self, pointer: int) -> str:
        """Where it points to, if no block is there."""
        place, variable = self._guest.describe(pointer), self.symbols.data_at(pointer)
        return f"it lies in the variable {variable}, {place.removeprefix('it lies ')}" if variable else place

    def _stack(self, rip: int | None) -> tuple[int, ...]:
        """The CPU's call stack, innermost first, at the function that begins at `rip`; None: a call has returned."""
        regs = self._guest.registers()
        if rip is not None:
            regs.rip = rip
        return tuple(frame.pc for frame in self._unwinder.frames(regs))

    def _around(self, pointer: int) -> np.void | None:
        """The block that `pointer` lies in: a live one, else one that was freed."""
        blocks = self.blocks()
        inside = blocks[(blocks["pointer"] <= pointer) & (blocks["pointer"] + blocks["size"] > pointer)]
        live = inside[inside["freed_at"] == 0]
        chosen = live if len(live) else inside
        found: np.void | None = chosen[-1] if len(chosen) else None
        return found


@functools.cache
def _dtype(fields: tuple[tuple[str, str], ...]) -> np.dtype[np.void]:
    """Made when somebody needs it: numpy alone takes half as long to import as all else."""
    import numpy as np

    return np.dtype(list(fields))


assert EVENT_FORMAT.size == 80
