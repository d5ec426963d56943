"""The heap trace against the truth: guests that say each of their own calls, and guests that commit one misuse."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import elf, mount

import emu
from emu.analysis.heapresult import Heap
from emu.calls import ABANDONED, DEEPEST, INNER, UNFINISHED, AllocRule, HeapOptions
from emu.elf import read_elf
from emu.report.heap import render
from emu.sinks.folder import read
from emu.symbols import Symbols
from emu.trace.alloc_rules import parse_rule
from emu.trace.heap import EVENT

KINDS = {"m": "malloc", "c": "calloc", "r": "realloc", "a": "memalign", "f": "free", "u": "usable",
         "n": "new", "N": "new[]", "d": "delete", "D": "delete[]", "y": "destroy", "w": ""}  # fmt: skip
LIMITS: dict[str, Any] = {"max_instructions": 2_000_000_000, "timeout": 120.0}


class Kept:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def batch(self, events: Any) -> None:
        self.batches.append(events.copy())

    @property
    def events(self) -> Any:
        return np.concatenate(self.batches) if self.batches else np.empty(0, np.dtype(list(EVENT)))


def traced(
    path: Any, argv: tuple[str, ...] = (), stack: int = 0, strict: bool = False, rules: tuple[AllocRule, ...] = (),
    **knobs: Any,
) -> tuple[emu.Run, Any, Heap]:  # fmt: skip
    kept = Kept()
    run = emu.run(path, argv, heap=HeapOptions(rules, stack, sinks=(kept,), strict=strict), **LIMITS, **knobs)
    assert run.heap is not None
    return run, kept.events, run.heap


def from_work(events: Any, heap: Heap, path: Any, bias: int) -> list[tuple[str, int, int, int, int]]:
    """The calls whose call site is in the guest's `work`, as it says them."""
    from emu.uprobes import KINDS as NAMES

    symbols = Symbols(read_elf(str(path)), bias)
    names = [symbols.name_of(pc - 1) for pc in heap.call_sites]
    inside = {number for number, name in enumerate(names) if name.startswith(("work", "_ZL4work"))}
    chosen = events[np.isin(events["site"], list(inside)) & (events["flags"] & (INNER | ABANDONED) == 0)]
    # __cxa_end_catch jumps to the free of its exception, which was made inside a `new` and returns to the guest
    chosen = chosen[(chosen["kind"] != NAMES.index("free")) | (chosen["pointer"] == 0) | (chosen["born"] != 0)]
    fields = ("size", "alignment", "pointer", "result")
    return [(NAMES[int(e["kind"])], *(int(e[field]) for field in fields)) for e in chosen]  # type: ignore[misc]


def said(stdout: bytes) -> list[tuple[str, int, int, int, int]]:
    rows = [line.split() for line in stdout.decode().splitlines()]
    return [(KINDS[row[0]], *(int(word, 16) for word in row[1:])) for row in rows if row[0] in KINDS]  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["musl", "musl-gcc", "musl-pie", "glibc", "jemalloc", "tcmalloc", "mimalloc"])
def test_each_call_is_the_one_that_the_guest_says(kind: str) -> None:
    path = elf("heap/logged", kind)
    run, events, heap = traced(path)
    assert run.returncode == 0
    truth = said(run.stdout)
    assert len(truth) > 300
    assert from_work(events, heap, path, heap.bias) == truth
    assert not heap.misuse_count
    assert not heap.lost


def of_any_alias(rows: list[tuple[str, int, int, int, int]]) -> list[tuple[object, ...]]:
    """Where functions share an address (new[] is new, delete is free), which one was meant cannot be told, nor what
    only some of them are given."""
    releases = ("free", "delete", "delete[]")
    return [("release", *row[3:]) if row[0] in releases else (row[0].strip("[]"), *row[1:]) for row in rows]


@pytest.mark.parametrize("kind", ["jemalloc", "tcmalloc", "mimalloc"])
def test_each_call_of_an_allocators_own_functions_is_too(kind: str) -> None:
    """mallocx and its kin, mi_, tc_."""
    path = elf("heap/logged_native", kind)
    run, events, heap = traced(path, strict=True)
    truth = said(run.stdout)
    assert len(truth) > 100
    assert of_any_alias(from_work(events, heap, path, heap.bias)) == of_any_alias(truth)
    assert not heap.misuse_count
    assert not heap.lost
    assert heap.strict is not None
    assert heap.strict.violations == ()


