"""The only ways to guest memory in a handler: faults are taken and protections kept as for the guest's own accesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EFAULT, ENAMETOOLONG, LinuxError
from kernel.abi.limits import TASK_SIZE
from kernel.cpu import Access
from kernel.events import UserCopy
from kernel.mm.pte import PFN, A, D, P, W

if TYPE_CHECKING:
    from kernel.mm.mm import Mm

READ, WRITE = Access.READ, Access.WRITE
Bytes = bytes | bytearray | memoryview


def tell(mm: Mm, va: int, n: int, *, store: bool) -> None:
    """Whoever listens to UserCopy. Callers ask first whether anybody does: a call costs as much as a copy."""
    if n > 0:
        mm.probes.emit(UserCopy(mm.cr3, va, n, store))


def _frame(mm: Mm, va: int, access: Access) -> int:
    """Physical address of va's page for this access, faulted in where needed; -1 where the guest may not."""
    from kernel.mm.fault import Fault, handle_mm_fault

    if not 0 <= va < TASK_SIZE:
        return -1
    entry = mm.page_table.entry(va)
    wanted = P | W if access is WRITE else P
    while entry & wanted != wanted:
        if handle_mm_fault(mm, va, access) is not Fault.OK:
            return -1
        if entry & P:
            mm.tlb()  # the page was replaced under a translation that the CPU may hold
        entry = mm.page_table.entry(va)
    pa = entry & PFN
    if access is WRITE:
        mm.words[mm.page_table.lookup(va)] = entry | A | D
        if pa >> 12 in mm.frames.code:
            mm.frames.invalidate((pa >> 12,))
    elif not entry & A:
        mm.words[mm.page_table.lookup(va)] = entry | A
    return pa


READ_READY = P | A
WRITE_READY = P | W | A | D


def _run(mm: Mm, va: int, n: int, ready: int) -> tuple[int, int]:
    """(physical address, length) of the first of `n` bytes at `va`: as far as pages that need nothing done any more
    (PTEs with all `ready` bits) lie in neighbouring frames under one table. Length 0 where not even the first does."""
    leaf = mm.page_table.leaves.get(va >> 21)
    if leaf is None:
        return 0, 0
    words = mm.words
    index = leaf + (va >> 12 & 511)
    entry = words[index]
    if entry & ready != ready:
        return 0, 0
    size = 4096 - (va & 4095)
    if size < n:
        end = leaf + 512
        index += 1
        expected = entry + 4096
        while size < n and index < end and words[index] == expected:
            size += 4096
            index += 1
            expected += 4096
    return (entry & PFN) + (va & 4095), min(size, n)


def copy_from_user_partial(mm: Mm, va: int, n: int) -> bytes:
    """Up to `n` bytes at `va`: as many as are there before the first bad page."""
    if UserCopy in mm.probes.listeners:
        tell(mm, va, n, store=False)
    return _gather(mm, va, n)


def _gather(mm: Mm, va: int, n: int) -> bytes:
    parts: list[memoryview | bytes] = []
    copied = 0  # of `parts`: a fault may take pages away that were read before it
    while n > 0:
        pa, size = _run(mm, va, n, READ_READY)
        if size:
            parts.append(mm.ram.bytes[pa : pa + size])
            va += size
            n -= size
            continue
        while copied < len(parts):
            parts[copied] = bytes(parts[copied])
            copied += 1
        pa = _frame(mm, va, READ)
        if pa < 0:
            break
        offset = va & 4095
        size = min(n, 4096 - offset)
        parts.append(mm.ram.bytes[pa + offset : pa + offset + size])
        va += size
        n -= size
    return b"".join(parts)


def copy_from_user(mm: Mm, va: int, n: int) -> bytes:
    """`n` bytes at `va`. Raises LinuxError(EFAULT)."""
    if UserCopy in mm.probes.listeners:
        tell(mm, va, n, store=False)
    offset = va & 4095
    if offset + n <= 4096:
        leaf = mm.page_table.leaves.get(va >> 21)
        if leaf is not None and n:
            entry = mm.words[leaf + (va >> 12 & 511)]
            if entry & (P | A) == P | A:
                pa = (entry & PFN) + offset
                return mm.ram.bytes[pa : pa + n].tobytes()
    data = _gather(mm, va, n)
    if len(data) < n:
        raise LinuxError(EFAULT, f"0x{va + len(data):x} is not readable")
    return data


def copy_to_user_partial(mm: Mm, va: int, data: Bytes) -> int:
    """Write as much of `data` as there are good pages; returns how many bytes."""
    done, n = 0, len(data)
    if UserCopy in mm.probes.listeners:
        tell(mm, va, n, store=True)
    view = memoryview(data).cast("B")
    code = mm.frames.code
    while done < n:
        pa, size = _run(mm, va, n - done, WRITE_READY)
        if size and code.isdisjoint(range(pa >> 12, (pa + size + 4095) >> 12)):
            mm.ram.bytes[pa : pa + size] = view[done : done + size]
            va += size
            done += size
            continue
        pa = _frame(mm, va, WRITE)
        if pa < 0:
            break
        offset = va & 4095
        size = min(n - done, 4096 - offset)
        mm.ram.bytes[pa + offset : pa + offset + size] = view[done : done + size]
        va += size
        done += size
    return done


def copy_to_user(mm: Mm, va: int, data: Bytes) -> None:
    """Write `data` at `va`. Raises LinuxError(EFAULT), after the bytes before the bad page were written."""
    n = len(data)
    if (va & 4095) + n <= 4096 and UserCopy not in mm.probes.listeners:
        leaf = mm.page_table.leaves.get(va >> 21)
        if leaf is not None and n:
            entry = mm.words[leaf + (va >> 12 & 511)]
            pa = (entry & PFN) + (va & 4095)
            if entry & WRITE_READY == WRITE_READY and pa >> 12 not in mm.frames.code:
                mm.ram.bytes[pa : pa + n] = data
                return
    done = copy_to_user_partial(mm, va, data)
    if done < len(data):
        raise LinuxError(EFAULT, f"0x{va + done:x} is not writable")


def clear_user(mm: Mm, va: int, n: int) -> None:
    """Write `n` zero bytes at `va`. Raises LinuxError(EFAULT)."""
    while n > 0:
        size = min(n, 4096 - (va & 4095))
        copy_to_user(mm, va, bytes(size))
        va += size
        n -= size


def strncpy_from_user(mm: Mm, va: int, limit: int) -> bytes:
    """The C string at `va`, without its terminator. Raises LinuxError: EFAULT, or ENAMETOOLONG if there is no zero
    among the first `limit` bytes."""
    found = bytearray()
    while len(found) < limit:
        size = min(4096 - (va & 4095), limit - len(found))
        pa = _frame(mm, va, READ)
        if pa < 0:
            raise LinuxError(EFAULT, f"0x{va:x} is not readable")
        pa += va & 4095
        piece = mm.ram.bytes[pa : pa + size].tobytes()
        end = piece.find(0)
        if UserCopy in mm.probes.listeners:
            tell(mm, va, end + 1 or size, store=False)
        if end >= 0:
            return bytes(found + piece[:end])
        found += piece
        va += size
    raise LinuxError(ENAMETOOLONG, f"a string of {limit} bytes or more")


def access_ok(va: int, n: int) -> bool:
    """Does [va, va + n) lie in user space? Raises nothing: the caller decides what EFAULT means."""
    return va + n <= TASK_SIZE
