"""Page faults: demand zero, file fill, copy-on-write, stack growth (arch/x86/mm/fault.c, mm/memory.c).

One fault writes one PTE. The order of the tests is Linux's, so that the si_code is.
"""

from __future__ import annotations

from enum import Enum

from kernel.abi.errno import LinuxError
from kernel.abi.limits import RLIMIT_STACK, TASK_SIZE
from kernel.cpu import Access
from kernel.events import PageFault
from kernel.mm.codealias import hold_code, hold_writers
from kernel.mm.frames import BUMP, FREE, LIMIT
from kernel.mm.map import check_mlock_future, may_expand_vm
from kernel.mm.mempolicy import policy_at
from kernel.mm.mm import ANON as ANON_RSS
from kernel.mm.mm import COW, FILE, MAJ_FLT, MIN_FLT, SHMEM, Mm
from kernel.mm.mm import SWAP as SWAPPED
from kernel.mm.pte import ANON, HERE, NX, PFN, SPECIAL, SWAP, A, D, P, W
from kernel.mm.vma import ACCESS, EXEC, GROWSDOWN, HUGETLB, LOCKED, LOCKONFAULT, SHARED, STICKY, WRITE, Vma

FAULT_AROUND = 16  # pages (fault_around_bytes)
READ_ACCESS, WRITE_ACCESS, FETCH_ACCESS = Access.READ, Access.WRITE, Access.FETCH


class Fault(Enum):
    """How a fault ended. All but OK are signals: SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR."""

    OK = "ok"
    MAPERR = "maperr"
    ACCERR = "accerr"
    BUS = "bus"


OK, MAPERR, ACCERR, BUS = Fault.OK, Fault.MAPERR, Fault.ACCERR, Fault.BUS


def handle_mm_fault(mm: Mm, va: int, access: Access) -> Fault:
    """Make `va` accessible, or say which signal it is. Raises OutOfMemory.

    The CPU's cached translation of va is not flushed: the instruction that faulted replaces it when it is run again."""
    vmas = mm.vmas
    vma = vmas.recent
    if not vma.start <= va < vma.end:
        vma = vmas.above(va)
        if va < vma.start and not (vma.flags & GROWSDOWN and expand_stack(mm, vma, va)):
            return MAPERR
        vmas.recent = vma
    flags = vma.flags
    if access is WRITE_ACCESS:
        if not flags & WRITE:
            return ACCERR
    elif not flags & ACCESS:
        return ACCERR
    leaf = mm.page_table.leaves.get(va >> 21)
    fresh = leaf is None
    if leaf is None:
        leaf = mm.page_table.make_leaf(va)
    index = leaf + (va >> 12 & 511)
    entry = mm.words[index]
    if mm.frames.nodes > 1:
        mm.frames.aim = policy_at(vma, va) or mm.policy, vma, va
    if entry:
        return _present(mm, vma, va, access, index, entry)
    if vma.mappable is not None:
        fault = _file(mm, vma, va, access, index)
        if fresh and fault is BUS:
            mm.page_table.unmake_leaf(va)  # Linux makes the last table when it has the page
        return fault
    if access is WRITE_ACCESS:
        if not vma.anon_vma:
            prepare_anon_vma(mm, vma)
        pfn = mm.frames.alloc()
        mm.words[index] = pfn << 12 | vma.write_bits
        counters = mm.counters
        counters[ANON_RSS] += 1
        counters[MIN_FLT] += 1
        if flags & EXEC:
            mm.frames.code.add(pfn)
        elif not vma.window:
            vmas.windows.open(vma)
        kind = "anon"
    else:
        pfn = mm.frames.zero_pfn
        mm.words[index] = pfn << 12 | vma.read_bits | SPECIAL
        mm.counters[MIN_FLT] += 1
        if not vma.window:
            vmas.windows.open(vma)
        kind = "zero"
    if PageFault in mm.probes.listeners:
        emit(mm, va, access, kind, pfn)
    return OK


def settle(mm: Mm) -> None:
    """The CPU has filled the first page of a VMA by itself: to be called before anything looks at an anon_vma."""
    vma = mm.vmas.windows.take_told()
    if vma is not None and not vma.anon_vma:
        prepare_anon_vma(mm, vma)


