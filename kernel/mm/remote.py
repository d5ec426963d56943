"""Memory as a debugger reaches it: past protections, where Linux lets FOLL_FORCE (mm/memory.c, __access_remote_vm)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.limits import TASK_SIZE
from kernel.cpu import Access
from kernel.events import UserCopy
from kernel.mm.fault import Fault, expand_stack, handle_mm_fault
from kernel.mm.pte import HERE, PFN, A, D, P, W
from kernel.mm.uaccess import tell
from kernel.mm.vma import IO, MAYREAD, MAYWRITE, PFNMAP, READ, SHARED, WRITE

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


def read_remote(mm: Mm, va: int, n: int) -> bytes:
    """Up to `n` bytes at `va`, as many as are there before the first page that cannot be had."""
    if UserCopy in mm.probes.listeners:
        tell(mm, va, n, store=False)
    out = bytearray()
    while len(out) < n:
        pa = _page(mm, va, write=False)
        if pa < 0:
            break
        size = min(n - len(out), 4096 - (va & 4095))
        out += mm.ram.bytes[pa : pa + size]
        va += size
    return bytes(out)


def write_remote(mm: Mm, va: int, data: bytes) -> int:
    """Write `data` at `va`, into private copies where pages are not writable; how much was."""
    if UserCopy in mm.probes.listeners:
        tell(mm, va, len(data), store=True)
    done = 0
    while done < len(data):
        pa = _page(mm, va, write=True)
        if pa < 0:
            break
        size = min(len(data) - done, 4096 - (va & 4095))
        mm.ram.bytes[pa : pa + size] = data[done : done + size]
        if pa >> 12 in mm.frames.code:
            mm.frames.invalidate((pa >> 12,))
        done += size
        va += size
    return done


def pin(mm: Mm, va: int, write: bool) -> int:
    """The physical address of `va`, its page faulted in and with one more reference; -1 where the mapping does not
    allow that (pin_user_pages_remote without FOLL_FORCE: no stack grows, a write-only mapping is not read)."""
    vma = mm.find(va)
    if vma is None or vma.flags & (IO | PFNMAP) or not vma.flags & (WRITE if write else READ):
        return -1
    wanted = P | W if write else P
    while (entry := mm.page_table.entry(va)) & wanted != wanted:
        if handle_mm_fault(mm, va, Access.WRITE if write else Access.READ) is not Fault.OK:
            return -1
        if entry & P:
            mm.tlb()
    if write:
        mm.words[mm.page_table.lookup(va)] = entry | A | D
    mm.frames.get((entry & PFN) >> 12)
    return (entry & PFN) + (va & 4095)


def _page(mm: Mm, va: int, *, write: bool) -> int:
    """The physical address of `va`, its page faulted in, private if `write`; -1 where even force does not help."""
    if not 0 <= va < TASK_SIZE:
        return -1
    vma = mm.vmas.above(va)
    if (va < vma.start and not expand_stack(mm, vma, va)) or not _allowed(vma, write):
        return -1
    index = mm.page_table.lookup(va)
    entry = mm.words[index] if index >= 0 else 0
    ready = entry & HERE and (not write or entry & W)
    if not ready:
        if not _fault_in(mm, vma, va, write):
            return -1
        index = mm.page_table.lookup(va)
        entry = mm.words[index]
    mm.words[index] = entry | A | (D if write else 0)
    return (entry & PFN) + (va & 4095)


def _allowed(vma: Vma, write: bool) -> bool:
    """check_vma_flags, with FOLL_FORCE."""
    flags = vma.flags
    if flags & (IO | PFNMAP):
        return False
    if write:
        return bool(flags & WRITE) or flags & (SHARED | MAYWRITE) == MAYWRITE
    return bool(flags & (READ | MAYREAD))


def _fault_in(mm: Mm, vma: Vma, va: int, write: bool) -> bool:
    """A fault as if the mapping allowed the access; the PTE must not promise it to the guest, though."""
    flags = vma.flags
    vma.flags = flags | (WRITE if write else READ)
    try:
        fault = handle_mm_fault(mm, va, Access.WRITE if write else Access.READ)
    finally:
        vma.flags = flags
    if flags & (WRITE if write else READ) == 0:
        if vma.window:
            mm.vmas.windows.close(vma)
        index = mm.page_table.lookup(va)
        if index >= 0:
            mm.words[index] &= ~W
    mm.tlb()
    return fault is Fault.OK
