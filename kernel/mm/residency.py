"""What is in RAM, what must stay there, what must be written back (mm/mincore.c, mlock.c, msync.c, mseal.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EBUSY, ENOMEM, LinuxError
from kernel.abi.limits import RLIMIT_MEMLOCK
from kernel.mm.fault import populate
from kernel.mm.merge import modify
from kernel.mm.pte import GUARD, HERE
from kernel.mm.vma import DROPPABLE, HUGETLB, LOCKED, LOCKONFAULT, SEALED, SHARED, Vma
from kernel.mm.vma import SPECIAL as VM_SPECIAL

if TYPE_CHECKING:
    from kernel.mm.mm import Mm

LOCKED_MASK = LOCKED | LOCKONFAULT


def mincore(mm: Mm, start: int, pages: int) -> bytes:
    """One byte a page, 1 where it is resident, for up to `pages` pages: to the end of one VMA (do_mincore).

    Raises LinuxError(ENOMEM) where none is."""
    vma = mm.vmas.find(start)
    if vma is None:
        raise LinuxError(ENOMEM, f"nothing is mapped at 0x{start:x}")
    end = min(vma.end, start + (pages << 12))
    vector = bytearray(end - start >> 12)
    _mincore_vma(mm, vma, start, end, memoryview(vector))
    return bytes(vector)


def _mincore_vma(mm: Mm, vma: Vma, start: int, end: int, vector: memoryview) -> None:
    """mincore_pte_range: an empty entry of a file's mapping asks the page cache."""
    if vma.mappable is not None:
        if not _can_do_mincore(mm, vma):
            vector[:] = b"\1" * len(vector)
            return
        first = vma.page_index(start)
        for n in range(len(vector)):
            vector[n] = vma.mappable.resident(first + n)
    words = mm.words
    for va, i, j in mm.page_table.leaves_in(start, end):
        n = va - start >> 12
        for k in range(i, j):
            entry = words[k]
            if entry & HERE:
                vector[n] = 1
            elif entry and not entry & GUARD:  # a marker is as good as nothing (pte_none_mostly)
                vector[n] = 0
            n += 1


def _can_do_mincore(mm: Mm, vma: Vma) -> bool:
    """Who may not write a file is not told what of it others have read (can_do_mincore)."""
    check = getattr(vma.file, "may_mincore", None)
    return True if check is None else bool(check(mm.privileged))


def check_mlock_limit(mm: Mm, start: int, length: int) -> None:
    """May [start, start + length) be locked too, what of it is locked not counted twice? Raises LinuxError(ENOMEM)."""
    if mm.privileged:
        return
    limit = mm.limits.cur[RLIMIT_MEMLOCK] >> 12
    wanted = mm.locked_vm + (length >> 12) & (1 << 64) - 1
    if wanted > limit:
        end = min(start + length, 1 << 64)
        locked = [vma for vma in mm.vmas.overlapping(start, end) if vma.flags & LOCKED]
        wanted -= sum(min(end, vma.end) - max(start, vma.start) >> 12 for vma in locked)
    if wanted > limit:
        raise LinuxError(ENOMEM, f"more locked memory than RLIMIT_MEMLOCK ({limit << 12} bytes)")


def mlock(mm: Mm, start: int, end: int, onfault: bool) -> None:
    """Lock [start, end) and, unless `onfault`, fault it in. Raises LinuxError(ENOMEM): a hole (what comes before it is
    locked), or a page that cannot be made present."""
    apply_lock(mm, start, end, LOCKED_MASK if onfault else LOCKED)
    at = start
    while at < end:
        vma = mm.vmas.find(at)
        if vma is None:
            raise LinuxError(ENOMEM, f"nothing is mapped at 0x{at:x}")
        fault = populate(mm, at, min(vma.end, end))
        if fault is not None:
            # __mlock_posix_error_return: -EFAULT becomes ENOMEM
            raise LinuxError(ENOMEM, "a page of the range cannot be made present (PROT_NONE, or past the file's end)")
        at = vma.end


