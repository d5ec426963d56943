"""`--strict`: an allocator that breaks one promise is caught at that call; those that people use keep them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import elf

import emu
from emu.analysis.strict import Strictness
from emu.calls import AT_ADDRESS, BROKEN, IN_TLS, NO_PLACE, AllocRule, HeapOptions
from emu.elf import Elf, read_elf
from emu.trace.alloc_rules import parse_rule, parse_toml
from emu.trace.strict import errno_place

RULES = Path(__file__).resolve().parents[2] / "guest" / "heap" / "broken.toml"
LIMITS: dict[str, Any] = {"max_instructions": 2_000_000_000, "timeout": 120.0}
BOTH = pytest.mark.parametrize("native", [True, False], ids=["native", "twin"])


class Flags:
    """A sink that counts broken promises."""

    def __init__(self) -> None:
        self.broken = 0

    def batch(self, events: Any) -> None:
        self.broken += int((events["flags"] & BROKEN != 0).sum())


def rules() -> tuple[AllocRule, ...]:
    return parse_toml(RULES.read_text(), RULES.name).rules


def strict(path: Path, argv: tuple[str, ...] = (), known: tuple[AllocRule, ...] = (), **knobs: Any) -> Strictness:
    flags = Flags()
    run = emu.run(path, argv, heap=HeapOptions(known, 6, sinks=(flags,), strict=True), **LIMITS, **knobs)
    assert run.heap is not None
    assert not run.heap.misuse_count
    found = run.heap.strict
    assert found is not None
    assert flags.broken == found.count
    return found


FAULTS = [
    ("overlap", "overlap", "b_malloc", "it overlaps the live block at 0x"),
    ("same-block", "overlap", "b_malloc", "it overlaps the live block at 0x"),
    ("misaligned", "misaligned", "b_malloc", "it is not aligned to 16"),
    ("misaligned-memalign", "misaligned", "b_memalign", "it is not aligned to 256"),
    ("not-zero", "not-zero", "b_calloc", "byte 8,999 is not zero"),
    ("too-small", "too-small", "b_usable", "= 4,999: the block was asked to have 5,000 bytes"),
    ("outside", "outside", "b_malloc", "from byte 16 on it lies in memory that is not the allocator's"),
    ("unmapped", "outside", "b_malloc", "from byte 0 on it lies in memory that is not the allocator's"),
    ("lost-bytes", "lost-bytes", "b_realloc", "the first 5,000 bytes are not what they were"),
    ("spoiled-by-failure", "lost-bytes", "b_realloc", "NULL: the first 5,000 bytes are not what they were"),
    ("impossible-size", "impossible-size", "b_malloc", "of 9,223,372,036,854,775,808 bytes = 0x"),
    ("wrapped-product", "impossible-size", "b_calloc", "of 2^64-1 bytes or more = 0x"),
    ("no-errno", "no-errno", "b_malloc", "it failed with no errno, not ENOMEM"),
    ("wrong-error", "no-errno", "b_posix_memalign", "it failed with 4294967295, not ENOMEM"),
    ("null", "null", "_Znwm", "it may throw, not return NULL"),
]


@BOTH
@pytest.mark.parametrize(("fault", "kind", "function", "words"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_broken_promise_is_told_once_at_its_call(
    fault: str, kind: str, function: str, words: str, native: bool
) -> None:
    found = strict(elf("heap/broken"), (fault,), rules(), native=native)
    (violation,) = found.violations
    assert (found.count, found.unchecked, found.errno_checked) == (1, 0, True)
    assert (violation.kind, violation.at.function) == (kind, function)
    assert words in violation.text
    assert violation.at.calls[0].startswith("work+")
    assert violation.at.calls[1].startswith("main+")


@BOTH
@pytest.mark.parametrize("kind", ["musl", "glibc"])
def test_the_same_allocator_without_a_fault_keeps_all(kind: str, native: bool) -> None:
    assert strict(elf("heap/broken", kind), ("none",), rules(), native=native).count == 0


@pytest.mark.parametrize("kind", ["musl", "musl-gcc", "glibc", "jemalloc", "tcmalloc", "mimalloc"])
def test_an_allocator_that_people_use_keeps_its_promises(kind: str) -> None:
    """Every function, sizes from 0 to PTRDIFF_MAX, products that do not fit; contents through each realloc."""
    found = strict(elf("heap/logged", kind), ("400",))
    assert (found.violations, found.count, found.unchecked, found.errno_checked) == ((), 0, 0, True)


def test_hooks_and_twin_say_the_same_of_a_real_allocator() -> None:
    path = elf("heap/logged", "glibc")
    assert strict(path, ("60",)) == strict(path, ("60",), native=False)


@BOTH
def test_what_a_pool_makes_of_a_block_does_not_overlap_it(native: bool) -> None:
    """Its blocks are known by a rule; they may lie in another allocator's block, and are gone when that is freed."""
    loose = AllocRule("pool_get", parse_rule("pool_get=malloc").does._replace(aligned=0))
    assert strict(elf("heap/pool"), (), (loose,), native=native).count == 0
    assert {each.kind for each in strict(elf("heap/pool"), (), (parse_rule("pool_get=malloc"),)).violations} == {
        "misaligned"
    }


@pytest.mark.parametrize("kind", ["musl", "musl-gcc", "glibc", "glibc-pie", "diet"])
def test_errno_is_found_where_the_program_has_it(kind: str) -> None:
    place = errno_place(read_elf(str(elf("heap/churn", kind))), 0)
    assert place.how in (IN_TLS, AT_ADDRESS)


def test_without_symbols_errno_is_not_checked() -> None:
    elf_file = read_elf(str(elf("heap/churn")))
    stripped = bytearray(elf_file.content)
    stripped[40:48] = bytes(8)  # e_shoff
    assert errno_place(Elf(bytes(stripped)), 0).how == NO_PLACE


def test_strictness_changes_nothing_of_the_run() -> None:
    path = elf("heap/churn")
    plain = emu.run(path, ("2000",), heap=True, **LIMITS)
    checked = emu.run(path, ("2000",), heap=HeapOptions(strict=True), **LIMITS)
    assert plain.counters == checked.counters
    assert plain.heap is not None
    assert checked.heap is not None
    assert plain.heap.classes() == checked.heap.classes()


CHAOS = ("malloc", "calloc", "realloc", "memalign", "free")


@pytest.mark.parametrize("seed", range(6))
def test_hooks_and_twin_say_the_same_of_any_allocator(seed: int) -> None:
    usable = parse_rule("c_usable=malloc_usable_size")
    path, known = elf("heap/chaos"), (usable, *(parse_rule(f"c_{kind}={kind}") for kind in CHAOS))

    def found(native: bool) -> tuple[Any, ...]:
        run = emu.run(path, (str(seed),), heap=HeapOptions(known, 3, strict=True), native=native, **LIMITS)
        assert run.heap is not None
        heap = run.heap
        return run.returncode, heap.strict, heap.misuse, heap.live_bytes, heap.space, heap.overlaps

    ours = found(True)
    assert ours[0] == 0
    assert ours[1].count > 100
    assert {each.kind for each in ours[1].violations} >= {"overlap", "misaligned", "outside", "too-small", "lost-bytes"}
    assert ours == found(False)
