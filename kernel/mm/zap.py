"""Zapping: dropping what page tables delivered, VMAs untouched. Ranges of entries, never pages that are not there."""

from __future__ import annotations

from kernel.mm.mm import ANON as ANON_RSS
from kernel.mm.mm import FILE, SHMEM, Mm
from kernel.mm.mm import SWAP as SWAPPED
from kernel.mm.pte import ANON, HERE, PFN, SPECIAL, SWAP
from kernel.mm.runs import FEW, ZEROS, runs
from kernel.mm.vma import EXEC, HUGETLB, Vma


def zap_range(mm: Mm, vma: Vma, start: int, end: int, *, guards: bool = True) -> int:
    """Drop the pages of [start, end), which lies in `vma`; returns how many were in RAM. Those in swap go as well,
    with `guards` (the mapping goes) guard markers too."""
    if vma.flags & HUGETLB:
        from kernel.mm.hugetlb import zap_hugetlb

        return zap_hugetlb(mm, vma, start, end)
    if vma.flags & EXEC:
        forget_code(mm, start, end)
    if not guards:
        mm.page_table.keep_spare(start, end)
    if end - start == 4096:
        leaf = mm.page_table.leaves.get(start >> 21)
        if leaf is None:
            return 0
        i = leaf + (start >> 12 & 511)
        gone = _zap_few(mm, vma, i, i + 1, guards)
    else:
        gone = 0
        freed: list[tuple[int, int]] = []
        for _, i, j in mm.page_table.leaves_in(start, end):
            if j - i > FEW:
                gone += _zap_runs(mm, vma, i, j, guards, freed)
            else:
                gone += _zap_few(mm, vma, i, j, guards)
        if freed:
            mm.frames.put_runs(freed)
    if gone:
        mm.tlb()
    return gone


def _zap_few(mm: Mm, vma: Vma, i: int, j: int, guards: bool) -> int:
    """Zap PTEs [i, j) (indices into RAM's words) one by one, the last first: their frames are taken again in order."""
    words = mm.words
    frames = mm.frames
    refs = frames.refs
    anon = other = zero = 0
    for k in range(j - 1, i - 1, -1):
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


def _zap_runs(mm: Mm, vma: Vma, i: int, j: int, guards: bool, freed: list[tuple[int, int]]) -> int:
    """As `_zap_few`, run by run; the frames to be put are appended to `freed`, as (first pfn, how many)."""
    words = mm.words
    gone = anon = other = 0
    for k, n, entry in runs(words, i, j):
        if entry & HERE:
            gone += n
            if not entry & SPECIAL:
                freed.append(((entry & PFN) >> 12, n))
                if entry & ANON:
                    anon += n
                else:
                    other += n
        elif entry & SWAP:
            mm.counters[SWAPPED] -= n
            for slot in range(entry >> 12, (entry >> 12) + n):
                mm.frames.swap.put(slot)
        elif not guards:
            continue
        words[k : k + n] = ZEROS[:n]
    mm.counters[ANON_RSS] -= anon
    mm.counters[SHMEM if vma.shmem else FILE] -= other
    return gone


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


def forget_code(mm: Mm, start: int, end: int) -> None:
    """The executable pages of [start, end) are about to go, or to be executable no more: what was translated from
    their frames is stale. Of a process that exits only its own pages go: a file's serve the next program."""
    frames, words = mm.frames, mm.words
    stale: set[int] = set()
    for _, i, j in mm.page_table.leaves_in(start, end):
        for entry in words[i:j].tolist():
            if entry & HERE and (entry & ANON or not mm.exiting):
                stale.add((entry & PFN) >> 12)
    stale &= frames.code
    if stale:
        frames.code.difference_update([pfn for pfn in stale if frames.refs[pfn] == 1])
        frames.invalidate(stale)
