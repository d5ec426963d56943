"""SyscallCounts: calls, errors and virtual time by syscall; all of them by name, or in the form of `strace -c`."""

from __future__ import annotations

from typing import NamedTuple

from emu.trace.events import SyscallExit


class Count(NamedTuple):
    """One syscall's row. `ns` is virtual time between its entries and returns (sleep, not work)."""

    nr: int
    name: str
    calls: int
    errors: int
    ns: int


class SyscallCounts:
    """A fold over SyscallExit, usable as a sink."""

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}  # calls, errors, ns, and calls that never came back: exit_group
        self._names: dict[int, str] = {}

    def write(self, event: object, /) -> None:
        """Count it. Other events are let pass."""
        if isinstance(event, SyscallExit):
            row = self._rows.get(event.nr)
            if row is None:
                row = self._rows[event.nr] = [0, 0, 0, 0]
                self._names[event.nr] = event.name
            row[0] += 1
            row[1] += event.errno is not None
            row[2] += event.took
            row[3] += event.value is None

    def close(self) -> None:
        """Nothing is held back."""

    def by_name(self) -> dict[str, tuple[int, int]]:
        """(calls, errors), in the order of the names."""
        found = sorted((self._names[nr], row) for nr, row in self._rows.items())
        return {name: (calls, errors) for name, (calls, errors, _, _) in found}

    def rows(self) -> list[Count]:
        """Those that came back, as strace has it. Most time first; the same time, by number."""
        counts = [
            Count(nr, self._names[nr], calls - gone, errors, ns)
            for nr, (calls, errors, ns, gone) in sorted(self._rows.items())
            if calls > gone
        ]
        return sorted(counts, key=lambda count: -count.ns)

    def text(self) -> str:
        """The table, with its total row; ends with a newline. "" when nothing was called."""
        rows = self.rows()
        if not rows:
            return ""
        calls, errors, ns = sum(row.calls for row in rows), sum(row.errors for row in rows), sum(row.ns for row in rows)
        width = (
            max(11, len(f"{ns / 1e9:.6f}")),
            max(11, *(len(str(row.ns // row.calls // 1000)) for row in rows)),
            max(9, len(str(calls))),
            max(9, len(str(errors))),
        )
        rule = " ".join(["------", *("-" * w for w in width), "-" * max(16, *(len(row.name) + 1 for row in rows))])

        def line(percent: float, count: Count) -> str:
            return (
                f"{percent:6.2f} {count.ns / 1e9:>{width[0]}.6f} {count.ns // count.calls // 1000:>{width[1]}} "
                f"{count.calls:>{width[2]}} {count.errors or '':>{width[3]}} {count.name}"
            )

        titles = zip(("seconds", "usecs/call", "calls", "errors"), width, strict=True)
        head = f"% time {' '.join(title.rjust(w) for title, w in titles)} syscall"
        body = [line(100.0 * row.ns / ns if ns else 0.0, row) for row in rows]
        total = line(100.0, Count(-1, "total", calls, errors, ns))
        return "\n".join([head, rule, *body, rule, total]) + "\n"
