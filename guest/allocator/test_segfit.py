"""segfit, tested as an allocator can be: what it costs, holds and gives back, and what it does where memory ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from emu.pytest_plugin.runner import GuestRun, GuestRunner

ALLOC = [
    "seg_alloc=malloc",
    "seg_zalloc=calloc",
    "seg_realloc=realloc",
    "seg_memalign=memalign",
    "seg_free=free",
    "seg_usable_size=malloc_usable_size",
]


class Segfit(Protocol):
    def __call__(self, program: str, *argv: str, **options: Any) -> GuestRun: ...


@pytest.fixture
def segfit(guest: GuestRunner) -> Segfit:
    """Runs one of programs/ with the allocator linked in, its functions traced by their own names."""

    def run(program: str, *argv: str, **options: Any) -> GuestRun:
        return guest([f"programs/{program}.c", "src/segfit.c"], argv, alloc=ALLOC, **options)

    return run


@pytest.mark.no_leaks
@pytest.mark.parametrize("operations", [1_000, 5_000])
def test_a_churn_costs_what_it_did(segfit: Segfit, operations: int) -> None:
    run = segfit("churn", str(operations))
    assert run.returncode == 0
    run.matches_baseline()


def test_small_blocks_come_and_go_in_constant_time(segfit: Segfit) -> None:
    heap = segfit("churn", "5000").heap
    assert heap.cost("malloc", 64).p50 < 60
    assert heap.cost("free", 64).p99 < 100


@pytest.mark.no_leaks
def test_alignment_realloc_zeroes_and_wild_sizes_are_as_promised(segfit: Segfit) -> None:
    run = segfit("contract")
    assert run.stdout == b"kept\n"
    assert run.returncode == 0


def test_a_large_block_grows_in_place_or_moves_but_is_never_lost(segfit: Segfit) -> None:
    run = segfit("contract")
    assert run.syscalls["mremap"].count > 10
    assert run.misuse == []


@pytest.mark.parametrize(("size", "fit"), [("100", 7_000), ("5000", 140), ("100000", 7)])
def test_where_memory_ends_it_is_enomem_and_nothing_is_lost(segfit: Segfit, size: str, fit: int) -> None:
    run = segfit("exhaust", size, rlimits={"AS": (1 << 20, 1 << 20)})
    assert run.returncode == 0, "the second time it found less"
    assert int(run.stdout) >= fit
    assert run.syscalls["mmap"].errors == 2
    assert run.heap.failed == 2
    assert run.heap.leaks == []


@pytest.mark.limit_rss("5M")
def test_what_came_back_is_used_again(segfit: Segfit) -> None:
    run = segfit("fragment")
    assert run.rss_peak < 1.3 * run.heap.peak_live
    run.matches_baseline()


def test_what_is_free_goes_back_to_the_kernel(segfit: Segfit) -> None:
    run = segfit("fragment")
    assert run.counters.rss < 17 * 65536, "16 classes keep a slab each"
    assert run.syscalls["munmap"].count > 50


def test_a_forgotten_block_is_told_with_the_call_that_made_it(segfit: Segfit) -> None:
    run = segfit("mistakes", "forget")
    (leak,) = run.heap.leaks
    assert (leak.bytes, leak.blocks) == (5000, 1)
    assert leak.calls[0].startswith("forget+")
    assert "mistakes.c" in leak.calls[0]


@pytest.mark.parametrize(("how", "kind"), [("twice", "double-free"), ("inside", "invalid-free")])
def test_a_free_that_must_not_be_aborts_and_is_told(segfit: Segfit, how: str, kind: str) -> None:
    run = segfit("mistakes", how)
    assert run.signal_name == "SIGABRT"
    (misuse,) = run.misuse
    assert misuse.kind == kind
    assert misuse.at.function == "seg_free"
