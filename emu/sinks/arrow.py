"""Writes the heap stream into a trace folder, as it comes:

    meta.json        what was run and how; `end` is there once the run is over
    events.arrow     the calls, in the columns of emu/trace/codec.py
    sites.arrow      return addresses by number, from 1 on
    stacks.arrow     call stacks by number, from 1 on: return addresses, the call site first
    symbols.arrow    what stands at each of those addresses, in words
    misuse.arrow     misuse and bad accesses, with their stacks
    violations.arrow promises that the allocator broke, with their stacks
    totals.arrow     what the events add up to, now and then, so that nobody needs to add them all up again
    timeline.arrow   emu/analysis/timeline.py's samples, as they were taken
    space.arrow      each mapping that came or went: emu/trace/space.py
    blocks.arrow     the table of blocks at the end

    2/, 3/, …        the same of the programs that execve put in the place of the first

Each .arrow is an Arrow IPC stream, its buffers compressed by zstd: append-only, so what was written stays
readable however the run ends. What an event names is written before it, and what was found when it is found: only how
often it happened in all is known at the end. A batch of events ends where it is full, and at each moment at which the
run may be stuck or somebody may have seen enough to kill it (`catch_up`), if it is then worth a batch. Nothing here
depends on the host or the clock.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from emu.analysis.misuse import ACCESSES, Happening, Misuse, accesses, misuses
from emu.analysis.places import Places
from emu.analysis.strict import Violation, violation_of
from emu.sinks.base import FolderError
from emu.trace.codec import COLUMNS, GATHERED, Gathered
from emu.trace.heap import BLOCK

if TYPE_CHECKING:
    import pyarrow as pa

    from emu.analysis.heapresult import HeapFacts
    from emu.analysis.timeline import Sample
    from emu.trace.heap import Caught, Events, HeapTracer
    from emu.trace.memcheck import BadAccess
    from emu.trace.space import Range
    from emu.trace.strict import Broken

SCHEMA = 3  # of the folder; a reader refuses a higher one
META = "meta.json"
LEVEL = 1  # of zstd: the next ones cost more time than they save bytes
EACH = 16  # full batches between two rows of totals
MANY = 1 << 14  # rows of a batch
# A batch takes 3 KiB beside its events. At a moment they are worth that if they are so many, or a SHAREth of those that
# are written: the lesser is the most that a run which is killed at a moment loses.
ENOUGH, SHARE = 1 << 12, 32
_TYPES = {"u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64", "i8": "int64"}
_HAPPENING = {"function": "string", "instructions": "uint64", "calls": ["string"]}
# Field → type; [x]: a list of x; {…}: a struct
STREAMS: dict[str, dict[str, Any]] = {
    "events": {name: _TYPES[kind[-2:]] for name, kind in COLUMNS},
    "sites": {"va": "uint64"},
    "stacks": {"frames": ["uint64"]},
    "symbols": {"va": "uint64", "place": "string"},
    "misuse": {"kind": "string", "text": "string", "pointer": "uint64", "size": "uint64",
               "at": _HAPPENING, "allocated": _HAPPENING, "freed": _HAPPENING},
    "violations": {"kind": "string", "text": "string", "pointer": "uint64", "size": "uint64", "at": _HAPPENING},
    "totals": {"events": "uint64", "lost": "uint64", "misuses": "uint64",
               "head": "binary", "places": "binary", "dear": "binary"},
    "timeline": {"instructions": "uint64", "live": "int64", "blocks": "int64", "held": "uint64", "rss": "uint64"},
    "space": {"instructions": "uint64", "start": "uint64", "end": "uint64", "kind": "uint8"},
    "blocks": {name: _TYPES[kind[-2:]] for name, kind in BLOCK if kind[-2:] in _TYPES and name != "pool"},
}  # fmt: skip


def check_pyarrow() -> None:
    """Raises FolderError where it is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise FolderError("a trace folder needs the package pyarrow, which is not installed")


