"""Swap: pages that left RAM, in slots of one lazily backed host buffer (mm/swapfile.c). Who leaves: reclaim.py."""

from __future__ import annotations

from array import array

from kernel.mm.ram import PAGE_SIZE, lazy


class Swap:
    """The one swap area.

    Always: `refs[slot]` is the number of swap entries (PTEs) that name a slot, 0 exactly when it is free; free slots
    are those in `free` (a stack) and the never-used ones from `bump` on. The host backs a slot once it was used.
    """

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self._contents = lazy(pages * PAGE_SIZE)
        self._refs = lazy(pages * 4)
        self.bytes = memoryview(self._contents)
        self.refs = memoryview(self._refs).cast("I")
        self.free = array("I")
        self.bump = 0
        self.ins = self.outs = 0  # pswpin, pswpout of /proc/vmstat

    @property
    def used(self) -> int:
        """Slots in use."""
        return self.bump - len(self.free)

    @property
    def full(self) -> bool:
        return not self.free and self.bump == self.pages

    def store(self, page: memoryview) -> int:
        """A slot with one reference that now holds `page`. There must be one: see `full`."""
        if self.free:
            slot = self.free.pop()
        else:
            slot = self.bump
            self.bump += 1
        self.refs[slot] = 1
        self.bytes[slot << 12 : slot + 1 << 12] = page
        self.outs += 1
        return slot

    def load(self, slot: int) -> memoryview:
        """The page in `slot`, to be copied at once."""
        self.ins += 1
        return self.bytes[slot << 12 : slot + 1 << 12]

    def put(self, slot: int) -> None:
        """One swap entry less; the last one frees the slot."""
        left = self.refs[slot] - 1
        self.refs[slot] = left
        if not left:
            self.free.append(slot)
