"""mremap: grow, shrink, move. Page tables move; no byte is copied (mm/mremap.c of Linux 6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EFAULT, EINVAL, ENOMEM, LinuxError
from kernel.abi.limits import HPAGE_SIZE, TASK_SIZE
from kernel.events import VmaMap
from kernel.mm.fault import populate
from kernel.mm.map import check_mlock_future, check_sealed, may_expand_vm, munmap
from kernel.mm.merge import clone, merge_new
from kernel.mm.place import get_unmapped_area
from kernel.mm.runs import FANOUT, ZEROS
from kernel.mm.vma import ACCOUNT, DONTEXPAND, HUGETLB, LOCKED, LOCKONFAULT, MAYSHARE, PFNMAP, SHARED, Vma

if TYPE_CHECKING:
    from kernel.mm.mm import Mm


def mremap(
    mm: Mm, addr: int, old: int, new: int, new_addr: int = 0, *, maymove: bool = False, fixed: bool = False,
    dontunmap: bool = False,
) -> int:  # fmt: skip
    """Resize [addr, addr + old) to `new` bytes, or move it; returns its address. Lengths are page-aligned, the ABI's
    own checks done. `old` may be 0 for a shared mapping: it is mapped once more.

    Raises LinuxError: EFAULT (nothing there, or more than one mapping), EINVAL, ENOMEM, EAGAIN, EPERM."""
    there = mm.vmas.find(addr)
    if there is not None and there.flags & HUGETLB:
        old, new = -(-old // HPAGE_SIZE) * HPAGE_SIZE, -(-new // HPAGE_SIZE) * HPAGE_SIZE
        if addr % HPAGE_SIZE or (fixed and new_addr % HPAGE_SIZE) or new > old:
            raise LinuxError(EINVAL, "huge pages are moved whole, and their mappings do not grow")
    if fixed and old == new:
        return _move_all(mm, addr, old, new_addr, dontunmap)
    moving = fixed or dontunmap
    vma = _check(mm, mm.vmas.find(addr), addr, old, new, moving, dontunmap)
    if moving:
        return _to(mm, vma, addr, old, new, new_addr, fixed, dontunmap)
    if new == old:
        return addr
    if new < old:
        _shrink(mm, addr, old, new)
        return addr
    if vma.end - addr == old and _expandable(mm, vma, new - old):
        _expand(mm, vma, addr, old, new)
        return addr
    if not maymove:
        raise LinuxError(ENOMEM, "no room behind the mapping, and MREMAP_MAYMOVE is not given")
    return _move(mm, vma, addr, old, new, _new_address(mm, vma, addr, new, 0, False), False)


def _move_all(mm: Mm, start: int, length: int, new_addr: int, dontunmap: bool) -> int:
    """remap_move: MREMAP_FIXED without a change of size may take several mappings along, gaps between them too."""
    end = start + length
    vmas = [(vma.start, vma.end) for vma in mm.vmas.overlapping(start, end)] if length else []
    if not vmas:
        # A length of 0 meets no mapping: Linux finds none to move.
        raise LinuxError(EFAULT, "nothing is mapped at old_address")
    if start < vmas[0][0]:
        raise LinuxError(EFAULT, f"old_address is in a hole (0x{start:x}-0x{vmas[0][0]:x})")
    for n, (lo, hi) in enumerate(vmas):
        addr, size = max(lo, start), min(hi, end) - max(lo, start)
        vma = mm.vmas.find(addr)
        if vma is not None and not _several(vma) and (n or hi < end):
            raise LinuxError(EFAULT, "private mappings of /dev/zero are not moved together with others")
        vma = _check(mm, vma, addr, size, size, True, dontunmap)
        _to(mm, vma, addr, size, size, new_addr + addr - start, True, dontunmap)
    return new_addr


def _several(vma: Vma) -> bool:
    """vma_multi_allowed: /dev/zero has a placement of its own, which could put its private mappings elsewhere."""
    return vma.file is None or vma.mappable is not None


def _check(mm: Mm, vma: Vma | None, addr: int, old: int, new: int, moving: bool, dontunmap: bool) -> Vma:
    """check_prep_vma."""
    if vma is None:
        raise LinuxError(EFAULT, "nothing is mapped at old_address")
    check_sealed(vma)
    if not moving and new <= old:
        return vma
    if not old and not vma.flags & (SHARED | MAYSHARE):
        raise LinuxError(EINVAL, "old_size 0 duplicates shared mappings only")
    if dontunmap and vma.flags & (DONTEXPAND | PFNMAP):
        raise LinuxError(EINVAL, "MREMAP_DONTUNMAP of a device's memory")
    old = min(old, new)
    if old > vma.end - addr:
        raise LinuxError(EFAULT, f"the range goes past the end of its mapping (0x{vma.end:x})")
    if new == old:
        return vma
    if vma.page_index(addr) + (new >> 12) >= 1 << 64:
        raise LinuxError(EINVAL, "the offset into the file overflows")
    if vma.flags & (DONTEXPAND | PFNMAP):
        raise LinuxError(EFAULT, "a device's memory cannot grow")
    check_mlock_future(mm, vma.flags, new - old)
    why = may_expand_vm(mm, vma.flags, new - old >> 12)
    if why:
        raise LinuxError(ENOMEM, why)
    return vma


def _to(mm: Mm, vma: Vma, addr: int, old: int, new: int, new_addr: int, fixed: bool, dontunmap: bool) -> int:
    """mremap_to: a new address is wished for."""
    if fixed:
        munmap(mm, new_addr, new_addr + new)
        if mm.vmas.find(addr) is None:
            raise LinuxError(EFAULT, "old_address was unmapped by its own move")
    shrunk = max(old - new, 0) >> 12
    if new < old:
        _shrink(mm, addr, old, new)
        old = new
    found = mm.vmas.find(addr)
    if found is None:
        raise LinuxError(EFAULT, "old_address was unmapped by its own move")
    if shrunk and found.flags & ACCOUNT and not dontunmap:
        # Linux 6.18 promises itself (vrm_calc_charge) what the range was shrunk by
        mm.commit.charge(shrunk, mm.privileged, mm.total_vm)
        mm.commit.uncharge(shrunk)
    if dontunmap:
        why = may_expand_vm(mm, found.flags, old >> 12)
        if why:
            raise LinuxError(ENOMEM, why)
    return _move(mm, found, addr, old, new, _new_address(mm, found, addr, new, new_addr, fixed), dontunmap)


def _shrink(mm: Mm, addr: int, old: int, new: int) -> None:
    if addr + old > TASK_SIZE:
        raise LinuxError(EINVAL, "the old range ends beyond the address space")
    munmap(mm, addr + new, addr + old)


def _new_address(mm: Mm, vma: Vma, addr: int, length: int, wish: int, fixed: bool) -> int:
    """vrm_set_new_addr."""
    thp = vma.file is None and not wish and not length % HPAGE_SIZE and not vma.flags & MAYSHARE
    return get_unmapped_area(mm, wish, length, fixed=fixed, thp=thp)


def _expandable(mm: Mm, vma: Vma, delta: int) -> bool:
    """vma_expandable: is there room behind it? A stack's guard gap above does not count, as in Linux."""
    end = vma.end + delta
    return end <= TASK_SIZE and not mm.vmas.overlapping(vma.end, end)


