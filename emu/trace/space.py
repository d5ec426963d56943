"""Whose memory is whose: each mapping that comes or goes, and whether an allocator made it.

What brk, mmap and mremap map while a traced function is under way is the allocator's. Of the rest it is told where it
came from: allocators get memory in constructors, too, or are given it, so that alone makes it nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emu.trace.events import VmaMap, VmaUnmap

if TYPE_CHECKING:
    from emu.calls import CallHooks
    from kernel.probes import Probes

# Kinds of ranges. FILE is added to one that a file or shared memory stands behind, BRK to what brk made.
NOTHING, HELD, OTHER, STATIC, STACK = range(5)
KIND, FILE, BRK = 7, 8, 16
_MORE = {"anon": 0, "file": FILE, "brk": BRK}


class Range(NamedTuple):
    """[start, end), and its kind."""

    start: int
    end: int
    kind: int


class SpaceSink(Protocol):
    """Whoever is told."""

    def mapped(self, instructions: int, where: Range, /) -> None:
        """`where` is of this kind from now on; NOTHING: nothing is mapped there."""


class SpaceTracer:
    """Listens until `end`, or until `gone`: execve takes the old mappings away, which is no doing of the program's.
    `ranges` are there already; `now` counts instructions."""

    def __init__(
        self, probes: Probes, cr3: int, now: Callable[[], int], ranges: Iterable[Range],
        calls: CallHooks, sinks: Iterable[SpaceSink], gone: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._probes, self._cr3, self._now, self._calls, self._sinks = probes, cr3, now, calls, tuple(sinks)
        self._gone = gone
        probes.listen(VmaMap, self._mapped)
        probes.listen(VmaUnmap, self._unmapped)
        for each in ranges:
            self._tell(each)

    def end(self) -> None:
        self._probes.forget(VmaMap, self._mapped)
        self._probes.forget(VmaUnmap, self._unmapped)

    def _mapped(self, event: VmaMap) -> None:
        if event.cr3 == self._cr3:
            kind = HELD if self._calls.inside() else OTHER
            self._tell(Range(event.start, event.end, kind | _MORE[event.kind]))

    def _unmapped(self, event: VmaUnmap) -> None:
        if event.cr3 == self._cr3 and not self._gone():
            self._tell(Range(event.start, event.end, NOTHING))

    def _tell(self, where: Range) -> None:
        now = self._now()
        for sink in self._sinks:
            sink.mapped(now, where)
