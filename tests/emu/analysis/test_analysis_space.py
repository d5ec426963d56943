"""Whose each byte is: ranges and sums against a list of bytes, and the held ranges of real allocators."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from runs import elf

import emu
from emu.analysis.ends import ends_of
from emu.analysis.space import STEPS, Map, Ranges, SpaceFold, held_by, space_of
from emu.trace.heap import BLOCK
from emu.trace.space import FILE, HELD, KIND, NOTHING, OTHER, STATIC, Range

SPAN = 60
KINDS = (NOTHING, HELD, OTHER, STATIC, HELD | FILE)


def random_range(rng: random.Random) -> Range:
    start = rng.randrange(SPAN - 1)
    return Range(start, rng.randrange(start + 1, SPAN), rng.choice(KINDS))


@pytest.mark.parametrize("seed", range(30))
def test_ranges_are_what_a_list_of_bytes_is(seed: int) -> None:
    rng, ranges, truth = random.Random(seed), Ranges(), [NOTHING] * SPAN
    for _ in range(40):
        where = random_range(rng)
        before = ranges.put(where)
        told = [NOTHING] * SPAN
        for start, end, kind in before:
            told[start:end] = [kind] * (end - start)
        assert told == [old if where.start <= i < where.end else NOTHING for i, old in enumerate(truth)]
        truth[where.start : where.end] = [where.kind] * (where.end - where.start)
        assert [(found.kind if (found := ranges.at(va)) else NOTHING) for va in range(SPAN)] == truth
        runs = list(ranges)
        assert all(a.end < b.start or (a.end == b.start and a.kind != b.kind) for a, b in itertools.pairwise(runs))
    assert all(each.start < each.end and each.kind for each in ranges)


@pytest.mark.parametrize("seed", range(30))
def test_sums_are_those_of_counting_bytes(seed: int) -> None:
    rng, fold = random.Random(seed), SpaceFold()
    for number in range(8):
        fold.mapped(number, random_range(rng))
    blocks = np.zeros(12, np.dtype(list(BLOCK)))
    for block in blocks:
        block["pointer"], block["size"] = rng.randrange(SPAN), rng.randrange(12)
        block["freed_at"], block["inner"] = rng.randrange(2), rng.random() < 0.2
    whose = Map(fold.ranges, lambda: blocks)
    kinds = [(found.kind if (found := fold.ranges.at(va)) else NOTHING) for va in range(SPAN + 12)]
    words = [whose.what(va) for va in range(SPAN + 12)]
    held = [word for word, kind in zip(words, kinds, strict=True) if kind & KIND == HELD]
    space = space_of(fold, ends_of(blocks, held_by(fold.ranges)), lambda start, end: end - start)
    assert (space.held, space.resident, space.live, space.freed, space.own) == (
        len(held), len(held), held.count("live"), held.count("freed"), held.count("own")
    )  # fmt: skip
    assert space.elsewhere == words.count("live") - held.count("live")


def test_the_history_stays_small_and_the_peak_exact() -> None:
    fold = SpaceFold()
    for number in range(10 * STEPS):
        fold.mapped(number, Range(number * 10, number * 10 + 5, HELD))
    fold.mapped(10 * STEPS, Range(0, 1 << 40, NOTHING))
    assert fold.held == 0
    assert fold.peak == (10 * STEPS - 1, 50 * STEPS)
    assert STEPS // 2 <= len(fold.history) <= STEPS
    assert fold.history == sorted(fold.history)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", ["musl", "glibc", "jemalloc"])
def test_a_block_lies_in_what_the_allocator_holds(kind: str, native: bool) -> None:
    """A megabyte more is held, and live, while it is; the program's own mapping is never the allocator's."""
    path = elf("heap/holds", kind)
    run = emu.run(path, heap=True, native=native)
    heap = run.heap
    assert heap is not None
    block, mapping, freed = (int(word, 16) for word in run.stdout.split())
    assert heap.map.what(block) == heap.map.what(block + (1 << 20) - 1) == "live"
    assert heap.map.what(mapping) == "other"
    assert heap.map.what(0) == "nothing"
    assert heap.map.what(freed) in ("freed", "nothing")
    space = heap.space
    assert any(each.start <= block and block + (1 << 20) <= each.end for each in space.ranges)
    assert not any(each.start <= mapping < each.end for each in space.ranges)
    assert space.live >= 1 << 20
    assert space.held == space.live + space.freed + space.own == sum(end - start for start, end, _ in space.ranges)
    assert space.peak.bytes >= 1 << 20
    assert space.resident is not None
    assert 4096 * 256 <= space.resident <= space.held