def check(folder: str) -> None:
    """Raises FolderError where a trace cannot begin."""
    check_pyarrow()
    try:
        taken = any(os.scandir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror or error}") from None
    if taken:
        raise FolderError(f"{folder}: not empty; a trace gets a folder of its own")


def schema_of(name: str) -> pa.Schema:
    """Of the stream NAME.arrow."""
    import pyarrow as pa

    def type_of(told: Any) -> pa.DataType:
        if isinstance(told, list):
            return pa.list_(type_of(told[0]))
        if isinstance(told, dict):
            return pa.struct([(field, type_of(kind)) for field, kind in told.items()])
        made: pa.DataType = getattr(pa, told)()
        return made

    return pa.schema([(field, type_of(kind)) for field, kind in STREAMS[name].items()])


class Stream:
    """One append-only file; each batch is with the host's kernel when `write` returns. Raises OSError."""

    def __init__(self, folder: str, name: str) -> None:
        import pyarrow as pa

        self.path = os.path.join(folder, f"{name}.arrow")
        self.schema = schema_of(name)
        self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115
        self._made = io.BytesIO()  # by Arrow, and not in the file yet
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", LEVEL), use_threads=False)
        self._writer = pa.ipc.new_stream(self._made, self.schema, options=options)
        self._append()

    def rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """One batch, where there are any."""
        import pyarrow as pa

        if rows:
            self.write(pa.RecordBatch.from_pylist(list(rows), self.schema))

    def columns(self, columns: dict[str, Any]) -> None:
        """One batch of numpy arrays by name."""
        import pyarrow as pa

        arrays = [pa.array(columns[field.name]) for field in self.schema]
        self.write(pa.RecordBatch.from_arrays(arrays, schema=self.schema))

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self._append()

    def close(self) -> int:
        """The end-of-stream mark; returns the size of the file."""
        self._writer.close()
        self._append()
        size = self._file.tell()
        self._file.close()
        return size

    def _append(self) -> None:
        made = self._made.getvalue()
        self._made.seek(0)
        self._made.truncate()
        rest = memoryview(made)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None


