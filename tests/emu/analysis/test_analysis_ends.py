"""What stands in the table at the end, added up in C, against numpy over the same table."""

from __future__ import annotations

import pytest
from runs import elf

import emu
from emu.analysis.ends import ends_of
from emu.analysis.space import held_by
from emu.calls import HeapOptions


@pytest.mark.parametrize("stack", [0, 4])
@pytest.mark.parametrize(
    ("name", "kind", "argv"),
    [
        ("heap/churn", "musl", ("3000",)),
        ("heap/churn", "glibc", ("3000",)),
        ("heap/churn", "jemalloc", ("3000",)),
        ("heap/churn", "tcmalloc", ("3000",)),
        ("heap/rounding", "musl", ()),
        ("heap/holds", "glibc", ()),
        ("heap/exceptions", "glibc", ()),
        ("bench/compute", "musl", ("1000",)),
    ],
)
def test_c_and_numpy_add_up_the_same(name: str, kind: str, argv: tuple[str, ...], stack: int) -> None:
    heap = emu.run(elf(name, kind), argv, heap=HeapOptions(stack=stack), timeout=120.0).heap
    assert heap is not None
    theirs = ends_of(heap._facts.blocks(), held_by(heap.map._ranges))
    assert heap._facts.ends == theirs
    assert bool(theirs.taken) == (name != "bench/compute")