def _expand(mm: Mm, vma: Vma, addr: int, old: int, new: int) -> None:
    """expand_vma_in_place."""
    pages = new - old >> 12
    flags = vma.flags
    if flags & ACCOUNT:
        mm.commit.charge(pages, mm.privileged, mm.total_vm)
    start, end = vma.end, vma.end + new - old
    merged = merge_new(
        mm, start, end, flags, vma.file, vma.page_index(start), vma.policy, vma.anon_vma, vma.forked
    )
    if merged is None:
        if flags & ACCOUNT:
            mm.commit.uncharge(pages)
        raise LinuxError(ENOMEM, "this mapping cannot be extended")
    if VmaMap in mm.probes.listeners:
        mm.probes.emit(VmaMap(*mm.now(), mm.cr3, start, end, flags, "anon" if vma.file is None else "file"))
    mm.account(flags, pages)
    if flags & LOCKED:
        mm.locked_vm += pages
        populate(mm, start, end)


def _move(mm: Mm, vma: Vma, addr: int, old: int, new: int, new_addr: int, dontunmap: bool) -> int:
    """move_vma: a copy of the VMA at `new_addr` takes over the page tables."""
    if mm.map_count >= mm.max_map_count - 3:
        raise LinuxError(ENOMEM, f"vm.max_map_count: there are {mm.map_count} mappings")
    flags = vma.flags
    charged = (new if dontunmap else new - old) >> 12
    if flags & ACCOUNT:
        mm.commit.charge(charged, mm.privileged, mm.total_vm)
    source, target = _copy_vma(mm, vma, addr, new_addr, new)
    if VmaMap in mm.probes.listeners:
        kind = "anon" if vma.file is None else "file"
        mm.probes.emit(VmaMap(*mm.now(), mm.cr3, new_addr, new_addr + new, flags, kind))
    move_page_tables(mm, source, target, addr, new_addr, old)
    hiwater_vm = mm.hiwater_vm
    mm.account(flags, new >> 12)
    if flags & LOCKED:
        mm.locked_vm += new >> 12
    if dontunmap:
        if source.flags & LOCKED:
            mm.lost_locks += source.pages  # "because we won't unmap we don't need to touch locked_vm"
        mm.vmas.reflag(source, source.flags & ~(LOCKED | LOCKONFAULT))
        if source is not target and source.start == addr and source.end == addr + old:
            source.anon_vma = 0
    elif old:
        if flags & ACCOUNT:
            mm.commit.committed += old >> 12  # munmap gives it back, but it has only moved
        munmap(mm, addr, addr + old)
    mm.hiwater_vm = max(hiwater_vm, mm.total_vm)
    if flags & LOCKED and new > old:
        populate(mm, new_addr + old, new_addr + new)
    return new_addr


