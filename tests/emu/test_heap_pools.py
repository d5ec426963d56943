"""Blocks that are released all at once: with a heap of mimalloc's, or a pool that rules tell of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import elf
from test_heap import LIMITS, Kept, from_work, said, traced

import emu
from emu.analysis.heapresult import Heap
from emu.calls import INNER, AllocRule, HeapOptions
from emu.report.heap import render
from emu.sinks.folder import read
from emu.trace.alloc_rules import parse_rule, parse_toml

ARENAS = ("arena_alloc=malloc:rsi,rdi", "arena_reset=destroy:rdi", "arena_free=destroy:rdi,rdi")
CHAOS = ("c_malloc=malloc", "c_realloc=realloc", "p_malloc=malloc:rsi,rdi", "p_realloc=realloc:rsi,rdx,rdi",
         "p_hidden=malloc", "p_free=free", "p_empty=destroy:rdi", "p_end=destroy:rdi,rdi")  # fmt: skip
natively = pytest.mark.parametrize("native", [True, False], ids=["native", "twin"])


def rules(*texts: str) -> tuple[AllocRule, ...]:
    return tuple(parse_rule(text) for text in texts)


@natively
@pytest.mark.parametrize("rounds", ["60", "600", "2500"])
def test_each_block_that_goes_with_its_heap_is_the_one_that_the_guest_says(rounds: str, native: bool) -> None:
    """New, destroyed and deleted heaps, blocks made in them, in the default one and by realloc; C functions too."""
    path = elf("heap/heaps", "mimalloc")
    run, events, heap = traced(path, (rounds,), native=native, strict=True)
    assert run.returncode == 0
    assert from_work(events, heap, path, heap.bias) == said(run.stdout)
    live = [int(line.split()[3], 16) for line in run.stdout.decode().splitlines() if line[0] == "l"]
    assert {int(block["pointer"]) for block in heap._facts.blocks() if not block["freed_at"]} >= set(live)
    assert heap.swept == run.stdout.count(b"\nw ") > 0
    assert heap.live_blocks == sum(leak.blocks for leak in heap.leaks) + sum(s.blocks for s in heap.suppressed)
    assert not heap.misuse_count
    assert not heap.lost
    assert heap.strict is not None
    assert heap.strict.violations == ()


@pytest.mark.parametrize("options", [{}, {"stack": 5, "strict": True}, {"stack": 5, "memcheck": True}])
def test_the_hooks_and_their_twin_say_the_same_of_heaps(options: dict[str, Any]) -> None:
    found = []
    for native in (True, False):
        kept = Kept()
        heap_options = HeapOptions(sinks=(kept,), **options)
        run = emu.run(elf("heap/heaps", "mimalloc"), ("500",), heap=heap_options, native=native, **LIMITS)
        assert run.heap is not None
        found.append((kept.events.tobytes(), run.heap._facts.blocks().tobytes(), render(run.heap)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("program", "argv"), [("heap/heaps", "2500"), ("heap/heaps", "leak"), ("heap/arenas", "forget")]
)
def test_the_short_way_of_the_hooks_knows_whose_blocks_go(program: str, argv: str) -> None:
    path = elf(program, "mimalloc" if program == "heap/heaps" else "musl")
    told = rules(*ARENAS) if program == "heap/arenas" else ()
    short, long = (emu.run(path, (argv,), heap=HeapOptions(told, sinks=to), **LIMITS).heap for to in ((), (Kept(),)))
    assert short is not None
    assert long is not None
    assert render(short) == render(long)
    assert short._facts.blocks().tobytes() == long._facts.blocks().tobytes()
    assert short._fold.totals() == long._fold.totals()


@natively
@pytest.mark.parametrize(
    ("how", "kind", "text", "freed"),
    [
        ("free", "double-free", "the block of 40 bytes was freed before", "mi_heap_destroy"),
        ("destroy", "double-free", "the block of 0 bytes was freed before", "mi_heap_destroy"),
        ("free-heap", "mismatched-free", "the block of 0 bytes was made by mi_heap_new", None),
        ("read", "use-after-free", "0 bytes inside a freed block of 40 bytes", "mi_heap_destroy"),
    ],
)
def test_what_was_released_with_its_heap_is_misused(
    how: str, kind: str, text: str, freed: str | None, native: bool
) -> None:
    options = HeapOptions(stack=4, memcheck=True)
    run = emu.run(elf("heap/heaps", "mimalloc"), (how,), heap=options, native=native, **LIMITS)
    assert run.heap is not None
    misuse = run.heap.misuse[0]
    assert (misuse.kind, misuse.text.partition(": ")[2] or misuse.text.partition(", ")[2]) == (kind, text)
    assert misuse.freed is None if freed is None else misuse.freed is not None and misuse.freed.function == freed
    if misuse.freed is not None:
        assert misuse.freed.calls[0].startswith("mistaken")


@natively
@pytest.mark.parametrize(
    ("how", "leaks", "swept"),
    [("clean", [], 1), ("leak", [40], 0), ("forget", [0, 40], 0), ("free-after-delete", [], 0)],
)
def test_what_leaks_is_what_no_destroyed_heap_had(how: str, leaks: list[int], swept: int, native: bool) -> None:
    heap = traced(elf("heap/heaps", "mimalloc"), (how,), native=native)[2]
    assert not heap.misuse_count
    of_the_guest = [leak.bytes for leak in heap.leaks if leak.calls[0].startswith(("make", "mistaken"))]
    assert sorted(of_the_guest) == leaks
    assert heap.swept == swept
    assert ("of them with their pools" in render(heap)) == bool(swept)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options", [{}, {"stack": 3, "strict": True}, {"memcheck": True}], ids=["plain", "strict", "memcheck"]
)
def test_hooks_and_twin_say_the_same_of_any_pools(options: dict[str, Any], seed: int) -> None:
    """Blocks over each other, in pools that are blocks, that nobody opens and that end inside other calls."""
    found = []
    for native in (True, False):
        kept = Kept()
        told = HeapOptions(rules(*CHAOS), sinks=(kept,), **options)
        run = emu.run(elf("heap/chaos"), (str(seed), "pools"), heap=told, native=native, **LIMITS)
        assert run.returncode == 0
        assert run.heap is not None
        assert run.heap.swept > 200
        found.append((kept.events.tobytes(), blocks_of(run.heap), run.heap.live_bytes, render(run.heap)))
    assert [a == b for a, b in zip(*found, strict=True)] == [True] * 4
    if not options:
        short = emu.run(elf("heap/chaos"), (str(seed), "pools"), heap=HeapOptions(rules(*CHAOS)), **LIMITS).heap
        assert short is not None
        assert (blocks_of(short), short.live_bytes, render(short)) == found[0][1:]


def blocks_of(heap: Heap) -> bytes:
    blocks: bytes = heap._facts.blocks().tobytes()
    return blocks


@natively
def test_rules_tell_of_pools(native: bool) -> None:
    """Blocks go with what they were told to be in, emptied or freed; so does the pool, if a rule says it."""
    path = elf("heap/arenas")

    def run(*texts: str, argv: str) -> Heap:
        options = HeapOptions(rules(*texts), stack=3, memcheck=True)
        found = emu.run(path, (argv,), heap=options, native=native, **LIMITS).heap
        assert found is not None
        return found

    clean = run(*ARENAS, argv="")
    assert (clean.leaks, clean.misuse_count, clean.swept) == ([], 0, 5 * 199 + 49 + 1)
    forgotten = run(*ARENAS, argv="forget")
    assert [(leak.bytes, leak.calls[0].split("+")[0]) for leak in forgotten.leaks] == [(70, "main"), (8, "arena_new")]
    (used,) = [misuse for misuse in run(*ARENAS, argv="reset").misuse if misuse.kind == "use-after-free"][:1]
    assert used.freed is not None
    assert used.freed.function == "arena_reset"
    unnamed = run(*ARENAS[:2], "arena_free=destroy:rdi", argv="")
    assert [(leak.bytes, leak.blocks) for leak in unnamed.leaks] == [(8, 1), (8, 1)]


def test_a_table_tells_the_same_of_pools() -> None:
    text = """
        [[alloc]]
        function = "arena_alloc"
        kind = "malloc"
        size = "rsi"
        pool = "rdi"
        [[alloc]]
        function = "arena_free"
        kind = "destroy"
        pointer = "rdi"
    """
    assert parse_toml(text, "rules.toml").rules == rules(ARENAS[0], ARENAS[2])


@pytest.mark.parametrize("whole", [True, False])
def test_a_record_tells_which_blocks_went_with_their_heaps(whole: bool, tmp_path: Path) -> None:
    """Also one of a run that was killed: its table of blocks is made of the events."""
    folder, kept = tmp_path / "record", Kept()
    options = HeapOptions(stack=4, record=str(folder), sinks=(kept,))
    run = emu.run(elf("heap/heaps", "mimalloc"), ("2500",), heap=options, **LIMITS)
    assert run.heap is not None
    if not whole:
        meta = json.loads((folder / "meta.json").read_text())
        del meta["end"]
        (folder / "meta.json").write_text(json.dumps(meta))
    found = read(str(folder)).heap
    assert found.leaks == run.heap.leaks
    assert (found.swept, found.frees, found.live_bytes) == (run.heap.swept, run.heap.frees, run.heap.live_bytes)
    assert found.space.freed == run.heap.space.freed
    swept = kept.events[(kept.events["kind"] == 0) & (kept.events["flags"] & INNER == 0)]
    assert len(swept) == found.swept > 100
    assert (swept["born"] > 0).all()
    assert not swept["cost"].any()
