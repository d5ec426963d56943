"""VmaSet: the ordered set of an mm's VMAs, and the gaps between them.

A list of chunks of at most MAX VMAs each. Finding is two bisections; a chunk knows the largest gap before one of its
VMAs, and a tree of maxima over the chunks finds the highest (or lowest) one with room, so 60,000 VMAs cost as 60 do.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from kernel.mm.vma import Vma

MAX = 96
TOP = 1 << 64
END = Vma(TOP, TOP, 0)  # a sentinel behind all VMAs: every VMA has a successor, every gap an upper neighbour
NONE = Vma(0, 0, 0)


class Chunk:
    """Consecutive VMAs. `starts[i]` is `vmas[i].start`; `gaps[i]` is the hole below it; `room` is max(gaps)."""

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
    """Always: VMAs are sorted and do not overlap. `len` and iteration do not show the sentinel.

    `recent` is the VMA of the last fault, or an empty one. `window` is the same for a native fault path (FaultTable):
    start and end of an anonymous private VMA, the PTE bits with which a write fills an absent page with a zeroed frame
    (0: it must ask), and those with which a read maps the zero page. Every change to the set empties both.
    """

    __slots__ = ("chunks", "firsts", "maxima", "recent", "window")

    def __init__(self) -> None:
        self.chunks = [Chunk([END], [TOP])]
        self.firsts = [0]  # the first start of each chunk; the first chunk's counts as 0
        self.maxima = Maxima([TOP])
        self.recent = NONE
        self.window = memoryview(bytearray(32)).cast("Q")

    def __len__(self) -> int:
        return sum(len(chunk.vmas) for chunk in self.chunks) - 1

    def __iter__(self) -> Iterator[Vma]:
        """All, ascending. The set may change meanwhile only at VMAs already seen."""
        vma = self.first(0)
        while vma is not None:
            yield vma
            vma = self.first(vma.end)

    def __reversed__(self) -> Iterator[Vma]:
        vma = self.last(TOP - 1)
        while vma is not None:
            yield vma
            vma = self.last(vma.start)

    # Finding

    def _place(self, va: int) -> tuple[int, int]:
        """(chunk number, index) of the first VMA that ends above `va`; the sentinel's where there is none."""
        chunks = self.chunks
        c = bisect_right(self.firsts, va) - 1
        chunk = chunks[c]
        i = bisect_right(chunk.starts, va)
        if i and va < chunk.vmas[i - 1].end:
            return c, i - 1
        return (c, i) if i < len(chunk.vmas) else (c + 1, 0)

    def first(self, va: int) -> Vma | None:
        """The first VMA that ends above `va`, whether or not it contains it (Linux: find_vma)."""
        c, i = self._place(va)
        vma = self.chunks[c].vmas[i]
        return None if vma is END else vma

    def find(self, va: int) -> Vma | None:
        """The VMA that contains `va`."""
        vma = self.recent
        if vma.start <= va < vma.end:
            return vma
        c, i = self._place(va)
        vma = self.chunks[c].vmas[i]
        return vma if vma.start <= va and vma is not END else None

    def last(self, va: int) -> Vma | None:
        """The last VMA that starts below `va`."""
        c = bisect_left(self.firsts, va) - 1
        if c < 0:
            return None
        i = bisect_left(self.chunks[c].starts, va) - 1
        if i < 0:
            return None
        return self.chunks[c].vmas[i]

    def around(self, va: int) -> tuple[Vma | None, Vma | None]:
        """(the last VMA that ends at or below `va`, the first that ends above it)."""
        c, i = self._place(va)
        below = self._below(c, i)
        vma = self.chunks[c].vmas[i]
        return below, None if vma is END else vma

    def _below(self, c: int, i: int) -> Vma | None:
        if i:
            return self.chunks[c].vmas[i - 1]
        return self.chunks[c - 1].vmas[-1] if c else None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """Those that have a page in [start, end), ascending."""
        if end > TOP:
            end = TOP
        c, i = self._place(start)
        found: list[Vma] = []
        while True:
            vmas = self.chunks[c].vmas
            if vmas[-1].start < end:
                found += vmas[i:]
                c, i = c + 1, 0
            else:
                return found + vmas[i : max(i, bisect_left(self.chunks[c].starts, end))]

    def highest_gap(self, low: int, high: int, length: int) -> int:
        """The highest end ≤ `high` of `length` free bytes at or above `low`; 0 if there are none."""
        chunks = self.chunks
        c, i = self._place(high - 1)
        chunk = chunks[c]
        below = self._below(c, i)
        floor = below.end if below else 0
        end = chunk.vmas[i].start
        end = end if end < high else high
        if end - (floor if floor > low else low) >= length:
            return end
        while True:
            gaps, starts = chunk.gaps, chunk.starts
            if chunk.room >= length:
                for k in range(i - 1, -1, -1):
                    if gaps[k] >= length:
                        end = starts[k]
                        return end if end - length >= low else 0
            c = self.maxima.last(c, length)
            if c < 0:
                return 0
            chunk = chunks[c]
            i = len(chunk.vmas)

    def lowest_gap(self, low: int, high: int, length: int) -> int:
        """The lowest start ≥ `low` of `length` free bytes that end at or below `high`; 0 if there are none."""
        chunks = self.chunks
        c, i = self._place(low)
        chunk = chunks[c]
        below = self._below(c, i)
        floor = max(below.end if below else 0, low)
        if chunk.starts[i] >= floor + length:
            return floor if floor + length <= high else 0
        i += 1
        while True:
            gaps = chunk.gaps
            for k in range(i, len(gaps)):
                if gaps[k] >= length:
                    start = chunk.starts[k] - gaps[k]
                    return start if start + length <= high else 0
            c = self.maxima.first(c, length)
            if c < 0:
                return 0
            chunk = chunks[c]
            i = 0

    # Changing

    def insert(self, vma: Vma) -> None:
        """Add a VMA; nothing else may be at its place."""
        self.forget()
        c, i = self._place(vma.start)
        chunk = self.chunks[c]
        above = chunk.vmas[i]
        assert vma.start < vma.end <= above.start
        below = self._below(c, i)
        chunk.vmas.insert(i, vma)
        chunk.starts.insert(i, vma.start)
        chunk.gaps.insert(i, 0)
        if not i and c:
            self.firsts[c] = vma.start
        self._set_gap(c, i + 1, above.start - vma.end)
        self._set_gap(c, i, vma.start - (below.end if below else 0))
        if len(chunk.vmas) > MAX:
            self._split(c)

    def remove(self, vma: Vma) -> None:
        """Take a VMA out."""
        self.forget()
        c = bisect_right(self.firsts, vma.start) - 1
        chunk = self.chunks[c]
        i = bisect_left(chunk.starts, vma.start)
        assert chunk.vmas[i] is vma
        gap = chunk.gaps[i]
        del chunk.vmas[i], chunk.starts[i], chunk.gaps[i]
        if i < len(chunk.vmas):
            if not i and c:
                self.firsts[c] = chunk.starts[0]
            hole = gap + vma.end - vma.start + chunk.gaps[i]
            chunk.gaps[i] = gap  # so that the largest gap stays known
            self._set_gap(c, i, hole)
            return
        above = self.chunks[c + 1]
        self._set_gap(c + 1, 0, gap + vma.end - vma.start + above.gaps[0])
        if chunk.vmas:
            self._lost(c, gap)
        else:
            del self.chunks[c], self.firsts[c]
            self.firsts[0] = 0
            self._rebuild()

    def resize(self, vma: Vma, start: int, end: int) -> None:
        """Move a VMA's ends; it must still fit between its neighbours."""
        self.forget()
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
            shift = end - vma.end
            vma.end = end
            if i + 1 < len(chunk.vmas):
                self._set_gap(c, i + 1, chunk.gaps[i + 1] - shift)
            else:
                self._set_gap(c + 1, 0, self.chunks[c + 1].gaps[0] - shift)

    def reflag(self, vma: Vma, flags: int) -> None:
        """Change a VMA's flags."""
        self.forget()
        vma.reflag(flags)

    def forget(self) -> None:
        """Drop what the fault paths remember."""
        self.recent = NONE
        self.window[1] = 0
        self.window[0] = 0

    def _set_gap(self, c: int, i: int, gap: int) -> None:
        chunk = self.chunks[c]
        old = chunk.gaps[i]
        chunk.gaps[i] = gap
        if gap > chunk.room:
            chunk.room = gap
            self.maxima.set(c, gap)
        elif old > gap:
            self._lost(c, old)

    def _lost(self, c: int, gap: int) -> None:
        """A gap of this size is no longer in the chunk."""
        chunk = self.chunks[c]
        if gap == chunk.room:
            room = max(chunk.gaps)
            if room != gap:
                chunk.room = room
                self.maxima.set(c, room)

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
