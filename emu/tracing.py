"""The heap trace of one run, from the moment that its program is loaded to what is told of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emu.analysis.heap import HeapFold
from emu.analysis.heapresult import Heap, facts_of
from emu.analysis.space import SpaceFold
from emu.analysis.suppressions import DEFAULT
from emu.analysis.timeline import Sample, Timeline
from emu.calls import AllocRule, HeapOptions, RuleError
from emu.config import ConfigError, RunConfig
from emu.outcome import Counters
from emu.sinks.base import FolderError
from emu.trace.alloc_rules import concerning, is_of, why_not
from emu.trace.recorder import Failure
from kernel.abi.signal import SEGV_ACCERR, SEGV_MAPERR, SIGSEGV
from kernel.task.traps import PF_WRITE

if TYPE_CHECKING:
    from emu.elf import Elf
    from emu.machine import Image, Machine, Stopped
    from emu.sinks.arrow import HeapRecord

# Where the hooks run, in C or in Python, changes nothing; the rest of RunConfig decides what is in a trace.
UNTOLD = {"native"}
MOMENT = 1 << 24  # instructions after which a record catches up: a run that is stuck may be killed


class HeapTrace:
    """The heap of one run: of its program, and of each that execve puts in its place. Begins when it is made, before
    the program's first instruction."""

    def __init__(self, machine: Machine, path: str, argv: Sequence[bytes], options: HeapOptions) -> None:
        """Raises ConfigError for rules that the program cannot follow, and where the record cannot begin."""
        self._machine, self._options = machine, options
        self._before: list[Heap] = []
        self._failures: list[Failure] = []  # of the record
        self._missing: list[Failure] = []  # of rules
        image = machine.image()
        self._first, self._paths = image.inode, [path, image.path]  # of the programs up to now
        rules = concerning(options.rules, self._paths)
        try:
            learned = _learn(image.elf, options.libraries, ruled=bool(rules))
            self._now = _Traced(machine, image, path, argv, options._replace(rules=tuple(rules)), learned)
            self._now.begin()
        except RuleError as wrong:
            raise ConfigError(f"{path}: {wrong}") from None
        except (FolderError, OSError) as error:
            raise ConfigError(f"--record {_why(error)}") from None
        machine.replaced = self._replaced

    def _replaced(self) -> None:
        """execve has put another program in the place of the one that was traced."""
        counters = Counters(instructions=self._machine.cpu.insns)
        self._before.append(self._end("EXECVE", counters, replaced=True))
        image = self._machine.image()
        rules, learned = self._followed(image)
        options = self._options._replace(rules=rules, record=self._folder())
        self._now = _Traced(self._machine, image, image.path, image.argv, options, learned)
        try:
            self._now.begin()
        except OSError as error:
            assert self._now.record is not None
            self._now.record.error = error

    def _followed(self, image: Image) -> tuple[tuple[AllocRule, ...], str]:
        """The rules that a program follows which execve has started, and how its other functions were found."""
        self._paths.append(image.path)
        rules = concerning(self._options.rules, [image.path], by_address=image.inode is self._first)
        ruled = any(rule.program or not why_not(image.elf, rule) for rule in rules)
        learned = _learn(image.elf, self._options.libraries, ruled, anew=True)
        amiss = {rule: why for rule in rules if (why := why_not(image.elf, rule))}
        missing = [why for rule, why in amiss.items() if rule.program]
        self._missing += (Failure(self, OSError(errno.ENOENT, why, image.path)) for why in missing)
        return tuple(rule for rule in rules if rule not in amiss), "; ".join(filter(None, (learned, *missing)))

    def _folder(self) -> str:
        """Of the next program's record, in that of the run; "": none."""
        if not self._options.record or self._failures:
            return ""
        folder = os.path.join(self._options.record, str(len(self._before) + 1))
        from emu.sinks.arrow import check

        try:
            check(folder)
        except FolderError as wrong:
            self._failures.append(Failure(self, OSError(errno.EEXIST, str(wrong).removeprefix(f"{folder}: "), folder)))
            return ""
        return folder

    def end(self, stopped: Stopped, counters: Counters) -> Heap:
        """The run is over."""
        system = self._machine.kernel.system
        unmet = dict.fromkeys(rule.program for rule in self._options.rules if not is_of(rule, self._paths))
        for program in filter(None, unmet):
            ran = ", ".join(dict.fromkeys(self._paths[1:]))
            system.note(0, f"the rules for {program!r} were not used: no such program was started, but {ran}")
        return self._end(stopped.name, counters, replaced=False)

    def _end(self, stopped: str, counters: Counters, replaced: bool) -> Heap:
        heap = self._now.end(stopped, counters, replaced, self._before)
        record = self._now.record
        if record is not None and record.error is not None:
            self._failures.append(Failure(record, record.error))
        return heap

    def catch_up(self) -> None:
        """The guest is about to write to its standard streams, or to wait for them: somebody may kill the run then."""
        self._now.catch_up()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why the record is not whole, or what of the rules could not be followed."""
        return (*self._failures, *self._missing)


class _Traced:
    """The trace of one program of a run."""

    def __init__(
        self, machine: Machine, image: Image, path: str, argv: Sequence[bytes], options: HeapOptions, learned: str
    ) -> None:
        self._machine, self._image, self._path, self._argv, self._options = machine, image, path, argv, options
        self._learned = learned  # how the functions were found, or why not, where no symbol tells
        self._fold, self._space = HeapFold(by_stack=options.stack > 0), SpaceFold()
        self._timeline = Timeline(machine.cpu.insns)
        self._moment = machine.cpu.insns + MOMENT & -MOMENT
        self._suppressions = (*options.suppressions, *(DEFAULT if options.default_suppressions else ()))
        self.record: HeapRecord | None = None

    def begin(self) -> None:
        """Raises RuleError, FolderError, OSError; after the latter two the program is traced, but not recorded."""
        if self._options.record:
            from emu.sinks.arrow import HeapRecord

            self.record = HeapRecord(self._options.record)
        spaces = (self._space,) if self.record is None else (self._space, self.record)
        machine = self._machine
        self._tracer = machine.trace_heap(self._image, self._options, self._fold, *spaces, record=self.record)
        machine.sampler = self if self._tracer.functions else None
        if self.record is not None:
            self.record.begin(self._tracer, self._about())

    def _about(self) -> dict[str, Any]:
        tracer, options = self._tracer, self._options
        return {
            "program": self._path,
            "argv": [os.fsdecode(word) for word in self._argv],
            "options": _told(self._machine.config),
            "heap": {
                "stack": options.stack,
                "strict": options.strict,
                "memcheck": options.memcheck,
                "uninitialised": options.uninitialised,
                "errno_checked": tracer.promises is not None and tracer.promises.errno_checked,
                "libraries": options.libraries,
                "learned": self._learned,
                "rules": [(rule.where, rule.does) for rule in options.rules],
                "suppressions": self._suppressions,
            },
            "functions": [{"name": probe.name, "names": probe.names, "va": probe.va} for probe in tracer.functions],
            "bias": tracer.symbols.bias,
        }

    @property
    def next(self) -> int:
        return self._timeline.next if self.record is None else min(self._timeline.next, self._moment)

    def sample(self, instructions: int, rss: int) -> None:
        """Keeps emu.machine.Sampler."""
        if self._machine.cpu.ahead > self._timeline.next:
            self._sample(instructions, rss)
        if self._machine.cpu.ahead > self._moment:
            self._moment = self._moment + MOMENT & -MOMENT
            self.catch_up()

    def catch_up(self) -> None:
        if self.record is not None:
            self._tracer.drain()
            self.record.catch_up()

    def _sample(self, instructions: int, rss: int) -> None:
        sample = Sample(instructions, *self._tracer.calls.live(), self._space.held, rss)
        self._timeline.add(sample)
        if self.record is not None:
            self.record.sample(sample)

    def end(self, stopped: str, counters: Counters, replaced: bool, before: Sequence[Heap]) -> Heap:
        """The program is over. Of one that was `replaced` the memory is gone, too."""
        tracer = self._tracer
        fatal, task = self._machine.kernel.fatal, self._machine.kernel.current
        if fatal is not None and fatal.sig == SIGSEGV and fatal.code in (SEGV_MAPERR, SEGV_ACCERR):
            tracer.killed_at(task.cr2, bool(task.trap_error & PF_WRITE))
        tracer.end()
        if not replaced:
            self._sample(counters.instructions, counters.rss)
        facts = facts_of(tracer, self._space, self._timeline, self._path, replaced, self._learned)
        status = self._machine.kernel.exit_status
        if self.record is not None:
            end: dict[str, Any] = {
                "stopped": stopped,
                "exit_status": status.code if status and not status.sig else None,
                "signal": status.sig if status and status.sig else None,
                "counters": {**counters._asdict(), "faults": dict(counters.faults)},
                "events": self._fold.events,
                "misuses": facts.misuse_count,
                "lost": facts.lost,
                "resident": facts.space.resident,
            }
            self.record.end(end, facts)
        return Heap(facts, self._fold, self._suppressions, before)


def _learn(elf: Elf, libraries: Sequence[str], ruled: bool, anew: bool = False) -> str:
    """emu/trace/alloc_library.py's learn, or `anew` its learn_anew, which most programs do without."""
    if not libraries and any(elf.symbols()):
        return ""
    from emu.trace.alloc_library import learn, learn_anew

    return (learn_anew if anew else learn)(elf, libraries, ruled)


def _why(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _told(config: RunConfig) -> dict[str, Any]:
    told = {name: value for name, value in config._asdict().items() if name not in UNTOLD}
    return told | {"mounts": [mount._asdict() for mount in config.mounts]}
