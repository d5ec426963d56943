"""Huge pages of 2 MiB: the pool, what MAP_HUGETLB maps, its faults (mm/hugetlb.c).

A huge page is 512 neighbouring frames under 512 ordinary PTEs, always mapped and unmapped together. Its frames are not
in the hands of `Frames`, and do not count in RSS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import ENOMEM, LinuxError
from kernel.mm.frames import FREE
from kernel.mm.mm import COW, HUGE, MIN_FLT, Mm
from kernel.mm.pte import ANON, HERE, PFN, D
from kernel.mm.runs import ZEROS
from kernel.mm.vma import EXEC, WRITE, Vma

if TYPE_CHECKING:
    from kernel.mm.frames import Frames

SIZE = 2 << 20
FRAMES = 512
NONE_OWNS, ONE_OWNS = (memoryview(bytearray(owners.to_bytes(4, "little") * FRAMES)).cast("I") for owners in (0, 1))


class HugePool:
    """The huge pages of the machine, from the top of RAM down.

    Always: `total` pages are in the pool, of which those in `free` (first frames) are in no file or mapping;
    `reserved` of the free ones are promised; `surplus` of all are more than were asked for, and go when they are
    freed."""

    def __init__(self, frames: Frames, pages: int) -> None:
        self.frames = frames
        self.total = self.reserved = self.surplus = 0
        self.free: list[int] = []
        self.all: set[int] = set()  # the first frames of all
        self.resize(pages)

    def resize(self, pages: int) -> None:
        """vm.nr_hugepages = `pages`, as far as memory allows (set_max_huge_pages)."""
        while self.total < pages and self._grow():
            pass
        while self.total > pages and len(self.free) > self.reserved:
            self._give_back(self.free.pop())
        self.surplus = max(0, self.total - pages)

    def _grow(self) -> bool:
        """Take one from the memory that was never used."""
        first = self.frames.carve(FRAMES)
        if first < 0:
            return False
        self.free.append(first)
        self.all.add(first)
        self.total += 1
        self.frames.commit.hugetlb_pages += FRAMES
        return True

    def _give_back(self, first: int) -> None:
        """Its frames become ordinary ones."""
        frames = self.frames
        self.all.remove(first)
        self.total -= 1
        frames.commit.hugetlb_pages -= FRAMES
        n = frames.counters[FREE]
        for pfn in range(first, first + FRAMES):
            frames.free[n + pfn - first] = pfn
        frames.counters[FREE] = n + FRAMES
        frames.donated += FRAMES

    def reserve(self, pages: int) -> None:
        """Raises LinuxError(ENOMEM)."""
        if len(self.free) - self.reserved < pages:
            raise LinuxError(ENOMEM, f"no free huge pages: {pages} wanted of {len(self.free) - self.reserved}")
        self.reserved += pages

    def take(self, promised: bool) -> int:
        """The first frame of a zeroed page, owned once; -1 if there is none left for this one."""
        if not promised and len(self.free) <= self.reserved:
            return -1
        first = self.free.pop()
        self.reserved -= promised
        self.frames.ram.discard(first << 12, SIZE)
        self.frames.refs[first : first + FRAMES] = ONE_OWNS
        return first

    def put(self, first: int) -> None:
        """One owner less."""
        refs = self.frames.refs
        if refs[first] > 1:
            self.own(first, -1)
            return
        refs[first : first + FRAMES] = NONE_OWNS
        code = self.frames.code.intersection(range(first, first + FRAMES))
        if code:
            self.frames.code -= code
            self.frames.invalidate(code)
        if self.surplus:
            self.surplus -= 1
            self._give_back(first)
        else:
            self.free.append(first)

    def own(self, first: int, change: int) -> None:
        refs = self.frames.refs
        for pfn in range(first, first + FRAMES):
            refs[pfn] += change


class HugeFile:
    """What one MAP_HUGETLB mapping was made of; keeps kernel.mm.mappable.Mappable.

    `pages` (of a shared one) holds the first frame of each huge page by its number; private pages belong to the PTEs.
    `promised`: the numbers of pages that were reserved and are not there yet."""

    shmem = False
    name = "/anon_hugepage (deleted)"

    def __init__(self, pool: HugePool, first: int, pages: int, shared: bool, reserve: bool) -> None:
        """Pages `first` and on of the file are mapped. Raises LinuxError(ENOMEM): they cannot be reserved."""
        if reserve:
            pool.reserve(pages)
        self.pool = pool
        self.shared = shared
        self.reserves = reserve
        self.promised = set(range(first, first + pages)) if reserve else set()
        self.pages: dict[int, int] = {}
        self.mappings: dict[int, tuple[Mm, Vma]] = {}
        self.identity = 0, 17, pool.frames.next_inode
        pool.frames.next_inode += 1

    def page(self, number: int) -> int:
        """The first frame of a page for one more owner; -1 where the pool is empty."""
        first = self.pages.get(number, -1)
        if first < 0:
            first = self.pool.take(number in self.promised)
            self.promised.discard(number)
            if first < 0 or not self.shared:
                return first
            self.pages[number] = first
        self.pool.own(first, 1)
        return first

    def deliver(self, number: int, write: bool) -> tuple[int, bool]:
        """What a first touch of a page maps: its first frame, -1 where there is none, and whether it is the mapping's
        own (of a private one)."""
        return self.page(number), not self.shared

    def copy(self, number: int, there: int) -> int:
        """A private page with the bytes of the one at `there`; -1 where the pool is empty."""
        first = self.page(number)
        if first >= 0:
            ram = self.pool.frames.ram.bytes
            ram[first << 12 : (first << 12) + SIZE] = ram[there << 12 : (there << 12) + SIZE]
        return first

    def unmap(self, first: int, end: int) -> None:
        """The pages [first, end) go from all mappings, private copies too (hugetlb_vmdelete_list)."""
        for mm, vma in list(self.mappings.values()):
            low, high = (max(vma.start, vma.start + ((n << 9) - vma.pgoff << 12)) for n in (first, end))
            mm.zap_mapped(low, min(high, vma.end), private=True)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """MADV_REMOVE of one without a name."""
        self.punch(offset, offset + length)

    def punch(self, start: int, end: int) -> None:
        """A hole from byte `start` to `end`: whole pages go, and are promised no more; the rest is zeroed
        (hugetlbfs_punch_hole)."""
        first, last = -(-start // SIZE), end // SIZE
        if start < first * SIZE:
            self._zero(start, min(end, first * SIZE))
        if first < last:
            self.unmap(first, last)
            for number in [number for number in self.pages if first <= number < last]:
                self.pool.put(self.pages.pop(number))
        if end > last * SIZE >= first * SIZE:
            self._zero(last * SIZE, end)

    def _zero(self, start: int, end: int) -> None:
        """The bytes [start, end) of one page, if it is there."""
        number, offset = divmod(start, SIZE)
        first = self.pages.get(number, -1)
        if first >= 0:
            frames, at = self.pool.frames, (first << 12) + offset
            frames.ram.bytes[at : at + end - start] = bytes(end - start)
            code = frames.code.intersection(range(first, first + FRAMES))
            if code:
                frames.invalidate(code)

    def frame(self, index: int, write: bool) -> int | None:
        """Not for pages of 4 KiB: see hugetlb_fault."""
        return None

    def resident(self, index: int) -> bool:
        return False

    def sync(self, start: int, end: int) -> None:
        """Nothing to write back."""

    def added(self, mm: Mm, vma: Vma) -> None:
        self.mappings[id(vma)] = (mm, vma)

    def removed(self, mm: Mm, vma: Vma) -> None:
        """What nobody maps any more is not promised any more; a shared file goes with its last mapping."""
        self.mappings.pop(id(vma), None)
        if self.shared and self.mappings:
            return
        kept = {
            number
            for _, other in self.mappings.values()
            for number in range(other.pgoff >> 9, other.pgoff + other.pages >> 9)
        }
        self.pool.reserved -= len(self.promised - kept)
        self.promised &= kept
        if not self.mappings:
            for first in self.pages.values():
                self.pool.put(first)
            self.pages.clear()


def hugetlb_fault(mm: Mm, vma: Vma, va: int, write: bool, index: int) -> bool:
    """The first touch of a huge page; `index` is va's PTE. False: SIGBUS, the pool is empty."""
    assert isinstance(vma.mappable, HugeFile)
    first, own = vma.mappable.deliver(vma.page_index(va) >> 9, write)
    if first < 0:
        return False
    if own:
        bits = vma.write_bits if write else vma.read_bits | ANON | D
    else:
        bits = vma.write_bits if vma.mappable.shared and vma.flags & WRITE else vma.read_bits
    _enter(mm, vma, index, first, bits, own)
    mm.counters[HUGE] += FRAMES
    return True


