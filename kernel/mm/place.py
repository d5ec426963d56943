"""Where a new mapping goes: get_unmapped_area as x86-64 Linux 6.18 does it (arch/x86/kernel/sys_x86_64.c, mm/vma.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kernel.abi.errno import EINVAL, ENOMEM, EPERM, Errno, LinuxError
from kernel.abi.limits import HPAGE_SIZE, PAGE_SIZE, TASK_SIZE
from kernel.mm.vma import GROWSDOWN, Vma

if TYPE_CHECKING:
    from kernel.mm.mm import Mm

LEGACY_BASE = -(-(TASK_SIZE // 3) // PAGE_SIZE) * PAGE_SIZE  # TASK_UNMAPPED_BASE
LOW_32BIT, HIGH_32BIT = 0x4000_0000, 0x8000_0000
SZ_4G = 1 << 32
ERR_VALUES = (1 << 64) - 4096


def start_gap(mm: Mm, vma: Vma) -> int:
    """Where the room below `vma` ends: a stack keeps a guard gap free below it (vm_start_gap)."""
    if vma.flags & GROWSDOWN:
        return max(0, vma.start - mm.stack_guard_gap)
    return vma.start


def get_unmapped_area(
    mm: Mm, addr: int, length: int, *, fixed: bool = False, low32: bool = False, above4g: bool = False,
    offset: int = 0, thp: bool = False,
) -> int:  # fmt: skip
    """The address of `length` (page-aligned) free bytes; `addr` is the hint, or with `fixed` the wish.

    `thp`: align as transparent huge pages like it where no hint is given (`offset` bytes into a file count).
    Raises LinuxError: ENOMEM (no room), EINVAL (fixed and unaligned), EPERM (below vm.mmap_min_addr)."""
    if length > TASK_SIZE:
        raise LinuxError(ENOMEM, "length exceeds the address space")
    if fixed:
        if addr > ERR_VALUES:
            errno = (1 << 64) - addr  # "IS_ERR_VALUE(addr)": Linux takes the wish itself for an error
            raise LinuxError(cast(Errno, errno), f"addr is beyond the address space, and reads as errno {errno}")
        if addr > TASK_SIZE - length:
            raise LinuxError(ENOMEM, f"the range ends beyond the address space (0x{TASK_SIZE:x})")
        if addr % PAGE_SIZE:
            raise LinuxError(EINVAL, "addr is not page-aligned")
    else:
        addr &= -PAGE_SIZE
        found = 0
        if thp:
            found = _thp_area(mm, addr, length, offset, low32, above4g)
        addr = found or _area(mm, addr, length, low32, above4g)
        if addr > TASK_SIZE - length:
            raise LinuxError(ENOMEM, "no room at the hint")
    if addr < mm.mmap_min_addr and not mm.privileged:
        raise LinuxError(EPERM, f"addr is below vm.mmap_min_addr (0x{mm.mmap_min_addr:x})")
    return addr


def get_huge_area(mm: Mm, addr: int, length: int, *, fixed: bool) -> int:
    """As `get_unmapped_area`, for huge pages: `length` is a multiple of theirs (hugetlb_get_unmapped_area)."""
    if fixed:
        if addr % HPAGE_SIZE:
            raise LinuxError(EINVAL, "addr is not aligned to a huge page")
        return get_unmapped_area(mm, addr, length, fixed=True)
    addr = -(-addr // HPAGE_SIZE) * HPAGE_SIZE
    if addr and addr + length <= TASK_SIZE and not mm.vmas.overlapping(addr, addr + length):
        return get_unmapped_area(mm, addr, length)
    slack = HPAGE_SIZE - PAGE_SIZE
    found = get_unmapped_area(mm, 0, length + slack)
    return -(-found // HPAGE_SIZE) * HPAGE_SIZE if mm.legacy_layout else (found + slack) & -HPAGE_SIZE


def round_hint_to_min(mm: Mm, hint: int) -> int:
    """mmap's hint, moved out of the range that is forbidden (do_mmap)."""
    hint &= -PAGE_SIZE
    return mm.mmap_min_addr if 0 < hint < mm.mmap_min_addr else hint


def _thp_area(mm: Mm, addr: int, length: int, offset: int, low32: bool, above4g: bool) -> int:
    """__thp_get_unmapped_area: room for `length` so that huge pages of the file (or of zero) fit, else 0."""
    aligned = -(-offset // HPAGE_SIZE) * HPAGE_SIZE
    if offset + length - aligned < HPAGE_SIZE or length + HPAGE_SIZE > TASK_SIZE:
        return 0
    try:
        found = _area(mm, addr, length + HPAGE_SIZE, low32, above4g)
    except LinuxError:
        return 0
    if found == addr:
        return addr
    shift = (offset - found) % HPAGE_SIZE
    if not shift and not mm.legacy_layout:
        return found + HPAGE_SIZE
    return found + shift


def _area(mm: Mm, addr: int, length: int, low32: bool, above4g: bool) -> int:
    """arch_get_unmapped_area_topdown."""
    if low32 or mm.legacy_layout:
        return _bottom_up(mm, addr, length, low32)
    if addr and addr < TASK_SIZE and addr + length <= TASK_SIZE:
        vma = mm.vmas.first(addr)
        if vma is None or addr + length <= start_gap(mm, vma):
            return addr
    low = max(SZ_4G if above4g else PAGE_SIZE, mm.mmap_min_addr)
    high = mm.mmap_base
    while True:
        end, c, i = mm.vmas.highest_gap(low, high, length)
        if not end:
            break
        above = mm.vmas.chunks[c].vmas[i]
        if not above.flags & GROWSDOWN or (high := start_gap(mm, above)) >= end:
            return end - length
        if high <= low:
            break
    # "A failed mmap() very likely causes application failure, so fall back to the bottom-up function here."
    return _bottom_up(mm, addr, length, False)


def _bottom_up(mm: Mm, addr: int, length: int, low32: bool) -> int:
    """arch_get_unmapped_area: from a third of the address space upwards, or MAP_32BIT's second GiB."""
    low, high = (LOW_32BIT, HIGH_32BIT) if low32 else (LEGACY_BASE, TASK_SIZE)
    if length > high:
        raise LinuxError(ENOMEM, "length exceeds the address space")
    if addr:
        vma = mm.vmas.first(addr)
        if high - length >= addr and (vma is None or addr + length <= start_gap(mm, vma)):
            return addr
    while True:
        start, above = mm.vmas.lowest_gap(low, high, length)
        if not start:
            break
        if not above.flags & GROWSDOWN or start_gap(mm, above) >= start + length - 1:
            return start
        low = above.end
    raise LinuxError(ENOMEM, f"no hole of {length} bytes is left")
