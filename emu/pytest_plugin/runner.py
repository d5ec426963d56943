"""GuestRunner: the fixture `guest`. It builds, runs, holds the marks of the test against the run, and remembers it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import emu
from emu.analysis.heapresult import Heap, Leak
from emu.analysis.misuse import Misuse
from emu.analysis.misuse import lines as misuse_lines
from emu.analysis.suppressions import parse
from emu.api import ProgramError, Run, Stopped
from emu.calls import HeapOptions, RuleError
from emu.config import ConfigError, parse_size
from emu.pytest_plugin import baseline
from emu.pytest_plugin.build import SOURCES, Builder, BuildError
from emu.report import death
from emu.report import heap as heap_report
from emu.report.stats import kib
from emu.trace.alloc_rules import Paths, paths

if TYPE_CHECKING:
    from collections.abc import Mapping

Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
MAX_INSTRUCTIONS = 10_000_000_000  # of a guest whose test sets no limit: a minute or two
TAIL = 20  # lines of a guest's stderr in a failed test's report
_BUILDER = pytest.StashKey[Builder]()


class GuestRun(Run):
    """A Run of a test: all that emu.Run has, and its baseline. `label` is the program and its arguments."""

    label: str
    _place: baseline.Place

    @property
    def heap(self) -> Heap:
        """What it did with its heap. Raises ValueError where that was not traced."""
        found = super().heap
        if found is None:
            raise ValueError("the heap was not traced: the test says heap=False")
        return found

    @property
    def traced(self) -> Heap | None:
        """The same; None where it was not traced."""
        return super().heap

    def matches_baseline(self, name: str = "", tolerance: float | Mapping[str, float] = 0.0) -> bool:
        """Fail the test unless the counts of this run are those that were kept: instructions, syscalls, page faults,
        peak RSS, and of the heap allocations, frees, peak live and costs.

        They are kept in `TEST_MODULE.baseline.toml` beside the test, which `pytest --heapscope-update` writes. A test
        that compares several runs gives each a `name`. `tolerance` is how far a count may be off, as a share of the
        kept one: 0.02 for all, or {"instructions": 0.02, "cost": 0.1, "syscalls.mmap": 1.0} for some."""
        self._place.check(name, baseline.counts(self, self.traced), tolerance)
        return True

    def story(self) -> str:
        """What it did, in some lines: how it ended, what it did wrong, what it leaked, the end of its stderr."""
        return "\n".join(_story(self))

    def __repr__(self) -> str:
        return f"<Run of {self.label}: {_ending(self)}, {self.instructions:,} instructions>"


class GuestRunner:
    """`guest(source_or_program, argv) -> GuestRun`. `runs` are those of this test so far."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.runs: list[GuestRun] = []
        self._node, self._folder = request.node, request.path.parent
        config = request.config
        if _BUILDER not in config.stash:
            config.stash[_BUILDER] = Builder.of(config)
        self._builder = config.stash[_BUILDER]
        self._place = baseline.Place.of(request)

    def __repr__(self) -> str:
        return "guest"

    def build(
        self,
        sources: Sources,
        *,
        cflags: Iterable[str] = (),
        ldflags: Iterable[str] = (),
        toolchain: str | None = None,
    ) -> Path:
        """The static ELF of C or C++ `sources`, relative to the test's folder; compiled where it is not in the cache.

        `cflags` come after -O2 -g -fno-omit-frame-pointer, `ldflags` after the objects. `toolchain` is zig-musl,
        musl-gcc or gcc (glibc); else what the ini option heapscope_toolchain says. What the compiler refuses fails the
        test with the compiler's words."""
        listed = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        paths = [self._folder / source for source in listed]
        try:
            return self._builder.build(paths, tuple(cflags), tuple(ldflags), toolchain)
        except BuildError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def __call__(
        self,
        source_or_program: Sources,
        argv: Iterable[str | bytes] = (),
        *,
        cflags: Iterable[str] = (),
        ldflags: Iterable[str] = (),
        toolchain: str | None = None,
        heap: HeapOptions | bool = True,
        stack: int = 8,
        alloc: str | Iterable[str] = (),
        alloc_file: Paths = (),
        alloc_from: Paths = (),
        suppressions: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> GuestRun:
        """Run C or C++ source files (see `build`), or a static ELF, relative to the test's folder.

        The heap is traced with `stack` frames a call unless `heap` is False; `alloc` are rules as after --alloc, for
        functions that no name tells, `alloc_file` TOML files of such, `alloc_from` static libraries by whose code they
        are found in a program without symbols: one or several. `suppressions` is a file of findings to let pass. Files
        are relative to the test's folder. `options` are those of emu.run: memory, rlimits, env, stdin, mounts,
        max_instructions, seed, … A guest that does not end by itself fails the test, unless the test set the limit."""
        source = source_or_program
        arguments = list(argv)
        if isinstance(source, str | os.PathLike) and Path(source).suffix not in SOURCES:
            program = self._folder / source
        else:
            program = self.build(source, cflags=cflags, ldflags=ldflags, toolchain=toolchain)
        limited = bool({"max_instructions", "timeout"} & set(options))
        given: dict[str, Any] = {"argv0": f"/{program.name}", "count_syscalls": True} | options
        if not limited:
            given["max_instructions"] = MAX_INSTRUCTIONS
        try:
            if heap is True:
                known = parse((self._folder / suppressions).read_text(), str(suppressions)) if suppressions else ()
                heap = HeapOptions(stack=stack, suppressions=known)
            files, libraries = (paths(each, str(self._folder)) for each in (alloc_file, alloc_from))
            done = emu.run(program, arguments, heap=heap, alloc=alloc, alloc_file=files, alloc_from=libraries, **given)
        except (ProgramError, ConfigError, RuleError, OSError) as refused:
            raise pytest.fail.Exception(f"guest {program.name}: {refused}", pytrace=False) from None
        return self._kept(done, " ".join([program.name, *map(_word, arguments)]), limited)

    def _kept(self, done: Run, label: str, limited: bool) -> GuestRun:
        run = GuestRun._make(done)
        run.label, run._place = label, self._place
        self.runs.append(run)
        if run.stopped is Stopped.HARD:
            raise KeyboardInterrupt
        for failure in run.failures:
            why = f"{failure.error.filename or 'a sink'}: {failure.error.strerror or failure.error}"
            pytest.fail(f"guest {label}: the trace is incomplete: {why}", pytrace=False)
        if not limited and run.stopped is Stopped.INSTRUCTIONS:
            pytest.fail(f"guest {label} did not end within {MAX_INSTRUCTIONS:,} instructions (max_instructions=…)")
        self._hold_marks(run)
        return run

    def _hold_marks(self, run: GuestRun) -> None:
        if self._node.get_closest_marker("no_leaks") and run.heap.leaks:
            lines = "\n".join(findings(run.heap.leaks))
            pytest.fail(f"guest {run.label} leaks (the test is marked no_leaks)\n{lines}", pytrace=False)
        for mark in self._node.iter_markers("limit_rss"):
            (size,) = mark.args
            limit = parse_size(size) if isinstance(size, str) else size
            if run.rss_peak > limit:
                peak = f"{kib(run.rss_peak)} resident at its peak"
                pytest.fail(f"guest {run.label}: {peak}; the test is marked limit_rss({size!r})", pytrace=False)


def findings(found: Iterable[object]) -> Iterator[str]:
    """Leaks and misuses as the report of `heapscope run --heap` has them."""
    for each in found:
        if isinstance(each, Misuse):
            yield from misuse_lines(each)
        elif isinstance(each, Leak):
            yield from heap_report.leak_lines(each)


def _word(argument: str | bytes) -> str:
    return argument if isinstance(argument, str) else argument.decode("utf-8", "backslashreplace")


def _ending(run: Run) -> str:
    if run.signal is not None:
        return f"killed by {run.signal_name}"
    return f"exit status {run.exit_status}" if run.exit_status is not None else f"ended by {run.stopped.value}"


def _story(run: GuestRun) -> Iterator[str]:
    yield f"{_ending(run)}, {run.instructions:,} instructions, {kib(run.rss_peak)} resident at its peak"
    if run.traced is not None:
        heap = run.traced
        yield f"{heap.allocations:,} allocations, {heap.frees:,} frees, {heap.peak_live:,} bytes live at the peak"
        yield from findings(heap.misuse)
        if heap.leaks:
            yield f"never freed: {heap.leaked_bytes:,} bytes in {heap.leaked_blocks:,} blocks"
            yield from findings(heap.leaks)
    yield from run.notes
    if run.death is not None:
        yield from death.render(run.death, False).splitlines()
    lines = run.stderr.decode("utf-8", "backslashreplace").splitlines()
    if lines:
        yield f"stderr, its last {TAIL} lines:" if len(lines) > TAIL else "stderr:"
        yield from (f"  {line}" for line in lines[-TAIL:])
