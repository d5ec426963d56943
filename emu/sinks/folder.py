"""Reads a trace folder (emu/sinks/arrow.py says what is in it) as far as it goes: a run that was killed, or a folder
that was cut off at some byte, has no end, and what came before it counts."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.analysis.blocktable import BlockTable
from emu.analysis.ends import ends_of
from emu.analysis.heap import HeapFold
from emu.analysis.heapresult import Heap, HeapFacts
from emu.analysis.misuse import ACCESSES, Happening, Misuse
from emu.analysis.places import Places
from emu.analysis.space import Map, SpaceFold, held_by, space_of
from emu.analysis.strict import Strictness, Violation
from emu.analysis.suppressions import Suppression
from emu.analysis.timeline import Sample, Timeline
from emu.calls import Totals
from emu.sinks.arrow import META, SCHEMA, check_pyarrow, schema_of
from emu.sinks.base import FolderError
from emu.trace.codec import events_of
from emu.trace.heap import BLOCK
from emu.trace.space import Range

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from emu.trace.heap import Events

Progress = Callable[[int, int], None]  # events done, events in all


class Recorded(NamedTuple):
    """A run as its folder tells it."""

    meta: dict[str, Any]
    heap: Heap
    cut: str  # why it is not the whole run; "": it is


def read(folder: str, progress: Progress | None = None) -> Recorded:
    """The last program of the run, and by its heap those that execve replaced before. Raises FolderError for what is
    no trace."""
    check_pyarrow()
    found = [_read(folder, progress, ())]
    while os.path.exists(later := os.path.join(folder, str(len(found) + 1), META)):
        found.append(_read(os.path.dirname(later), progress, [each.heap for each in found]))
    cuts = [f"{each.heap.program}: {each.cut}" if found[1:] else each.cut for each in found if each.cut]
    return found[-1]._replace(cut="; ".join(cuts))


def _read(folder: str, progress: Progress | None, before: Sequence[Heap]) -> Recorded:
    meta = _meta(folder)
    end = meta.get("end", {})
    stream = EventStream(folder)
    fold, lost = _folded(folder, meta, stream, progress)
    damaged = [name for name, size in end.get("bytes", {}).items() if _size(folder, name) != size]
    whole = bool(end) and not damaged
    blocks = _blocks(folder) if whole else _replayed(stream, progress)
    until = None if whole else _last(stream)
    space = _space(folder, until)
    ends = ends_of(blocks, held_by(space.ranges))
    misuse = _misuses(folder, end)
    accesses = sum(each.kind in ACCESSES for each in misuse)
    facts = HeapFacts(
        functions=tuple(function["name"] for function in meta["functions"]),
        bias=meta["bias"],
        places=_places(folder, fold, blocks),
        misuse=misuse,
        misuse_count=end["misuses"] if whole else max(len(misuse), accesses + fold.misused * (not lost)),
        lost=end["lost"] if whole else lost,
        blocks=lambda: blocks,
        ends=ends,
        space=space_of(space, ends, None)._replace(resident=end["resident"] if whole else None),
        map=Map(space.ranges, lambda: blocks),
        timeline=_timeline(folder, until),
        strict=_strict(folder, meta),
        program=meta["program"],
        replaced=end.get("stopped") == "EXECVE",
        learned=meta["heap"].get("learned", ""),
    )
    suppressions = [Suppression(*told) for told in meta["heap"]["suppressions"]]
    cut = "" if whole else _cut(meta, damaged, stream.events, accesses)
    return Recorded(meta, Heap(facts, fold, suppressions, before), cut)


def _cut(meta: dict[str, Any], damaged: list[str], events: int, accesses: int) -> str:
    if damaged:
        return f"damaged: {', '.join(damaged)} is cut; {events:,} of {meta['end']['events']:,} events can be read"
    untold = "; how often each bad access happened would be told at the end" if accesses else ""
    return f"the run has no end (killed, or its disk was full); {events:,} events can be read{untold}"


def _size(folder: str, name: str) -> int:
    try:
        return os.path.getsize(os.path.join(folder, f"{name}.arrow"))
    except OSError:
        return -1


def _meta(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, META)
    try:
        with open(path, encoding="utf-8") as file:
            meta = json.load(file)
    except FileNotFoundError:
        why = "no such folder" if not os.path.exists(folder) else f"not a trace: it has no {META}"
        raise FolderError(f"{folder}: {why}") from None
    except NotADirectoryError:
        raise FolderError(f"{folder}: not a trace: a file, and a trace is a folder") from None
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise FolderError(f"{path}: not a trace: {error}") from None
    if not isinstance(meta, dict) or not {"schema", "functions", "bias", "heap"} <= meta.keys():
        raise FolderError(f"{path}: the {META} of something else, not of a trace")
    if meta["schema"] != SCHEMA:
        raise FolderError(f"{folder}: a trace of schema {meta['schema']}; this heapscope reads schema {SCHEMA}")
    return meta


def _batches(folder: str, name: str) -> Iterator[pa.RecordBatch]:
    """The batches of a stream up to its end, or to the first that is not whole."""
    import pyarrow as pa

    for _, message in _messages(folder, name):
        try:
            yield pa.ipc.read_record_batch(message, schema_of(name))
        except (OSError, pa.ArrowException):  # damaged
            return


def _messages(folder: str, name: str, at: int = 0) -> Iterator[tuple[int, pa.Message]]:
    """(where in the file, what) of each whole batch, not yet decoded, from offset `at` on; 0: the first."""
    import pyarrow as pa

    try:
        with pa.memory_map(os.path.join(folder, f"{name}.arrow")) as file:
            if not at and not pa.ipc.read_schema(pa.ipc.read_message(file)).equals(schema_of(name)):
                raise FolderError(f"{folder}: {name}.arrow is not what a trace has there")
            file.seek(at or file.tell())
            while True:
                at = file.tell()
                yield at, pa.ipc.read_message(file)
    except (OSError, EOFError, pa.ArrowException):  # the end, or what is left of a batch
        return


class EventStream:
    """The events of a folder, as far as they can be read; `events`: how many."""

    def __init__(self, folder: str) -> None:
        self._folder, self.events = folder, 0
        self._offsets: list[int] = []  # of the batches in the file,
        self._before: list[int] = []  # and how many events come before each
        last = None
        for at, message in _messages(folder, "events"):
            self._offsets.append(at)
            self._before.append(self.events)
            self.events += _length(message)
            last = message
        if last is not None:
            self._decoded(last)

    def _decoded(self, message: pa.Message) -> pa.RecordBatch:
        import pyarrow as pa

        try:
            return pa.ipc.read_record_batch(message, schema_of("events"))
        except (OSError, pa.ArrowException) as error:
            raise FolderError(f"{self._folder}: events.arrow is damaged: {error}") from None

    def since(self, first: int, progress: Progress | None = None) -> Iterator[Events]:
        """EVENTs in batches, from event `first` (counted from 0) on."""
        if first >= self.events or not self.events:
            return
        number = bisect_right(self._before, max(first, 0)) - 1
        for _, message in _messages(self._folder, "events", self._offsets[number]):
            before = self._before[number]
            found = events_of(_columns(self._decoded(message)), before)
            yield found[max(first - before, 0) :]
            number += 1
            if progress is not None:
                progress(before + len(found), self.events)


def _length(message: pa.Message) -> int:
    """Rows of a batch, without decoding it: header.length in Arrow's Message.fbs."""
    raw = message.metadata.to_pybytes()

    def field(table: int, number: int) -> int:
        vtable = table - int.from_bytes(raw[table : table + 4], "little", signed=True)
        at = vtable + 4 + 2 * number
        return table + int.from_bytes(raw[at : at + 2], "little")

    header = field(int.from_bytes(raw[:4], "little"), 2)
    at = field(header + int.from_bytes(raw[header : header + 4], "little"), 0)
    return int.from_bytes(raw[at : at + 8], "little")


