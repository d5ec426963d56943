"""madvise: one function an advice, over one VMA's part of the range (mm/madvise.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EAGAIN, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, EPERM, LinuxError
from kernel.abi.limits import U64
from kernel.abi.mman import Madv
from kernel.cpu import Access
from kernel.mm.fault import Fault, fill_on, prepare_anon_vma, touch
from kernel.mm.frames import ZERO_PAGE
from kernel.mm.merge import modify
from kernel.mm.mm import SWAP as SWAPPED
from kernel.mm.pte import ANON, GUARD, HERE, PFN, SPECIAL, A, D
from kernel.mm.reclaim import Clock, Evictable, evict_anon
from kernel.mm.shmem import Shmem
from kernel.mm.vma import (
    DONTCOPY,
    DONTDUMP,
    DROPPABLE,
    HUGEPAGE,
    HUGETLB,
    IO,
    LOCKED,
    MAYBE_GUARD,
    MAYSHARE,
    MAYWRITE,
    MERGEABLE,
    NOHUGEPAGE,
    PFNMAP,
    RAND_READ,
    READ,
    SEALED,
    SEQ_READ,
    SHARED,
    WIPEONFORK,
    WRITE,
    Vma,
)
from kernel.mm.vma import SPECIAL as VM_SPECIAL
from kernel.mm.zap import drop_swap, zap_range

if TYPE_CHECKING:
    from kernel.mm.mm import Mm

Advice = Callable[["Mm", Vma, int, int], None]
DISCARDS = {
    Madv.FREE, Madv.DONTNEED, Madv.DONTNEED_LOCKED, Madv.REMOVE, Madv.DONTFORK, Madv.WIPEONFORK, Madv.GUARD_INSTALL,
}  # fmt: skip
OTHERS = {Madv.POPULATE_READ, Madv.POPULATE_WRITE, Madv.HWPOISON, Madv.SOFT_OFFLINE}
FALLOC_PUNCH = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


def checked_end(addr: int, length: int) -> int:
    """The page-aligned end of [addr, addr + length), as madvise and mseal check it. Raises LinuxError(EINVAL)."""
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    end = addr + (length + 4095 & U64 & ~4095)
    if (length and end == addr) or end > U64:
        raise LinuxError(EINVAL, "the range wraps around")
    return end


def do_madvise(mm: Mm, addr: int, length: int, advice: int) -> None:
    """madvise(2) on an address space: the checks of its arguments, then what was asked."""
    if advice not in FLAGS and advice not in ACTIONS and advice not in OTHERS:
        raise LinuxError(EINVAL, "advice is unknown")
    end = checked_end(addr, length)
    if end == addr:
        return
    if advice in (Madv.HWPOISON, Madv.SOFT_OFFLINE):
        if not mm.privileged:
            raise LinuxError(EPERM, "poisoning memory needs CAP_SYS_ADMIN")
        raise LinuxError(EINVAL, "memory failures are not modelled (as without CONFIG_MEMORY_FAILURE)")
    if advice in (Madv.POPULATE_READ, Madv.POPULATE_WRITE):
        madvise_populate(mm, addr, end, advice == Madv.POPULATE_WRITE)
    else:
        madvise(mm, addr, end, advice)


def madvise(mm: Mm, start: int, end: int, advice: int) -> None:
    """Advise [start, end), VMA by VMA. Raises LinuxError: EINVAL for an unknown advice (nothing is done), ENOMEM for
    holes after all that is mapped was advised, and what the advice itself refuses, where it does."""
    change = FLAGS.get(advice)
    act = ACTIONS.get(advice)
    if change is None and act is None:
        raise LinuxError(EINVAL, "advice is unknown")
    hole: int | None = None
    at = start
    while at < end:
        vma = mm.vmas.first(at)
        if vma is None or vma.start >= end:
            hole = at if hole is None else hole
            break
        if vma.start > at:
            hole, at = at if hole is None else hole, vma.start
        stop = min(vma.end, end)
        if vma.flags & SEALED and advice in DISCARDS and vma.mappable is None and not vma.flags & WRITE:
            raise LinuxError(EPERM, f"the mapping at 0x{vma.start:x} is sealed (mseal) and not writable")
        if act is not None:
            act(mm, vma, at, stop)
        elif change is not None:
            _reflag(mm, vma, at, stop, change(vma))
        at = stop
    if hole is not None:
        raise LinuxError(ENOMEM, f"nothing is mapped at 0x{hole:x} (what is mapped was advised)")


def _reflag(mm: Mm, vma: Vma, start: int, end: int, flags: int) -> None:
    """madvise_update_vma."""
    if flags == vma.flags:
        return
    try:
        modify(mm, vma, start, end, flags, vma.policy)
    except LinuxError as error:
        raise LinuxError(EAGAIN, error.why) from None


# What changes VMA flags: the new flags of a VMA


def _dofork(vma: Vma) -> int:
    if vma.flags & IO:
        raise LinuxError(EINVAL, "MADV_DOFORK of a device's memory")
    return vma.flags & ~DONTCOPY


def _wipeonfork(vma: Vma) -> int:
    if vma.file is not None or vma.flags & SHARED:
        raise LinuxError(EINVAL, "MADV_WIPEONFORK is for private anonymous memory")
    return vma.flags | WIPEONFORK


def _keeponfork(vma: Vma) -> int:
    if vma.flags & DROPPABLE:
        raise LinuxError(EINVAL, "MADV_KEEPONFORK of MAP_DROPPABLE memory")
    return vma.flags & ~WIPEONFORK


def _dodump(vma: Vma) -> int:
    if (vma.flags & VM_SPECIAL and not vma.flags & HUGETLB) or vma.flags & DROPPABLE:
        raise LinuxError(EINVAL, "MADV_DODUMP of a device's or MAP_DROPPABLE memory")
    return vma.flags & ~DONTDUMP


def _mergeable(vma: Vma) -> int:
    """ksm_madvise. Pages are not merged: that is what ksmd does when vm.ksm.run is set, which it is not."""
    if vma.flags & (SHARED | MAYSHARE | VM_SPECIAL | HUGETLB | DROPPABLE):
        return vma.flags
    return vma.flags | MERGEABLE


FLAGS: dict[int, Callable[[Vma], int]] = {
    Madv.NORMAL: lambda vma: vma.flags & ~(RAND_READ | SEQ_READ),
    Madv.SEQUENTIAL: lambda vma: vma.flags & ~RAND_READ | SEQ_READ,
    Madv.RANDOM: lambda vma: vma.flags & ~SEQ_READ | RAND_READ,
    Madv.DONTFORK: lambda vma: vma.flags | DONTCOPY,
    Madv.DOFORK: _dofork,
    Madv.WIPEONFORK: _wipeonfork,
    Madv.KEEPONFORK: _keeponfork,
    Madv.DONTDUMP: lambda vma: vma.flags | DONTDUMP,
    Madv.DODUMP: _dodump,
    Madv.MERGEABLE: _mergeable,
    Madv.UNMERGEABLE: lambda vma: vma.flags & ~MERGEABLE,
    Madv.HUGEPAGE: lambda vma: vma.flags & ~NOHUGEPAGE | HUGEPAGE,
    Madv.NOHUGEPAGE: lambda vma: vma.flags & ~HUGEPAGE | NOHUGEPAGE,
}


# What acts on pages


def dontneed(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_DONTNEED: the pages go; the next touch reads zero, or the file."""
    if vma.flags & (LOCKED | PFNMAP):
        raise LinuxError(EINVAL, "MADV_DONTNEED of locked memory (or a device's)")
    dontneed_locked(mm, vma, start, end)


