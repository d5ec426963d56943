"""mmap and munmap: carve, insert, zap. The ABI's checks stand in syscalls/memory.py; ranges here are page-aligned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EAGAIN, ENOMEM, EPERM, LinuxError
from kernel.abi.limits import RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK, TASK_SIZE
from kernel.events import VmaMap, VmaUnmap
from kernel.mm.commit import NEVER
from kernel.mm.merge import merge_new, split_unchecked
from kernel.mm.place import get_unmapped_area
from kernel.mm.vma import (
    ACCOUNT,
    DATA_MASK,
    GROWSDOWN,
    HUGETLB,
    LOCKED,
    MAY,
    MAYSHARE,
    NORESERVE,
    SEALED,
    SHARED,
    SPECIAL,
    STICKY,
    WRITE,
    Vma,
)
from kernel.mm.zap import zap_range

if TYPE_CHECKING:
    from kernel.mm.mappable import Mappable
    from kernel.mm.mm import Mm


def mmap(
    mm: Mm, addr: int, length: int, prot: int, *, fixed: bool = False, mappable: Mappable | None = None,
    pgoff: int = 0, shared: bool = False, flags: int = 0, file: object = None,
) -> int:  # fmt: skip
    """Map `length` bytes (page-aligned) and return where: the kernel's own way (loader, stack, tests).

    `flags` are further VM_ flags (GROWSDOWN…); all of VM_MAY is granted. Raises LinuxError."""
    flags |= prot | MAY | mm.def_flags | (SHARED | MAYSHARE if shared else 0)
    addr = get_unmapped_area(mm, addr, length, fixed=fixed)
    mmap_region(mm, addr, addr + length, flags, mappable, pgoff, file)
    return addr


def may_expand_vm(mm: Mm, flags: int, pages: int) -> str:
    """Why `pages` more with these flags would break a limit, "" if they would not."""
    limits = mm.limits.cur
    if mm.total_vm + pages > limits[RLIMIT_AS] >> 12:
        return f"RLIMIT_AS is {limits[RLIMIT_AS]} bytes"
    if flags & DATA_MASK == WRITE and mm.data_vm + pages > limits[RLIMIT_DATA] >> 12:
        # "Workaround for Valgrind": a soft limit of 0 means the hard one.
        if limits[RLIMIT_DATA] == 0 and mm.data_vm + pages <= mm.limits.max[RLIMIT_DATA] >> 12:
            return ""
        return f"RLIMIT_DATA is {limits[RLIMIT_DATA]} bytes"
    return ""


def check_mlock_future(mm: Mm, flags: int, length: int) -> None:
    """mlock_future_ok. Raises LinuxError(EAGAIN)."""
    if not flags & LOCKED or mm.privileged:
        return
    if mm.locked_vm + (length >> 12) & (1 << 64) - 1 > mm.limits.cur[RLIMIT_MEMLOCK] >> 12:
        raise LinuxError(EAGAIN, f"more locked memory than RLIMIT_MEMLOCK ({mm.limits.cur[RLIMIT_MEMLOCK]} bytes)")


def mmap_region(
    mm: Mm, start: int, end: int, flags: int, mappable: Mappable | None = None, pgoff: int = 0, file: object = None,
) -> Vma:  # fmt: skip
    """Put a mapping at [start, end), in place of whatever is there. Raises LinuxError(ENOMEM, EPERM)."""
    if file is None:
        file = mappable
        if file is None:
            pgoff = start >> 12
    pages = end - start >> 12
    old = mm.vmas.overlapping(start, end)
    gone = accounted = 0
    if old:
        old = isolate(mm, old, start, end)
        for vma in old:
            gone += vma.end - vma.start >> 12
            if vma.flags & ACCOUNT:
                accounted += vma.end - vma.start >> 12
    why = may_expand_vm(mm, flags, pages - gone)
    if why:
        raise LinuxError(ENOMEM, why)
    if flags & (NORESERVE | SHARED | WRITE | HUGETLB) == WRITE:
        mm.frames.commit.charge(pages - accounted, mm.privileged, mm.total_vm)
        mm.frames.commit.committed += accounted  # what munmap is about to give back
        flags |= ACCOUNT
    if old:
        _remove_all(mm, old)
    merged = merge_new(mm, start, end, flags, file, pgoff, None)
    if merged is not None:
        vma = merged
    else:
        vma = Vma(start, end, flags, mappable, pgoff, 0, None, file)
        mm.add(vma)
    if VmaMap in mm.probes.listeners:
        mm.probes.emit(VmaMap(*mm.now(), mm.cr3, start, end, flags, "anon" if file is None else "file"))
    mm.account(flags, pages)
    if flags & LOCKED:
        if flags & SPECIAL:
            mm.vmas.reflag(vma, flags & ~LOCKED)
        else:
            mm.locked_vm += pages
    return vma


def mmap_anonymous(mm: Mm, length: int, prot: int) -> int:
    """mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS), the call that programs make most: as `get_unmapped_area`
    and `mmap_region`, with what cannot apply left out. Raises LinuxError(ENOMEM)."""
    flags = prot | MAY
    pages = length >> 12
    if not mm.legacy_layout and length & 0x1FFFFF and not may_expand_vm(mm, flags, pages):
        vmas = mm.vmas
        end, c, i = vmas.highest_gap(mm.mmap_min_addr, mm.mmap_base, length)
        above = vmas.chunks[c].vmas[i]
        start = end - length
        if end and above.prev.end != start and (
            not above.flags & GROWSDOWN or above.start - mm.stack_guard_gap >= end
        ):
            if prot & WRITE:
                mm.frames.commit.charge(pages, mm.privileged, mm.total_vm)
                flags |= ACCOUNT
            mm.account(flags, pages)
            if above.start == end and _takes_in(above, flags):
                above.pgoff = start >> 12
                vmas.resize(above, start, above.end)
                vmas.expect(above)
            else:
                vma = Vma(start, end, flags, None, start >> 12)
                vmas.insert_at(c, i, vma)
                mm.map_count += 1
                vmas.expect(vma)
            if VmaMap in mm.probes.listeners:
                mm.probes.emit(VmaMap(*mm.now(), mm.cr3, start, end, flags, "anon"))
            return start
    start = get_unmapped_area(mm, 0, length, thp=not length & 0x1FFFFF)
    mmap_region(mm, start, start + length, flags)
    return start


def _takes_in(above: Vma, flags: int) -> bool:
    """May `above` grow down over anonymous memory that nobody has touched? As `merge_new` has it."""
    return (
        not (above.flags ^ flags) & ~STICKY
        and above.file is None
        and above.policy is None
        and above.pgoff == above.start >> 12
        and not above.forked
    )


def munmap(mm: Mm, start: int, end: int) -> None:
    """Unmap whatever lies in [start, end). Raises LinuxError: ENOMEM (a split too many), EPERM (sealed)."""
    vma = mm.vmas.above(start)
    if vma.start == start and vma.end == end and not vma.flags & SEALED:
        mm.update_hiwater()
        _remove(mm, vma)
        free_tables(mm, start, end)
    else:
        old = mm.vmas.overlapping(start, end)
        if old:
            _remove_all(mm, isolate(mm, old, start, end))
    if VmaUnmap in mm.probes.listeners:
        mm.probes.emit(VmaUnmap(*mm.now(), mm.cr3, start, end))


def isolate(mm: Mm, old: list[Vma], start: int, end: int) -> list[Vma]:
    """Split the first and the last of `old` so that exactly [start, end) is theirs (vms_gather_munmap_vmas).

    Linux's order: on an error the splits made so far stay, as /proc/self/maps shows."""
    first = old[0]
    if start > first.start:
        if end < first.end and mm.map_count >= mm.max_map_count:
            raise LinuxError(ENOMEM, f"vm.max_map_count: there are {mm.map_count} mappings")
        check_sealed(first)
        old[0] = split_unchecked(mm, first, start)
    for vma in old:
        check_sealed(vma)
        if end < vma.end:
            split_unchecked(mm, vma, end)
    return old


