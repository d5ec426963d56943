"""Guest memory as the CPU sees it, read through the page tables. For looking at code only: nothing is faulted in."""

from __future__ import annotations

PRESENT = 1
FRAME = 0x000F_FFFF_FFFF_F000


def translate(words: memoryview, cr3: int, va: int) -> int | None:
    """The physical address of `va` under the 4-level tables at `cr3`, or None where no page is present."""
    table = cr3 & FRAME
    for shift in (39, 30, 21, 12):
        entry: int = words[(table >> 3) + (va >> shift & 511)]
        if not entry & PRESENT:
            return None
        table = entry & FRAME
    return table | va & 4095


def read(words: memoryview, memory: memoryview, cr3: int, va: int, length: int) -> bytes:
    """Up to `length` bytes from `va` on; shorter where a page is not present."""
    parts = []
    while length > 0:
        pa = translate(words, cr3, va)
        if pa is None:
            break
        n = min(4096 - va % 4096, length)
        parts.append(bytes(memory[pa : pa + n]))
        va, length = va + n, length - n
    return b"".join(parts)