def dontneed_locked(mm: Mm, vma: Vma, start: int, end: int) -> None:
    if vma.flags & PFNMAP:
        raise LinuxError(EINVAL, "MADV_DONTNEED_LOCKED of a device's memory")
    if vma.flags & HUGETLB:
        if start & 0x1FFFFF:
            raise LinuxError(EINVAL, "not the start of a huge page")
        end &= ~0x1FFFFF
    mm.update_hiwater()
    if start < end:
        zap_range(mm, vma, start, end, guards=False)


def free(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_FREE: the pages may be taken under pressure, as long as nobody writes to them again: an anonymous page that
    is not dirty is lazily freed."""
    if vma.flags & (LOCKED | PFNMAP):
        raise LinuxError(EINVAL, "MADV_FREE of locked memory (or a device's)")
    if vma.mappable is not None:
        raise LinuxError(EINVAL, "MADV_FREE is for private anonymous memory")
    refs = mm.frames.refs
    if isinstance(mm.frames.reclaim, Clock):
        mm.frames.reclaim.rest = 0
    if mm.counters[SWAPPED]:
        for _, i, j in mm.page_table.leaves_in(start, end):
            drop_swap(mm, i, j)
    _age(mm, start, end, lambda entry: entry & ~(A | D) if refs[(entry & PFN) >> 12] == 1 else entry)


def cold(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_COLD: the pages count as not accessed."""
    if vma.flags & (LOCKED | PFNMAP | HUGETLB):
        raise LinuxError(EINVAL, "MADV_COLD and MADV_PAGEOUT are not for locked memory (or a device's)")
    _age(mm, start, end, lambda entry: entry & ~A)


def pageout(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_PAGEOUT: pages that nobody shares go, accessed or not: to swap as far as there is some, file pages back to
    their file, lazily freed ones for good."""
    cold(mm, vma, start, end)
    mm.update_hiwater()
    words, refs = mm.words, mm.frames.refs
    gone = False
    for va, i, j in mm.page_table.leaves_in(start, end):
        for k in range(i, j):
            entry = words[k]
            if not entry & HERE or entry & SPECIAL:
                continue
            owners = refs[(entry & PFN) >> 12]
            if entry & ANON:
                gone |= owners == 1 and evict_anon(mm, vma, k, entry)
            elif owners == 2:  # the page cache is one
                page = va + (k - i << 12)
                zap_range(mm, vma, page, page + 4096)
                if isinstance(vma.mappable, Evictable) and not vma.mappable.evict(vma.page_index(page), True):
                    _drop_clean(mm, vma, page, entry)
    if gone:
        mm.tlb()


def _drop_clean(mm: Mm, vma: Vma, va: int, entry: int) -> None:
    """The page of shared memory that was under `entry` needs no swap if nobody has written it: it reads zero again."""
    pfn = (entry & PFN) >> 12
    drop = getattr(vma.mappable, "drop", None)
    clean = not entry & D and mm.ram.bytes[pfn << 12 : pfn + 1 << 12] == ZERO_PAGE
    if drop and vma.shmem and clean and mm.frames.refs[pfn] == 1:
        drop(vma.page_index(va), vma.page_index(va) + 1)


def _age(mm: Mm, start: int, end: int, old: Callable[[int], int]) -> None:
    words = mm.words
    changed = False
    for _, i, j in mm.page_table.leaves_in(start, end):
        for k in range(i, j):
            entry = words[k]
            if entry & HERE and not entry & SPECIAL:
                words[k] = old(entry)
                changed = True
    if changed:
        mm.tlb()


def willneed(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_WILLNEED: a hint to read ahead; there is nothing slow to read from."""


def remove(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_REMOVE: punch a hole into the file or the shared memory behind the mapping."""
    if vma.flags & LOCKED:
        raise LinuxError(EINVAL, "MADV_REMOVE of locked memory")
    if vma.file is None:
        raise LinuxError(EINVAL, "MADV_REMOVE is for shared mappings of a file or of shared memory")
    if vma.flags & (SHARED | MAYWRITE) != SHARED | MAYWRITE:
        raise LinuxError(EACCES, "MADV_REMOVE needs a shared mapping that may be written")
    assert vma.mappable is not None
    first, last = vma.page_index(start), vma.page_index(end)
    if isinstance(vma.mappable, Shmem):
        vma.mappable.punch(first, last)
        return
    allocate = getattr(vma.file, "allocate", None)
    if allocate is None:
        raise LinuxError(EOPNOTSUPP, "no hole can be punched into this kind of file")
    allocate(FALLOC_PUNCH, first << 12, last - first << 12)


def collapse(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_COLLAPSE: as where huge pages are disabled for the process (PR_SET_THP_DISABLE)."""
    raise LinuxError(EINVAL, "there are no transparent huge pages here (as under PR_SET_THP_DISABLE)")


def guard_install(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_GUARD_INSTALL: pages that fault, without a VMA of their own. What was there is lost."""
    if vma.flags & (VM_SPECIAL | HUGETLB | LOCKED):
        raise LinuxError(EINVAL, "guard pages are not for locked memory (or a device's)")
    if not vma.flags & MAYBE_GUARD:
        mm.vmas.reflag(vma, vma.flags | MAYBE_GUARD)
    if not vma.anon_vma and vma.mappable is None:
        prepare_anon_vma(mm, vma)
    mm.update_hiwater()
    zap_range(mm, vma, start, end, guards=False)
    va = start
    while va < end:
        k = mm.page_table.index(va)
        n = min(512 - (va >> 12 & 511), end - va >> 12)
        mm.words[k : k + n] = GUARDS[:n]
        va += n << 12


def guard_remove(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """MADV_GUARD_REMOVE."""
    if vma.flags & (VM_SPECIAL | HUGETLB):
        raise LinuxError(EINVAL, "guard pages are not for a device's memory")
    words = mm.words
    for _, i, j in mm.page_table.leaves_in(start, end):
        for k in range(i, j):
            if words[k] & (HERE | GUARD) == GUARD:
                words[k] = 0


GUARDS = memoryview(bytearray(GUARD.to_bytes(8, "little") * 512)).cast("Q")
ACTIONS: dict[int, Advice] = {
    Madv.DONTNEED: dontneed,
    Madv.DONTNEED_LOCKED: dontneed_locked,
    Madv.FREE: free,
    Madv.COLD: cold,
    Madv.PAGEOUT: pageout,
    Madv.WILLNEED: willneed,
    Madv.REMOVE: remove,
    Madv.COLLAPSE: collapse,
    Madv.GUARD_INSTALL: guard_install,
    Madv.GUARD_REMOVE: guard_remove,
}


def madvise_populate(mm: Mm, start: int, end: int, write: bool) -> None:
    """MADV_POPULATE_READ and _WRITE: fault pages in, in order. Raises LinuxError: ENOMEM (a hole), EINVAL (the
    protection forbids it), EFAULT (SIGBUS, or a guard page)."""
    access = Access.WRITE if write else Access.READ
    wanted = WRITE if write else READ
    vma: Vma | None = None
    va = start
    while va < end:
        if vma is None or va >= vma.end:
            vma = mm.vmas.find(va)
            if vma is None:
                raise LinuxError(ENOMEM, f"nothing is mapped at 0x{va:x}")
            if not vma.flags & wanted or vma.flags & (IO | PFNMAP):
                raise LinuxError(EINVAL, f"the protection of 0x{va:x} does not allow it")
        if touch(mm, va, access) is not Fault.OK:
            raise LinuxError(EFAULT, f"0x{va:x} is past the end of its file, or a guard page")
        va += 4096
        if write and va < end:
            va = fill_on(mm, vma, va, min(end, vma.end))


