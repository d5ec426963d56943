"""Baselines: the counts of runs that a person has looked at, in a TOML file beside the test, and what differs from it.

["test_churn[1000]"]
allocations = 1_000
cost.malloc.p99 = 213
syscalls.mmap = 3

One table a test (and parameter, and name), sorted; `#` lines at the head are ours, others are not kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from emu.analysis.heapresult import Heap
    from emu.outcome import Run

Counts = dict[str, int]
HEAD = """\
# What guests cost, as run.matches_baseline() compares it: bytes and instructions, exact. Look at what changes here.
# Written by: pytest --heapscope-update {module}
"""


def counts(run: Run, heap: Heap | None) -> Counts:
    """What a baseline keeps of a run, by name. Sizes are in bytes, costs in instructions."""
    kept = {
        "instructions": run.instructions,
        "page_faults": run.counters.minor_faults + run.counters.major_faults,
        "rss_peak": run.rss_peak,
        **{f"syscalls.{name}": call.count for name, call in run.syscalls.items()},
    }
    if heap is not None:
        kept |= {"allocations": heap.allocations, "frees": heap.frees, "peak_live": heap.peak_live}
        for group in ("malloc", "free"):
            cost = heap.cost(group)
            kept |= {f"cost.{group}.{name}": getattr(cost, name) for name in ("p50", "p99", "max") if cost.calls}
    return kept


class Place:
    """Where the baselines of one test are: a table of the file beside it."""

    def __init__(self, module: Path, nodeid: str, update: bool) -> None:
        self._module, self._update = module, update
        self._name, _, self._test = nodeid.partition("::")
        self._command = f"pytest --heapscope-update {shlex.quote(nodeid)}"
        self._seen: set[str] = set()

    @classmethod
    def of(cls, request: pytest.FixtureRequest) -> Place:
        return cls(request.path, request.node.nodeid, bool(request.config.getoption("heapscope_update")))

    @property
    def file(self) -> Path:
        return self._module.with_suffix(".baseline.toml")

    def check(self, name: str, now: Counts, tolerance: float | Mapping[str, float]) -> None:
        """Compare `now`, or keep it under --heapscope-update. Fails the test."""
        key = f"{self._test} {name}" if name else self._test
        if key in self._seen:
            pytest.fail("two runs of one test are compared: give each a name, matches_baseline('first')", pytrace=False)
        self._seen.add(key)
        shares = tolerance if isinstance(tolerance, Mapping) else {name.partition(".")[0]: tolerance for name in now}
        if self._update:
            self._keep(key, now)
            return
        known = read(self.file).get(key)
        if known is None:
            pytest.fail(f"there is no baseline of {key} in {self.file.name} yet; write it, and look at it:\n"
                        f"  {self._command}", pytrace=False)  # fmt: skip
        rows = differences(known, now, shares)
        if rows:
            head = f"{key} is not as its baseline in {self.file.name} has it"
            tail = f"If that is as it should be: {self._command}"
            pytest.fail("\n".join([head, *table(rows), tail]), pytrace=False)

    def _keep(self, key: str, now: Counts) -> None:
        """Replace one table of the file."""
        with _turn():
            kept = read(self.file)
            if kept.get(key) != now:
                self._write(kept | {key: now})

    def drop_all_but(self, tests: Collection[str]) -> list[str]:
        """Drop the tables that are of none of these tests of the module; their names."""
        if not self.file.exists():
            return []
        with _turn():
            try:
                kept = read(self.file)
            except pytest.fail.Exception:  # it is no baseline: the tests have said so
                return []
            known = {key: now for key, now in kept.items() if any(_is_of(key, test) for test in tests)}
            if not known:
                self.file.unlink()
            elif len(known) < len(kept):
                self._write(known)
            return sorted(kept.keys() - known.keys())

    def _write(self, kept: Mapping[str, Counts]) -> None:
        text = render(kept, self._name)
        scratch = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, self.file)


def _is_of(key: str, test: str) -> bool:
    return key == test or key.startswith(f"{test} ")


def read(file: Path) -> dict[str, Counts]:
    """The tables of a baseline file by test; none where there is no file. Fails the test for a file that is not one."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        return {key: dict(_flat(table)) for key, table in tables.items()}
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError) as wrong:
        raise pytest.fail.Exception(f"{file}: not a baseline: {wrong}", pytrace=False) from None


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int):
            yield prefix + name, value
        else:
            raise TypeError(f"{prefix}{name} is {value!r}, not a whole number")


def render(kept: Mapping[str, Counts], module: str) -> str:
    """The file's text: equal counts make equal text."""
    parts = [HEAD.format(module=module)]
    for key in sorted(kept):
        rows = "".join(f"{name} = {kept[key][name]:_}\n" for name in sorted(kept[key]))
        parts.append(f"[{json.dumps(key, ensure_ascii=False)}]\n{rows}")
    return "\n".join(parts)


class Difference(NamedTuple):
    """One count that is off. None: it is not in the baseline, or not in the run."""

    name: str
    before: int | None
    after: int | None
    allowed: float  # share


def differences(known: Counts, now: Counts, tolerance: Mapping[str, float]) -> list[Difference]:
    """What is off by more than it may be. A tolerance is of a count, or of all whose name begins with it and a dot."""
    wrong = [name for name in tolerance if not any(_covers(name, each) for each in {**known, **now})]
    if wrong:
        pytest.fail(f"tolerance of {wrong[0]!r}: no such count; there are {', '.join(sorted(now))}", pytrace=False)
    rows = []
    for name in sorted({**known, **now}):
        before, after = known.get(name), now.get(name)
        covering = [each for each in tolerance if _covers(each, name)]
        allowed = tolerance[max(covering, key=len)] if covering else 0.0
        if abs((after or 0) - (before or 0)) > allowed * (before or 0):
            rows.append(Difference(name, before, after, allowed))
    return rows


def _covers(tolerance: str, name: str) -> bool:
    return name == tolerance or name.startswith(f"{tolerance}.")


def table(rows: list[Difference]) -> Iterator[str]:
    """Aligned: name, baseline, now, change in percent."""
    cells = [("", "baseline", "now", "change")]
    for name, before, after, allowed in rows:
        change = f"{100 * (after or 0) / before - 100:+.1f}%" if before else "new"
        room = f" (may be {100 * allowed:g}%)" if allowed else ""
        cells.append((name, _number(before), _number(after), change + room))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    for row in cells:
        change, _, room = row[3].partition(" ")
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(row[1:3], widths[1:3], strict=True))
        yield f"  {row[0]:<{widths[0]}}  {numbers}  {change:>8}{' ' * bool(room)}{room}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Test workers take turns."""
    with open(Path(tempfile.gettempdir(), f"heapscope-{os.getuid()}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