def apply_lock(mm: Mm, start: int, end: int, flags: int) -> None:
    """Set the lock flags of every VMA in [start, end) to `flags` (apply_vma_lock_flags). Raises LinuxError(ENOMEM)."""
    at = start
    while at < end:
        vma = mm.vmas.find(at)
        if vma is None:
            raise LinuxError(ENOMEM, f"nothing is mapped at 0x{at:x}")
        stop = min(vma.end, end)
        mlock_fixup(mm, vma, at, stop, vma.flags & ~LOCKED_MASK | flags)
        at = stop


def mlock_fixup(mm: Mm, vma: Vma, start: int, end: int, flags: int) -> None:
    """One VMA's part; device memory is passed over silently."""
    old = vma.flags
    if flags == old or old & (VM_SPECIAL | HUGETLB | DROPPABLE):
        return
    modify(mm, vma, start, end, flags, vma.policy)
    pages = end - start >> 12
    if flags & LOCKED and not old & LOCKED:
        _count_locked(mm, pages)
    elif old & LOCKED and not flags & LOCKED:
        _count_locked(mm, -pages)


def _count_locked(mm: Mm, pages: int) -> None:
    """So many more are locked. mlock_fixup counts them as an int: of 8 TiB and more it loses count."""
    counted = (pages + (1 << 31)) % (1 << 32) - (1 << 31)
    mm.locked_vm += counted
    mm.lost_locks += counted - pages


def mlockall(mm: Mm, *, current: bool, future: bool, onfault: bool) -> None:
    """Lock what is mapped (`current`), what will be (`future`), or both. Raises LinuxError(ENOMEM)."""
    limit = mm.limits.cur[RLIMIT_MEMLOCK]
    if current and not mm.privileged and mm.total_vm > limit >> 12:
        raise LinuxError(ENOMEM, f"more memory is mapped than RLIMIT_MEMLOCK ({limit} bytes)")
    flags = LOCKED_MASK if onfault else LOCKED
    mm.def_flags = mm.def_flags & ~LOCKED_MASK | (flags if future else 0)
    if current:
        _lock_everything(mm, flags)
        if not onfault:
            populate(mm, 0, 1 << 47)


def munlockall(mm: Mm) -> None:
    mm.def_flags &= ~LOCKED_MASK
    _lock_everything(mm, 0)


def _lock_everything(mm: Mm, flags: int) -> None:
    for vma in list(mm.vmas):
        found = mm.vmas.find(vma.start)
        if found is vma:  # else it was merged meanwhile
            try:
                mlock_fixup(mm, vma, vma.start, vma.end, vma.flags & ~LOCKED_MASK | flags)
            except LinuxError:
                continue


def msync(mm: Mm, start: int, end: int, *, sync: bool, invalidate: bool) -> None:
    """Write shared file pages of [start, end) back. Raises LinuxError: ENOMEM at the end for holes, EBUSY for
    `invalidate` of a locked mapping."""
    hole = False
    at = start
    while at < end:
        vma = mm.vmas.first(at)
        if vma is None or vma.start >= end:
            hole = True
            break
        if vma.start > at:
            hole, at = True, vma.start
        if invalidate and vma.flags & LOCKED:
            raise LinuxError(EBUSY, f"MS_INVALIDATE, but 0x{vma.start:x}-0x{vma.end:x} is locked")
        stop = min(vma.end, end)
        if sync and vma.mappable is not None and vma.flags & SHARED:
            vma.mappable.sync(vma.page_index(at), vma.page_index(stop))
        at = stop
    if hole:
        raise LinuxError(ENOMEM, "the range has unmapped pages")


def mseal(mm: Mm, start: int, end: int) -> None:
    """Seal [start, end) against unmapping, moving and changing. Raises LinuxError(ENOMEM) at a hole, with no effect."""
    at = start
    for vma in mm.vmas.overlapping(start, end):
        if vma.start > at:
            break
        at = vma.end
    if at < end:
        raise LinuxError(ENOMEM, f"nothing is mapped at 0x{at:x}")
    at = start
    while at < end:
        found = mm.vmas.find(at)
        assert found is not None
        stop = min(found.end, end)
        if not found.flags & SEALED:
            modify(mm, found, at, stop, found.flags | SEALED, found.policy)
        at = stop


