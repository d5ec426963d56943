"""Trace folders: how large they are, what writing one takes, and what can be read of one that was cut anywhere."""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from runs import elf

import emu
from emu import native, tracing
from emu.analysis.heap import HeapFold
from emu.calls import HeapOptions, Totals
from emu.report.heap import render
from emu.sinks.arrow import ENOUGH, SHARE, HeapRecord
from emu.sinks.folder import EventStream, read
from emu.trace.codec import GATHERED
from emu.trace.heap import EVENT

needs_native = pytest.mark.skipif(native.library() is None, reason="no native hooks")
LIMITS: dict[str, Any] = {"max_instructions": 2_000_000_000, "timeout": 120.0}


def recorded(folder: Path, argv: tuple[str, ...], name: str = "heap/churn", kind: str = "musl") -> emu.Run:
    return emu.run(elf(name, kind), argv, heap=HeapOptions(stack=4, record=str(folder)), **LIMITS)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 200,000 events."""
    folder = tmp_path_factory.mktemp("record") / "trace"
    recorded(folder, ("210000",))
    return folder


def test_an_event_takes_at_most_16_bytes(trace: Path) -> None:
    events = EventStream(str(trace)).events
    assert events >= 200_000
    assert sum(file.stat().st_size for file in trace.iterdir()) <= 16 * events


@pytest.mark.parametrize("step", [7, 300, 5000])
def test_it_takes_no_more_where_the_run_could_be_killed_any_moment(trace: Path, tmp_path: Path, step: int) -> None:
    """Of what was told until then at most a small share, and never more than a few thousand events, would be lost."""
    events = np.concatenate(list(EventStream(str(trace)).since(0)))
    record = HeapRecord(str(tmp_path / "t"))
    record.begin(Tracer(), {})  # type: ignore[arg-type]
    for at in range(0, len(events), step):
        record.batch(events[at : at + step])
        record.catch_up()
        if at % 11 == 0:
            told = at + step
            assert told - EventStream(str(tmp_path / "t")).events <= min(told // SHARE, ENOUGH)
    found = EventStream(str(tmp_path / "t"))
    assert np.concatenate(list(found.since(0))).tobytes() == events[: found.events].tobytes()
    assert os.path.getsize(tmp_path / "t" / "events.arrow") <= 14 * found.events


@pytest.mark.parametrize("kind", [False, pytest.param(True, marks=needs_native)], ids=["twin", "native"])
def test_moments_of_many_instructions_are_the_same_each_time(
    kind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MOMENT", 1 << 16)
    options: dict[str, Any] = {"timeout": 120.0, "max_instructions": 700_000}
    batches = []
    for name, native_ in (("a", True), ("b", kind)):
        folder = str(tmp_path / name)
        emu.run(elf("heap/churn"), ("4000",), heap=HeapOptions(stack=4, record=folder), native=native_, **options)
        batches.append(len(EventStream(folder)._before))
    assert batches[0] == batches[1] == (700_000 >> 16) + 1  # and what came after the last moment
    names = ["events.arrow", "sites.arrow", "stacks.arrow", "symbols.arrow", "space.arrow", "timeline.arrow"]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", names, shallow=False) == (names, [], [])


def test_all_events_come_back_and_add_up_to_the_totals(tmp_path: Path) -> None:
    kept: list[Any] = []

    class Kept:
        def batch(self, events: Any) -> None:
            kept.append(events.copy())

    options = HeapOptions(stack=4, record=str(tmp_path / "t"), sinks=(Kept(),))
    run = emu.run(elf("heap/churn"), ("80000",), heap=options, **LIMITS)
    events = np.concatenate(kept)
    assert len(events) > GATHERED
    stream = EventStream(str(tmp_path / "t"))
    assert np.concatenate(list(stream.since(0))).tobytes() == events.tobytes()
    for first in (1, GATHERED - 1, GATHERED, GATHERED + 5, len(events) - 1):
        assert np.concatenate(list(stream.since(first))).tobytes() == events[first:].tobytes()
    assert list(stream.since(len(events))) == []
    fold = HeapFold(by_stack=True)
    fold.batch(events)
    assert run.heap is not None
    assert fold.totals().head == run.heap._fold.totals().head


def test_a_folder_cut_anywhere_is_read_as_far_as_it_goes(trace: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    whole = read(str(trace))
    assert not whole.cut
    ends = [*EventStream(str(trace))._before, whole.heap.events]  # of batches
    assert whole.heap.events == whole.meta["end"]["events"]
    for file in sorted(trace.glob("*.arrow")):
        size = file.stat().st_size
        before = -1
        for at in sorted({0, 1, size - 1, size - 8, size - 9, *(rng.randrange(size) for _ in range(8))}):
            shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            shutil.copytree(trace, tmp_path / "cut")
            os.truncate(tmp_path / "cut" / file.name, at)
            found = read(str(tmp_path / "cut"))
            assert found.cut.startswith(f"damaged: {file.stem} is cut; "), (file.name, at)
            assert render(found.heap).startswith("=== heap")
            if file.stem == "events":
                assert found.heap.events in ends
                assert found.heap.events >= before
                before = found.heap.events
            else:
                assert found.heap.events == whole.heap.events


@pytest.mark.parametrize("totals", [True, False])
def test_a_run_without_an_end_tells_the_same_but_what_only_the_end_knows(
    trace: Path, tmp_path: Path, totals: bool
) -> None:
    """Its leaks and its freed blocks are told from the events then, with or without sums to begin with."""
    shutil.copytree(trace, tmp_path / "t")
    meta = (trace / "meta.json").read_text()
    (tmp_path / "t" / "meta.json").write_text(meta[: meta.index(',\n "end": {')] + "}")
    if not totals:
        (tmp_path / "t" / "totals.arrow").unlink()
    whole, found = read(str(trace)).heap, read(str(tmp_path / "t"))
    assert "no end" in found.cut
    assert found.heap.leaks == whole.leaks
    assert found.heap.sites == whole.sites
    assert found.heap.classes() == whole.classes()
    assert found.heap.space.freed == whole.space.freed
    assert found.heap.space.resident is None
    resident = f"; {whole.space.resident:,} resident"
    assert without_moments(render(found.heap)) == without_moments(render(whole).replace(resident, ""))
    assert found.heap.timeline.samples == whole.timeline.samples[:-1]  # the last was taken when the run was over


def without_moments(report: str) -> str:
    before, _, after = report.partition("over time")
    return before + after[after.index("sizes asked for") :]


class Calls:
    """As CallHooks, of a program with one call site."""

    lost = 0

    def sites(self) -> list[int]:
        return [0, 0x401000]

    def stacks(self, first: int = 0) -> list[tuple[int, ...]]:
        empty: list[tuple[int, ...]] = [()]
        return empty[first:]


class Tracer(NamedTuple):
    """As HeapTracer."""

    calls: Calls = Calls()
    names: tuple[str, ...] = ("malloc",)
    caught: tuple[Any, ...] = ()
    misuses: int = 0

    def place(self, va: int) -> str:
        return f"{va:#x}"

    def totals(self) -> Totals:
        return HeapFold(by_stack=False).totals()


def test_memory_does_not_grow_with_the_events(tmp_path: Path) -> None:
    """As much in 64 batches as in 16."""
    record = HeapRecord(str(tmp_path / "t"))
    record.begin(Tracer(), {})  # type: ignore[arg-type]
    events = np.zeros(GATHERED // 4, np.dtype(list(EVENT)))
    rng = np.random.default_rng(1)
    peaks = []
    tracemalloc.start()
    for batches in (16, 64):
        tracemalloc.reset_peak()
        for _ in range(4 * batches):
            events["entry"] = rng.integers(0, 1 << 40, len(events))
            events["pointer"] = rng.integers(0, 1 << 40, len(events))
            record.batch(events)
        peaks.append(tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes())
    tracemalloc.stop()
    assert record.error is None
    assert EventStream(str(tmp_path / "t")).events == 80 * GATHERED
    assert peaks[1] < peaks[0] + (1 << 20)
