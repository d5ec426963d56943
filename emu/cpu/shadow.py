"""The shadow of a heap: which bytes a program has no business with, and what it may do to them all the same.

A byte is bad once the block that held it was released, until another block holds it or its page is mapped anew; and bad
is what lies beside a live block and belongs to nobody: a few bytes before it, and those after it up to the next block,
within its page (where the block begins or ends with its page, in the next one, if an allocator mapped that), as far as
`slacks` say. Memory that was never a part of a block or beside one is never bad: programs
may have pools of their own. Nor is a byte of one live block bad for lying beside another.

A load may touch bad bytes where it cannot matter: one of 8 or 16 bytes, aligned to its size, with one good byte at
least (a word at a time, no further than it must), and those of string functions, which look at whole lines, unless none
of the 16 bytes around the one that rdi names (or rsi, in those that are given two strings) is good: there they begin.

A byte of a live block is blank until somebody writes there: the program, or the kernel for it; those that calloc makes
never are. Moved by realloc it stays so; copied by load and store it does not: what is in registers is not followed.

emu/native/memcheck.c does the same, with equal results.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from emu.calls import ALLOCATOR, APART, BOTH, COPIES, READS, SCANS, WIDE

if TYPE_CHECKING:
    from emu.cpu.pythonevents import Block, Event

PAGE = 4096
MOST_KEPT = 256 << 20
HUGE = 1 << 32  # what of a block lies beyond is not shadowed
USER = 1 << 47
ALL = (1 << PAGE) - 1


class Page:
    """One bit a byte, the lowest first."""

    __slots__ = ("bad", "blank", "live", "start")

    def __init__(self) -> None:
        self.bad = self.blank = self.live = self.start = 0


class Shadow:
    """Told by the call hooks what is made and released."""

    def __init__(self, barred: tuple[tuple[int, int], ...], slacks: tuple[tuple[int, int, bool], ...]) -> None:
        self._barred, self._slacks = barred, slacks
        self._pages: dict[int, Page] = {}
        self._held: list[tuple[int, int]] = []  # where allocators have mapped memory, in order
        self._kept = 0, 0  # of the block that is being resized: its size, and one bit a byte: is it blank?

    def made(self, pointer: int, size: int, function: int, inner: int) -> None:
        """A traced function has handed out a block; `inner`: to another of them."""
        end = pointer + min(size, HUGE)
        if pointer >= USER or end > USER:
            return
        blank = not inner and function < len(self._slacks) and self._slacks[function][2]
        for page, mask in self._pieces(pointer, end):
            page.bad &= ~mask
            page.start &= ~mask
            page.live = page.live & ~mask if inner else page.live | mask
            page.blank = page.blank | mask if blank else page.blank & ~mask
        if not inner:
            (kept, bits), self._kept = self._kept, (0, 0)
            if blank:
                self._take(pointer, min(end - pointer, kept), bits)
        self._page(pointer // PAGE).start |= 1 << pointer % PAGE
        if not inner:
            self._beside(pointer, end, function)

    def _beside(self, pointer: int, end: int, function: int) -> None:
        """What lies beside a block is bad, as far as the function's slack says."""
        if any(start <= pointer < stop for start, stop in self._barred):
            return
        after, before, _ = self._slacks[function] if function < len(self._slacks) else (0, 0, False)
        last = end + after if after else -(-end // 8) * 8
        limit, first = -(-end // PAGE) * PAGE, pointer // PAGE * PAGE
        if end == limit and self._is_held(end):
            limit += PAGE
        if first == pointer and self._is_held(first - 1):
            first -= PAGE
        if end - pointer < HUGE:
            self._slack(end, min(last, limit), True)
        self._slack(max(first, pointer - before), pointer, False)

    def _is_held(self, va: int) -> bool:
        at = bisect_right(self._held, (va, USER)) - 1
        return at >= 0 and va < self._held[at][1]

    def hold(self, start: int, end: int, allocators: bool) -> None:
        """As MemoryHooks has it."""
        outside = [piece for low, high in self._held for piece in ((low, min(high, start)), (max(low, end), high))]
        pieces = [*outside, (start, end)] if allocators else outside
        self._held = sorted(piece for piece in pieces if piece[0] < piece[1])

    def keep(self, pointer: int, size: int) -> None:
        """The block is about to be another one, made next, which has its bytes. Of a very large one all count as
        written."""
        if pointer >= USER or size > USER - pointer:
            return
        kept, bits, at = self._end(pointer, size) - pointer, 0, 0
        for page, mask in self._pieces(pointer, pointer + kept) if kept <= MOST_KEPT else ():
            bits |= (page.blank & mask) >> (pointer + at) % PAGE << at
            at += mask.bit_count()
        self._kept = kept, bits

    def _take(self, pointer: int, size: int, bits: int) -> None:
        """Of a blank block the first bytes are as they were kept."""
        at = 0
        for page, mask in self._pieces(pointer, pointer + size):
            page.blank = page.blank & ~mask | bits >> at << (pointer + at) % PAGE & mask
            at += mask.bit_count()

    def _end(self, pointer: int, size: int) -> int:
        """Where a block ends: whoever has asked for its usable size has all of that."""
        end = pointer + min(size, HUGE)
        while self._has(end, "live") and not self._has(end, "start"):
            end += 1
        return end

    def asked(self, event: Event, block: Block | None) -> None:
        """Who asks for the usable size of a block may use it."""
        if block is None or block.freed_at or block.inner or not block.event.size < event.result < HUGE:
            return
        pointer, end = event.pointer, event.pointer + event.result
        for page, mask in self._pieces(pointer + block.event.size, end):
            page.bad, page.blank, page.live = page.bad & ~mask, page.blank & ~mask, page.live | mask
            page.start &= ~mask
        self._beside(pointer, end, event.number)

    def gone(self, pointer: int, size: int) -> None:
        """It is the allocator's again."""
        if pointer < USER and size <= USER - pointer:
            for page, mask in self._pieces(pointer, self._end(pointer, size)):
                page.bad |= mask
                page.live &= ~mask
                page.blank &= ~mask
                if mask == ALL:
                    page.start = 0
            if pointer % PAGE == 0:
                self._page(pointer // PAGE).start |= 1

    def wrote(self, va: int, size: int) -> None:
        """Somebody has written there."""
        at, end = va, min(va + size, USER)
        while at < end:
            stop = min(end, (at // PAGE + 1) * PAGE)
            page = self._pages.get(at // PAGE)
            if page is not None and page.blank:
                page.blank &= ~((1 << stop - at) - 1 << at % PAGE)
            at = stop

    def forget(self, start: int, end: int) -> None:
        """[start, end), whole pages, was mapped anew."""
        first, last = start // PAGE, end // PAGE
        gone = range(first, last) if last - first <= len(self._pages) else list(self._pages)
        for vpn in gone:
            if first <= vpn < last:
                self._pages.pop(vpn, None)

    def around(self, va: int, reach: int) -> tuple[int, int]:
        """As MemoryHooks has it."""
        vpn, at, below = va // PAGE, va % PAGE, 0
        while not below and (page := self._pages.get(vpn)) is not None and page.bad | page.live:
            found = page.start & (2 << at) - 1
            below = vpn * PAGE + found.bit_length() - 1 if found else 0
            vpn, at = vpn - 1, PAGE - 1
        starts = (at for at in range(va + 1, va + reach + 1) if self._has(at, "start"))
        return below, next(starts, 0)

    def bad(self, va: int, size: int) -> int:
        """How many of these bytes are bad."""
        page, at = self._pages.get(va // PAGE), va % PAGE
        if at + size <= PAGE:
            return (page.bad >> at & (1 << size) - 1).bit_count() if page is not None else 0
        return sum(self._has(each, "bad") for each in range(va, va + size))

    def first_bad(self, va: int, size: int) -> int:
        """As MemoryHooks has it."""
        return self._first(va, size, "bad")

    def first_blank(self, va: int, size: int) -> int:
        """As MemoryHooks has it."""
        return self._first(va, size, "blank")

    def _first(self, va: int, size: int, what: str) -> int:
        at, end = va, min(va + size, USER)
        while at < end:
            stop = min(end, (at // PAGE + 1) * PAGE)
            page = self._pages.get(at // PAGE)
            found = getattr(page, what) >> at % PAGE & (1 << stop - at) - 1 if page is not None else 0
            if found:
                return at - va + (found & -found).bit_length() - 1
            at = stop
        return -1

    def spares(self, traits: int, va: int, size: int, store: bool, pointers: tuple[int, int]) -> bool:
        """Is this access of bad bytes none to tell of? `pointers`: rdi and rsi."""
        if traits & ALLOCATOR:
            return True
        if store:
            return False
        if traits & APART:
            return False
        if traits & READS:
            return True
        if traits & SCANS:
            named = pointers if traits & BOTH else pointers[:1]
            return not any(va <= at < va + size and self.bad(at & ~15, 16) == 16 for at in named)
        if size < 8 or va % 8:
            return False
        return self.bad(va & ~15, 16) < 16 if traits & WIDE else self.bad(va, 8) < 8

    def spares_blank(self, traits: int, va: int, size: int) -> bool:
        """Is this load none to tell of: not all of its bytes are blank, or it may load such?"""
        if traits & (ALLOCATOR | READS | SCANS | COPIES) or not self._all_blank(va, size):
            return True
        return bool(traits & WIDE) and not self._all_blank(va & ~15, 16)

    def _all_blank(self, va: int, size: int) -> bool:
        return all(self._has(at, "blank") for at in range(va, va + size))

    def _has(self, va: int, what: str) -> bool:
        page = self._pages.get(va // PAGE)
        return page is not None and bool(getattr(page, what) >> va % PAGE & 1)

    def _page(self, vpn: int) -> Page:
        return self._pages.get(vpn) or self._pages.setdefault(vpn, Page())

    def _pieces(self, start: int, end: int) -> list[tuple[Page, int]]:
        """The pages of [start, end), each with a mask of the bytes that are inside."""
        pieces = []
        while start < end:
            size = min(end, (start // PAGE + 1) * PAGE) - start
            pieces.append((self._page(start // PAGE), (1 << size) - 1 << start % PAGE))
            start += size
        return pieces

    def _slack(self, start: int, end: int, stop: bool) -> None:
        """[start, end), within one page, is bad but for live blocks. `stop`: up to where a block begins."""
        if start < end:
            page, mask = self._page(start // PAGE), (1 << end - start) - 1 << start % PAGE
            begins = page.start & mask if stop else 0
            page.bad |= mask & (begins & -begins) - 1 & ~page.live if begins else mask & ~page.live