@pytest.mark.parametrize("kind", ["musl", "glibc", "jemalloc", "tcmalloc", "mimalloc"])
def test_each_new_and_delete_is_the_one_that_the_guest_says(kind: str) -> None:
    path = elf("heap/logged_new", kind)
    run, events, heap = traced(path)
    truth = said(run.stdout)
    assert len(truth) > 100
    found = from_work(events, heap, path, heap.bias)
    assert of_any_alias(found) == of_any_alias(truth)
    if kind not in ("tcmalloc", "mimalloc"):
        assert found == truth
    assert run.stdout.count(b"x ") == 2
    assert not heap.misuse_count


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("double-free", "double-free", "the block of 40 bytes was freed before"),
        ("interior", "invalid-free", "16 bytes inside a block of 40 bytes, not at its beginning"),
        ("interior-of-freed", "invalid-free", "16 bytes inside a freed block of 40 bytes"),
        ("stack", "invalid-free", "no block of the heap: it lies in the stack ("),
        ("data", "invalid-free", "no block of the heap: it lies in the variable _ZL7in_data+0x10, in /misuses.elf"),
        ("wild", "invalid-free", "no block of the heap: nothing is mapped there"),
        ("realloc-of-freed", "realloc-of-freed", "the block of 40 bytes was freed before"),
        ("realloc-of-interior", "invalid-free", "16 bytes inside a block of 40 bytes"),
        ("free-of-new", "mismatched-free", "the block of 40 bytes was made by operator new"),
        ("delete-of-malloc", "mismatched-free", "the block of 40 bytes was made by malloc"),
        ("delete-of-array", "mismatched-free", "the block of 40 bytes was made by operator new[]"),
        ("array-delete-of-new", "mismatched-free", "the block of 40 bytes was made by operator new"),
        ("delete-of-aligned", "mismatched-free", "the block of 40 bytes was made by aligned operator new"),
        ("aligned-delete-of-new", "mismatched-free", "aligned operator delete[](0x"),
        ("wrong-size", "wrong-size", "sized operator delete(0x"),
        ("wrong-size", "wrong-size", "told 48 bytes, the block has 40"),
    ],
)
@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_a_misuse_is_told_where_it_happens(libc: str, how: str, kind: str, words: str) -> None:
    _, _, heap = traced(elf("heap/misuses", libc), (how,), stack=8)
    assert heap.misuse_count == 1
    misuse = heap.misuse[0]
    assert misuse.kind == kind
    assert words in misuse.text
    assert any(call.startswith("main") for call in misuse.at.calls)
    if "no block" not in words:
        assert misuse.allocated is not None
        assert any(call.startswith("main") for call in misuse.allocated.calls)
    assert (misuse.freed is not None) == ("freed" in words)


@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_a_clean_program_misuses_nothing_and_a_leak_names_its_caller(libc: str) -> None:
    path = elf("heap/misuses", libc)
    assert not traced(path)[2].misuse_count
    heap = traced(path, ("leak",), stack=8)[2]
    assert not heap.misuse_count
    leak = heap.leaks[0] if libc == "musl" else next(leak for leak in heap.leaks if leak.bytes == 1000)
    assert (leak.bytes, leak.blocks) == (1000, 1)
    assert leak.calls[0].startswith("_ZL4makem")
    assert leak.calls[1].startswith("main")


def test_leaks_misuse_and_costs_read_as_text() -> None:
    leaked = traced(elf("heap/misuses"), ("leak",), stack=8)[2]
    assert repr(leaked.leaks[0]).startswith("<Leak: 1,000 bytes in 1 block from _ZL4makem")
    twice = traced(elf("heap/misuses"), ("double-free",))[2]
    assert repr(twice.misuse[0]).startswith("<Misuse: double-free: free(0x")
    assert leaked.cost("malloc", 1000) == next(row.malloc for row in leaked.classes() if row.name == "513-1024")
    assert leaked.cost("malloc", 100_000).calls == 0
    with pytest.raises(KeyError):
        leaked.cost("mallocs")


GUESTS = [
    *(("heap/churn", kind, ("3000",)) for kind in ("musl", "glibc", "jemalloc", "tcmalloc")),
    *(("heap/exceptions", kind, ()) for kind in ("musl", "glibc", "mimalloc")),
    *(("heap/logged", kind, ("200",)) for kind in ("musl", "glibc")),
    ("heap/misuses", "glibc", ("double-free",)),
    *(("heap/misuses", "musl", how) for how in ((), ("delete-of-malloc",), ("realloc-of-freed",), ("stack",))),
    ("heap/unreturned", "musl", ()),
    *(("heap/medley", "musl", (seed,)) for seed in "1234"),
]
CLEAN = ("heap/churn", "heap/exceptions", "heap/logged")
all_guests = pytest.mark.parametrize(("name", "kind", "argv"), GUESTS)


