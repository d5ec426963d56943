"""What a heap stream adds up to: counts, live bytes and their peak, sites, sizes, costs. Vectorised folds, no event is
kept: memory grows with the number of call sites, not of calls."""

from __future__ import annotations

import functools
from array import array
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from emu.calls import ABANDONED, CLASSES, INNER, MISUSE, OVERLAPS, SMALL_COST, UNFINISHED, Totals
from emu.uprobes import KINDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Events = NDArray[np.void]

# The CLASSES of sizes are 0, then 1…16, 17…32, 33…64 … by powers of two. Costs from SMALL_COST on are kept in a dict.
ALLOCATES, FREES = (1, 2, 3, 5, 6, 7), (4, 8, 9, 11)  # kinds; usable-size calls are neither
GROUPS = ("malloc", "free")


class Cost(NamedTuple):
    """Instructions of one call, over all calls of a kind and size class."""

    calls: int
    p50: int
    p99: int
    max: int
    total: int


class Peak(NamedTuple):
    """When most bytes were live: after which event, at which instruction."""

    bytes: int = 0
    blocks: int = 0
    event: int = 0
    instructions: int = 0


class SiteTotal(NamedTuple):
    """What was allocated by calls from one place; `key` is a call stack's number, or the call site's."""

    key: int
    calls: int
    bytes: int


def class_name(number: int) -> str:
    """`0`, `1-16`, `17-32`, …"""
    if number < 2:
        return ("0", "1-16")[number]
    return f"{(8 << number - 1) + 1}-{8 << number}"


