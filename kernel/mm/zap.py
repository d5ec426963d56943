"""Zapping: dropping what page tables delivered, VMAs untouched. Ranges of entries, never pages that are not there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kernel.mm.mm import ANON as ANON_RSS
from kernel.mm.mm import FILE, SHMEM, Mm
from kernel.mm.mm import SWAP as SWAPPED
from kernel.mm.pte import ANON, GUARD, HERE, PFN, SPECIAL, SWAP
from kernel.mm.vma import EXEC, HUGETLB, Vma

if TYPE_CHECKING:
    import numpy as np

ZEROS = memoryview(bytes(4096)).cast("Q")
BULK = 4096  # entries from which numpy pays, its import included
BULK_LOADED = 192  # … when it is there already
FEW = 16  # entries of one table that a loop does faster than an array


def bulk(start: int, end: int) -> bool:
    """Is [start, end) large enough to be worth numpy?"""
    pages = end - start >> 12
    return pages > BULK or (pages > BULK_LOADED and "numpy" in sys.modules)


def zap_range(mm: Mm, vma: Vma, start: int, end: int, *, guards: bool = True) -> int:
    """Drop the pages of [start, end), which lies in `vma`; returns how many were in RAM. Those in swap go as well,
    with `guards` guard markers too."""
    if vma.flags & HUGETLB:
        from kernel.mm.hugetlb import zap_hugetlb

        return zap_hugetlb(mm, vma, start, end)
    if end - start == 4096:
        leaf = mm.page_table.leaves.get(start >> 21)
        if leaf is None:
            return 0
        i = leaf + (start >> 12 & 511)
        gone = _zap_few(mm, vma, i, i + 1, guards)
    else:
        gone = 0
        large = bulk(start, end)
        pfns: list[np.ndarray] = []
        for _, i, j in mm.page_table.leaves_in(start, end):
            if large and j - i > FEW:
                gone += _zap_array(mm, vma, i, j, guards, pfns)
            else:
                gone += _zap_few(mm, vma, i, j, guards)
        if pfns:
            import numpy

            mm.frames.put_many(numpy.concatenate(pfns))
    if gone:
        mm.tlb()
        if vma.flags & EXEC:
            forget_code(mm)
    return gone


def _zap_few(mm: Mm, vma: Vma, i: int, j: int, guards: bool) -> int:
    """Zap PTEs [i, j) (indices into RAM's words) one by one."""
    words = mm.words
    frames = mm.frames
    refs = frames.refs
    anon = other = zero = 0
    for k in range(i, j):
        entry = words[k]
        if not entry:
            continue
        if entry & HERE:
            words[k] = 0
            if entry & SPECIAL:
                zero += 1
                continue
            if entry & ANON:
                anon += 1
            else:
                other += 1
            pfn = (entry & PFN) >> 12
            left = refs[pfn] - 1
            refs[pfn] = left
            if not left:
                counters = frames.counters
                n = counters[0]
                frames.free[n] = pfn
                counters[0] = n + 1
        elif entry & SWAP:
            words[k] = 0
            frames.swap.put(entry >> 12)
            mm.counters[SWAPPED] -= 1
        elif guards:
            words[k] = 0
    if anon:
        mm.counters[ANON_RSS] -= anon
    if other:
        mm.counters[SHMEM if vma.shmem else FILE] -= other
    return anon + other + zero


def _zap_array(mm: Mm, vma: Vma, i: int, j: int, guards: bool, pfns: list[np.ndarray]) -> int:
    """As `_zap_few`, vectorised; the frames to be put are appended to `pfns`."""
    entries = mm.ram.array()[i:j]
    here = entries[(entries & HERE) != 0]
    owned = here[(here & SPECIAL) == 0]
    if len(owned):
        anon = int(((owned & ANON) != 0).sum())
        mm.counters[ANON_RSS] -= anon
        mm.counters[SHMEM if vma.shmem else FILE] -= len(owned) - anon
        pfns.append((owned & PFN) >> 12)
    if mm.counters[SWAPPED]:
        drop_swap(mm, i, j)
    if guards:
        mm.words[i:j] = ZEROS[: j - i]
    else:
        entries[((entries & HERE) != 0) | ((entries & GUARD) == 0)] = 0
    return len(here)


def drop_swap(mm: Mm, i: int, j: int) -> None:
    """Free what PTEs [i, j) have in swap."""
    words, swap = mm.words, mm.frames.swap
    for k in range(i, j):
        entry = words[k]
        if entry & (HERE | SWAP) == SWAP:
            words[k] = 0
            swap.put(entry >> 12)
            mm.counters[SWAPPED] -= 1


def zap_file(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """Drop the PTEs of the file's own pages in [start, end) of `vma`; private copies stay."""
    words = mm.words
    for va, i, j in mm.page_table.leaves_in(start, end):
        for k in range(i, j):
            entry = words[k]
            if entry & HERE and not entry & (ANON | SPECIAL):
                page = va + (k - i << 12)
                zap_range(mm, vma, page, page + 4096)


def forget_code(mm: Mm) -> None:
    """Executable pages went away: code that was translated from their frames is stale."""
    frames = mm.frames
    refs = frames.refs
    frames.code = {pfn for pfn in frames.code if refs[pfn]}
    mm.code()