def rules_of(name: str) -> tuple[AllocRule, ...]:
    if name == "heap/medley":
        does = ("malloc", "free", "calloc", "realloc", "new", "delete")
        return (*(parse_rule(f"m_{each}={each}") for each in does), parse_rule("m_also=free"))
    return pool_rules("pool_take", "pool_throw", "pool_nest") if name == "heap/unreturned" else ()


@all_guests
def test_the_hooks_and_their_twin_tell_the_same_of_real_programs(name: str, kind: str, argv: tuple[str, ...]) -> None:
    path, rules = elf(name, kind), rules_of(name)
    ours, events, heap = traced(path, argv, stack=6, rules=rules)
    theirs, twins, other = traced(path, argv, stack=6, rules=rules, native=False)
    assert ours.counters.instructions == theirs.counters.instructions
    assert len(events) > (10 if name in CLEAN else 2)
    assert not (name in CLEAN and heap.misuse_count)
    assert events.tobytes() == twins.tobytes()
    assert [leak.calls for leak in heap.leaks] == [leak.calls for leak in other.leaks]
    for name in ("sites", "events", "allocations", "frees", "failed", "inner", "unreturned", "peak", "live_bytes",
                 "live_blocks", "allocated_bytes", "freed_bytes", "faults", "syscalls", "overlaps"):  # fmt: skip
        assert getattr(heap, name) == getattr(other, name), name
    assert heap.classes() == other.classes()
    assert repr(heap.misuse) == repr(other.misuse)


@all_guests
def test_the_short_way_of_the_hooks_ends_where_the_long_one_ends(name: str, kind: str, argv: tuple[str, ...]) -> None:
    """With nobody to take the events most calls go through emu/native/heap_quick.h."""
    path, rules = elf(name, kind), rules_of(name)
    short = emu.run(path, argv, heap=HeapOptions(rules), **LIMITS).heap
    long = emu.run(path, argv, heap=HeapOptions(rules, sinks=(Kept(),)), **LIMITS).heap
    assert short is not None
    assert long is not None
    assert short.events > 2
    assert render(short) == render(long)
    assert short._facts.blocks().tobytes() == long._facts.blocks().tobytes()
    assert short._fold.totals() == long._fold.totals()
    assert repr(short.misuse) == repr(long.misuse)


@pytest.mark.parametrize("limit", range(0, 400, 29))
def test_the_short_way_may_end_anywhere(limit: int) -> None:
    path = elf("heap/misuses", "musl")
    first = int(traced(path)[1]["entry"][0])
    knobs: dict[str, Any] = {"max_instructions": first + limit}
    short, long = (emu.run(path, heap=HeapOptions(sinks=sinks), **knobs).heap for sinks in ((), (Kept(),)))
    assert short is not None
    assert long is not None
    assert render(short) == render(long)


def test_tracing_changes_nothing_of_the_run() -> None:
    path = elf("heap/churn", "musl")
    plain = emu.run(path, ("2000",), trace="all", **LIMITS)
    with_heap = emu.run(path, ("2000",), trace="all", heap=HeapOptions(stack=8), **LIMITS)
    assert plain.events == with_heap.events
    assert plain.counters == with_heap.counters


@pytest.mark.parametrize("native", [True, False])
def test_a_limit_in_the_middle_of_a_block_keeps_events_exact(native: bool) -> None:
    """Stops at every count near some calls: an entry is told once, with the count it has without stops."""
    path = elf("heap/misuses", "musl")
    whole = traced(path, native=native)[1]
    first = int(whole["entry"][0])
    for limit in range(first - 1, first + 9):
        kept = Kept()
        emu.run(path, heap=HeapOptions(sinks=(kept,)), max_instructions=limit, native=native)
        assert len(kept.events) == (limit > first), limit
        assert all(int(event["entry"]) == first for event in kept.events)


def pool_rules(*names: str) -> tuple[AllocRule, ...]:
    return tuple(parse_rule(f"{name}=malloc:rdi") for name in names)


