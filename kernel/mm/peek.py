"""Looking at guest memory without touching it: for a trace, which must not change the run that it describes.

No page is faulted in, no accessed bit set, no counter moved; only what Linux's tracer could read is readable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EFAULT, LinuxError
from kernel.abi.limits import PAGE_SIZE
from kernel.mm.frames import OutOfMemory
from kernel.mm.pte import HERE, PFN, P
from kernel.mm.vma import ACCESS

if TYPE_CHECKING:
    from kernel.mm.mm import Mm

ZEROES = bytes(PAGE_SIZE)


def peek(mm: Mm, va: int, n: int) -> bytes:
    """`n` bytes at `va`. Raises LinuxError(EFAULT)."""
    if n <= PAGE_SIZE - (va & 4095):
        return _page(mm, va, n)
    parts = []
    while n:
        size = min(n, PAGE_SIZE - (va & 4095))
        parts.append(_page(mm, va, size))
        va += size
        n -= size
    return b"".join(parts)


def _page(mm: Mm, va: int, n: int) -> bytes:
    """Bytes of one page."""
    entry = mm.page_table.entry(va) if va < 1 << 47 else 0
    if entry & P:
        pa = (entry & PFN) + (va & 4095)
        return mm.ram.bytes[pa : pa + n].tobytes()
    vma = mm.find(va)
    if entry & HERE or vma is None or not vma.flags & ACCESS:
        raise LinuxError(EFAULT, f"0x{va:x} is not readable")
    if entry == 0 and vma.mappable is None:
        return ZEROES[:n]
    if entry == 0 and vma.mappable is not None and vma.mappable.resident(vma.page_index(va)):
        return _cached(mm, va, n)
    try:
        return mm.copy_from_user(va, n)  # a file's page that must be read in, a page in swap: there is no other way
    except OutOfMemory:
        raise LinuxError(EFAULT, f"there is no memory to read 0x{va:x} in") from None


def _cached(mm: Mm, va: int, n: int) -> bytes:
    """From the page cache, without mapping the page."""
    vma = mm.find(va)
    assert vma is not None
    assert vma.mappable is not None
    pfn = vma.mappable.frame(vma.page_index(va), False)
    if pfn is None:
        raise LinuxError(EFAULT, f"0x{va:x} lies past the end of its file")
    pa = (pfn << 12) + (va & 4095)
    data = mm.ram.bytes[pa : pa + n].tobytes()
    mm.frames.put(pfn)
    return data
