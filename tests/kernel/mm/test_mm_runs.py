"""Runs of PTEs: every entry is in exactly one, and what is written as a run is read as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.mm.pte import ANON, GUARD, NX, SPECIAL, SWAP, P
from kernel.mm.runs import FANOUT, fill, runs

ENTRIES = [0, 0, GUARD, 5 << 12 | SWAP, 6 << 12 | SWAP, 1 << 12 | P | SPECIAL | NX]
ENTRIES += [pfn << 12 | bits for pfn in (7, 8, 9) for bits in (P | ANON | NX, P | NX)]


def table(entries: list[int]) -> memoryview:
    words = memoryview(bytearray(8 * FANOUT)).cast("Q")
    for k, entry in enumerate(entries):
        words[k] = entry
    return words


@given(st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=40))
def test_runs_written_back_are_the_table_that_they_were_found_in(entries: list[int]) -> None:
    words, again = table(entries), table([])
    end = 0
    for k, n, entry in runs(words, 0, len(entries)):
        assert k >= end
        assert entry == words[k]
        fill(again, k, n, entry)
        end = k + n
    assert again == words


def test_a_table_that_was_filled_in_order_is_one_run() -> None:
    words = table([])
    entry = 0x1234 << 12 | P | ANON | NX
    fill(words, 0, FANOUT, entry)
    assert words[FANOUT - 1] == entry + (FANOUT - 1 << 12)
    assert runs(words, 0, FANOUT) == [(0, FANOUT, entry)]
    assert runs(words, 100, 200) == [(100, 100, entry + (100 << 12))]
    words[3] = 0
    assert [(k, n) for k, n, _ in runs(words, 0, FANOUT)] == [(0, 3), (4, FANOUT - 4)]


def test_the_zero_page_and_guards_make_runs_of_equal_entries() -> None:
    for entry in (2 << 12 | P | SPECIAL | NX, GUARD):
        words = table([])
        fill(words, 8, 100, entry)
        assert set(words[8:108].tolist()) == {entry}
        assert runs(words, 0, FANOUT) == [(8, 100, entry)]