class HeapFold:
    """Keeps emu.trace.heap.HeapSink. Only calls that the program made itself count; inner ones are counted as such.

    Of a call that the run ended inside, or that was left by longjmp, the memory counts, not the cost."""

    def __init__(self, by_stack: bool) -> None:
        self._by_stack = "stack" if by_stack else "site"
        self.events = self.inner = self.failed = self.unreturned = self.misused = self.overlaps = 0
        self.calls = [0] * len(KINDS)  # by kind; [0]: blocks that went with their pools
        self.allocated = self.freed = self.live = self.live_blocks = 0
        self.peak = Peak()
        self.sizes = [0] * CLASSES
        self.faults, self.syscalls = [0, 0], [0, 0]
        self._sites: dict[int, tuple[int, int]] = {}  # calls and bytes by key
        self._costs: dict[tuple[int, int], dict[int, int]] = {}  # how many calls had which cost, by group and class

    def batch(self, events: Events) -> None:
        import numpy as np

        first, self.events = self.events, self.events + len(events)
        flags = events["flags"]
        outer = (flags & INNER) == 0
        self.inner += int(len(events) - np.count_nonzero(outer))
        odd = int(np.bitwise_or.reduce(flags))
        if odd & (MISUSE | OVERLAPS):
            self.misused += int(np.count_nonzero(flags & MISUSE))
            self.overlaps += int(np.count_nonzero(flags & OVERLAPS))
        calls = np.bincount(events["kind"][outer], minlength=len(KINDS)).tolist()
        self.calls = [a + b for a, b in zip(self.calls, calls, strict=True)]
        kinds = np.where(outer, events["kind"], 0)
        wanted = _is_one_of(ALLOCATES)[kinds]
        made = wanted & (events["result"] != 0)
        returned = (flags & (ABANDONED | UNFINISHED)) == 0
        self.failed += int(np.count_nonzero(wanted & ~made & returned & (events["size"] != 0)))
        self.unreturned += int(np.count_nonzero(outer & ~returned))
        possible = events["size"] < 1 << 63  # a larger block, which only a broken allocator makes, counts as empty
        sizes = np.where(made & possible, events["size"], 0).astype(np.int64)
        self._fold_live(events, first, made, sizes, outer)
        classes = _classes(np.where(made, sizes, events["freed"].astype(np.int64)))
        sized = np.bincount(classes[made], minlength=CLASSES).tolist()
        self.sizes = [a + b for a, b in zip(self.sizes, sized, strict=True)]
        self._fold_sites(events[self._by_stack], made, sizes)
        for group, chosen in enumerate((wanted, _is_one_of(FREES)[kinds])):
            self._fold_costs(group, events, chosen & returned, classes)

    def _fold_live(self, events: Events, first: int, made: Bools, sizes: Array, outer: Bools) -> None:
        import numpy as np

        freed = np.where(outer, events["freed"], 0).astype(np.int64)
        self.allocated += int(sizes.sum())
        self.freed += int(freed.sum())
        live = self.live + np.cumsum(sizes - freed)
        blocks = self.live_blocks + np.cumsum(made.astype(np.int64) - (outer & (events["born"] != 0)))
        top = int(live.argmax())
        if live[top] > self.peak.bytes:
            when = int(events["entry"][top]) + int(events["cost"][top])
            self.peak = Peak(int(live[top]), int(blocks[top]), first + top + 1, when)
        self.live, self.live_blocks = int(live[-1]), int(blocks[-1])

    def _fold_sites(self, keys: NDArray[np.void], made: Bools, sizes: Array) -> None:
        import numpy as np

        chosen = keys[made]
        calls = np.bincount(chosen)
        total = np.bincount(chosen, sizes[made])
        for key in np.flatnonzero(calls).tolist():
            before = self._sites.get(key, (0, 0))
            self._sites[key] = before[0] + int(calls[key]), before[1] + int(total[key])

    def _fold_costs(self, group: int, events: Events, chosen: Bools, classes: Array) -> None:
        import numpy as np

        costs, classes = events["cost"][chosen].astype(np.int64), classes[chosen]
        for total, name in ((self.faults, "faults"), (self.syscalls, "syscalls")):
            total[group] += int(events[name][chosen].sum(dtype=np.int64))
        pairs, counts = np.unique(classes << 32 | costs, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            found = self._costs.setdefault((group, pair >> 32), {})
            cost = pair & 0xFFFF_FFFF
            found[cost] = found.get(cost, 0) + count

    def take(self, totals: Totals) -> None:
        """Be what the hooks have counted: as if each event had come in a batch."""
        head = memoryview(totals.head).cast("q")
        (self.events, self.inner, self.failed, self.unreturned, self.misused, self.overlaps, self.allocated, self.freed,
         self.live, self.live_blocks) = head[:10].tolist()  # fmt: skip
        self.peak = Peak(*head[10:14].tolist())
        self.faults, self.syscalls = head[14:16].tolist(), head[16:18].tolist()
        self.calls = head[18 : 18 + len(KINDS)].tolist()
        self.sizes = head[34 : 34 + CLASSES].tolist()
        none = bytes(8 * SMALL_COST)
        for row in range(2 * CLASSES):
            at = 8 * (34 + CLASSES + row * SMALL_COST)
            counts = totals.head[at : at + len(none)]
            if counts != none:  # most are
                told = enumerate(memoryview(counts).cast("q"))
                self._costs[divmod(row, CLASSES)] = {cost: count for cost, count in told if count}
        dear = memoryview(totals.dear).cast("Q").tolist()
        for key, count in zip(dear[::2], dear[1::2], strict=True):
            if key:
                self._costs.setdefault((key >> 40 & 1, key >> 32 & 255), {})[key & 0xFFFF_FFFF] = count
        places = memoryview(totals.places).cast("q").tolist()
        pairs = zip(places[::2], places[1::2], strict=True)
        self._sites = {key: pair for key, pair in enumerate(pairs) if pair[0]}

    def totals(self) -> Totals:
        """What `take` takes."""
        head = [self.events, self.inner, self.failed, self.unreturned, self.misused, self.overlaps, self.allocated]
        head += [self.freed, self.live, self.live_blocks, *self.peak, *self.faults, *self.syscalls]
        small, dear = array("q", bytes(8 * 2 * CLASSES * SMALL_COST)), array("Q")
        for (group, number), counts in self._costs.items():
            for cost, count in counts.items():
                if cost < SMALL_COST:
                    small[(group * CLASSES + number) * SMALL_COST + cost] = count
                else:
                    dear.extend((cost | number << 32 | group << 40 | 1 << 63, count))
        places = [each for key in range(max(self._sites, default=-1) + 1) for each in self._sites.get(key, (0, 0))]
        calls = [*self.calls, *[0] * (16 - len(self.calls))]
        counted = array("q", [*head, *calls, *self.sizes]).tobytes() + small.tobytes()
        return Totals(counted, array("q", places).tobytes(), dear.tobytes())

    def cost(self, group: str, number: int | None = None) -> Cost | None:
        """Over all sizes, or of one class; None: no call."""
        index = GROUPS.index(group)
        if number is not None:
            counts = self._costs.get((index, number), {})
        else:
            counts = Counter()
            for each in range(CLASSES):
                counts.update(self._costs.get((index, each), {}))
        return _cost(counts) if counts else None

    @property
    def allocations(self) -> int:
        """Calls that handed out a block, realloc included."""
        return sum(self.sizes)

    @property
    def reallocs(self) -> int:
        """Calls of realloc and its kin; they are no frees, whatever they give back."""
        return self.calls[KINDS.index("realloc")]

    @property
    def frees(self) -> int:
        return sum(self.calls[kind] for kind in FREES)

    @property
    def swept(self) -> int:
        """Blocks that no call named: they went with their pools."""
        return self.calls[0]

    def sites(self) -> list[SiteTotal]:
        """Where blocks were allocated, most bytes first."""
        found = [SiteTotal(key, calls, size) for key, (calls, size) in self._sites.items()]
        return sorted(found, key=lambda site: (-site.bytes, -site.calls, site.key))


def _cost(counts: dict[int, int]) -> Cost:
    """Percentiles by nearest rank: the least cost that so many of the calls do not exceed."""
    calls = sum(counts.values())
    ranks = [-(-calls * share // 100) for share in (50, 99)]
    found: list[int] = []
    seen = 0
    for cost in sorted(counts):
        seen += counts[cost]
        while len(found) < 2 and seen >= ranks[len(found)]:
            found.append(cost)
    return Cost(calls, found[0], found[1], max(counts), sum(cost * count for cost, count in counts.items()))


def _classes(sizes: Array) -> Array:
    """The size class of each size."""
    import numpy as np

    small = _small_classes()[np.minimum(sizes, 4096)]
    big = sizes > 4096
    if big.any():
        small[big] = np.frexp(sizes[big] - 1.0)[1] - 3  # the exponent is the bit length, below 2^53
    return small


def size_class(size: int) -> int:
    """Index of the class that `size` falls into."""
    return 0 if size <= 0 else max(1, (size - 1).bit_length() - 3)


@functools.cache
def _small_classes() -> Array:
    import numpy as np

    return np.array([size_class(size) for size in range(4097)], np.int64)


@functools.cache
def _is_one_of(kinds: tuple[int, ...]) -> Bools:
    """By kind: is it one of `kinds`?"""
    import numpy as np

    return np.isin(np.arange(len(KINDS)), kinds)
