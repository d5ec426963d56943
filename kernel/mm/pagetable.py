"""4-level x86-64 page tables in guest RAM. Owns the tables' frames; the frames that leaf entries name belong to others.

The tables in RAM are what the CPU walks. `leaves`, `mids` and `tops` are an index of the same tables by address, so
that Python needs no walk and a range of terabytes costs only what is mapped in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kernel.mm.frames import Frames
from kernel.mm.pte import PFN, TABLE

FANOUT = 512
NONE = -1


class PageTable:
    """One tree of tables.

    Always holds: `leaves[va >> 21]` is the index into `Ram.words` of the table that holds va's PTE (in Linux: the PTE
    table), `mids[va >> 30]` that of its PMD table, `tops[va >> 39]` that of its PUD table; all three name exactly the
    tables that are reachable from `cr3`.

    `spare` is the key of a PTE table that no mapping needed at the last `free_tables`: programs unmap and map again at
    the same place. It is freed when another takes its place, if it is empty then, and counts as free where tables are
    counted (`drop_spare`).
    """

    __slots__ = ("bare", "cr3", "frames", "leaves", "mids", "spare", "tops", "words")

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.words = frames.ram.words
        self.cr3 = frames.alloc() << 12
        self.leaves: dict[int, int] = {}
        self.mids: dict[int, int] = {}
        self.tops: dict[int, int] = {}
        self.spare = NONE
        self.bare = False  # may there be tables that no PTE table hangs from?

    def lookup(self, va: int) -> int:
        """The index (u64 words) of va's PTE, or -1 where no table exists."""
        leaf = self.leaves.get(va >> 21)
        return -1 if leaf is None else leaf + (va >> 12 & 511)

    def entry(self, va: int) -> int:
        """va's PTE, 0 where no table exists."""
        leaf = self.leaves.get(va >> 21)
        return 0 if leaf is None else self.words[leaf + (va >> 12 & 511)]

    def index(self, va: int) -> int:
        """The index of va's PTE, its tables made on the way. Raises OutOfMemory."""
        leaf = self.leaves.get(va >> 21)
        if leaf is None:
            leaf = self.make_leaf(va)
        return leaf + (va >> 12 & 511)

    def make_leaf(self, va: int) -> int:
        """The index of va's PTE table, which does not exist yet. Raises OutOfMemory."""
        leaf = self._make(self._mid(va), va >> 21)
        self.leaves[va >> 21] = leaf
        return leaf

    def unmake_leaf(self, va: int) -> None:
        """Free va's PTE table if nothing came into it."""
        leaf = self.leaves[va >> 21]
        if self.words[leaf : leaf + FANOUT] == EMPTY:
            self._drop(self.leaves, va >> 21, self.mids[va >> 30])
            self.bare = True

    def _mid(self, va: int) -> int:
        mid = self.mids.get(va >> 30)
        if mid is None:
            mid = self.mids[va >> 30] = self._make(self.make_top(va), va >> 30)
        return mid

    def make_top(self, va: int) -> int:
        """The index of the table that covers the 512 GiB around va, made if need be. Raises OutOfMemory."""
        top = self.tops.get(va >> 39)
        if top is None:
            top = self.tops[va >> 39] = self._make(self.cr3 >> 3, va >> 39)
        return top

    def _make(self, table: int, key: int) -> int:
        pa = self.frames.alloc() << 12
        self.words[table + (key & 511)] = pa | TABLE
        return pa >> 3

    def leaves_in(self, start: int, end: int) -> Iterable[tuple[int, int, int]]:
        """(va, i, j) for each PTE table that [start, end) meets, ascending: the entries of [va, va + (j-i) pages)."""
        if start >> 21 != end - 1 >> 21:
            return self._leaves_in(start, end)
        leaf = self.leaves.get(start >> 21)
        if leaf is None or start >= end:
            return ()
        i = leaf + (start >> 12 & 511)
        return ((start, i, i + (end - start >> 12)),)

    def _leaves_in(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        leaves = self.leaves
        for key in self._keys(start, end):
            lo = max(start, key << 21)
            hi = min(end, key + 1 << 21)
            i = leaves[key] + (lo >> 12 & 511)
            yield lo, i, i + (hi - lo >> 12)

    def _keys(self, start: int, end: int) -> list[int]:
        first, last = start >> 21, end - 1 >> 21
        leaves = self.leaves
        if last - first < FANOUT:
            return [key for key in range(first, last + 1) if key in leaves]
        keys: list[int] = []
        for mid in self._mid_keys(start, end):
            lo, hi = max(first, mid << 9), min(last, mid << 9 | 511)
            keys += [key for key in range(lo, hi + 1) if key in leaves]
        return keys

    def _mid_keys(self, start: int, end: int) -> list[int]:
        first, last = start >> 30, end - 1 >> 30
        if last - first < FANOUT:
            return [key for key in range(first, last + 1) if key in self.mids]
        return sorted(key for key in self.mids if first <= key <= last)

    def free_tables(self, start: int, end: int, floor: int, ceiling: int) -> None:
        """Free the tables of the emptied range [start, end) that reach neither below `floor` nor above `ceiling`, the
        ends of the neighbouring mappings (Linux: free_pgtables)."""
        key = start >> 21
        if key == end - 1 >> 21:
            if floor > key << 21 or key + 1 << 21 > ceiling:
                return
            if floor > key >> 9 << 30 or (key >> 9) + 1 << 30 > ceiling:
                if key in self.leaves and key != self.spare:
                    self.drop_spare()
                    self.spare = key
                return
        self.drop_spare()
        for key in self._keys(start, end):
            if floor <= key << 21 and key + 1 << 21 <= ceiling:
                self._drop(self.leaves, key, self.mids[key >> 9])
        for key in self._mid_keys(start, end):
            if floor <= key << 30 and key + 1 << 30 <= ceiling:
                self._drop(self.mids, key, self.tops[key >> 9])
        for key in range(start >> 39, (end - 1 >> 39) + 1):
            if key in self.tops and floor <= key << 39 and key + 1 << 39 <= ceiling:
                self._drop(self.tops, key, self.cr3 >> 3)

    def keep_spare(self, start: int, end: int) -> None:
        """[start, end) is about to be emptied, and stays mapped: a spare table in it that came into use is none."""
        if start >> 21 <= self.spare <= end - 1 >> 21:
            leaf = self.leaves.get(self.spare)
            if leaf is None or self.words[leaf : leaf + FANOUT] != EMPTY:
                self.spare = NONE

    def drop_spare(self) -> None:
        """Free the spare table, unless it came into use again: then it is none."""
        leaf, key = self.leaves.get(self.spare), self.spare
        self.spare = NONE
        if leaf is not None and self.words[leaf : leaf + FANOUT] == EMPTY:
            self._drop(self.leaves, key, self.mids[key >> 9])

    def _drop(self, tables: dict[int, int], key: int, parent: int) -> None:
        self.words[parent + (key & 511)] = 0
        self.frames.put_clean(tables.pop(key) >> 9)

    def move_leaves(self, start: int, end: int, new: int) -> bool:
        """Hang the PTE tables of [start, end) in from `new` on, but for those in whose place one is; all 2 MiB-aligned
        (Linux: move_normal_pmd). Were there any? Raises OutOfMemory."""
        words, leaves, mids = self.words, self.leaves, self.mids
        shift = new - start >> 21
        found = self._keys(start, end)
        for key in found:
            to = key + shift
            if to in leaves:
                continue
            if to >> 9 not in mids:
                self._mid(to << 21)
            leaves[to] = leaves.pop(key)
            place = mids[key >> 9] + (key & 511)
            words[mids[to >> 9] + (to & 511)] = words[place]
            words[place] = 0
        return bool(found)

    def walk(self, va: int) -> int:
        """va's PTE as the CPU finds it, from cr3 down (for checks; 0 where the walk ends early)."""
        table = self.cr3
        for shift in (39, 30, 21):
            entry = self.words[(table >> 3) + (va >> shift & 511)]
            if not entry & 1:
                return 0
            table = entry & PFN
        return self.words[(table >> 3) + (va >> 12 & 511)]

    def destroy(self) -> None:
        """Free every table. The leaf entries must be zero already."""
        for tables in (self.leaves, self.mids, self.tops):
            for table in tables.values():
                self.words[table : table + 512] = EMPTY
                self.frames.put_clean(table >> 9)
            tables.clear()
        self.words[self.cr3 >> 3 : (self.cr3 >> 3) + 512] = EMPTY
        self.frames.put_clean(self.cr3 >> 12)


EMPTY = memoryview(bytes(4096)).cast("Q")