def _copy_vma(mm: Mm, vma: Vma, addr: int, new_addr: int, length: int) -> tuple[Vma, Vma]:
    """copy_vma: (the source, the VMA that now holds [new_addr, new_addr + length)); they may have become one."""
    pgoff = vma.page_index(addr)
    if vma.mappable is None and vma.file is None and not vma.anon_vma:
        pgoff = new_addr >> 12  # "if anonymous vma has not yet been faulted, update new pgoff to match new location"
    merged = merge_new(
        mm, new_addr, new_addr + length, vma.flags, vma.file, pgoff, vma.policy, vma.anon_vma, vma.forked
    )
    if merged is not None:
        source = mm.vmas.find(addr)
        assert source is not None
        return source, merged
    copy = clone(vma, new_addr, new_addr + length, pgoff)
    mm.add(copy)
    return vma, copy


def _realigned(mm: Mm, source: Vma, target: Vma, old: int, new: int) -> bool:
    """can_realign_addr: may the first table be moved whole, though the range begins inside it? If it does so at the
    same place on both sides, and nothing else is mapped there."""
    if (new - old) % HPAGE_SIZE or source.start != old or target.start != new:
        return False
    return source.prev.end <= old & -HPAGE_SIZE and target.prev.end <= new & -HPAGE_SIZE


def move_page_tables(mm: Mm, source: Vma, target: Vma, old: int, new: int, length: int) -> None:
    """Move all PTEs of [old, old + length) to `new`, whole tables where both sides are 2 MiB-aligned."""
    table, words = mm.page_table, mm.words
    table.drop_spare()
    for key in [key for key in table.mids if length and old >> 30 <= key <= old + length - 1 >> 30]:
        # Linux makes the top tables of the new place wherever the old one had theirs, before it knows of pages.
        table.bare = True
        table.make_top(max(old, key << 30) - old + new)
        table.make_top(min(old + length, key + 1 << 30) - 1 - old + new)
    moved, first, last = False, -(-old // HPAGE_SIZE) * HPAGE_SIZE, old + length & -HPAGE_SIZE
    if old < first <= last and _realigned(mm, source, target, old, new):
        first -= HPAGE_SIZE
    if first < last and not (new - old) % HPAGE_SIZE:
        moved = table.move_leaves(first, last, first - old + new)
    for va, i, j in list(table.leaves_in(old, old + length)):
        to = va - old + new
        while i < j:
            n = min(j - i, FANOUT - (to >> 12 & FANOUT - 1))
            k = table.index(to)
            if words[i : i + n] != ZEROS[:n]:
                words[k : k + n] = words[i : i + n]
                words[i : i + n] = ZEROS[:n]
                moved = True
            i, to = i + n, to + (n << 12)
    if moved:
        mm.tlb()
