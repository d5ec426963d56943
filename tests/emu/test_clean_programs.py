"""Ten programs that do nothing wrong, and two churns, on five allocators: no misuse is reported, and no allocator
breaks a promise. Real ones are in test_stripped.py."""

from __future__ import annotations

import pytest
from runs import elf

import emu
from emu.calls import HeapOptions

PROGRAMS = ("words", "regex", "tree", "table", "stream", "files", "folder", "sort", "format", "environ")
CHURNS = ("heap/churn", "bench/churn_mixed")
CXX = ("heap/exceptions", "heap/logged_new")


@pytest.mark.parametrize("kind", ["musl", "glibc", "jemalloc", "tcmalloc", "mimalloc"])
@pytest.mark.parametrize(
    ("guest", "argument"), [*(("heap/programs", each) for each in PROGRAMS), *((each, "20000") for each in CHURNS)]
)
def test_nothing_is_reported_of_a_clean_program(guest: str, argument: str, kind: str) -> None:
    run = emu.run(
        elf(guest, kind),
        (argument,),
        heap=HeapOptions(strict=True, memcheck=True, uninitialised=True),
        max_instructions=200_000_000,
        timeout=120.0,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout
    heap = run.heap
    assert heap is not None
    assert heap.allocations > 3
    assert heap.misuse == []
    assert heap.overlaps == heap.lost == 0
    assert heap.strict is not None
    assert (heap.strict.violations, heap.strict.errno_checked) == ((), True)


@pytest.mark.parametrize("kind", ["musl", "glibc", "jemalloc", "tcmalloc", "mimalloc"])
@pytest.mark.parametrize("program", CXX)
def test_nor_of_one_in_cxx(program: str, kind: str) -> None:
    run = emu.run(elf(program, kind), heap=HeapOptions(strict=True), max_instructions=200_000_000, timeout=120.0)
    assert run.returncode == 0
    assert run.heap is not None
    assert run.heap.misuse == []
    assert run.heap.strict is not None
    assert run.heap.strict.violations == ()


@pytest.mark.parametrize("kind", ["musl", "musl-gcc", "glibc", "jemalloc"])
def test_what_the_c_library_keeps_for_itself_is_no_leak(kind: str) -> None:
    run = emu.run(elf("heap/keeps", kind), heap=HeapOptions(stack=16), max_instructions=200_000_000, timeout=120.0)
    assert (run.returncode, run.stdout) == (0, b"kept\n")
    assert run.heap is not None
    assert [(leak.bytes, leak.calls[0].partition("+")[0]) for leak in run.heap.leaks] == [(77, "forget")]
    assert run.heap.misuse == []
