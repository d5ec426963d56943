"""Code that is mapped twice, once to write and once to execute, as just-in-time compilers do with a memfd.

The CPU keeps what it translated, by frame, and notices stores through mappings that may be executed; a store through
another one it would miss. So of the PTEs of such a frame either those that only write have W, or those that execute are
without NX: the first fetch after a store holds the writers back, the first store after a fetch holds the code back, and
has its translations dropped. A held PTE stays present and dirty, and letting it go counts as no fault: Linux has none.
"""

from __future__ import annotations

from collections.abc import Iterator

from kernel.mm.mm import Mm
from kernel.mm.pte import HERE, NX, PFN, W
from kernel.mm.vma import Vma


def hold_writers(mm: Mm, vma: Vma, va: int, pfn: int) -> None:
    """`pfn` may be executed at `va` from now on: elsewhere it is not written unnoticed."""
    held = False
    for k in _elsewhere(mm, vma, va, pfn):
        if mm.words[k] & (W | NX) == W | NX:
            mm.words[k] &= ~W
            held = True
    if held:
        mm.tlb()


def hold_code(mm: Mm, vma: Vma, va: int, pfn: int) -> None:
    """`pfn` is written at `va`, where it may not be executed: elsewhere a fetch comes here first."""
    held = False
    for k in _elsewhere(mm, vma, va, pfn):
        if not mm.words[k] & NX:
            mm.words[k] |= NX
            held = True
    if held:
        mm.tlb()
    mm.frames.invalidate((pfn,))


def _elsewhere(mm: Mm, vma: Vma, va: int, pfn: int) -> Iterator[int]:
    """The PTEs of `pfn` in other mappings of the file behind `vma`, as indices into RAM's words."""
    if mm.frames.refs[pfn] < 3 or vma.mappable is None:  # the page cache's, and this mapping's own
        return
    file, page = vma.mappable.identity, vma.page_index(va)
    for other in mm.vmas:
        if other is vma or other.mappable is None or other.mappable.identity != file:
            continue
        at = other.start + (page - other.pgoff << 12)
        leaf = mm.page_table.leaves.get(at >> 21) if other.start <= at < other.end else None
        if leaf is not None:
            k = leaf + (at >> 12 & 511)
            if mm.words[k] & HERE and (mm.words[k] & PFN) >> 12 == pfn:
                yield k