def hugetlb_cow(mm: Mm, vma: Vma, va: int, index: int) -> bool:
    """A write to a page of the file under a private mapping, or to one that several own (hugetlb_wp). False: SIGBUS,
    the pool is empty."""
    file = vma.mappable
    assert isinstance(file, HugeFile)
    old = (mm.words[index & ~511] & PFN) >> 12
    first = file.copy(vma.page_index(va) >> 9, old)
    if first < 0:
        return False
    _enter(mm, vma, index, first, vma.write_bits, True)
    file.pool.put(old)
    mm.counters[COW] += 1
    mm.tlb()
    return True


def _enter(mm: Mm, vma: Vma, index: int, first: int, bits: int, own: bool) -> None:
    """Write the 512 PTEs around number `index`."""
    if own and not vma.anon_vma:
        vma.anon_vma = mm.next_anon_vma
        mm.next_anon_vma += 1
    leaf, words = index & ~511, mm.words
    for k in range(FRAMES):
        words[leaf + k] = first + k << 12 | bits
    mm.counters[MIN_FLT] += 1
    if vma.flags & EXEC:
        mm.frames.code.update(range(first, first + FRAMES))


def hugetlb_upgrade(mm: Mm, index: int, bits: int) -> None:
    """The first write to a private page that was read before: all of it becomes writable."""
    words = mm.words
    leaf = index & ~511
    for k in range(leaf, leaf + FRAMES):
        words[k] |= bits


def zap_hugetlb(mm: Mm, vma: Vma, start: int, end: int) -> int:
    """Drop the huge pages of [start, end), aligned, in `vma`; how many frames."""
    file = vma.mappable
    assert isinstance(file, HugeFile)
    gone = 0
    for va, i, _ in mm.page_table.leaves_in(start, end):
        entry = mm.words[i]
        if not entry & HERE:
            continue
        mm.words[i : i + FRAMES] = ZEROS[:FRAMES]
        file.pool.put((entry & PFN) >> 12)
        if entry & ANON and file.reserves:
            file.promised.add(vma.page_index(va) >> 9)
            file.pool.reserved += 1
        gone += FRAMES
    if gone:
        mm.counters[HUGE] -= gone
        mm.tlb()
    return gone
