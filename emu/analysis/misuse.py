"""What a program did wrong with its heap: each misuse in words, with the calls that made and freed the block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emu.calls import FREED_TWICE, MISMATCHED, NO_BLOCK, WRONG_SIZE
from emu.uprobes import KINDS as CALLS
from emu.uprobes import in_words

if TYPE_CHECKING:
    import numpy as np

    from emu.analysis.places import Places
    from emu.trace.heap import Caught
    from emu.trace.memcheck import BadAccess

ACCESSES = ("use-after-free", "overflow", "underflow", "uninitialised")  # told if accesses are checked
KINDS = ("double-free", "realloc-of-freed", "invalid-free", "mismatched-free", "wrong-size", *ACCESSES)


class Happening(NamedTuple):
    """A call in the past of a block: which function, at which instruction (None: not known), from where."""

    function: str
    instructions: int | None
    calls: tuple[str, ...]  # places, the call site first


class Misuse(NamedTuple):
    """One misuse. `kind` is one of KINDS."""

    kind: str
    text: str  # one line
    pointer: int
    at: Happening
    allocated: Happening | None
    freed: Happening | None
    size: int | None  # of the block, where one is known
    times: int = 1  # the same access, to blocks that were allocated at the same place

    def __repr__(self) -> str:
        """`<Misuse: double-free: free(0x…): the block of 40 bytes was freed before, at main+0x1b (a.c:9)>`"""
        return f"<Misuse: {self.kind}: {self.text}, at {', '.join(self.at.calls)}>"


def misuses(caught: Iterable[Caught], functions: Sequence[str], places: Places) -> list[Misuse]:
    """Each that was caught, in words; `functions` are names."""
    return [_misuse(each, functions, places) for each in caught]


def _misuse(caught: Caught, functions: Sequence[str], places: Places) -> Misuse:
    event = caught.event
    name = functions[int(event["function"])]
    pointer, flags = int(event["pointer"]), int(event["flags"])
    block = caught.block if caught.block is not None else caught.around
    kind, text = _words(caught, name, functions)
    at = Happening(name, int(event["entry"]), tuple(places.call(pc) for pc in caught.stack))
    allocated = freed = None
    if block is not None and not (flags & NO_BLOCK and caught.around is None):
        allocated, freed = _past(block, functions, places)
    return Misuse(kind, text, pointer, at, allocated, freed, None if block is None else int(block["size"]))


def accesses(caught: Iterable[tuple[BadAccess, int]], functions: Sequence[str], places: Places) -> list[Misuse]:
    """Each bad access, in words, with how often it happened."""
    return [_access(access, times, functions, places) for access, times in caught]


def _access(access: BadAccess, times: int, functions: Sequence[str], places: Places) -> Misuse:
    size = f" of {access.size} byte{'s' * (access.size != 1)}" if access.size else ""
    did = f"{'write' if access.store else 'read'}{size} at {access.va:#x}"
    if access.by:
        did += f" by {access.by}"
    calls = (places.call(access.pc + 1), *(places.call(pc) for pc in access.stack))
    at = Happening(access.function, access.instructions, calls)
    made, freed = (None, None) if access.block is None else _past(access.block, functions, places)
    had = None if access.block is None else int(access.block["size"])
    return Misuse(access.kind, f"{did}, {access.where}", access.va, at, made, freed, had, times)


def _past(block: np.void, functions: Sequence[str], places: Places) -> tuple[Happening, Happening | None]:
    """Where a block was allocated, and where freed."""
    allocated = _happening(block, "function", "site", "stack", None, functions, places)
    when = int(block["freed_at"])
    if not when:
        return allocated, None
    return allocated, _happening(block, "freed_function", "freed_site", "freed_stack", when, functions, places)


def _happening(
    block: np.void, function: str, site: str, stack: str, when: int | None, functions: Sequence[str], places: Places
) -> Happening:
    calls = places.stack(int(block[stack]), int(block[site]))
    return Happening(functions[int(block[function])], when, calls)


def _words(caught: Caught, name: str, functions: Sequence[str]) -> tuple[str, str]:
    """(kind, one line)."""
    event, block = caught.event, caught.block
    pointer, flags = int(event["pointer"]), int(event["flags"])
    call, resizes = f"{in_words(name)}({pointer:#x})", CALLS[int(event["kind"])] == "realloc"
    if flags & NO_BLOCK:
        return "invalid-free", f"{call}: {_lies(pointer, caught)}"
    assert block is not None
    size = int(block["size"])
    if flags & FREED_TWICE:
        if resizes:
            return "realloc-of-freed", f"{call}: the block of {size} bytes was freed before"
        return "double-free", f"{call}: the block of {size} bytes was freed before"
    made = functions[int(block["function"])]
    if flags & MISMATCHED:
        return "mismatched-free", f"{call}: the block of {size} bytes was made by {in_words(made)}"
    assert flags & WRONG_SIZE
    return "wrong-size", f"{call}: told {int(event['size'])} bytes, the block has {size}"


def _lies(pointer: int, caught: Caught) -> str:
    block = caught.around
    if block is None:
        return f"no block of the heap: {caught.place}"
    state = "a freed block" if int(block["freed_at"]) else "a block"
    return f"{pointer - int(block['pointer'])} bytes inside {state} of {int(block['size'])} bytes, not at its beginning"


def lines(misuse: Misuse) -> Iterator[str]:
    """The misuse as a report prints it."""
    yield f"{misuse.kind}: {misuse.text}" + (f", {misuse.times:,} times" if misuse.times > 1 else "")
    yield from told("at", misuse.at)
    if misuse.allocated is not None:
        yield from told("allocated by", misuse.allocated)
    if misuse.freed is not None:
        yield from told("freed by", misuse.freed)


def told(word: str, happening: Happening) -> Iterator[str]:
    when = "" if happening.instructions is None else f", instruction {happening.instructions:,}"
    yield f"  {word} {in_words(happening.function)}{when}"
    yield from (f"    {place}" for place in happening.calls)
