"""Which allocator a program brought along: the malloc families by the names of their functions."""

from __future__ import annotations

import re
from typing import NamedTuple

from emu.elf import STT_FUNC, STT_GNU_IFUNC, Elf

_C = (
    "malloc|calloc|realloc|reallocarray|free|aligned_alloc|memalign|posix_memalign|valloc|pvalloc|malloc_usable_size"
    "|cfree|free_sized|free_aligned_sized"
)
_X = "mallocx|rallocx|xallocx|sallocx|dallocx|sdallocx|nallocx"
_NAMES = f"{_C}|{_X}|strdup|new|delete|free_size|good_size"

# family → the functions that belong to it
FAMILIES: dict[str, re.Pattern[str]] = {
    "C library": re.compile(_C),
    "C++ operators": re.compile(
        r"_Zn[wa]m(St11align_val_t)?(RKSt9nothrow_t)?|_Zd[la]Pv(m|St11align_val_t|RKSt9nothrow_t)*"
    ),
    "jemalloc": re.compile(rf"(je|_rjem|jemalloc)_({_NAMES})|{_X}"),
    "tcmalloc": re.compile(rf"tc_({_NAMES}|newarray|deletearray)(_\w+)?|TCMalloc\w*"),
    "mimalloc": re.compile(rf"mi_({_NAMES}|zalloc|rezalloc|recalloc)(_\w+)?"),
    "scudo": re.compile(r"__?scudo_\w+"),
    "dlmalloc": re.compile(rf"dl({_C})"),
    "glibc (ptmalloc)": re.compile(r"_int_(malloc|free|realloc|memalign)|sysmalloc|malloc_consolidate"),
    "musl (mallocng)": re.compile(r"__malloc_alloc_meta|__malloc_allzerop|__libc_malloc_impl"),
    "musl (oldmalloc)": re.compile(r"__bin_chunk|__malloc_replaced_old"),
    "musl (lite)": re.compile(r"__simple_malloc|__lite_malloc"),
    "Rust": re.compile(r"__(rust|rdl|rg)_(alloc|dealloc|realloc|alloc_zeroed)"),
    "Go": re.compile(r"runtime\.(mallocgc|newobject|makeslice|persistentalloc)"),
}


class AllocatorFunction(NamedTuple):
    """A function of a malloc family, at its address in the file."""

    family: str
    name: str
    va: int


def allocators_of(elf: Elf) -> list[AllocatorFunction]:
    """Every allocator function that the symbol table names, by family, then by address. Empty for a stripped file."""
    found = [
        AllocatorFunction(family, symbol.name, symbol.value)
        for symbol in elf.symbols()
        if symbol.type in (STT_FUNC, STT_GNU_IFUNC)
        for family, pattern in FAMILIES.items()
        if pattern.fullmatch(symbol.name)
    ]
    order = list(FAMILIES)
    return sorted(set(found), key=lambda function: (order.index(function.family), function.va, function.name))