def check_sealed(vma: Vma) -> None:
    if vma.flags & SEALED:
        raise LinuxError(EPERM, f"the mapping at 0x{vma.start:x} is sealed (mseal)")


def _remove(mm: Mm, vma: Vma) -> None:
    """Drop a VMA, its pages, its accounting."""
    start, end, flags = vma.start, vma.end, vma.flags
    zap_range(mm, vma, start, end)
    mm.vmas.remove(vma)
    mm.map_count -= 1
    if vma.mappable is not None:
        vma.mappable.removed(mm, vma)
    pages = end - start >> 12
    mm.account(flags, -pages)
    if flags & ACCOUNT:
        mm.frames.commit.committed -= pages
    if flags & LOCKED:
        mm.locked_vm -= pages


def _remove_all(mm: Mm, old: list[Vma]) -> None:
    """Drop adjacent VMAs, and the tables that only they needed."""
    mm.update_hiwater()
    for vma in old:
        _remove(mm, vma)
    free_tables(mm, old[0].start, old[-1].end)


def free_tables(mm: Mm, start: int, end: int) -> None:
    """Free the page tables that only [start, end), now without VMAs, needed."""
    key = start >> 21
    table = mm.page_table
    if key == end - 1 >> 21 and (key == table.spare or (key not in table.leaves and not table.bare)):
        return
    above = mm.vmas.above(start)
    floor = above.prev.end
    ceiling = above.start if above.start < TASK_SIZE else TASK_SIZE + 4096
    if key == end - 1 >> 21 and (floor > key << 21 or key + 1 << 21 > ceiling):
        return
    table.free_tables(start, end, floor, ceiling)


def unmap_all(mm: Mm) -> None:
    """exit_mmap: everything goes, seals notwithstanding. The CPU is off these tables."""
    mm.exiting = True
    for vma in mm.vmas:
        zap_range(mm, vma, vma.start, vma.end)
        if vma.mappable is not None:
            vma.mappable.removed(mm, vma)
        if vma.flags & ACCOUNT:
            mm.frames.commit.committed -= vma.end - vma.start >> 12
    mm.vmas.clear()
    mm.total_vm = mm.data_vm = mm.stack_vm = mm.exec_vm = mm.map_count = 0
    mm.locked_vm = mm.lost_locks


def noreserve(mm: Mm) -> int:
    """The VM_ flag that MAP_NORESERVE amounts to: none where vm.overcommit_memory is 2."""
    return 0 if mm.frames.commit.mode == NEVER else NORESERVE