def _present(mm: Mm, vma: Vma, va: int, access: Access, index: int, entry: int) -> Fault:
    """The PTE is not empty: a page in swap, a refused access, a write to a read-only page, or a marker."""
    if not entry & HERE:
        if entry & SWAP:
            return _swap_in(mm, vma, va, access, index, entry)
        return MAPERR  # MADV_GUARD_INSTALL: VM_FAULT_SIGSEGV
    if access is FETCH_ACCESS:
        if entry & NX:
            if not vma.flags & EXEC:
                return ACCERR
            mm.words[index] = entry & ~NX | A  # held back while it was written elsewhere
            hold_writers(mm, vma, va, (entry & PFN) >> 12)
            return OK
    elif access is WRITE_ACCESS and not entry & W:
        return _write_protected(mm, vma, va, index, entry)
    mm.words[index] = entry | (A | D if access is WRITE_ACCESS else A)
    mm.counters[MIN_FLT] += 1
    return OK


def _swap_in(mm: Mm, vma: Vma, va: int, access: Access, index: int, entry: int) -> Fault:
    """do_swap_page: the page comes back, dirty, since its slot is given up at once; writable if its mapping is."""
    frames, counters = mm.frames, mm.counters
    pfn = frames.alloc_raw()
    frames.ram.bytes[pfn << 12 : pfn + 1 << 12] = frames.swap.load(entry >> 12)
    frames.swap.put(entry >> 12)
    bits = vma.write_bits if vma.flags & (WRITE | SHARED) == WRITE else vma.read_bits | ANON | D
    mm.words[index] = pfn << 12 | bits
    counters[SWAPPED] -= 1
    counters[ANON_RSS] += 1
    counters[MAJ_FLT] += 1
    if vma.flags & EXEC:
        frames.code.add(pfn)
    if PageFault in mm.probes.listeners:
        emit(mm, va, access, "swap", pfn)
    return OK


def _write_protected(mm: Mm, vma: Vma, va: int, index: int, entry: int) -> Fault:
    """do_wp_page: a write to a page that is mapped read-only in a writable VMA."""
    counters = mm.counters
    pfn = (entry & PFN) >> 12
    frames = mm.frames
    if vma.flags & SHARED:
        kind = "wp"
        assert vma.mappable is not None
        shared = vma.mappable.frame(vma.page_index(va), True)
        if shared is None:
            return BUS
        frames.put(shared)
        assert shared == pfn
        mm.words[index] = entry | W | D | A
        if pfn in frames.code and not vma.flags & EXEC:
            hold_code(mm, vma, va, pfn)
            if entry & D or vma.shmem:  # held back while it was executed elsewhere
                return OK
    elif entry & ANON and frames.refs[pfn] == 1:
        kind = "wp"
        if vma.flags & HUGETLB:
            from kernel.mm.hugetlb import hugetlb_upgrade

            hugetlb_upgrade(mm, index, W)
        mm.words[index] = entry | W | D | A
    else:
        if vma.flags & HUGETLB:
            from kernel.mm.hugetlb import hugetlb_cow

            return OK if hugetlb_cow(mm, vma, va, index) else BUS
        kind = "cow"
        if not vma.anon_vma:
            prepare_anon_vma(mm, vma)
        old = pfn
        if entry & SPECIAL:
            pfn = frames.alloc()
            counters[ANON_RSS] += 1
        else:
            frames.refs[old] += 1  # it must outlast reclaim
            pfn = frames.alloc_copy(old)
            frames.refs[old] -= 1
            frames.put(old)
            counters[COW] += 1
            if not entry & ANON:
                counters[SHMEM if vma.shmem else FILE] -= 1
                counters[ANON_RSS] += 1
        mm.words[index] = pfn << 12 | vma.write_bits
        if vma.flags & EXEC:
            frames.code.add(pfn)
            frames.invalidate((old,))  # nothing jumps on into the old page
    counters[MIN_FLT] += 1
    if PageFault in mm.probes.listeners:
        emit(mm, va, access=WRITE_ACCESS, kind=kind, pfn=pfn)
    return OK


