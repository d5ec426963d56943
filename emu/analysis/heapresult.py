"""Heap: what one run did with its heap, as plain values and a few questions, made when the run is over."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from emu.analysis.heap import Cost, HeapFold, Peak, class_name, size_class
from emu.analysis.places import Places
from emu.analysis.rounding import Rounding, Roundings
from emu.analysis.space import Map, Space, SpaceFold, held_by, space_of
from emu.analysis.suppressions import sift
from emu.analysis.timeline import Timeline
from emu.calls import CLASSES, Ends, Unfreed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emu.analysis.misuse import Misuse
    from emu.analysis.strict import Strictness
    from emu.analysis.suppressions import Suppression
    from emu.trace.heap import Events, HeapTracer


class Leak(NamedTuple):
    """Blocks that one place allocated and nobody freed. `calls` are places, the call site first."""

    calls: tuple[str, ...]
    blocks: int
    bytes: int

    def __repr__(self) -> str:
        """`<Leak: 40 bytes in 1 block from make+0x9 (a.c:3), main+0x1b (a.c:9)>`"""
        blocks = f"{self.blocks:,} block{'s' * (self.blocks != 1)}"
        return f"<Leak: {self.bytes:,} bytes in {blocks} from {', '.join(self.calls)}>"


class Site(NamedTuple):
    """What one place allocated in all."""

    calls: tuple[str, ...]
    allocations: int
    bytes: int


class SizeClass(NamedTuple):
    """Allocations of one range of sizes, and what they and the frees of such blocks cost."""

    name: str
    allocations: int
    malloc: Cost | None
    free: Cost | None
    rounded: Rounding | None  # what the allocator takes for them, headers included


class HeapFacts(NamedTuple):
    """All that a Heap is made of, beside the fold over its events: of a run just ended, or of a recorded one."""

    functions: tuple[str, ...]  # by number
    bias: int  # of the program's addresses
    places: Places
    misuse: list[Misuse]
    misuse_count: int
    lost: int  # calls that were not traced
    blocks: Callable[[], Events]  # BLOCKs at the end, in the order of their making: HeapTracer.blocks
    ends: Ends  # what they add up to
    space: Space
    map: Map  # what each byte of the address space is
    timeline: Timeline
    ended_early: str = ""  # why the rest of the run was not traced
    strict: Strictness | None = None  # where the allocator's promises were checked
    program: str = ""  # its path in the guest
    replaced: bool = False  # by another program, through execve: what was live then is no leak
    learned: str = ""  # how the functions were found, or why not, where no symbol tells


def facts_of(
    tracer: HeapTracer, space: SpaceFold, timeline: Timeline, program: str = "", replaced: bool = False,
    learned: str = "",
) -> HeapFacts:
    """Of a run that is over, or of a program that execve has just replaced."""
    calls, blocks, held = tracer.calls, tracer.blocks_at_end(), held_by(space.ranges)
    ends = calls.sum_up(held) or _ends_of(blocks(), held)
    places = Places(tracer.place, calls.sites(), calls.stacks())
    found, count = _misuses(tracer, places), tracer.misuses + (tracer.memory.count if tracer.memory else 0)
    count += tracer.fatal is not None
    return HeapFacts(
        tracer.names, tracer.symbols.bias, places, found, count, calls.lost, blocks,
        ends, space_of(space, ends, None if replaced else tracer.resident), Map(space.ranges, blocks), timeline,
        tracer.ended_early, _strictness(tracer, places), program, replaced, learned,
    )  # fmt: skip


def _ends_of(blocks: Events, held: list[tuple[int, int]]) -> Ends:
    from emu.analysis.ends import ends_of

    return ends_of(blocks, held)


def _misuses(tracer: HeapTracer, places: Places) -> list[Misuse]:
    """By time."""
    if not tracer.misuses and (tracer.memory is None or not tracer.memory.count) and tracer.fatal is None:
        return []
    from emu.analysis.misuse import accesses, misuses

    found = misuses(tracer.caught, tracer.names, places)
    if tracer.memory is not None:
        found += accesses(tracer.memory.caught, tracer.names, places)
        found.sort(key=lambda misuse: misuse.at.instructions or 0)
    fatal = [(tracer.fatal, 1)] if tracer.fatal is not None else []
    return [*found, *accesses(fatal, tracer.names, places)]


def _strictness(tracer: HeapTracer, places: Places) -> Strictness | None:
    if tracer.promises is None:
        return None
    from emu.analysis.strict import strictness

    return strictness(tracer.promises, tracer.names, places)


class Heap:
    """What a run did with its heap. Instructions are exact; `live` and `peak` are bytes that the program asked for."""

    def __init__(self, facts: HeapFacts, fold: HeapFold, suppressions: Sequence[Suppression] = (),
                 before: Sequence[Heap] = ()) -> None:  # fmt: skip
        """What `suppressions` cover is neither in `leaks` nor in `misuse`, but counted in `suppressed`. `before` are
        those of the programs that ran before execve put this one in their place."""
        self.program, self.replaced, self.before = facts.program, facts.replaced, tuple(before)
        self.events = fold.events
        self.allocations, self.frees, self.failed, self.inner = fold.allocations, fold.frees, fold.failed, fold.inner
        self.reallocs = fold.reallocs
        self.swept = fold.swept  # blocks that went with their pools
        self.allocated_bytes, self.freed_bytes = fold.allocated, fold.freed
        self.live_bytes, self.live_blocks = fold.live, fold.live_blocks
        self.peak: Peak = fold.peak
        self.faults = dict(zip(("malloc", "free"), fold.faults, strict=True))
        self.syscalls = dict(zip(("malloc", "free"), fold.syscalls, strict=True))
        self.ended_early, self.learned = facts.ended_early, facts.learned
        self.lost, self.unreturned, self.overlaps = facts.lost, fold.unreturned, fold.overlaps
        places = facts.places
        self.call_sites = tuple(places.sites)  # return addresses, as EVENT's `site` numbers them
        self.functions, self.bias = facts.functions, facts.bias
        self.space, self.map, self.strict = facts.space, facts.map, facts.strict
        self.timeline = facts.timeline
        self._fold, self._facts = fold, facts
        leaks = [] if facts.replaced else _leaks(facts.ends.unfreed, places)
        self.leaks, self.misuse, self.suppressed = sift(suppressions, leaks, facts.misuse)
        self.misuse_count = facts.misuse_count - sum(each.misuses for each in self.suppressed)
        by_stack = any(places.stacks[1:])
        self.sites = [
            Site(places.stack(site.key if by_stack else 0, 0 if by_stack else site.key), site.calls, site.bytes)
            for site in fold.sites()
        ]

    @property
    def all(self) -> tuple[Heap, ...]:
        """Of all programs that the run had, in their order; this one is the last."""
        return (*self.before, self)

    @property
    def peak_live(self) -> int:
        """The most bytes that were live at one time."""
        return self.peak.bytes

    @property
    def leaked_bytes(self) -> int:
        return sum(leak.bytes for leak in self.leaks)

    @property
    def leaked_blocks(self) -> int:
        return sum(leak.blocks for leak in self.leaks)

    def cost(self, group: str, size: int | None = None) -> Cost:
        """Instructions of the calls that allocate ("malloc": new, calloc, realloc … too) or that free ("free"); with
        `size`, of those for blocks of the size class (1-16, 17-32, 33-64 … bytes) that it is in.

        Raises KeyError for another word; all zero where there was no call."""
        if group not in self.faults:
            raise KeyError(f"{group}: costs are of malloc and free")
        return self._fold.cost(group, None if size is None else size_class(size)) or Cost(0, 0, 0, 0, 0)

    def classes(self) -> list[SizeClass]:
        """The size histogram, from small to large; empty classes are left out."""
        fold = self._fold
        bounds = (0, 0, *(8 << n for n in range(1, CLASSES)))  # class n: bounds[n] + 1 … bounds[n + 1]
        rows = [
            SizeClass(
                class_name(n), int(fold.sizes[n]), fold.cost("malloc", n), fold.cost("free", n),
                self.rounding.between(bounds[n] + (n > 0), bounds[n + 1]),
            )
            for n in range(CLASSES)
        ]  # fmt: skip
        return [row for row in rows if row.allocations or row.free]

    @functools.cached_property
    def rounding(self) -> Roundings:
        """What the allocator takes for a block of each size."""
        return Roundings(self._facts.ends.taken)


def _leaks(unfreed: Sequence[Unfreed], places: Places) -> list[Leak]:
    """By call stack or call site, most bytes first."""
    found = [Leak(places.stack(each.stack, each.site), each.blocks, each.bytes) for each in unfreed]
    return sorted(found, key=lambda leak: (-leak.bytes, -leak.blocks, leak.calls))
