"""VmaSet: the ordered set of an mm's VMAs, and the gaps between them.

A list of chunks of at most MAX VMAs each. Finding is two bisections; a chunk knows a bound of the gaps below its VMAs,
and a tree of maxima over these bounds finds the highest (or lowest) chunk with room, so 60,000 VMAs cost as 60 do.
Bounds only grow when VMAs come and go; a search that was led astray tightens them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from kernel.mm.vma import Vma
from kernel.mm.windows import Windows

MAX = 64
TOP = 1 << 64
NONE = Vma(0, 0, 0)


class Chunk:
    """Consecutive VMAs. `starts[i]` is `vmas[i].start`; `gaps[i]` is the hole below it; `room` >= max(gaps).

    The hole below the set's tail counts as 0 here: searches look there by themselves."""

    __slots__ = ("gaps", "room", "starts", "vmas")

    def __init__(self, vmas: list[Vma], gaps: list[int]) -> None:
        self.vmas = vmas
        self.starts = [vma.start for vma in vmas]
        self.gaps = gaps
        self.room = max(gaps)


class Maxima:
    """A tree of maxima over a list of numbers: change one, or find the last (first) that is at least `need`."""

    __slots__ = ("base", "tree")

    def __init__(self, values: list[int]) -> None:
        base = 1
        while base < len(values):
            base *= 2
        tree = [0] * base + values + [0] * (base - len(values))
        for i in range(base - 1, 0, -1):
            left, right = tree[2 * i], tree[2 * i + 1]
            tree[i] = left if left > right else right
        self.base = base
        self.tree = tree

    def set(self, i: int, value: int) -> None:
        tree = self.tree
        i += self.base
        tree[i] = value
        while i > 1:
            i >>= 1
            left, right = tree[2 * i], tree[2 * i + 1]
            top = left if left > right else right
            if tree[i] == top:
                return
            tree[i] = top

    def last(self, before: int, need: int) -> int:
        """The largest index < `before` whose number is at least `need`, or -1."""
        tree = self.tree
        i = before + self.base
        while i > 1:
            if i & 1 and tree[i - 1] >= need:
                i -= 1
                while i < self.base:
                    i = 2 * i + 1 if tree[2 * i + 1] >= need else 2 * i
                return i - self.base
            i >>= 1
        return -1

    def first(self, after: int, need: int) -> int:
        """The smallest index > `after` whose number is at least `need`, or -1."""
        tree = self.tree
        i = after + self.base
        while i > 1:
            if not i & 1 and tree[i + 1] >= need:
                i += 1
                while i < self.base:
                    i = 2 * i if tree[2 * i] >= need else 2 * i + 1
                return i - self.base
            i >>= 1
        return -1


