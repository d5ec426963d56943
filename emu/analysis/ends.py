"""What stands in the table of blocks when a run is over, added up: emu/native/heap_ends.h does the same in C, for runs
that have nothing else for numpy to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emu.calls import Ends, Taken, Unfreed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Blocks = NDArray[np.void]  # emu.trace.heap.BLOCK

NEAR = 64  # bytes: a block of n takes 2n + NEAR at most


def ends_of(blocks: Blocks, held: Sequence[tuple[int, int]]) -> Ends:
    """`blocks` as HeapTracer.blocks has them; the ranges [start, end) that are the allocator's."""
    import numpy as np

    outer = blocks[blocks["inner"] == 0]
    told = outer[(outer["size"] < 1 << 47) & (outer["pointer"] < 1 << 47)]
    told = told[np.argsort(told["pointer"], kind="stable")]
    live = told["freed_at"] == 0
    sums = _sums(np.array(held, np.int64).reshape(-1, 2), _spans(told[live]), _spans(told[~live]))
    return Ends(*sums, _unfreed(outer[outer["freed_at"] == 0]), _taken(_as_they_lay(told[told["size"] < 1 << 46])))


def _sums(*spans: NDArray[np.int64]) -> tuple[int, int, int]:
    """Bytes that are (live and held, freed and held, live elsewhere) of what is held, live, and freed."""
    import numpy as np

    edges = np.concatenate([span.T.ravel() for span in spans])
    if not len(edges):
        return 0, 0, 0
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    inside = []
    for number in range(3):
        step = [np.repeat(np.int64(sign * (n == number)), len(s)) for n, s in enumerate(spans) for sign in (1, -1)]
        inside.append(np.cumsum(np.concatenate(step)[order])[:-1] > 0)
    lengths = np.diff(edges)
    here, live, freed = inside
    return tuple(int(lengths[chosen].sum()) for chosen in (here & live, here & freed & ~live, live & ~here))  # type: ignore[return-value]


def _spans(blocks: Blocks) -> NDArray[np.int64]:
    """(start, end) of each."""
    import numpy as np

    start = blocks["pointer"].astype(np.int64)
    return np.stack((start, start + blocks["size"].astype(np.int64)), axis=1)


def _unfreed(live: Blocks) -> list[Unfreed]:
    import numpy as np

    keys = live["stack"].astype(np.uint64) << np.uint64(32) | live["site"]
    _, first, index, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    sizes = np.bincount(index, live["size"]).astype(np.int64)
    return [
        Unfreed(int(block["stack"]), int(block["site"]), count, size)
        for block, count, size in zip(live[first], counts.tolist(), sizes.tolist(), strict=True)
    ]


def _as_they_lay(blocks: Blocks) -> Blocks:
    """By address: live blocks, and dead ones where no live one lies now."""
    import numpy as np

    start = blocks["pointer"].astype(np.int64)
    end = start + np.maximum(blocks["size"].astype(np.int64), 1)
    live = blocks["freed_at"] == 0
    if not live.any():
        return blocks
    starts, ends = start[live], end[live]
    before = np.searchsorted(starts, start, "right") - 1
    covered = (before >= 0) & (ends[np.maximum(before, 0)] > start)
    after = np.minimum(before + 1, len(starts) - 1)
    covered |= (starts[after] >= start) & (starts[after] < end)
    found: Blocks = blocks[live | ~covered]
    return found


def _taken(blocks: Blocks) -> list[Taken]:
    """Of the blocks of each size the closest neighbours tell: between others lie holes, or what is the allocator's."""
    import numpy as np

    sizes = blocks["size"].astype(np.int64)
    apart = np.append(np.diff(blocks["pointer"].astype(np.int64)), 0)
    near = (apart >= np.maximum(sizes, 1)) & (apart <= 2 * sizes + NEAR)
    order = np.lexsort((apart[near], sizes[near]))
    found, first = np.unique(sizes[near][order], return_index=True)
    taken = apart[near][order][first]
    counts = np.bincount(np.searchsorted(found, sizes[np.isin(sizes, found)]), minlength=len(found))
    return [Taken(*row) for row in zip(found.tolist(), taken.tolist(), counts.tolist(), strict=True)]