@pytest.mark.parametrize("native", [True, False])
def test_calls_that_are_left_or_entered_oddly_are_told_as_far_as_they_are_true(native: bool) -> None:
    """longjmp out of a function, a jump into the middle of one, and calls nested deeper than the shadow stack."""
    kept = Kept()
    rules = pool_rules("pool_take", "pool_throw", "pool_nest")
    run = emu.run(elf("heap/unreturned"), heap=HeapOptions(rules, sinks=(kept,)), native=native, **LIMITS)
    assert (run.returncode, run.stdout) == (0, b"done\n")
    heap = run.heap
    assert heap is not None
    outer = kept.events[kept.events["flags"] & INNER == 0]
    told = [(heap.functions[int(e["function"])], int(e["size"]), bool(e["flags"] & ABANDONED)) for e in outer]
    calls = [call for call in told if not call[0].endswith("free")]
    thrown = [("pool_throw", 100 + i, True) for i in range(3)]
    assert calls[:6] == [("pool_take", 24, False), *thrown, ("pool_take", 40, False), ("malloc", 56, False)]
    assert calls[6:8] == [("pool_nest", 99, False), ("pool_take", 72, False)]
    assert heap.unreturned == 3
    assert heap.lost == 100 + 1 - DEEPEST  # the malloc at the bottom is one more
    assert not heap.misuse_count


def test_a_host_without_memory_ends_the_trace_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from emu.cpu import nativecalls

    path = elf("heap/churn", "musl")
    whole, events, heap = traced(path, ("20000",), native=True)
    assert not heap.ended_early
    for most in (1 << 14, 1 << 17):
        monkeypatch.setattr(nativecalls, "MOST", most)
        run, some, cut = traced(path, ("20000",), stack=4, native=True)
        assert (run.returncode, run.stdout) == (0, whole.stdout)
        assert cut.ended_early == "the host had no memory for what is known of the heap"
        assert "the rest of the run" in render(cut)
        assert len(some) < len(events)
        ended = some[some["flags"] & UNFINISHED == 0]  # one may have been under way
        assert ended["result"].tolist() == events["result"][: len(ended)].tolist()


@pytest.mark.parametrize("kind", ["musl", "glibc", "mimalloc"])
@pytest.mark.parametrize("how", ["throw", "jump", "deep", "fault"])
def test_what_leaves_an_allocator_by_the_side_is_marked_and_what_follows_is_true(how: str, kind: str) -> None:
    """An exception of a new handler, a longjmp out of one, either past more calls than are kept, a signal handler
    that never returns: the hooks and their twin tell the same."""
    path = elf("heap/handlers", kind)
    rules = (parse_rule("pool_fault=malloc:rdi"),)
    found = []
    for native in (True, False):
        kept = Kept()
        options = HeapOptions(rules, stack=8, sinks=(kept,), memcheck=True, strict=True)
        run = emu.run(path, (how,), heap=options, native=native, **LIMITS)
        assert (run.returncode, run.stdout) == (0, b"left 3 times\n")
        assert run.heap is not None
        found.append((kept.events.tobytes(), run.heap.lost, run.heap.unreturned, render(run.heap)))
    assert found[0] == found[1]
    assert run.heap is not None
    left = kept.events[kept.events["flags"] & ABANDONED != 0]
    assert run.heap.unreturned == 3
    assert np.count_nonzero(left["flags"] & INNER == 0) == 3
    assert (run.heap.lost > 0) == (how == "deep")
    assert not np.any(left["result"])
    after = [leak for leak in run.heap.leaks if leak.calls[0].startswith("_ZL5after")]
    assert (sum(leak.blocks for leak in after), sum(leak.bytes for leak in after)) == (3, 3 * 77)
    assert run.heap.misuse_count == run.heap.overlaps == 0
    assert run.heap.strict is not None
    assert run.heap.strict.count == 0


def of_main(heap: Heap) -> tuple[int, int, list[int]]:
    """Frees, live blocks, and the bytes of each leak, of what the guest itself calls."""
    leaks = [leak.bytes for leak in heap.leaks if leak.calls[0].startswith("take")]
    return heap.frees, heap.live_blocks, sorted(leaks)


@pytest.mark.parametrize("native", [True, False], ids=["native", "twin"])
@pytest.mark.parametrize("kind", ["musl", "musl-pie"])
def test_each_program_of_execve_has_a_heap_of_its_own(kind: str, native: bool) -> None:
    """Of one file, at the same addresses, and on page tables that the first one had."""
    run, events, heap = traced(elf("heap/replaced", kind), ("3",), stack=4, native=native)
    assert run.stdout == b"3\n2\n1\n0\n"
    assert [of_main(each) for each in heap.before] == [(1, 2, [])] * 3
    assert [each.live_bytes for each in heap.all] == [43, 42, 41, 40]
    assert of_main(heap) == (1, 2, [0, 40])
    assert sum(each.events for each in heap.all) == len(events)
    assert [each.space.held > 0 for each in heap.all] == [True] * 4
    report = render(heap)
    assert report.count("=== heap of ") == 4
    assert report.count("live at execve ") == 3
    assert report.count("never freed: ") == 1