class VmaSet:
    """Always: VMAs are sorted and do not overlap; each is linked to its neighbours; `head` and `tail` are sentinels
    below and above all (empty, without flags), so that every VMA has neighbours. `len` and iteration leave them out.

    `recent` is the VMA where the next fault is likely: that of the last one, or the newest; or an empty one. `windows`
    tell the same to a native fault path; a change of a VMA closes its own.
    """

    __slots__ = ("chunks", "firsts", "head", "maxima", "recent", "tail", "windows")

    def __init__(self) -> None:
        self.head = Vma(0, 0, 0)
        self.tail = Vma(TOP, TOP, 0)
        self.windows = Windows()
        self.clear()

    def clear(self) -> None:
        """Take all out."""
        self.head.next = self.tail
        self.tail.prev = self.head
        self.chunks = [Chunk([self.tail], [0])]
        self.firsts = [0]  # the first start of each chunk; the first chunk's counts as 0
        self.maxima = Maxima([0])
        self.recent = NONE
        self.windows.clear()

    def __len__(self) -> int:
        return sum(len(chunk.vmas) for chunk in self.chunks) - 1

    def __iter__(self) -> Iterator[Vma]:
        """All, ascending. While it goes on, only VMAs already seen may be taken out."""
        vma = self.head.next
        tail = self.tail
        while vma is not tail:
            after = vma.next
            yield vma
            vma = after

    # Finding

    def _place(self, va: int) -> tuple[int, int]:
        """(chunk number, index) of the first VMA that ends above `va`; the tail's where there is none."""
        chunks = self.chunks
        c = bisect_right(self.firsts, va) - 1
        chunk = chunks[c]
        i = bisect_right(chunk.starts, va)
        if i and va < chunk.vmas[i - 1].end:
            return c, i - 1
        return (c, i) if i < len(chunk.vmas) else (c + 1, 0)

    def above(self, va: int) -> Vma:
        """The first VMA that ends above `va`, or `tail`."""
        vma = self.recent
        if vma.start <= va < vma.end:
            return vma
        chunk = self.chunks[bisect_right(self.firsts, va) - 1]
        i = bisect_right(chunk.starts, va)
        if i:
            vma = chunk.vmas[i - 1]
            return vma if va < vma.end else vma.next
        return chunk.vmas[0]

    def first(self, va: int) -> Vma | None:
        """The first VMA that ends above `va`, whether or not it contains it (Linux: find_vma)."""
        vma = self.above(va)
        return None if vma is self.tail else vma

    def find(self, va: int) -> Vma | None:
        """The VMA that contains `va`."""
        vma = self.above(va)
        return vma if vma.start <= va and vma is not self.tail else None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """Those that have a page in [start, end), ascending."""
        vma = self.above(start)
        found: list[Vma] = []
        if end > TOP:
            end = TOP
        while vma.start < end:
            found.append(vma)
            vma = vma.next
        return found

    def highest_gap(self, low: int, high: int, length: int) -> tuple[int, int, int]:
        """The highest end ≤ `high` of `length` free bytes at or above `low`, 0 for none; and the place (chunk number,
        index) of the VMA above them, for `insert_at`."""
        chunks = self.chunks
        c = bisect_left(self.firsts, high) - 1
        chunk = chunks[c]
        i = bisect_left(chunk.starts, high)
        if i and high <= chunk.vmas[i - 1].end:
            i -= 1
        elif i == len(chunk.vmas):
            c, i = c + 1, 0
            chunk = chunks[c]
        vma = chunk.vmas[i]
        floor = vma.prev.end
        end = vma.start if vma.start < high else high
        if end - (floor if floor > low else low) >= length:
            return end, c, i
        while True:
            gaps = chunk.gaps
            if chunk.room >= length:
                for k in range(i - 1, -1, -1):
                    if gaps[k] >= length:
                        end = chunk.starts[k]
                        return end if end - length >= low else 0, c, k
                self._tighten(c)
            c = self.maxima.last(c, length)
            if c < 0:
                return 0, 0, 0
            chunk = chunks[c]
            i = len(chunk.vmas)

    def lowest_gap(self, low: int, high: int, length: int) -> tuple[int, Vma]:
        """The lowest start ≥ `low` of `length` free bytes that end at or below `high`, and the VMA above them; 0 for
        none."""
        chunks = self.chunks
        c, i = self._place(low)
        chunk = chunks[c]
        vma = chunk.vmas[i]
        floor = vma.prev.end if vma.prev.end > low else low
        if vma.start >= floor + length:
            return floor if floor + length <= high else 0, vma
        i += 1
        while True:
            gaps = chunk.gaps
            for k in range(i, len(gaps)):
                if gaps[k] >= length:
                    start = chunk.starts[k] - gaps[k]
                    return start if start + length <= high else 0, chunk.vmas[k]
            self._tighten(c)
            c = self.maxima.first(c, length)
            if c < 0:
                start = self.tail.prev.end
                return start if low <= start <= high - length else 0, self.tail
            chunk = chunks[c]
            i = 0

    # Changing

    def insert(self, vma: Vma) -> None:
        """Add a VMA; nothing else may be at its place."""
        self.insert_at(*self._place(vma.start), vma)

    def insert_at(self, c: int, i: int, vma: Vma) -> None:
        """As `insert`, where chunk `c` has the VMA above it at index `i`."""
        chunk = self.chunks[c]
        vmas, gaps, start = chunk.vmas, chunk.gaps, vma.start
        above = vmas[i]
        below = above.prev
        assert start < vma.end <= above.start
        vma.prev, vma.next = below, above
        below.next = above.prev = vma
        vmas.insert(i, vma)
        chunk.starts.insert(i, start)
        gap = start - below.end
        gaps.insert(i, gap)
        if above is not self.tail:
            gaps[i + 1] = above.start - vma.end  # both are parts of the hole that was: the bound holds
        elif gap > chunk.room:
            self._widen(c, gap)
        if not i and c:
            self.firsts[c] = start
        if len(vmas) > MAX:
            self._split(c)

    def remove(self, vma: Vma) -> None:
        """Take a VMA out."""
        if vma.window:
            self.windows.close(vma)
        if self.recent is vma:
            self.recent = NONE
        below, above = vma.prev, vma.next
        below.next, above.prev = above, below
        c = bisect_right(self.firsts, vma.start) - 1
        chunk = self.chunks[c]
        vmas, starts, gaps = chunk.vmas, chunk.starts, chunk.gaps
        i = bisect_left(starts, vma.start)
        assert vmas[i] is vma
        del vmas[i], starts[i], gaps[i]
        gap = above.start - below.end
        if i < len(vmas):
            if not i and c:
                self.firsts[c] = starts[0]
            if above is not self.tail:
                gaps[i] = gap
                if gap > chunk.room:
                    self._widen(c, gap)
            return
        self._set_gap(c + 1, 0, gap)
        if not vmas:
            del self.chunks[c], self.firsts[c]
            self.firsts[0] = 0
            self._rebuild()

    def resize(self, vma: Vma, start: int, end: int) -> None:
        """Move a VMA's ends; it must still fit between its neighbours."""
        if vma.window:
            self.windows.close(vma)
        c = bisect_right(self.firsts, vma.start) - 1
        chunk = self.chunks[c]
        i = bisect_left(chunk.starts, vma.start)
        assert chunk.vmas[i] is vma
        if start != vma.start:
            gap = chunk.gaps[i] + start - vma.start
            vma.start = chunk.starts[i] = start
            if not i and c:
                self.firsts[c] = start
            self._set_gap(c, i, gap)
        if end != vma.end:
            vma.end = end
            gap = vma.next.start - end
            if i + 1 < len(chunk.vmas):
                self._set_gap(c, i + 1, gap)
            else:
                self._set_gap(c + 1, 0, gap)

    def reflag(self, vma: Vma, flags: int) -> None:
        """Change a VMA's flags."""
        if vma.window:
            self.windows.close(vma)
        vma.reflag(flags)

    def expect(self, vma: Vma) -> None:
        """The next faults are likely in `vma`, which is anonymous and private."""
        self.recent = vma
        self.windows.open(vma)

    def _set_gap(self, c: int, i: int, gap: int) -> None:
        chunk = self.chunks[c]
        if chunk.vmas[i] is not self.tail:
            chunk.gaps[i] = gap
            if gap > chunk.room:
                self._widen(c, gap)

    def _widen(self, c: int, room: int) -> None:
        """Chunk `c` has a larger gap than it was known to have."""
        self.chunks[c].room = room
        maxima = self.maxima
        if maxima.tree[maxima.base + c] < room:
            maxima.set(c, room)

    def _tighten(self, c: int) -> None:
        """A search found less room in chunk `c` than its bound promises."""
        chunk = self.chunks[c]
        chunk.room = max(chunk.gaps)
        self.maxima.set(c, chunk.room)

    def _split(self, c: int) -> None:
        chunk = self.chunks[c]
        half = len(chunk.vmas) // 2
        upper = Chunk(chunk.vmas[half:], chunk.gaps[half:])
        del chunk.vmas[half:], chunk.starts[half:], chunk.gaps[half:]
        chunk.room = max(chunk.gaps)
        self.chunks.insert(c + 1, upper)
        self.firsts.insert(c + 1, upper.starts[0])
        self._rebuild()

    def _rebuild(self) -> None:
        self.maxima = Maxima([chunk.room for chunk in self.chunks])
