"""The address space as an allocator uses it: what it holds, and of that what is live, freed, or its own.

SpaceFold follows the mappings, one step a syscall; the blocks are laid over them once, when somebody asks.
"""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from emu.trace.space import HELD, KIND, NOTHING, Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emu.calls import Ends

    Blocks = NDArray[np.void]  # emu.trace.heap.BLOCK

STEPS = 1024  # of the history at most; it gets coarser


class Ranges:
    """Disjoint ranges in order; neighbours of one kind are one range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._all: list[Range] = []

    def __iter__(self) -> Iterator[Range]:
        return iter(self._all)

    def at(self, va: int) -> Range | None:
        """The range that `va` lies in."""
        i = bisect_right(self._starts, va) - 1
        return self._all[i] if i >= 0 and va < self._all[i].end else None

    def put(self, where: Range) -> list[Range]:
        """`where` is of its kind now (NOTHING: it is no range). Returns what was there before, cut to `where`."""
        start, end, kind = where
        first = bisect_left(self._starts, start) - 1
        if first < 0 or self._all[first].end < start:  # one that ends at `start` may be joined
            first += 1
        last = bisect_right(self._starts, end)
        met = self._all[first:last]
        cut = [Range(max(each.start, start), min(each.end, end), each.kind) for each in met]
        left = [Range(each.start, start, each.kind) for each in met[:1] if each.start < start]
        right = [Range(end, each.end, each.kind) for each in met[-1:] if each.end > end]
        if kind != NOTHING:
            if left and left[0].kind == kind:
                start = left.pop().start
            if right and right[0].kind == kind:
                end = right.pop().end
            left.append(Range(start, end, kind))
        left += right
        self._all[first:last] = left
        self._starts[first:last] = [each.start for each in left]
        return [each for each in cut if each.start < each.end]


class Held(NamedTuple):
    """So many bytes were the allocator's from this instruction on."""

    instructions: int
    bytes: int


class SpaceFold:
    """Keeps emu.trace.space.SpaceSink."""

    def __init__(self) -> None:
        self.ranges = Ranges()
        self.held = 0
        self.peak = Held(0, 0)
        self.history: list[Held] = []  # each a change of `held`; every n-th where there were many
        self._every = self._changes = 1

    def mapped(self, instructions: int, where: Range) -> None:
        gone = sum(each.end - each.start for each in self.ranges.put(where) if each.kind & KIND == HELD)
        come = where.end - where.start if where.kind & KIND == HELD else 0
        if come == gone:
            return
        self.held += come - gone
        now = Held(instructions, self.held)
        if now.bytes > self.peak.bytes:
            self.peak = now
        self._changes += 1
        if self._changes % self._every == 0:
            self.history.append(now)
        if len(self.history) > STEPS:
            self.history = self.history[1::2]
            self._every *= 2


class Space(NamedTuple):
    """What an allocator held when the run ended, in bytes. held = live + freed + own."""

    held: int
    ranges: tuple[Range, ...]  # those it held
    live: int  # asked for by the program, in blocks that lie there
    freed: int  # in blocks that were freed, and not handed out again
    own: int  # its headers, its rounding, and what it never handed out
    resident: int | None  # of `held`, in RAM; None: nobody looked
    elsewhere: int  # live bytes in memory that was mapped outside of its functions: constructors, static pools, arenas
    peak: Held
    history: tuple[Held, ...]


class Map:
    """What each byte is: the ranges, and the blocks over them."""

    def __init__(self, ranges: Ranges, blocks: Callable[[], Blocks]) -> None:
        """Of `blocks` those that the program was given count."""
        self._ranges, self._blocks = ranges, blocks

    @functools.cached_property
    def _live_and_freed(self) -> tuple[Blocks, Blocks]:
        blocks = self._blocks()
        blocks = blocks[(blocks["inner"] == 0) & (blocks["size"] < 1 << 47) & (blocks["pointer"] < 1 << 47)]
        live = blocks["freed_at"] == 0
        return blocks[live], blocks[~live]

    def what(self, va: int) -> str:
        """`live`, `freed`, `own` (the allocator's), `other` (mapped, not by it), or `nothing`."""
        for word, blocks in zip(("live", "freed"), self._live_and_freed, strict=True):
            if bool(((blocks["pointer"] <= va) & (va - blocks["pointer"] < blocks["size"])).any()):
                return word
        found = self._ranges.at(va)
        return "nothing" if found is None else "own" if found.kind & KIND == HELD else "other"

def held_by(ranges: Ranges) -> list[tuple[int, int]]:
    """[start, end) of what is the allocator's."""
    return [(each.start, each.end) for each in ranges if each.kind & KIND == HELD]


def space_of(fold: SpaceFold, ends: Ends, resident: Callable[[int, int], int] | None) -> Space:
    """The sums as of now; `resident` counts the bytes of [start, end) that are in RAM, where somebody can."""
    ranges = tuple(each for each in fold.ranges if each.kind & KIND == HELD)
    in_ram = None if resident is None else sum(resident(each.start, each.end) for each in ranges)
    own = fold.held - ends.live - ends.freed
    return Space(
        fold.held, ranges, ends.live, ends.freed, own, in_ram, ends.elsewhere, fold.peak, tuple(fold.history)
    )
