"""What allocators round sizes to, against what their sources say."""

from __future__ import annotations

import numpy as np
import pytest
from runs import elf

import emu
from emu.analysis.ends import ends_of
from emu.analysis.rounding import Roundings
from emu.trace.heap import BLOCK

SIZES = (1, 24, 40, 100, 200, 1000, 3000)
TAKEN = {
    # a header of 8, then to 16, at least 32 (malloc.c, request2size)
    "glibc": (32, 32, 48, 112, 208, 1008, 3008),
    # with 4 bytes of its own, to 1 … 7, 8, 9, 10, 12, 15 … times 16 (mallocng, __malloc_size_classes)
    "musl": (16, 32, 48, 112, 240, 1008, 3264),
    # size classes of jemalloc(3): four to each doubling
    "jemalloc": (8, 32, 48, 112, 224, 1024, 3072),
    "tcmalloc": (8, 32, 48, 112, 208, 1024, 3072),
    "mimalloc": (16, 32, 48, 112, 224, 1024, 3072),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_block_takes_is_what_the_source_says(kind: str) -> None:
    heap = emu.run(elf("heap/rounding", kind), heap=True, timeout=120.0).heap
    assert heap is not None
    assert tuple(heap.rounding.of(size) for size in SIZES) == TAKEN[kind]
    row = next(row for row in heap.classes() if row.name == "513-1024")
    assert row.rounded is not None
    assert row.rounded[0] == TAKEN[kind][5]


def table(*rows: tuple[int, int, int]) -> Roundings:
    """(pointer, size, freed at)."""
    blocks = np.zeros(len(rows), np.dtype(list(BLOCK)))
    for block, (pointer, size, freed) in zip(blocks, rows, strict=True):
        block["pointer"], block["size"], block["freed_at"] = pointer, size, freed
    return Roundings(ends_of(blocks, []).taken)


def test_a_hole_tells_nothing_and_a_dead_block_under_a_live_one_is_none() -> None:
    found = table((0x1000, 40, 0), (0x1030, 40, 0), (0x1090, 40, 0), (0x10A0, 16, 5), (0x9000, 500, 0))
    assert found.of(40) == 48
    assert found.of(16) is None
    assert found.of(500) is None
    assert found.between(33, 64) == (48, 48, 1 - 40 / 48)
    assert found.between(65, 128) is None


def test_freed_blocks_tell_where_none_lives() -> None:
    assert table((0x1000, 40, 3), (0x1030, 40, 4)).of(40) == 48
    assert table().between(0, 1 << 47) is None
