"""The columns that a recorded heap stream has on disk, and the way from EVENTs to them and back.

They are EVENT's fields, but for two that grow with the run: `entry` is the distance to the event before it in the same
batch (the first of a batch: from 0), and `age` stands for `born`: how many events ago the block was made that this one
released (0: it released none). So a batch can be read by who knows how many events came before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emu.trace.heap import EVENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emu.trace.heap import Events

    Columns = dict[str, NDArray[Any]]

GATHERED = 1 << 16  # events of a batch at most
_CHANGED = {"entry": ("entry", "<i8"), "born": ("age", "<u8")}
COLUMNS = tuple(_CHANGED.get(name, (name, kind)) for name, kind in EVENT)


class Gathered:
    """Gathers events as the columns of one batch: few large copies cost a third of many small ones."""

    def __init__(self, capacity: int = GATHERED) -> None:
        import numpy as np

        self._fields = {name: np.empty(capacity, kind) for name, kind in EVENT}
        self._capacity, self._used, self._first = capacity, 0, 1

    @property
    def room(self) -> int:
        return self._capacity - self._used

    @property
    def used(self) -> int:
        return self._used

    @property
    def before(self) -> int:
        """Events that were taken."""
        return self._first - 1

    def add(self, events: Events) -> None:
        """As many as there is room for."""
        end = self._used + len(events)
        for name, column in self._fields.items():
            column[self._used : end] = events[name]
        self._used = end

    def take(self) -> Columns:
        """What was gathered; empty from now on. The arrays are valid until the next `add`."""
        import numpy as np

        used, first = self._used, self._first
        columns: Columns = {name: column[:used] for name, column in self._fields.items()}
        columns["entry"] = np.diff(columns["entry"].view(np.int64), prepend=np.int64(0))
        born = columns.pop("born")
        numbers = np.arange(first, first + used, dtype=np.uint64)
        columns["age"] = np.where(born != 0, numbers - born, np.uint64(0))
        self._used, self._first = 0, first + used
        return {name: columns[name] for name, _ in COLUMNS}


def events_of(columns: Columns, before: int) -> Events:
    """The EVENTs of one batch, which `before` others came before."""
    import numpy as np

    count = len(columns["entry"])
    events: Events = np.empty(count, np.dtype(list(EVENT)))
    for name, _ in EVENT:
        if name not in _CHANGED:
            events[name] = columns[name]
    events["entry"] = np.cumsum(columns["entry"], dtype=np.int64).view(np.uint64)
    age = columns["age"]
    numbers = np.arange(before + 1, before + 1 + count, dtype=np.uint64)
    events["born"] = np.where(age != 0, numbers - age, np.uint64(0))
    return events
