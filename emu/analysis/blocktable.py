"""The table of blocks after a heap stream: what emu/native/heap.c keeps, told from the events alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.analysis.heap import ALLOCATES
from emu.calls import INNER
from emu.trace.heap import BLOCK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emu.trace.heap import Events

MANY = 1 << 18  # blocks that wait to be put into the table, at least
MANY_DEAD = 1 << 20  # as in heap.c: more are forgotten where they are the greater part


class BlockTable:
    """Keeps emu.trace.heap.HeapSink. Memory grows with the addresses that blocks begin at, not with the events. Of
    blocks only the program's own are told, not the allocator's (`inner`)."""

    def __init__(self) -> None:
        import numpy as np

        self._events, self._waiting = 0, 0
        self._table: Events = np.empty(0, np.dtype(list(BLOCK)))  # in the order of their making
        self._made: list[Events] = []
        self._released: list[tuple[NDArray[np.uint64], Events]] = []  # numbers of blocks, and who released each

    def batch(self, events: Events) -> None:
        import numpy as np

        outer = events["flags"] & INNER == 0
        made = np.flatnonzero(outer & np.isin(events["kind"], ALLOCATES) & (events["result"] != 0))
        blocks = np.zeros(len(made), self._table.dtype)
        chosen = events[made]
        blocks["pointer"], blocks["born"], blocks["used"] = chosen["result"], made + (self._events + 1), 1
        for name in ("size", "site", "stack", "function"):
            blocks[name] = chosen[name]
        releasing = events[outer & (events["born"] != 0)]
        self._made.append(blocks)
        self._released.append((releasing["born"], releasing))
        self._events += len(events)
        self._waiting += len(blocks)
        if self._waiting > max(MANY, len(self._table)):
            self.blocks()

    def blocks(self) -> Events:
        """The BLOCKs at all addresses where one began, in the order of their making."""
        import numpy as np

        table = np.concatenate((self._table, *self._made))
        for born, events in self._released:
            at = np.searchsorted(table["born"], born)
            known = at < len(table)
            known[known] = table["born"][at[known]] == born[known]
            at, events = at[known], events[known]
            for name, of in (("freed_at", "entry"), ("freed_site", "site"), ("freed_stack", "stack")):
                table[name][at] = events[of]
            table["freed_function"][at] = events["function"]
        last = len(table) - 1 - np.unique(table["pointer"][::-1], return_index=True)[1]
        table = table[np.sort(last)]  # one block made where another was took its place
        live = table["freed_at"] == 0
        living = int(np.count_nonzero(live))
        if len(table) - living > max(MANY_DEAD, living):
            table = table[live]
        self._table, self._made, self._released, self._waiting = table, [], [], 0
        return table
