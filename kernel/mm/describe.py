"""What lies at an address, in words for a human: the death report says it of the address that killed the guest, the
heap report of a pointer that is no block's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.limits import TASK_SIZE
from kernel.mm.pte import GUARD, HERE
from kernel.mm.vma import EXEC, GROWSDOWN, READ, WRITE, Vma

if TYPE_CHECKING:
    from kernel.mm.mm import Mm

NEAR = 1 << 20  # a hole's neighbour that is further away says nothing


def describe(mm: Mm, va: int) -> str:
    """One phrase about `va`: the mapping it lies in, or what is near it."""
    va &= (1 << 64) - 1
    if TASK_SIZE + 4096 <= va < (1 << 64) - (1 << 47):
        return "a non-canonical address (bits 47 to 63 differ)"
    if va >= TASK_SIZE:
        return "a kernel address"
    vma = mm.find(va)
    if vma is not None:
        return _inside(mm, vma, va)
    if va < 4096:
        return "the NULL page" if not va else f"the NULL page, {_size(va)} past NULL"
    if va < mm.mmap_min_addr:
        return f"below vm.mmap_min_addr (0x{mm.mmap_min_addr:x}): {_size(va)} past NULL"
    return _outside(mm, va)


def whereabouts(mm: Mm, va: int) -> str:
    """So of an address that nobody was refused: the memory that it points to may well be used."""
    vma = mm.find(va & (1 << 64) - 1)
    if vma is None or not vma.prot:
        return describe(mm, va)
    at = f" at offset 0x{(vma.page_index(va) << 12) + (va & 4095):x}" if vma.mappable is not None else ""
    return f"it lies in {_what(mm, vma)}{at} ({vma.start:x}-{vma.end:x} {perms(vma)})"


def name(mm: Mm, vma: Vma) -> str:
    """What /proc/self/maps calls a mapping; "" for anonymous memory."""
    if vma.origin is not None:
        return vma.origin.name
    if vma.name:
        return vma.name
    if vma.start < mm.brk and vma.end > mm.start_brk:
        return "[heap]"
    if vma.start <= mm.start_stack <= vma.end and mm.start_stack:
        return "[stack]"
    return ""


def perms(vma: Vma) -> str:
    """`rw-p`."""
    flags = vma.flags
    return "".join(c if flags & bit else "-" for c, bit in (("r", READ), ("w", WRITE), ("x", EXEC))) + (
        "s" if vma.shared else "p"
    )


def _size(n: int) -> str:
    """A byte count as people say it: exact where it is small or round."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if n >> shift and not n & (1 << shift) - 1:
            return f"{n >> shift} {unit}"
    if n < 1 << 16:
        return f"{n} byte{'' if n == 1 else 's'}"
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if n >> shift:
            return f"{n / (1 << shift):.1f} {unit}"
    return f"{n} bytes"


def _what(mm: Mm, vma: Vma) -> str:
    return {"[heap]": "the heap", "[stack]": "the stack", "": "anonymous memory"}.get(
        called := name(mm, vma), called
    )


def _inside(mm: Mm, vma: Vma, va: int) -> str:
    where = f"{vma.start:x}-{vma.end:x} {perms(vma)}"
    entry = mm.page_table.entry(va)
    if entry and not entry & HERE and entry & GUARD:
        return f"a guard page (MADV_GUARD_INSTALL) in {_what(mm, vma)} ({where})"
    what = _what(mm, vma)
    if not vma.prot:
        kind = "inaccessible (PROT_NONE) page"
    elif not vma.flags & WRITE:
        kind = "read-only page"
    elif vma.flags & EXEC:
        kind = "page"
    else:
        kind = "page that is not executable"
    text = f"a {kind} of {what}" if vma.prot else f"an {kind} of {what}"
    if vma.mappable is not None:
        index = vma.page_index(va)
        if what.startswith("/") and vma.prot and not entry and _past_end(vma, index):
            return f"a page past the end of {what} (file page {index}), {where}"
        text += f" at offset 0x{(index << 12) + (va & 4095):x}"
    elif what == "the heap" and va >= mm.brk:
        return f"no man's land, {_size(va - mm.brk)} past the break 0x{mm.brk:x} ({where})"
    return f"{text}, {where}"


def _past_end(vma: Vma, index: int) -> bool:
    size = getattr(vma.mappable, "size", None)
    return isinstance(size, int) and index << 12 >= size


def _outside(mm: Mm, va: int) -> str:
    after = mm.vmas.above(va)
    above = None if after is mm.vmas.tail else after
    below = None if after.prev is mm.vmas.head else after.prev
    if above is not None and above.flags & GROWSDOWN and above.end - va <= mm.limits.soft("STACK") + NEAR:
        return _below_stack(mm, below, above, va)
    heap_end = -(-mm.brk // 4096) * 4096
    if mm.brk > mm.start_brk and heap_end <= va < heap_end + NEAR and (above is None or va < above.start):
        if mm.brk == heap_end:  # the break ends a page: no man's land is empty
            how = f"{_size(va - mm.brk)} past" if va > mm.brk else "at"
            return f"{how} the heap's break 0x{mm.brk:x}, where the heap ends"
        return f"{_size(va - mm.brk)} past the heap's break 0x{mm.brk:x}, no man's land ends at 0x{heap_end:x}"
    hints = []
    if below is not None and va - below.end < NEAR:
        how = f"{_size(va - below.end)} past" if va > below.end else "right behind"
        hints.append(f"{how} the end of {_what(mm, below)} ({below.start:x}-{below.end:x})")
    if above is not None and above.start - va < NEAR:
        hints.append(f"{_size(above.start - va)} before {_what(mm, above)} ({above.start:x}-{above.end:x})")
    if hints:
        return "in a hole: " + ", ".join(hints)
    lo = f"0x{below.end:x}" if below is not None else "0"
    hi = f"0x{above.start:x}" if above is not None else f"0x{TASK_SIZE:x}"
    return f"nothing is mapped there (hole from {lo} to {hi})"


def _below_stack(mm: Mm, below: Vma | None, stack: Vma, va: int) -> str:
    where = f"{_size(stack.start - va)} below the stack"
    if below is not None and va - below.end < mm.stack_guard_gap and not below.flags & GROWSDOWN:
        return f"in the stack's guard gap, {where} and {_size(va - below.end)} above {_what(mm, below)}"
    limit = mm.limits.soft("STACK")
    if stack.end - (va & -4096) > limit:
        return f"{where}, which may grow to {_size(limit)} (RLIMIT_STACK): a stack overflow"
    return where