def _columns(batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
    return {name: batch.column(name).to_numpy() for name in batch.schema.names}


def _rows(folder: str, name: str) -> Iterator[dict[str, Any]]:
    for batch in _batches(folder, name):
        yield from batch.to_pylist()


def _folded(folder: str, meta: dict[str, Any], stream: EventStream, progress: Progress | None) -> tuple[HeapFold, int]:
    """The fold over all events, from the last totals on that are not beyond them; and how many calls had been lost by
    then."""
    fold = HeapFold(by_stack=meta["heap"]["stack"] > 0)
    total = None
    for row in _rows(folder, "totals"):
        if row["events"] <= stream.events:
            total = row
    if total is not None:
        fold.take(Totals(total["head"], total["places"], total["dear"]))
    for found in stream.since(fold.events, progress):
        fold.batch(found)
    return fold, total["lost"] if total is not None else 0


def _replayed(stream: EventStream, progress: Progress | None) -> Events:
    table = BlockTable()
    for found in stream.since(0, progress):
        table.batch(found)
    return table.blocks()


def _last(stream: EventStream) -> int:
    """At which instruction the last event was over."""
    return max((int((found["entry"] + found["cost"]).max()) for found in stream.since(stream.events - 1)), default=0)


def _space(folder: str, until: int | None) -> SpaceFold:
    fold = SpaceFold()
    for row in _rows(folder, "space"):
        if until is None or row["instructions"] <= until:
            fold.mapped(row["instructions"], Range(row["start"], row["end"], row["kind"]))
    return fold


def _timeline(folder: str, until: int | None) -> Timeline:
    timeline = Timeline()
    for row in _rows(folder, "timeline"):
        if until is None or row["instructions"] <= until:
            timeline.add(Sample(**row))
    return timeline


def _blocks(folder: str) -> Events:
    import numpy as np

    parts = [np.zeros(0, np.dtype(list(BLOCK)))]
    for batch in _batches(folder, "blocks"):
        part = np.zeros(batch.num_rows, parts[0].dtype)
        for name, column in _columns(batch).items():
            part[name] = column
        parts.append(part)
    return np.concatenate(parts)


def _places(folder: str, fold: HeapFold, blocks: Events) -> Places:
    """What is named and not there (the folder is damaged) has no place."""
    symbols = {row["va"]: row["place"] for row in _rows(folder, "symbols")}
    sites: list[int] = [0, *(row["va"] for row in _rows(folder, "sites"))]
    stacks: list[tuple[int, ...]] = [(), *(tuple(row["frames"]) for row in _rows(folder, "stacks"))]
    named = [site.key for site in fold.sites()]
    named += [int(blocks[name].max()) for name in ("site", "stack") if len(blocks)]
    most = max(named, default=0)
    sites += [0] * (most + 1 - len(sites))
    stacks += [()] * (most + 1 - len(stacks))
    return Places(lambda va: symbols.get(va, f"{va:#x}" if va else "?"), sites, stacks)


def _misuses(folder: str, end: dict[str, Any]) -> list[Misuse]:
    """What was found, in the order of the instructions; how often an access happened is told at the end."""
    times = iter(end.get("times", ()))
    found = sorted((_misuse(row) for row in _rows(folder, "misuse")), key=lambda each: each.at.instructions or 0)
    return [each._replace(times=next(times, 1)) if each.kind in ACCESSES else each for each in found]


def _misuse(row: dict[str, Any]) -> Misuse:
    at, allocated, freed = (_happening(row[name]) for name in ("at", "allocated", "freed"))
    assert at is not None
    return Misuse(row["kind"], row["text"], row["pointer"], at, allocated, freed, row["size"])


def _happening(row: dict[str, Any] | None) -> Happening | None:
    return None if row is None else Happening(row["function"], row["instructions"], tuple(row["calls"]))


def _strict(folder: str, meta: dict[str, Any]) -> Strictness | None:
    if not meta["heap"]["strict"]:
        return None
    violations = []
    for row in _rows(folder, "violations"):
        at = _happening(row["at"])
        assert at is not None
        violations.append(Violation(row["kind"], row["text"], row["pointer"], row["size"], at))
    told = meta.get("end", {}).get("strict", {"count": len(violations), "unchecked": 0})
    return Strictness(tuple(violations), told["count"], told["unchecked"], meta["heap"]["errno_checked"])