def _file(mm: Mm, vma: Vma, va: int, access: Access, index: int) -> Fault:
    """do_fault: the first touch of a page of a file (or of shared anonymous memory)."""
    assert vma.mappable is not None
    counters = mm.counters
    frames = mm.frames
    write = access is WRITE_ACCESS
    if vma.flags & HUGETLB:
        from kernel.mm.hugetlb import hugetlb_fault

        return OK if hugetlb_fault(mm, vma, va, write, index) else BUS
    private = not vma.flags & SHARED
    if not write and _fault_around(mm, vma, va, index):
        counters[MIN_FLT] += 1
        if PageFault in mm.probes.listeners:
            emit(mm, va, access, "file", (mm.words[index] & PFN) >> 12)
        return OK
    if write and private and not vma.anon_vma:
        prepare_anon_vma(mm, vma)  # before it is known whether there is a page to copy
    swapped_in = frames.swap.ins
    pfn = vma.mappable.frame(vma.page_index(va), write and not private)
    if pfn is None:
        return BUS
    major = frames.swap.ins != swapped_in
    if write and private:
        source = pfn
        pfn = frames.alloc_copy(source)
        frames.put(source)
        counters[ANON_RSS] += 1
        counters[COW] += 1
        kind = "cow"
    else:
        counters[SHMEM if vma.shmem else FILE] += 1
        kind = "file"
    mm.words[index] = pfn << 12 | (vma.write_bits if write else vma.read_bits)
    if vma.flags & EXEC:
        frames.code.add(pfn)
        hold_writers(mm, vma, va, pfn)
    elif write and pfn in frames.code:
        hold_code(mm, vma, va, pfn)
    counters[MAJ_FLT if major else MIN_FLT] += 1
    if PageFault in mm.probes.listeners:
        emit(mm, va, access, kind, pfn)
    return OK


def _fault_around(mm: Mm, vma: Vma, va: int, index: int) -> bool:
    """do_fault_around: a read maps what the page cache has of the 64 KiB around it. Is va's own page among that?"""
    mappable = vma.mappable
    assert mappable is not None
    page, words = va >> 12, mm.words
    first = max(page & -FAULT_AROUND, vma.start >> 12)
    last = min(first + FAULT_AROUND, (page | 511) + 1, vma.end >> 12)
    bits, code = vma.read_bits, vma.flags & EXEC
    mapped = 0
    for n in range(first, last):
        k = index + n - page
        if words[k] or not mappable.resident(vma.pgoff + n - (vma.start >> 12)):
            continue
        pfn = mappable.frame(vma.pgoff + n - (vma.start >> 12), False)
        if pfn is not None:
            words[k] = pfn << 12 | bits
            mapped += 1
            if code:
                mm.frames.code.add(pfn)
                hold_writers(mm, vma, n << 12, pfn)
    mm.counters[SHMEM if vma.shmem else FILE] += mapped
    return words[index] != 0


def prepare_anon_vma(mm: Mm, vma: Vma) -> None:
    """Give a VMA its family of anonymous pages: a neighbour's, where the two could become one VMA again after an
    mprotect (find_mergeable_anon_vma), else a new one."""
    if vma.next.anon_vma and vma.end == vma.next.start and _reusable(vma, vma.next):
        vma.anon_vma = vma.next.anon_vma
    elif vma.prev.anon_vma and vma.prev.end == vma.start and _reusable(vma.prev, vma):
        vma.anon_vma = vma.prev.anon_vma
    else:
        vma.anon_vma = mm.next_anon_vma
        mm.next_anon_vma += 1


def _reusable(a: Vma, b: Vma) -> bool:
    """anon_vma_compatible, and the one that has a family is no fork's heir."""
    owner = a if a.anon_vma else b
    return (
        not owner.forked
        and a.policy == b.policy
        and a.file is b.file
        and not (a.flags ^ b.flags) & ~(ACCESS | STICKY)
        and b.pgoff == a.pgoff + (a.end - a.start >> 12)
    )