@pytest.mark.parametrize("native", [True, False], ids=["native", "twin"])
def test_after_execve_another_file_is_traced_by_its_own_names(tmp_path: Path, native: bool) -> None:
    """What rules say of the first program is not said of it; what was found in either is found in the run."""
    shutil.copy(elf("heap/misuses"), tmp_path / "second")
    first = elf("heap/replaced")
    address = next(symbol.value for symbol in read_elf(str(first)).symbols() if symbol.name == "exit")
    rules = (parse_rule("take=malloc:rdi"), parse_rule(f"{address:#x}=malloc_usable_size"))
    options = HeapOptions(rules, stack=4, strict=True, memcheck=True, record=str(tmp_path / "record"))
    mounts = [mount(tmp_path, "/mnt")]
    run = emu.run(first, ("/mnt/second", "free-of-new"), heap=options, native=native, mounts=mounts, **LIMITS)
    assert run.heap is not None
    before, heap = run.heap.all
    assert {"take", f"{address:#x}"} <= set(before.functions)
    assert not {"take", f"{address:#x}"} & set(heap.functions)
    assert (before.program, heap.program) == (str(first), "/mnt/second")
    assert before.sites[0].calls[0].startswith("main")
    assert [misuse.kind for misuse in run.misuse] == ["mismatched-free"]
    assert "misuses.cc:" in run.misuse[0].at.calls[0]
    recorded = read(str(tmp_path / "record"))
    assert (render(recorded.heap), recorded.cut) == (render(run.heap), "")


def test_a_rule_may_be_of_a_program_that_execve_starts(tmp_path: Path) -> None:
    """misuses has a make(), and replaced has none; each has what its rules say, and no more."""
    shutil.copy(elf("heap/misuses"), tmp_path / "second")
    rules = ("/mnt/second:_ZL4makem=malloc", "replaced.elf:take=malloc", "third:take=free")
    first, mounts = elf("heap/replaced"), [mount(tmp_path, "/mnt")]
    run = emu.run(first, ("/mnt/second", "leak"), heap=True, alloc=rules, mounts=mounts, **LIMITS)
    assert run.heap is not None
    before, heap = run.heap.all
    assert ("take" in before.functions, "take" in heap.functions) == (True, False)
    assert ("_ZL4makem" in before.functions, "_ZL4makem" in heap.functions) == (False, True)
    assert run.failures == ()
    assert run.notes == [
        "the rules for 'third' were not used: no such program was started, but /replaced.elf, /mnt/second"
    ]
    with pytest.raises(emu.ConfigError, match=r"'_ZL4makem': the program has no such function; .*PROGRAM:_ZL4makem=…"):
        emu.run(first, ("/mnt/second",), heap=True, alloc="_ZL4makem=malloc", mounts=mounts, **LIMITS)


def test_what_a_program_of_execve_has_not_is_told_of_it_and_the_rest_is_traced(tmp_path: Path) -> None:
    shutil.copy(elf("heap/misuses"), tmp_path / "second")
    rules, record = ("second:_ZL4mak=malloc", "second:0x10=free", "second:_ZL4makem=malloc"), tmp_path / "record"
    options = HeapOptions(record=str(record))
    mounts = [mount(tmp_path, "/mnt")]
    run = emu.run(elf("heap/replaced"), ("/mnt/second", "leak"), heap=options, alloc=rules, mounts=mounts, **LIMITS)
    assert run.heap is not None
    assert "_ZL4makem" in run.heap.functions
    whys = [(failure.error.filename, failure.error.strerror) for failure in run.failures]
    assert [filename for filename, _ in whys] == ["/mnt/second"] * 2
    assert "'_ZL4mak': the program has no such function; is it _ZL4makem" in str(whys[0][1])
    assert "PROGRAM:" not in str(whys[0][1])
    assert "0x10: no code is there" in str(whys[1][1])
    recorded = read(str(record))
    assert (render(recorded.heap), recorded.cut) == (render(run.heap), "")
    assert str(whys[0][1]) in render(recorded.heap)
