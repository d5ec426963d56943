"""What page tables say to /proc/[pid]/{pagemap,clear_refs,numa_maps} (fs/proc/task_mmu.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, LinuxError
from kernel.abi.limits import TASK_SIZE
from kernel.mm.describe import name
from kernel.mm.mempolicy import policy_at, policy_text
from kernel.mm.pte import ANON, GUARD, HERE, PFN, SPECIAL, A, D
from kernel.mm.vma import HUGETLB, PFNMAP

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma

PRESENT, SWAPPED, FILE, GUARD_REGION, EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 58, 1 << 56
GUARD_ENTRY = SWAPPED | GUARD_REGION | 4 << 5 | 31  # a marker is a swap entry of type 31; its offset says which marker
HIDDEN = (1 << 55) - 1
CLEAR_ALL, CLEAR_ANON, CLEAR_MAPPED, CLEAR_SOFT_DIRTY, CLEAR_HIWATER = range(1, 6)


def pagemap(mm: Mm, n: int, pos: int, show_pfn: bool) -> bytes:
    """`n` bytes of /proc/[pid]/pagemap at `pos`: a u64 a page. Raises LinuxError(EINVAL) where either is unaligned.

    Soft-dirty (bit 55) is never set, as without CONFIG_MEM_SOFT_DIRTY."""
    if pos % 8 or n % 8:
        raise LinuxError(EINVAL, "pagemap is read in whole entries of 8 bytes")
    start = min(pos // 8 << 12, TASK_SIZE)
    end = min(start + (n // 8 << 12), TASK_SIZE)
    entries = memoryview(bytearray((end - start >> 12) * 8)).cast("Q")
    mask = (1 << 64) - 1 if show_pfn else ~HIDDEN & (1 << 64) - 1
    for vma in mm.vmas.overlapping(start, end):
        for va, i, j in mm.page_table.leaves_in(max(vma.start, start), min(vma.end, end)):
            at = va - start >> 12
            for entry in mm.words[i:j].tolist():
                if entry:
                    entries[at] = _entry(mm, vma, entry) & mask
                at += 1
    return entries.tobytes()


def _entry(mm: Mm, vma: Vma, entry: int) -> int:
    """pte_to_pagemap_entry."""
    pfn = (entry & PFN) >> 12
    if not entry & HERE:
        return GUARD_ENTRY if entry & GUARD else SWAPPED | pfn << 5
    if entry & SPECIAL:
        return PRESENT | pfn
    if entry & ANON:
        return PRESENT | pfn | (EXCLUSIVE if mm.frames.refs[pfn] == 1 else 0)
    owners = mm.frames.refs[pfn] - 1  # the page cache is no mapping
    return PRESENT | pfn | FILE | (EXCLUSIVE if owners == 1 else 0)


def clear_refs(mm: Mm, kind: int) -> None:
    """/proc/[pid]/clear_refs: forget which pages were accessed (1 all, 2 anonymous, 3 of files), which are soft-dirty
    (4: none ever is), or the peak RSS (5). Raises LinuxError(EINVAL)."""
    if not CLEAR_ALL <= kind <= CLEAR_HIWATER:
        raise LinuxError(EINVAL, "1 to 5 can be written to clear_refs")
    if kind == CLEAR_HIWATER:
        mm.hiwater_rss = mm.rss
        return
    for vma in mm.vmas:
        if kind == CLEAR_SOFT_DIRTY or vma.flags & PFNMAP:
            continue
        if (kind == CLEAR_ANON and vma.file is not None) or (kind == CLEAR_MAPPED and vma.file is None):
            continue
        for _, i, j in mm.page_table.leaves_in(vma.start, vma.end):
            for k in range(i, j):
                entry = mm.words[k]
                if entry & HERE and not entry & SPECIAL:
                    mm.words[k] = entry & ~A
    mm.tlb()


def numa_maps_line(mm: Mm, vma: Vma) -> str:
    """One line of /proc/[pid]/numa_maps (show_numa_map)."""
    line = f"{vma.start:08x} {policy_text(policy_at(vma, vma.start) or mm.policy)}{_place(mm, vma)}"
    if vma.flags & HUGETLB:
        line += " huge"
    step = 512 if vma.flags & HUGETLB else 1
    pages = anon = dirty = active = most = 0
    nodes: dict[int, int] = {}
    refs, node_of = mm.frames.refs, mm.frames.node_of
    for _, i, j in mm.page_table.leaves_in(vma.start, vma.end):
        for entry in mm.words[i:j:step].tolist():
            if not entry & HERE or entry & SPECIAL:
                continue
            pfn = (entry & PFN) >> 12
            pages += 1
            anon += bool(entry & ANON)
            dirty += bool(entry & D)
            active += not entry & ANON and not vma.shmem
            most = max(most, refs[pfn] - (0 if entry & ANON else 1))
            nodes[node_of(pfn)] = nodes.get(node_of(pfn), 0) + 1
    if pages:
        mapped = 0 if pages in (anon, dirty) else pages
        shown = {"anon": anon, "dirty": dirty, "mapped": mapped, "mapmax": most if most > 1 else 0}
        line += "".join(f" {name}={value}" for name, value in shown.items() if value)
        if active < pages and step == 1:
            line += f" active={active}"
        line += "".join(f" N{node}={nodes[node]}" for node in sorted(nodes)) + f" kernelpagesize_kB={4 * step}"
    return line + "\n"


def _place(mm: Mm, vma: Vma) -> str:
    called = name(mm, vma)
    if vma.origin is not None:
        for char in "\n\t= ":
            called = called.replace(char, f"\\{ord(char):03o}")
        return f" file={called}"
    return {"[heap]": " heap", "[stack]": " stack"}.get(called, "")
