"""What an allocator rounds sizes to, told by how far apart it puts blocks: from the beginning of one to the next.

Of the blocks of one size the closest neighbours tell: between others lie holes, or what the allocator keeps for itself.
That counts a header, if there is one, with the block. Where no neighbour is near, nothing is told.

A block's usable size is known where the program asks for it (events of the kind `usable`), and not read out of the
allocator's memory elsewhere: glibc has it in the word before the block, but there a program's overflow writes, too, and
the others have it in tables of their own, which differ by version. Calling the guest's function would be in its counts.
What addresses tell is true of every allocator, and of a broken one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from emu.calls import Taken


class Rounding(NamedTuple):
    """Sizes of a range: the least and the most that one of them takes, and the part of it that nobody asked for."""

    least: int
    most: int
    waste: float  # 0…1, over the blocks that stand in the table


class Roundings:
    """By size asked for."""

    def __init__(self, taken: Sequence[Taken]) -> None:
        """`taken` from small to large."""
        self._taken = taken
        self._sizes = [each.size for each in taken]

    def of(self, size: int) -> int | None:
        """What a block of `size` takes; None: not known."""
        at = bisect_left(self._sizes, size)
        return self._taken[at].takes if at < len(self._sizes) and self._sizes[at] == size else None

    def between(self, low: int, high: int) -> Rounding | None:
        """Of the sizes low…high; None: of none it is known."""
        found = self._taken[bisect_left(self._sizes, low) : bisect_left(self._sizes, high + 1)]
        if not found:
            return None
        total = sum(each.takes * each.blocks for each in found)
        asked = sum(each.size * each.blocks for each in found)
        takes = [each.takes for each in found]
        return Rounding(min(takes), max(takes), 1 - asked / total)
