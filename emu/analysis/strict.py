"""What an allocator broke of its promises, in words."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from emu.analysis.misuse import Happening, told
from emu.calls import VIOLATIONS
from emu.uprobes import KINDS, in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emu.analysis.places import Places
    from emu.trace.strict import Broken, Promises


class Violation(NamedTuple):
    """One broken promise. `kind`: one of emu.calls.VIOLATIONS."""

    kind: str
    text: str  # one line
    pointer: int  # what the call returned, or was asked about
    size: int  # what it was asked for
    at: Happening  # the call that returned


class Strictness(NamedTuple):
    """What was checked of the allocator's promises, and what was found. The first hundred violations are told."""

    violations: tuple[Violation, ...]
    count: int  # type: ignore[assignment]  # nobody counts what is in the tuple
    unchecked: int  # checks that were left out: part of the block was in swap, or in a file and not read yet
    errno_checked: bool  # errno's place is known


def strictness(promises: Promises, functions: Sequence[str], places: Places) -> Strictness:
    """In words. `functions` are names by number."""
    found = tuple(violation_of(broken, functions, places) for broken in promises.broken)
    return Strictness(found, promises.count, promises.unchecked, promises.errno_checked)


def violation_of(broken: Broken, functions: Sequence[str], places: Places) -> Violation:
    """In words."""
    event, kind = broken.event, VIOLATIONS[broken.what]
    name, size = functions[int(event["function"])], int(event["size"])
    at = Happening(name, int(event["entry"]) + int(event["cost"]), tuple(places.call(pc) for pc in broken.stack))
    asks = KINDS[int(event["kind"])] == "usable"
    pointer = int(event["pointer"] if asks or not event["result"] else event["result"])
    result = int(event["result"])
    asked = "2^64-1 bytes or more" if size == (1 << 64) - 1 else f"{size:,} bytes"
    said = in_words(name)
    call = f"{said}({pointer:#x}) = {result:,}" if asks else f"{said} of {asked} = {hex(result) if result else 'NULL'}"
    return Violation(kind, f"{call}: {_words(kind, broken.detail)}", pointer, size, at)


def _words(kind: str, detail: int) -> str:
    return {
        "overlap": f"it overlaps the live block at {detail:#x}",
        "misaligned": f"it is not aligned to {detail:,}",
        "not-zero": f"byte {detail:,} is not zero",
        "too-small": f"the block was asked to have {detail:,} bytes",
        "outside": f"from byte {detail:,} on it lies in memory that is not the allocator's",
        "lost-bytes": f"the first {detail:,} bytes are not what they were",
        "impossible-size": "no block can be that large",
        "no-errno": f"it failed with {errno.errorcode.get(detail, detail) if detail else 'no errno'}, not ENOMEM",
        "null": "it may throw, not return NULL",
    }[kind]


def lines(violation: Violation) -> Iterator[str]:
    """The violation as a report prints it."""
    yield f"{violation.kind}: {violation.text}"
    yield from told("in", violation.at)
