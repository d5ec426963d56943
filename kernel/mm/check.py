"""The invariants of address spaces, recounted from nothing: every mm test ends with this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from kernel.abi.limits import TASK_SIZE
from kernel.mm.frames import BUMP, CLEAN, FREE, PINNED
from kernel.mm.mm import ANON as ANON_RSS
from kernel.mm.mm import FILE, HUGE, SHMEM
from kernel.mm.mm import SWAP as SWAPPED
from kernel.mm.pte import ANON, HERE, NX, PFN, PROTNONE, SPECIAL, SWAP, P, U, W
from kernel.mm.ram import LOW
from kernel.mm.vma import ACCESS, ACCOUNT, EXEC, GROWSDOWN, HUGETLB, LOCKED, SHARED, WRITE, Vma

if TYPE_CHECKING:
    from kernel.mm.frames import Frames
    from kernel.mm.mm import Mm


def check(mm: Mm) -> None:
    """Assert that the VMA set is in order, that PTEs lie in VMAs and do not promise more, that counters are true."""
    _check_vmas(mm)
    _check_totals(mm)
    _check_tables(mm)
    _check_ptes(mm)


def _check_vmas(mm: Mm) -> None:
    last = 0
    for vma in mm.vmas:
        assert last <= vma.start < vma.end <= TASK_SIZE, f"{vma} follows an end of {last:#x}"
        assert not (vma.start | vma.end) & 4095, f"{vma} is not page-aligned"
        last = vma.end
    chunks = mm.vmas.chunks
    chain = [mm.vmas.head, *mm.vmas, mm.vmas.tail]
    for below, vma in pairwise(chain):
        assert vma.prev is below
        assert below.next is vma
    assert [vma for chunk in chunks for vma in chunk.vmas] == chain[1:]
    floor = 0
    for chunk, first in zip(chunks, mm.vmas.firsts, strict=True):
        assert chunk.vmas, "an empty chunk"
        assert chunk.starts == [vma.start for vma in chunk.vmas]
        assert first == chunk.starts[0] or chunk is chunks[0]
        for vma, gap in zip(chunk.vmas, chunk.gaps, strict=True):
            hole = 0 if vma is mm.vmas.tail else vma.start - floor
            assert gap == hole, f"the gap below {vma} is {hole:#x}, not {gap:#x}"
            floor = vma.end
        assert chunk.room >= max(chunk.gaps)
    maxima = mm.vmas.maxima
    bounds = maxima.tree[maxima.base : maxima.base + len(chunks)]
    assert all(bound >= chunk.room for bound, chunk in zip(bounds, chunks, strict=True))
    for i in range(1, maxima.base):
        assert maxima.tree[i] == max(maxima.tree[2 * i : 2 * i + 2])


def _check_totals(mm: Mm) -> None:
    totals: Counter[str] = Counter()
    for vma in mm.vmas:
        n, flags = vma.pages, vma.flags
        totals["total_vm"] += n
        totals["map_count"] += 1
        if flags & (EXEC | WRITE | GROWSDOWN) == EXEC:
            totals["exec_vm"] += n
        elif flags & GROWSDOWN:
            totals["stack_vm"] += n
        elif flags & (WRITE | SHARED) == WRITE:
            totals["data_vm"] += n
        if flags & LOCKED:
            totals["locked_vm"] += n
    totals["locked_vm"] += mm.lost_locks
    for field in ("total_vm", "map_count", "exec_vm", "stack_vm", "data_vm", "locked_vm"):
        assert getattr(mm, field) == totals[field], f"{field} is {getattr(mm, field)}, recounted {totals[field]}"


def _check_tables(mm: Mm) -> None:
    """The index of tables names what hangs from cr3, and nothing else hangs there."""
    words, table = mm.words, mm.page_table
    tops = _children(words, {0: mm.cr3 >> 3})
    mids = _children(words, tops)
    leaves = _children(words, mids)
    assert (tops, mids, leaves) == (table.tops, table.mids, table.leaves), "the tables' index is stale"
    for shift, tables in ((21, leaves), (30, mids), (39, tops)):
        for key in tables:
            if shift == 21 and key == table.spare:
                continue
            vma = mm.vmas.first(key << shift)
            assert vma is not None, f"a table at {key << shift:#x} serves no mapping"
            assert vma.start < key + 1 << shift, f"a table at {key << shift:#x} serves no mapping"


def _children(words: memoryview, parents: dict[int, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for key, table in parents.items():
        for i, entry in enumerate(words[table : table + 512].tolist()):
            if entry:
                assert entry & (P | U | W) == P | U | W
                found[key << 9 | i] = (entry & PFN) >> 3
    return found


def _check_ptes(mm: Mm) -> None:
    rss = [0] * 8
    for key, table in mm.page_table.leaves.items():
        for i, entry in enumerate(mm.words[table : table + 512].tolist()):
            if entry:
                va = key << 21 | i << 12
                vma = mm.find(va)
                assert vma is not None, f"a PTE at {va:#x}, where no VMA is"
                if entry & HERE:
                    _check_pte(mm, vma, va, entry)
                    if not entry & SPECIAL:
                        rss[_counter(vma, entry)] += 1
                elif entry & SWAP:
                    assert vma.anon_vma, f"{va:#x} is in swap, in {vma}"
                    assert not vma.flags & SHARED, f"{va:#x} is in swap, in {vma}"
                    rss[SWAPPED] += 1
    counted = [mm.counters[kind] for kind in (ANON_RSS, FILE, SHMEM, SWAPPED, HUGE)]
    recounted = [rss[kind] for kind in (ANON_RSS, FILE, SHMEM, SWAPPED, HUGE)]
    assert counted == recounted, f"(anon, file, shmem, swap, hugetlb) count {counted}, recounted {recounted}"


def _counter(vma: Vma, entry: int) -> int:
    if vma.flags & HUGETLB:
        return HUGE
    return ANON_RSS if entry & ANON else SHMEM if vma.shmem else FILE


def _check_pte(mm: Mm, vma: Vma, va: int, entry: int) -> None:
    pfn = (entry & PFN) >> 12
    where = f"{va:#x} -> {entry:#x} in {vma}"
    if vma.flags & ACCESS:
        assert entry & (P | U) == P | U, where
    else:
        assert entry & (P | PROTNONE) == PROTNONE, where
    assert not entry & W or vma.flags & WRITE, where
    held = entry & NX and pfn in mm.frames.code and vma.mappable is not None  # kernel/mm/codealias.py
    assert held or bool(entry & NX) != bool(vma.flags & EXEC), where
    if entry & SPECIAL:
        assert (pfn, entry & W, vma.mappable) == (mm.frames.zero_pfn, 0, None), where
        return
    assert 0 < mm.frames.refs[pfn] < PINNED, where
    if entry & ANON:
        assert vma.anon_vma, where
        assert not vma.flags & SHARED, where
        assert not entry & W or mm.frames.refs[pfn] == 1, where
    else:
        assert vma.mappable is not None, where


def check_machine(frames: Frames, mms: Iterable[Mm], others: Iterable[int] = ()) -> None:
    """Assert that frames are owned as often as their refcounts say. `others`: the pfns that page caches hold."""
    owners: Counter[int] = Counter(others)
    slots: Counter[int] = Counter()
    accounted = 0
    for mm in mms:
        check(mm)
        table = mm.page_table
        owners.update([mm.cr3 >> 12])
        for tables in (table.leaves, table.mids, table.tops):
            owners.update(place >> 9 for place in tables.values())
        for leaf in table.leaves.values():
            for entry in mm.words[leaf : leaf + 512].tolist():
                if entry & HERE and not entry & SPECIAL:
                    owners[(entry & PFN) >> 12] += 1
                elif entry & (HERE | SWAP) == SWAP:
                    slots[entry >> 12] += 1
        accounted += sum(vma.pages for vma in mm.vmas if vma.flags & ACCOUNT)
    slots.update(slot for cache in frames.caches for slot in cache.slots.values())
    free = [pfn & ~CLEAN for pfn in frames.free[: frames.counters[FREE]].tolist()]
    assert len(set(free)) == len(free), "a frame is free twice"
    for pfn in free:
        assert (frames.refs[pfn], owners[pfn]) == (0, 0), f"frame {pfn:#x} is free and owned"
    for n, pfn in enumerate(free):
        if frames.free[n] & CLEAN:
            assert not any(frames.ram.words[pfn << 9 : (pfn << 9) + 512]), f"frame {pfn:#x} is not clean"
    swap = frames.swap
    assert swap.refs[: swap.bump].tolist() == [slots[slot] for slot in range(swap.bump)], "slots of swap are lost"
    assert sorted(swap.free) == [slot for slot in range(swap.bump) if not slots[slot]], "free slots of swap"
    owners[frames.zero_pfn] = PINNED
    for pfn in range(LOW >> 12, frames.counters[BUMP]):
        assert frames.refs[pfn] == owners[pfn], f"frame {pfn:#x}: refcount {frames.refs[pfn]}, owners {owners[pfn]}"
    assert frames.commit.committed >= accounted, f"Committed_AS {frames.commit.committed}, VMAs have {accounted}"