def expand_stack(mm: Mm, vma: Vma, va: int) -> bool:
    """Let a VM_GROWSDOWN mapping reach down to va's page, if its limits and the guard gap allow (expand_downwards)."""
    if not vma.flags & GROWSDOWN or va >= TASK_SIZE:
        return False
    start = va & -4096
    if start < mm.mmap_min_addr:
        return False
    prev = vma.prev
    if prev.flags & ACCESS and not prev.flags & GROWSDOWN and start - prev.end < mm.stack_guard_gap:
        return False
    if not vma.anon_vma:
        prepare_anon_vma(mm, vma)  # "we must make sure the anon_vma is allocated", whether it grows or not
    grow = vma.start - start >> 12
    if grow > vma.pgoff or may_expand_vm(mm, vma.flags, grow) or vma.end - start > mm.limits.cur[RLIMIT_STACK]:
        return False
    try:
        check_mlock_future(mm, vma.flags, grow << 12)
        mm.commit.charge(grow, mm.privileged, mm.total_vm)
    except LinuxError:
        return False
    if vma.flags & LOCKED:
        mm.locked_vm += grow
    mm.account(vma.flags, grow)
    vma.pgoff -= grow
    mm.vmas.resize(vma, start, vma.end)
    return True


def populate(mm: Mm, start: int, end: int) -> Fault | None:
    """Fault in [start, end) as mmap(MAP_POPULATE) and mlock do (mm_populate): writable private memory by a write, so
    that it is nobody else's. Where a mapping refuses, its rest is left out; returns the first such refusal, None if
    all went well or the range has a hole (that is not this function's to judge). Raises OutOfMemory."""
    refused: Fault | None = None
    va = start
    while va < end:
        vma = mm.vmas.first(va)
        if vma is None or vma.start >= end:
            break
        stop = min(end, vma.end)
        fault = populate_vma(mm, vma, max(va, vma.start), stop)
        if fault is not OK and refused is None:
            refused = fault
        va = stop
    return refused


def populate_vma(mm: Mm, vma: Vma, start: int, end: int) -> Fault:
    """populate_vma_page_range, of a range within one VMA."""
    if vma.flags & LOCKONFAULT:
        return OK
    if not vma.flags & ACCESS:
        return ACCERR
    access = WRITE_ACCESS if vma.flags & (WRITE | SHARED) == WRITE else READ_ACCESS
    va = start
    while va < end:
        fault = touch(mm, va, access)
        if fault is not OK:
            return fault
        va += 4096
        if access is WRITE_ACCESS and va < end:
            va = fill_on(mm, vma, va, end)
    return OK


def touch(mm: Mm, va: int, access: Access) -> Fault:
    """Have va's page present for this access, as the access would."""
    entry = mm.page_table.entry(va)
    if entry & P and (access is READ_ACCESS or entry & W):
        touched = A if access is READ_ACCESS else A | D
        if entry & touched != touched:
            mm.words[mm.page_table.lookup(va)] = entry | touched
        return OK
    fault = handle_mm_fault(mm, va, access)
    if fault is OK and entry & P:
        mm.tlb()
    return fault


def fill_on(mm: Mm, vma: Vma, va: int, end: int) -> int:
    """Where the page before `va` was written to just now, and [va, end) of the same VMA will be: do at once for pages
    of its page table what `handle_mm_fault` would, one by one. How far that was possible."""
    frames, index = mm.frames, mm.page_table.lookup(va)
    if index < 0 or vma.mappable is not None or vma.flags & EXEC:
        return va
    if frames.nodes > 1 or PageFault in mm.probes.listeners:
        return va
    counters = frames.counters
    room = counters[FREE] + counters[LIMIT] - counters[BUMP]  # no frame is taken away from anybody
    last = index + min(512 - (va >> 12 & 511), end - va >> 12, room)
    words, bits, alloc, k = mm.words, vma.write_bits, frames.alloc, index
    while k < last and not words[k]:
        words[k] = alloc() << 12 | bits
        k += 1
    mm.counters[ANON_RSS] += k - index
    mm.counters[MIN_FLT] += k - index
    return va + (k - index << 12)


def emit(mm: Mm, va: int, access: Access, kind: str, pfn: int) -> None:
    now, tid = mm.now()
    mm.probes.emit(PageFault(now, tid, va, access, kind, pfn))

