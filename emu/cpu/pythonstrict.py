"""What an allocator promises, checked in Python: the twin of emu/native/strict.c, with equal results.

Looked at when a call of the program has returned; the allocator's inner calls are its own business.

    overlap          a block shares no byte with a live one
    misaligned       malloc: to what fits into the size, 16 at most; else as asked
    outside          it lies in one mapping: not past its end, not where nothing is mapped, not on the stack
    not-zero         calloc's bytes are zero
    lost-bytes       realloc keeps the first min(old, new) bytes, all of them where it fails
    too-small        the usable size is not less than what was asked for
    impossible-size  no block of more than PTRDIFF_MAX bytes, nor of a product that does not fit, is handed out
    no-errno, null   a failure sets ENOMEM, or returns it; a `new` that may throw does not return NULL

A byte that was never touched is zero and costs nothing: a page without a PTE is skipped. What is in swap, or in a file
and not read yet, cannot be seen; a check that needs it is counted in `unchecked`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from emu.calls import (
    ALL,
    ALLOCATE,
    ASK,
    AT_ADDRESS,
    BROKEN,
    FREES_FAILED,
    IN_TLS,
    LOG2,
    NEVER_NULL,
    RESIZE,
    RULED,
    SETS_ERRNO,
    VIOLATIONS,
    ZEROES,
    ErrnoPlace,
    Function,
    Listener,
)
from emu.cpu import libunicorn as u
from emu.cpu import walk
from emu.cpu.regs import Batch

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator
    from emu.cpu.pythonevents import Event

PAGE, TABLE, TOP = 4096, 1 << 21, 1 << 47
KIND, STACK, FILE = 7, 4, 8  # emu/trace/space.py
MALLOCX_ZERO, ENOMEM, EINVAL = 64, 12, 22
(OVERLAP, MISALIGNED, NOT_ZERO, TOO_SMALL, OUTSIDE, LOST_BYTES, IMPOSSIBLE, NO_ERRNO, NULL) = range(1, len(VIOLATIONS))


class Kept:
    """st_kept: of a call that is under way."""

    __slots__ = ("bytes", "known", "size", "zeroes")

    def __init__(self, size: int | None, zeroes: bool) -> None:
        self.size, self.zeroes, self.known = size, zeroes, True  # size: None: no block that is known
        self.bytes: dict[int, bytes] = {}


class Live:
    """Live blocks by address."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.sizes: dict[int, int] = {}

    def before(self, va: int) -> int | None:
        at = bisect_left(self.starts, va)
        return self.starts[at - 1] if at else None

    def add(self, start: int, size: int) -> None:
        if start not in self.sizes:
            insort(self.starts, start)
        self.sizes[start] = size

    def erase(self, start: int, end: int) -> None:
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        for gone in self.starts[first:last]:
            del self.sizes[gone]
        del self.starts[first:last]


def end_of(start: int, size: int) -> int:
    """C: as if the size were some nonzero value."""
    return min(start + (size or 1), ALL)


