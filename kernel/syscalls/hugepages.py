"""mmap of huge pages: what MAP_HUGETLB asks, in Linux's order of checks (fs/hugetlbfs/inode.c, mm/mmap.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EEXIST, EINVAL, ENOMEM, EPERM, LinuxError
from kernel.abi.fcntl import Seal
from kernel.abi.limits import TASK_SIZE
from kernel.abi.mman import MAP_HUGE_MASK, MAP_HUGE_SHIFT, MAP_TYPE, Map, Prot
from kernel.fs.hugememfd import HugeView
from kernel.mm import map as mm_map
from kernel.mm import vma as vm
from kernel.mm.fault import populate
from kernel.mm.hugetlb import HugeFile
from kernel.mm.place import get_huge_area, round_hint_to_min

if TYPE_CHECKING:
    from kernel.fs.hugememfd import HugeOpen
    from kernel.task.task import Task

HUGE_SIZES = {0: 21, 21: 21, 30: 30}  # MAP_HUGE_ field → log2 of a size that x86-64 has; 0 is the default size


def map_huge_pages(task: Task, addr: int, length: int, prot: int, flags: int, offset: int) -> int:
    """mmap with MAP_HUGETLB and MAP_ANONYMOUS: a file of its own, as hugetlb_file_setup makes it."""
    log2 = HUGE_SIZES.get(flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK)
    if log2 is None:
        raise LinuxError(EINVAL, f"there are no huge pages of 2^{flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK} bytes")
    if not length:
        raise LinuxError(EINVAL, "length is 0")
    size = -(-length // (1 << log2)) << log2
    return _map(task, None, addr, size, prot, flags, offset >> 12, log2)


def map_huge_file(task: Task, file: HugeOpen, addr: int, length: int, prot: int, flags: int, offset: int) -> int:
    """mmap of a file in huge pages, which need not say MAP_HUGETLB (hugetlbfs_file_mmap)."""
    if not length:
        raise LinuxError(EINVAL, "length is 0")
    log2 = file.pages.log2
    size = -(-length // (1 << log2)) << log2
    shared = flags & MAP_TYPE != Map.PRIVATE
    if not file.readable or (shared and prot & Prot.WRITE and not file.writable):
        raise LinuxError(EACCES, "the file is not open for that")
    if shared and prot & Prot.WRITE and file.file.seals & (Seal.WRITE | Seal.FUTURE_WRITE):
        raise LinuxError(EPERM, "a shared writable mapping of a file that is sealed against writing")
    start = _map(task, file, addr, size, prot, flags, offset >> 12, log2)
    if prot & Prot.WRITE and file.file.size < offset + size:
        file.file.size, file.pages.length = offset + size, offset + size >> log2
    return start


def _map(
    task: Task, opened: HugeOpen | None, addr: int, size: int, prot: int, flags: int, pgoff: int, log2: int
) -> int:
    """`size` bytes in huge pages, of a file or of one of its own."""
    mm = task.mm
    if flags & Map.FIXED_NOREPLACE:
        flags |= Map.FIXED
    if size > TASK_SIZE:
        raise LinuxError(ENOMEM, "length exceeds the address space")
    start = get_huge_area(mm, round_hint_to_min(mm, addr), size, fixed=bool(flags & Map.FIXED))
    if flags & Map.FIXED_NOREPLACE and mm.vmas.overlapping(start, start + size):
        raise LinuxError(EEXIST, "MAP_FIXED_NOREPLACE, but something is mapped there")
    kind = flags & MAP_TYPE
    if kind not in (Map.PRIVATE, Map.SHARED, Map.SHARED_VALIDATE):
        raise LinuxError(EINVAL, "neither MAP_SHARED nor MAP_PRIVATE (or both)")
    shared = kind != Map.PRIVATE
    if pgoff & 511:
        raise LinuxError(EINVAL, "offset is not aligned to a huge page")
    if log2 != 21:
        raise LinuxError(ENOMEM, f"no free huge pages of {1 << log2 - 20} MiB")
    vm_flags = prot & 7 | vm.MAY | vm.HUGETLB | vm.DONTEXPAND | mm.def_flags
    if shared:
        vm_flags |= vm.SHARED | vm.MAYSHARE
    if flags & Map.NORESERVE:
        vm_flags |= vm.NORESERVE
    file: HugeFile
    if opened is None:
        file = HugeFile(task.system.frames.huge, pgoff >> 9, size >> 21, shared, not flags & Map.NORESERVE)
    elif not shared:
        file = HugeView(opened.pages, pgoff >> 9, size >> 21, not flags & Map.NORESERVE)
    else:
        file = opened.pages
        if not opened.writable:
            vm_flags &= ~(vm.MAYWRITE | vm.SHARED)
        elif opened.file.seals & (Seal.WRITE | Seal.FUTURE_WRITE):
            vm_flags &= ~vm.MAYWRITE
        if not flags & Map.NORESERVE:
            opened.pages.promise(pgoff >> 9, (pgoff >> 9) + (size >> 21))
    behind: object = file if opened is None else opened
    try:
        mm_map.mmap_region(mm, start, start + size, vm_flags & ~(vm.LOCKED | vm.LOCKONFAULT), file, pgoff, behind)
    except LinuxError:
        if opened is None or not shared:
            file.pool.reserved -= len(file.promised)
        raise
    if vm_flags & vm.LOCKED or flags & Map.LOCKED or flags & (Map.POPULATE | Map.NONBLOCK) == Map.POPULATE:
        populate(mm, start, start + size)
    return start