class HeapRecord:
    """The trace folder of one run. Keeps emu.trace.heap.Record and emu.trace.space.SpaceSink; `error` is why it took
    nothing more."""

    def __init__(self, folder: str) -> None:
        """Raises FolderError where there is something already."""
        check(folder)
        self.folder = folder
        self.error: OSError | None = None
        self._sites: list[int] = [0]
        self._stacks: list[tuple[int, ...]] = [()]
        self._named: set[int] = set()
        self._events = Gathered()
        self._mapped: list[dict[str, int]] = []
        self._samples: list[dict[str, int]] = []
        self._totalled = 0  # events, when totals were last written
        self._streams: dict[str, Stream] = {}

    def begin(self, tracer: HeapTracer, about: dict[str, Any]) -> None:
        """Make the folder; `about`: what its meta.json says before the run begins. Raises FolderError, OSError."""
        check(self.folder)
        os.makedirs(self.folder, exist_ok=True)
        self._tracer, self._about = tracer, {"schema": SCHEMA, **about}
        self._places = Places(tracer.place, self._sites, self._stacks)
        self._meta()
        self._streams = {name: Stream(self.folder, name) for name in STREAMS}

    def mapped(self, instructions: int, where: Range) -> None:
        if self.error is None:
            self._mapped.append({"instructions": instructions, **where._asdict()})
            if len(self._mapped) >= MANY and self._streams:
                self._safely(self._space)

    def batch(self, events: Events) -> None:
        while self.error is None and len(events):
            taken = events[: self._events.room]
            self._events.add(taken)
            events = events[len(taken) :]
            if not self._events.room:
                self._safely(self._full)

    def catch_up(self) -> None:
        """Now is a moment: who kills the run after it finds what came before."""
        used, before = self._events.used, self._events.before
        if self.error is None and used and used >= min(ENOUGH, before // SHARE):
            self._safely(self._full)

    def misused(self, caught: Caught) -> None:
        self._tell("misuse", lambda: misuses([caught], self._tracer.names, self._places))

    def accessed(self, access: BadAccess) -> None:
        self._tell("misuse", lambda: accesses([(access, 1)], self._tracer.names, self._places))

    def broke(self, broken: Broken) -> None:
        self._tell("violations", lambda: [violation_of(broken, self._tracer.names, self._places)])

    def sample(self, sample: Sample) -> None:
        if self.error is None:
            self._samples.append(sample._asdict())

    def end(self, end: dict[str, Any], facts: HeapFacts) -> None:
        """The run is over, and all its events were told."""
        if self.error is None:
            self._safely(lambda: self._end(end, facts))

    def _end(self, end: dict[str, Any], facts: HeapFacts) -> None:
        self._flush()
        self._total()
        blocks = facts.blocks()
        for start in range(0, len(blocks), MANY):
            part = blocks[start : start + MANY]
            self._streams["blocks"].columns({name: part[name].copy() for name in STREAMS["blocks"]})
        sizes = {name: stream.close() for name, stream in self._streams.items()}
        strict = facts.strict and {"count": facts.strict.count, "unchecked": facts.strict.unchecked}
        times = [misuse.times for misuse in facts.misuse if misuse.kind in ACCESSES]
        self._about["end"] = {**end, "strict": strict, "times": times, "bytes": sizes}
        self._meta()

    def _full(self) -> None:
        self._flush()
        if self._events.before - self._totalled >= EACH * GATHERED:
            self._totalled = self._events.before
            self._total()

    def _safely(self, write: Callable[[], None]) -> None:
        """What cannot be written ends the record, not the run."""
        try:
            write()
        except OSError as error:
            self.error = error

    def _tell(self, name: str, found: Callable[[], Sequence[Misuse | Violation]]) -> None:
        """At once: a run may be killed any moment, and findings are few."""

        def write() -> None:
            self._name()
            self._streams[name].rows([_row(each) for each in found()])

        if self.error is None:
            self._safely(write)

    def _name(self) -> None:
        """What events and findings name: what is new of it."""
        calls, streams = self._tracer.calls, self._streams
        sites, stacks = calls.sites()[len(self._sites) :], calls.stacks(len(self._stacks))
        self._sites += sites
        self._stacks += stacks
        self._symbols([*sites, *(pc for frames in stacks for pc in frames)])
        streams["sites"].rows([{"va": va} for va in sites])
        streams["stacks"].rows([{"frames": frames} for frames in stacks])

    def _flush(self) -> None:
        self._name()
        self._space()
        columns = self._events.take()
        if len(columns["entry"]):
            self._streams["events"].columns(columns)

    def _space(self) -> None:
        mapped, self._mapped = self._mapped, []
        self._streams["space"].rows(mapped)
        samples, self._samples = self._samples, []
        self._streams["timeline"].rows(samples)

    def _symbols(self, wanted: Iterable[int]) -> None:
        new = [va for va in dict.fromkeys(wanted) if va not in self._named]
        self._named.update(new)
        self._streams["symbols"].rows([{"va": va, "place": self._places.call(va)} for va in new])

    def _total(self) -> None:
        head, places, dear = self._tracer.totals()
        row = {"events": int.from_bytes(head[:8], "little"), "lost": self._tracer.calls.lost}
        row |= {"misuses": self._tracer.misuses}
        self._streams["totals"].rows([{**row, "head": head, "places": places, "dear": dear}])

    def _meta(self) -> None:
        """meta.json is whole or not there at all, at any moment."""
        path = os.path.join(self.folder, META)
        try:
            with open(path + ".new", "x", encoding="utf-8") as file:
                json.dump(self._about, file, indent=1)
                file.write("\n")
            os.replace(path + ".new", path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None


def _row(found: Misuse | Violation) -> dict[str, Any]:
    """As its stream has it."""
    fields = found._asdict().items()
    return {name: value._asdict() if isinstance(value, Happening) else value for name, value in fields}
