"""The program break (mm/mmap.c, brk)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EAGAIN, ENOMEM, LinuxError
from kernel.abi.limits import RLIMIT_DATA, TASK_SIZE
from kernel.events import VmaMap
from kernel.mm.fault import populate
from kernel.mm.map import check_mlock_future, may_expand_vm, munmap
from kernel.mm.merge import merge_new
from kernel.mm.place import start_gap
from kernel.mm.vma import ACCOUNT, DEFAULT_DATA, EXEC, LOCKED, Vma

if TYPE_CHECKING:
    from kernel.mm.mm import Mm


def brk(mm: Mm, addr: int) -> int:
    """Move the break to `addr` and return it. Raises LinuxError; the syscall then reports the present break instead."""
    if addr < mm.start_brk:
        raise LinuxError(ENOMEM, f"below the start of the heap (0x{mm.start_brk:x})" if addr else "a query")
    limit = mm.limits.cur[RLIMIT_DATA]
    if addr - mm.start_brk + mm.end_data - mm.start_data > limit:
        raise LinuxError(ENOMEM, f"RLIMIT_DATA is {limit} bytes")
    new, old = -(-addr // 4096) * 4096, -(-mm.brk // 4096) * 4096
    if new < old:
        first = mm.vmas.first(new)
        if first is None or first.start >= old:
            raise LinuxError(ENOMEM, "the heap's end was unmapped")
        munmap(mm, new, old)
    elif new > old:
        _expand(mm, old, new)
    mm.brk = addr
    if new > old and mm.def_flags & LOCKED:
        populate(mm, old, new)
    return addr


def _expand(mm: Mm, old: int, new: int) -> None:
    """do_brk_flags, and the checks before it."""
    if new > TASK_SIZE:
        raise LinuxError(ENOMEM, "beyond the address space")
    pages = new - old >> 12
    try:
        check_mlock_future(mm, mm.def_flags, new - old)
    except LinuxError as error:
        raise LinuxError(EAGAIN, error.why) from None
    above = mm.vmas.first(old)
    if above is not None and new + 4096 > start_gap(mm, above):
        raise LinuxError(ENOMEM, f"the mapping at 0x{above.start:x} is in the way")
    flags = DEFAULT_DATA | ACCOUNT | mm.def_flags | (EXEC if mm.read_implies_exec else 0)
    why = may_expand_vm(mm, flags, pages)
    if why:
        raise LinuxError(ENOMEM, why)
    if mm.map_count > mm.max_map_count:
        raise LinuxError(ENOMEM, f"vm.max_map_count: there are {mm.map_count} mappings")
    mm.frames.commit.charge(pages, mm.privileged, mm.total_vm)
    below = mm.vmas.above(old).prev
    grown = below.end == old > mm.start_brk  # never into the bss
    if not grown or merge_new(mm, old, new, flags, None, old >> 12, None, just_expand=True) is None:
        mm.add(Vma(old, new, flags, None, old >> 12))
    if VmaMap in mm.probes.listeners:
        mm.probes.emit(VmaMap(*mm.now(), mm.cr3, old, new, flags, "brk"))
    mm.account(flags, pages)
    if flags & LOCKED:
        mm.locked_vm += pages
