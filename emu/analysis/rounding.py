"""What an allocator rounds sizes to, told by how far apart it puts blocks: from the beginning of one to the next.

Of the blocks of one size the closest neighbours tell: between others lie holes, or what the allocator keeps for itself.
That counts a header, if there is one, with the block. Where no neighbour is near, nothing is told.

A block's usable size is known where the program asks for it (events of the kind `usable`), and not read out of the
allocator's memory elsewhere: glibc has it in the word before the block, but there a program's overflow writes, too, and
the others have it in tables of their own, which differ by version. Calling the guest's function would be in its counts.
What addresses tell is true of every allocator, and of a broken one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Blocks = NDArray[np.void]  # emu.trace.heap.BLOCK

NEAR = 64  # bytes: a block of n takes 2n + NEAR at most


class Rounding(NamedTuple):
    """Sizes of a range: the least and the most that one of them takes, and the part of it that nobody asked for."""

    least: int
    most: int
    waste: float  # 0…1, over the blocks that stand in the table


class Roundings:
    """By size asked for."""

    def __init__(self, blocks: Blocks) -> None:
        """`blocks` as HeapTracer.blocks has them."""
        import numpy as np

        blocks = _as_they_lay(blocks)
        starts = blocks["pointer"].astype(np.int64)
        sizes = blocks["size"].astype(np.int64)
        apart = np.append(np.diff(starts), 0)
        near = (apart >= np.maximum(sizes, 1)) & (apart <= 2 * sizes + NEAR)
        order = np.lexsort((apart[near], sizes[near]))
        self._sizes, first = np.unique(sizes[near][order], return_index=True)
        self._taken = apart[near][order][first]
        self._counts = np.bincount(
            np.searchsorted(self._sizes, sizes[np.isin(sizes, self._sizes)]), minlength=len(self._sizes)
        )

    def of(self, size: int) -> int | None:
        """What a block of `size` takes; None: not known."""
        import numpy as np

        at = int(np.searchsorted(self._sizes, size))
        return int(self._taken[at]) if at < len(self._sizes) and self._sizes[at] == size else None

    def between(self, low: int, high: int) -> Rounding | None:
        """Of the sizes low…high; None: of none it is known."""
        import numpy as np

        a, b = np.searchsorted(self._sizes, (low, high + 1))
        if a == b:
            return None
        taken, counts = self._taken[a:b], self._counts[a:b]
        total = int((taken * counts).sum())
        return Rounding(int(taken.min()), int(taken.max()), 1 - int((self._sizes[a:b] * counts).sum()) / total)


def _as_they_lay(blocks: Blocks) -> Blocks:
    """The program's blocks by address: live ones, and dead ones where no live one lies now."""
    import numpy as np

    blocks = blocks[(blocks["inner"] == 0) & (blocks["size"] < 1 << 46) & (blocks["pointer"] < 1 << 47)]
    blocks = blocks[np.argsort(blocks["pointer"], kind="stable")]
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
