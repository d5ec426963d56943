"""Physical frames: who uses which, how often. Owns everything in RAM from 1 MiB up.

All state is flat (memoryviews), so that a native fault path can pop a frame exactly as Python does: see `alloc`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from kernel.abi.limits import MAX_MAP_COUNT, MMAP_MIN_ADDR
from kernel.mm.commit import Commit
from kernel.mm.ram import LOW, PAGE_SHIFT, PAGE_SIZE, Ram, lazy
from kernel.mm.swap import Swap

if TYPE_CHECKING:
    from kernel.mm.hugetlb import HugePool
    from kernel.mm.mempolicy import Policy
    from kernel.mm.mm import Mm
    from kernel.mm.shmem import SwapBacked
    from kernel.mm.vma import Vma

FREE, BUMP, LIMIT, ZERO = range(4)  # indices into Frames.counters
CLEAN = 1 << 31  # in an entry of the free stack: this frame is known to be all zero
ZERO_PAGE = bytes(PAGE_SIZE)
PINNED = 1 << 31  # refcount of the zero page: no get or put changes who owns it
NO_OWNER, ONE_OWNER = (memoryview(array("I", (owners,)) * 512) for owners in (0, 1))
RUN = 16  # fewer adjacent free frames than this are not worth a call to the host


def _nobody(_pfns: Collection[int]) -> None:
    """There is no CPU."""


class OutOfMemory(Exception):
    """No frame is left and nothing could be reclaimed. The one who runs the task decides who dies of it."""


class Frames:
    """The frame allocator.

    Always holds: `refs[pfn]` is the number of owners of a frame (PTEs, page caches, a page table), 0 exactly when it
    is free; free frames are those in `free[0:counters[FREE]]` (a LIFO stack of pfn, CLEAN-flagged when known zero) and
    the never-used ones [counters[BUMP], counters[LIMIT]). `counters[ZERO]` is the pfn of the shared zero page.

    A native allocator does what `alloc` does: pop `free` (zero the frame unless CLEAN), else take `counters[BUMP]++`
    while below `counters[LIMIT]` (that frame is zero already), and set `refs[pfn] = 1`; when neither is possible it
    leaves the fault to Python.

    `code` holds pfns that were mapped executable. The CPU may have translated what is in them: whoever writes to one
    for the guest calls `invalidate` (the CPU notices the guest's own writes), and whoever frees one, `release`.
    """

    huge: HugePool  # set once, by who composes the machine

    def __init__(self, ram: Ram, overcommit: int = 0, swap_pages: int = 0) -> None:
        self.ram = ram
        total = ram.size >> PAGE_SHIFT
        self._refs_map = lazy(total * 4)
        self._free_map = lazy(total * 4)
        self.refs = memoryview(self._refs_map).cast("I")[:total]
        self.free = memoryview(self._free_map).cast("I")[:total]
        self.counters = memoryview(bytearray(8 * 8)).cast("Q")
        self.counters[BUMP] = LOW >> PAGE_SHIFT
        self.counters[LIMIT] = total
        self.donated = 0  # frames above counters[LIMIT] that were huge pages once
        self.code: set[int] = set()
        self.invalidate: Callable[[Collection[int]], None] = _nobody  # Cpu.invalidate_code
        self.reclaim: Callable[[], bool] | None = None  # the one place for reclaim and swap: True if a frame came free
        self.spaces: dict[Mm, None] = {}  # every address space, in the order they were made: reclaim goes round them
        self.swap = Swap(swap_pages)
        self.max_map_count, self.mmap_min_addr = MAX_MAP_COUNT, MMAP_MIN_ADDR  # of address spaces yet to be made
        self.next_inode = 1  # of shared anonymous memory, as its own file system numbers it
        self.commit = Commit(total, overcommit, swap_pages)
        self.weights = [1] * self.nodes  # of nodes, for MPOL_WEIGHTED_INTERLEAVE
        self.auto_weights = True  # nobody has set one
        self.numa_events: Counter[tuple[str, int]] = Counter()  # by (name, node), as numastat shows them
        self.caches: dict[SwapBacked, None] = {}  # what has pages of shared memory or tmpfs, mapped or not, by age
        self.zero_pfn = self.alloc()
        self.refs[self.zero_pfn] = PINNED
        self.counters[ZERO] = self.zero_pfn

    @property
    def used(self) -> int:
        """Frames in use, page tables included."""
        counters = self.counters
        return counters[BUMP] + self.donated - (LOW >> PAGE_SHIFT) - counters[FREE]

    @property
    def available(self) -> int:
        """Frames that are free (MemFree): what is in the pool of huge pages is not."""
        return self.total - self.used - self.commit.hugetlb_pages

    @property
    def total(self) -> int:
        """Frames of RAM (MemTotal), the CPU's first megabyte included."""
        return len(self.refs)

    def alloc(self) -> int:
        """A zeroed frame with one reference. Raises OutOfMemory."""
        counters = self.counters
        n = counters[FREE]
        if n:
            counters[FREE] = n - 1
            pfn = self.free[n - 1]
            if pfn & CLEAN:
                pfn ^= CLEAN
            else:
                pa = pfn << PAGE_SHIFT
                self.ram.bytes[pa : pa + PAGE_SIZE] = ZERO_PAGE
        else:
            pfn = counters[BUMP]
            if pfn >= counters[LIMIT]:
                self._reclaim()
                return self.alloc()
            counters[BUMP] = pfn + 1
        self.refs[pfn] = 1
        return pfn

    def alloc_copy(self, source: int) -> int:
        """A frame with one reference and the contents of frame `source`. Raises OutOfMemory."""
        pfn = self.alloc_raw()
        memory = self.ram.bytes
        memory[pfn << 12 : (pfn << 12) + PAGE_SIZE] = memory[source << 12 : (source << 12) + PAGE_SIZE]
        return pfn

    def alloc_raw(self) -> int:
        """A frame with one reference whose contents the caller replaces wholly. Raises OutOfMemory."""
        counters = self.counters
        n = counters[FREE]
        if not n:
            return self.alloc()
        counters[FREE] = n - 1
        pfn = self.free[n - 1] & ~CLEAN
        self.refs[pfn] = 1
        return pfn

    def _reclaim(self) -> None:
        if self.reclaim is None or not self.reclaim():
            raise OutOfMemory(f"all {self.total} frames of RAM are in use")

    # as far as nodes go: one has all (numa.py has more)

    nodes = 1
    aim: tuple[Policy | None, Vma, int] | None = None  # (policy, vma, va) of the fault that the next frame is for

    def node_of(self, pfn: int) -> int:
        """The NUMA node that a frame belongs to."""
        return 0

    def free_on(self, node: int) -> int:
        """Free frames of a node."""
        return self.available

    def size_of(self, node: int) -> int:
        """All frames of a node."""
        return self.total

    def alloc_on(self, node: int) -> int:
        """A zeroed frame of this node, -1 if it has none."""
        return self.alloc()

    def carve(self, pages: int) -> int:
        """The first of `pages` (a power of 2) never-used frames, aligned, that are the caller's from now on; or -1."""
        counters = self.counters
        first = (counters[LIMIT] - pages) & -pages
        if first < counters[BUMP]:
            return -1
        counters[LIMIT] = first
        return first

    def get(self, pfn: int) -> None:
        """One more owner."""
        self.refs[pfn] += 1

    def put(self, pfn: int) -> None:
        """One owner less; the last one frees the frame."""
        refs = self.refs
        left = refs[pfn] - 1
        refs[pfn] = left
        if not left:
            counters = self.counters
            n = counters[FREE]
            self.free[n] = pfn
            counters[FREE] = n + 1

    def release(self, pfn: int) -> None:
        """`put` by a page cache, or of a page that goes elsewhere: code that was translated from it is stale then."""
        if pfn in self.code and self.refs[pfn] == 1:
            self.code.remove(pfn)
            self.invalidate((pfn,))
        self.put(pfn)

    def put_clean(self, pfn: int) -> None:
        """As `put`, of a frame with one owner that is known to be all zero (an emptied page table)."""
        assert self.refs[pfn] == 1
        self.refs[pfn] = 0
        counters = self.counters
        n = counters[FREE]
        self.free[n] = pfn | CLEAN
        counters[FREE] = n + 1

    def put_runs(self, runs: list[tuple[int, int]]) -> None:
        """`put` of the frames of each (first pfn, how many ≤ 512). Long runs of freed frames go back to the host."""
        free, counters = self.free, self.counters
        for pfn, n in reversed(_merged(self._drop_runs(runs))):  # the lowest is taken first
            flag = 0
            if n >= RUN:
                self.ram.discard(pfn << PAGE_SHIFT, n << PAGE_SHIFT)
                flag = CLEAN
            top = counters[FREE]
            free[top : top + n] = array("I", range(pfn + n - 1 | flag, (pfn | flag) - 1, -1))
            counters[FREE] = top + n

    def _drop_runs(self, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """One owner less for each; those that have none left, as runs."""
        refs = self.refs
        gone: list[tuple[int, int]] = []
        for pfn, n in runs:
            if refs[pfn : pfn + n] == ONE_OWNER[:n]:
                refs[pfn : pfn + n] = NO_OWNER[:n]
                gone.append((pfn, n))
                continue
            for each in range(pfn, pfn + n):
                refs[each] -= 1
                if not refs[each]:
                    gone.append((each, 1))
        return gone


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, neighbours made one."""
    merged: list[tuple[int, int]] = []
    end = -1
    for pfn, n in sorted(runs):
        if pfn == end:
            first, before = merged[-1]
            merged[-1] = first, before + n
        else:
            merged.append((pfn, n))
        end = pfn + n
    return merged