class PythonStrict:
    """Keeps `Strict`."""

    def __init__(self, emulator: Emulator, listener: Listener, errno: ErrnoPlace) -> None:
        assert emulator.ram is not None
        self._words, self._memory = emulator.ram.words, emulator.ram.bytes
        self._fs_base = Batch(emulator.lib, emulator.uc, (u.FS_BASE,))
        self._listener, self._errno = listener, errno
        self._live = (Live(), Live())  # by name, by rule
        self._ranges: list[tuple[int, int, int]] = []
        self.cr3 = self.unchecked = 0

    def mapped(self, instructions: int, where: tuple[int, int, int]) -> None:
        start, end, kind = where
        kept = [each for each in self._ranges if each[1] <= start or each[0] >= end]
        for low, high, old in (each for each in self._ranges if each[1] > start and each[0] < end):
            kept += [part for part in ((low, start, old), (end, high, old)) if part[0] < part[1]]
        joined: list[tuple[int, int, int]] = []
        for each in sorted([*kept, where] if kind else kept):
            if joined and joined[-1][1:] == (each[0], each[2]):
                joined[-1] = (joined[-1][0], each[1], each[2])
            else:
                joined.append(each)
        self._ranges = joined

    def _range_at(self, va: int) -> tuple[int, int, int] | None:
        at = bisect_right(self._ranges, va, key=lambda each: each[0]) - 1
        return self._ranges[at] if at >= 0 and va < self._ranges[at][1] else None

    # --- the bytes of a block

    def _pages(self, va: int, n: int) -> tuple[list[tuple[int, bytes]], bool]:
        """(offset, bytes) of what was touched, and whether the rest is known to be zero."""
        found = self._range_at(va)
        parts: list[tuple[int, bytes]] = []
        known, at = True, 0
        while at < n:
            if va + at >= TOP:
                return parts, False
            pte = self._pte(va + at)
            skip = min(n - at, TABLE - (va + at) % TABLE if pte is None else PAGE - (va + at) % PAGE)
            if pte and pte & walk.PRESENT:
                pa = pte & walk.FRAME | (va + at) % PAGE
                parts.append((at, bytes(self._memory[pa : pa + skip])))
            elif pte or (found is not None and found[2] & FILE):
                known = False
            at += skip
        return parts, known

    def _pte(self, va: int) -> int | None:
        """None: there is no page table."""
        table = self.cr3 & walk.FRAME
        for shift in (39, 30, 21):
            entry: int = self._words[(table >> 3) + (va >> shift & 511)]
            if not entry & walk.PRESENT:
                return None
            table = entry & walk.FRAME
        return self._words[(table >> 3) + (va >> 12 & 511)]

    def _content(self, va: int, n: int) -> tuple[dict[int, bytes], bool]:
        """What of [va, va + n) is not zero, by offset in steps of a page."""
        parts, known = self._pages(va, n)
        chunks: dict[int, bytearray] = {}
        for at, data in parts:
            while data:
                chunk, place = at & -PAGE, at % PAGE
                taken, data = data[: PAGE - place], data[PAGE - place :]
                chunks.setdefault(chunk, bytearray(PAGE))[place : place + len(taken)] = taken
                at += len(taken)
        return {at: bytes(chunk) for at, chunk in chunks.items() if any(chunk)}, known

    # --- the checks

    def entered(self, event: Event, flags: int) -> Kept:
        """Of a call that begins; `flags`: of a function with LOG2."""
        function = event.function
        live = self._live[bool(function.options & RULED)]
        size = live.sizes.get(event.pointer) if event.pointer else None
        zeroes = bool(function.options & ZEROES or (function.options & LOG2 and flags & MALLOCX_ZERO))
        kept = Kept(size, zeroes)
        if size is not None and function.verb == RESIZE and min(size, event.size) < TOP:
            kept.bytes, kept.known = self._content(event.pointer, min(size, event.size))
        return kept

    def returned(self, event: Event, kept: Kept, rax: int) -> None:
        function, size = event.function, kept.size
        makes = function.verb in (ALLOCATE, RESIZE)
        if function.verb == ASK and size is not None and event.result < size:
            self._violate(event, TOO_SMALL, size)
        if makes and not event.result:
            if function.options & NEVER_NULL:
                self._violate(event, NULL, 0)
            self._check_errno(event, rax)
        fails_whole = event.result or not function.options & FREES_FAILED
        if function.verb == RESIZE and size is not None and size < TOP and event.size and fails_whole:
            self._check_kept(event, kept, size)
        if not makes or not event.result:
            return
        if event.size >> 63:
            self._violate(event, IMPOSSIBLE, 0)
            return
        self._check_place(event)
        if function.verb == ALLOCATE and kept.zeroes and event.size < TOP:
            parts, known = self._pages(event.result, event.size)
            wrong = next((at + _first(data) for at, data in parts if any(data)), None)
            if wrong is not None:
                self._violate(event, NOT_ZERO, wrong)
            else:
                self.unchecked += not known

    def released(self, pointer: int, function: Function) -> None:
        ruled = bool(function.options & RULED)
        size = self._live[ruled].sizes.get(pointer)
        if size is None:
            return
        if not ruled:  # what another allocator made of it is gone too
            self._live[1].erase(pointer, end_of(pointer, size))
        self._live[ruled].erase(pointer, pointer + 1)

    def _violate(self, event: Event, what: int, detail: int) -> None:
        event.flags |= BROKEN
        self._listener.violation(event.packed(), what, detail)

    def _check_errno(self, event: Event, rax: int) -> None:
        function, errno = event.function, self._errno
        if not function.options & SETS_ERRNO or not event.size:
            return
        told = rax & 0xFFFFFFFF
        if function.out < 0:
            if errno.how not in (IN_TLS, AT_ADDRESS):
                return
            base = self._fs_base.read()[0] if errno.how == IN_TLS else 0
            raw = walk.read(self._words, self._memory, self.cr3, (base + errno.at) & ALL, 4)
            if len(raw) != 4:
                return
            told = int.from_bytes(raw, "little")
        if told != ENOMEM and not (function.alignment >= 0 and told == EINVAL):
            self._violate(event, NO_ERRNO, told)

    def _check_place(self, event: Event) -> None:
        ruled = bool(event.function.options & RULED)
        live, end, wanted = self._live[ruled], end_of(event.result, event.size), _alignment(event)
        before = live.before(end)
        if before is not None and end_of(before, live.sizes[before]) > event.result:
            self._violate(event, OVERLAP, before)
        if event.result % wanted:
            self._violate(event, MISALIGNED, wanted)
        found = self._range_at(event.result)
        if found is None or (not ruled and found[2] & KIND == STACK):
            self._violate(event, OUTSIDE, 0)
        elif end > found[1]:
            self._violate(event, OUTSIDE, found[1] - event.result)
        live.add(event.result, event.size)

    def _check_kept(self, event: Event, kept: Kept, size: int) -> None:
        n = min(size, event.size)
        now, known = self._content(event.result or event.pointer, n)
        if not (known and kept.known):
            self.unchecked += 1
        elif now != kept.bytes:
            self._violate(event, LOST_BYTES, n)


def _first(data: bytes) -> int:
    return next(i for i, byte in enumerate(data) if byte)


def _alignment(event: Event) -> int:
    """What the block must be aligned to; 1 where a wild alignment was asked for."""
    if event.alignment:
        return 1 if event.alignment & event.alignment - 1 else event.alignment
    wanted = 1 << event.function.aligned
    if event.function.aligned <= 4:
        while 1 < wanted > event.size:
            wanted //= 2
    return wanted
