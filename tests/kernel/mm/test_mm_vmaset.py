"""The VMA set against a sorted list, and its cost with many mappings."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from kernel.mm.check import _check_vmas
from kernel.mm.frames import Frames
from kernel.mm.mm import Mm
from kernel.mm.ram import Ram
from kernel.mm.vma import Vma
from kernel.mm.vmaset import VmaSet
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE = 4096


@pytest.fixture
def mm() -> Mm:
    ram = Ram(2 << 20)
    return Mm(ram, Frames(ram), Probes(), Rlimits())


def naive_highest(spans: list[tuple[int, int]], low: int, high: int, length: int) -> int:
    """The highest end of `length` free bytes in [low, high)."""
    end = high
    for lo, hi in sorted(spans, reverse=True):
        if hi < end and end - max(hi, low) >= length:
            return end
        end = min(end, lo)
    return end if end - low >= length else 0


def naive_lowest(spans: list[tuple[int, int]], low: int, high: int, length: int) -> int:
    start = low
    for lo, hi in sorted(spans):
        if hi > start:
            if lo - start >= length:
                return start if start + length <= high else 0
            start = hi
    return start if start + length <= high else 0


@pytest.mark.parametrize("seed", range(6))
def test_it_finds_what_a_sorted_list_finds(mm: Mm, seed: int) -> None:
    rng = Random(seed)
    spans: dict[int, Vma] = {}
    size = rng.choice([60, 600, 4000])
    for _ in range(size * 2):
        start = rng.randrange(1, size) * 2 * PAGE
        if start in spans and rng.random() < 0.6:
            mm.vmas.remove(spans.pop(start))
        elif start in spans:
            vma = spans[start]
            end = start + rng.choice([1, 2]) * PAGE
            mm.vmas.resize(vma, start, min(end, vma.next.start))
        else:
            below = mm.vmas.above(start).prev
            if below.end <= start:
                vma = Vma(start, start + PAGE, 3)
                mm.vmas.insert(vma)
                spans[start] = vma
    _check_vmas(mm)
    ranges = [(vma.start, vma.end) for vma in spans.values()]
    assert [(vma.start, vma.end) for vma in mm.vmas] == sorted(ranges)
    for _ in range(300):
        low = rng.randrange(0, size) * PAGE
        high = low + rng.randrange(1, 2 * size) * PAGE
        length = rng.choice([1, 2, 3, 7, 40]) * PAGE
        assert mm.vmas.highest_gap(low, high, length)[0] == naive_highest(ranges, low, high, length)
        if low:
            assert mm.vmas.lowest_gap(low, high, length)[0] == naive_lowest(ranges, low, high, length)
        inside = [span for span in sorted(ranges) if span[1] > low and span[0] < high]
        assert [(vma.start, vma.end) for vma in mm.vmas.overlapping(low, high)] == inside


def test_an_empty_set_has_all_the_room() -> None:
    vmas = VmaSet()
    assert vmas.first(0) is None
    assert vmas.find(PAGE) is None
    assert vmas.highest_gap(PAGE, 1 << 47, 1 << 30)[0] == 1 << 47
    assert vmas.lowest_gap(PAGE, 1 << 47, 1 << 30)[0] == PAGE
    assert len(vmas) == 0


def test_a_change_closes_the_window_of_its_vma() -> None:
    vmas = VmaSet()
    vma = Vma(PAGE, 2 * PAGE, 3)
    vmas.insert(vma)
    changes: list[Callable[[], object]] = [
        lambda: vmas.resize(vma, PAGE, 3 * PAGE),
        lambda: vmas.reflag(vma, 1),
        lambda: vmas.remove(vma),
    ]
    for change in changes:
        vmas.expect(vma)
        window = vma.window
        assert vmas.windows.owners[window] is vma
        change()
        assert vma.window == 0
        assert vmas.windows.owners[window] is None
    assert vmas.recent is not vma


def test_60000_mappings_are_looked_through_by_chunks_not_one_by_one(mm: Mm) -> None:
    """Not a matter of seconds: how many VMAs does a search for room look at?"""
    for i in range(60_000):
        mm.vmas.insert(Vma((1 + 2 * i) << 12, (2 + 2 * i) << 12, 3))
    chunks = mm.vmas.chunks
    assert max(len(chunk.vmas) for chunk in chunks) <= 64
    assert mm.vmas.maxima.base <= 4096
    assert mm.vmas.highest_gap(PAGE, 120_000 << 12, 2 * PAGE)[0] == 0
    assert all(chunk.room < 2 * PAGE for chunk in chunks)
