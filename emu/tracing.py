"""The heap trace of one run, from the moment that its program is loaded to what is told of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emu.analysis.heap import HeapFold
from emu.analysis.heapresult import Heap, facts_of
from emu.analysis.space import SpaceFold
from emu.analysis.suppressions import DEFAULT
from emu.analysis.timeline import Sample, Timeline
from emu.calls import HeapOptions, RuleError
from emu.config import ConfigError, RunConfig
from emu.trace.recorder import Failure

if TYPE_CHECKING:
    from emu.machine import Machine, Stopped
    from emu.outcome import Counters
    from emu.sinks.arrow import HeapRecord

# Where the hooks run, in C or in Python, changes nothing; the rest of RunConfig decides what is in a trace.
UNTOLD = {"native"}


class HeapTrace:
    """Begins when it is made, before the program's first instruction."""

    def __init__(self, machine: Machine, path: str, argv: Sequence[bytes], options: HeapOptions) -> None:
        """Raises ConfigError for rules that the program cannot follow, and where the record cannot begin."""
        self._machine = machine
        self._fold, self._space = HeapFold(by_stack=options.stack > 0), SpaceFold()
        self._timeline = Timeline()
        self._suppressions = (*options.suppressions, *(DEFAULT if options.default_suppressions else ()))
        self.record = _record(options.record) if options.record else None
        spaces = (self._space,) if self.record is None else (self._space, self.record)
        try:
            self._tracer = machine.trace_heap(options, self._fold, *spaces, record=self.record)
        except RuleError as wrong:
            raise ConfigError(f"{path}: {wrong}") from None
        if self.record is not None:
            self._begin(self.record, path, argv, options)
        if self._tracer.functions:
            machine.sampler = self

    def _begin(self, record: HeapRecord, path: str, argv: Sequence[bytes], options: HeapOptions) -> None:
        from emu.sinks.arrow import FolderError

        tracer = self._tracer
        about = {
            "program": path,
            "argv": [os.fsdecode(word) for word in argv],
            "options": _told(self._machine.config),
            "heap": {
                "stack": options.stack,
                "strict": options.strict,
                "memcheck": options.memcheck,
                "errno_checked": tracer.promises is not None and tracer.promises.errno_checked,
                "rules": [(rule.where, rule.does) for rule in options.rules],
                "suppressions": self._suppressions,
            },
            "functions": [{"name": probe.name, "names": probe.names, "va": probe.va} for probe in tracer.functions],
            "bias": tracer.symbols.bias,
        }
        try:
            record.begin(tracer, about)
        except (FolderError, OSError) as error:
            raise ConfigError(f"--record {_why(error)}") from None

    @property
    def next(self) -> int:
        return self._timeline.next

    def sample(self, instructions: int, rss: int) -> None:
        """Keeps emu.machine.Sampler."""
        sample = Sample(instructions, *self._tracer.calls.live(), self._space.held, rss)
        self._timeline.add(sample)
        if self.record is not None:
            self.record.sample(sample)

    def end(self, stopped: Stopped, counters: Counters) -> Heap:
        """The run is over."""
        tracer = self._tracer
        tracer.end()
        self.sample(counters.instructions, counters.rss)
        facts = facts_of(tracer, self._space, self._timeline)
        status = self._machine.kernel.exit_status
        if self.record is not None:
            end: dict[str, Any] = {
                "stopped": stopped.name,
                "exit_status": status.code if status and not status.sig else None,
                "signal": status.sig if status and status.sig else None,
                "counters": {**counters._asdict(), "faults": dict(counters.faults)},
                "events": self._fold.events,
                "misuses": facts.misuse_count,
                "lost": facts.lost,
                "resident": facts.space.resident,
            }
            self.record.end(end, facts)
        return Heap(facts, self._fold, self._suppressions)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why the record is not whole."""
        record = self.record
        return (Failure(record, record.error),) if record is not None and record.error is not None else ()


def _record(folder: str) -> HeapRecord:
    from emu.sinks.arrow import FolderError, HeapRecord

    try:
        return HeapRecord(folder)
    except FolderError as wrong:
        raise ConfigError(f"--record {wrong}") from None


def _why(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _told(config: RunConfig) -> dict[str, Any]:
    told = {name: value for name, value in config._asdict().items() if name not in UNTOLD}
    return told | {"mounts": [mount._asdict() for mount in config.mounts]}
