"""The samples over virtual time: bounded, evenly spaced, and true of a guest that says what it does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from runs import elf

import emu
from emu.analysis.timeline import EVERY, POINTS, Sample, Timeline
from emu.report.heap import render

LIMITS: dict[str, Any] = {"max_instructions": 2_000_000_000, "timeout": 120.0}


def filled(count: int) -> tuple[Timeline, int]:
    """A run of so many instructions, in units of EVERY; and how many samples it took."""
    timeline, taken = Timeline(), 0
    while timeline.next <= count * EVERY:
        timeline.add(Sample(timeline.next, timeline.next, 1, 2 * timeline.next, 0))
        taken += 1
    return timeline, taken


@pytest.mark.parametrize("count", [0, 1, 5, POINTS, POINTS + 1, 1000, 100_000, 10_000_000])
def test_however_long_the_run_the_samples_are_few_and_evenly_spaced(count: int) -> None:
    timeline, taken = filled(count)
    samples = timeline.samples
    assert min(count, POINTS // 2) <= len(samples) <= POINTS
    assert taken <= POINTS * (2 + count.bit_length())
    steps = {after.instructions - before.instructions for before, after in itertools.pairwise(samples)}
    assert len(steps) <= 1
    if samples:
        (step,) = steps or {EVERY}
        assert samples[0].instructions == step
        assert count * EVERY - samples[-1].instructions < step
        assert samples[0].unused == samples[0].live


def test_rows_are_evenly_chosen_and_end_with_the_last() -> None:
    for count in (1, 11, 12, 13, 100, POINTS):
        timeline, _ = filled(count)
        rows = timeline.rows(12)
        assert 1 <= len(rows) <= 12
        assert rows[-1] == timeline.samples[-1]
        assert len(rows) >= min(count, 6)
    assert Timeline().rows(12) == []
    assert Timeline().near(5) is None


def test_a_run_is_sampled_and_its_samples_fit_what_is_known_of_its_end() -> None:
    run = emu.run(elf("heap/churn"), ("20000",), heap=True, **LIMITS)
    assert run.heap is not None
    samples = run.heap.timeline.samples
    last = samples[-1]
    assert len(samples) > POINTS // 2
    assert last == (run.counters.instructions, run.heap.live_bytes, run.heap.live_blocks, run.heap.space.held,
                    run.counters.rss)  # fmt: skip
    assert max(sample.live for sample in samples) <= run.heap.peak.bytes
    near = run.heap.timeline.near(run.heap.peak.instructions)
    assert near is not None
    assert near.live > run.heap.peak.bytes * 0.8
    assert all(0 < sample.rss <= run.counters.peak_rss for sample in samples)
    assert f"; RSS {near.rss:,} at {near.instructions:,}\n" in render(run.heap)
    assert "\nover time, in bytes\n" in render(run.heap)


def test_the_hooks_and_their_twin_take_the_same_samples() -> None:
    ours, theirs = (
        emu.run(elf("heap/churn", "glibc"), ("3000",), heap=True, native=native, **LIMITS) for native in (None, False)
    )
    assert ours.heap is not None
    assert theirs.heap is not None
    assert len(ours.heap.timeline.samples) > 20
    assert ours.heap.timeline.samples == theirs.heap.timeline.samples


def test_samples_change_nothing_of_a_run_with_timers() -> None:
    path = elf("task/sig_timers")
    plain, sampled = (emu.run(path, trace="all", heap=heap, **LIMITS) for heap in (False, True))
    assert plain.events == sampled.events
    assert plain.counters == sampled.counters
