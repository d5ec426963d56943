"""The shadow of a heap in C and its Python twin: told the same, whatever that is, they answer the same."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emu import native
from emu.calls import ALLOCATE, ASK, Function
from emu.cpu.pythonevents import Block, Event
from emu.cpu.shadow import HUGE, PAGE, USER, Shadow
from emu.native import memory

pytestmark = pytest.mark.skipif(native.library() is None, reason="no native hooks")
ARENA, PAGES = 0x7FFF_0000_0000, 10
BARRED = ((ARENA + 7 * PAGE, ARENA + 8 * PAGE),)
SLACKS = ((64, 16, True), (64, 16, False), (0, 0, False), (5, 200, True))  # by function
Question = Callable[[int, int], object]


class InC:
    """Shadow, of emu/native/memcheck_shadow.h."""

    def __init__(self) -> None:
        lib: Any = native.library()
        memory.prepare(lib)
        self.lib = lib
        lib.mc_init(ctypes.addressof(lib.hs_init().contents))
        for start, end in BARRED:
            lib.mc_bar(start, end)
        for slack in SLACKS:
            lib.mc_slack(*slack)
        self.made, self.keep, self.gone, self.hold = lib.mc_made, lib.mc_keep, lib.mc_gone, lib.mc_hold
        self.wrote, self.forget = lib.mc_wrote, lib.mc_forget
        self.first_bad, self.first_blank = lib.mc_first_bad, lib.mc_first_blank

    def asked(self, pointer: int, size: int, usable: int, function: int) -> None:
        if size < usable:  # as heap.c calls it
            self.lib.mc_asked(pointer, size, usable, function)

    def around(self, va: int, reach: int) -> tuple[int, int]:
        below, above = ctypes.c_uint64(), ctypes.c_uint64()
        self.lib.mc_around(va, reach, ctypes.byref(below), ctypes.byref(above))
        return below.value, above.value


class InPython(Shadow):
    """Shadow, told of usable sizes by numbers."""

    def __init__(self) -> None:
        super().__init__(BARRED, SLACKS)

    def asked(self, pointer: int, size: int, usable: int, function: int) -> None:  # type: ignore[override]
        made, event = (Event(function, Function(verb, 1, 1), 0, 0, 0) for verb in (ALLOCATE, ASK))
        made.size, event.pointer, event.result = size, pointer, usable
        super().asked(event, Block(made, 1))


def spot(source: random.Random) -> int:
    """Somewhere in the arena, often at the edge of a page or beside it."""
    near = source.choice([0, 0, 8, 16, 64, 100, source.randrange(PAGE)])
    return ARENA + source.randrange(PAGES) * PAGE + source.choice([near, near, -near])


def extent(source: random.Random) -> int:
    return source.choice([0, 1, 15, 24, 64, 100, source.randrange(300), source.randrange(3 * PAGE), PAGE, 2 * PAGE])


def pages(source: random.Random) -> tuple[int, int]:
    start = source.randrange(-1, PAGES)
    return ARENA + start * PAGE, ARENA + source.randrange(start, PAGES + 1) * PAGE + PAGE


def happenings(source: random.Random) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What a heap and its kernel may tell, sense or none."""
    blocks: dict[int, int] = {}
    while True:
        at, size, function = spot(source), extent(source), source.randrange(len(SLACKS) + 1)
        old = source.choice([*blocks]) if blocks else at
        match source.randrange(10):
            case 0 | 1:
                blocks[at] = size
                yield "made", (at, size, function, source.random() < 0.2)
            case 2:
                yield "gone", (old, blocks.pop(old, size))
            case 3:  # realloc
                yield "keep", (old, blocks.get(old, size))
                yield "gone", (old, blocks.pop(old, size))
                blocks[at] = size
                yield "made", (at, size, function, 0)
            case 4:
                known = blocks.get(old, 0)
                yield "asked", (old, known, known + source.choice([0, 1, 8, 40, PAGE]), function)
            case 5 | 6:
                yield "wrote", (at, size)
            case 7:
                yield "forget", pages(source)
            case _:
                yield "hold", (*pages(source), source.random() < 0.6)


def differing(ours: InC, theirs: InPython, source: random.Random) -> list[tuple[str, tuple[int, int]]]:
    """Random questions that the two answer differently."""
    found = []
    for _ in range(12):
        va, size = spot(source), source.choice([1, 8, 16, 200, PAGES * PAGE])
        for name, argument in (("first_bad", size), ("first_blank", size), ("around", min(size, 16))):
            if getattr(ours, name)(va, argument) != getattr(theirs, name)(va, argument):
                found.append((name, (va - ARENA, argument)))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_a_random_heap_casts_the_same_shadow_in_both(seed: int) -> None:
    source, told = random.Random(seed), []
    ours, theirs = InC(), InPython()
    for (name, arguments), _ in zip(happenings(source), range(150), strict=False):
        told.append((name, arguments[0] - ARENA, *arguments[1:]))
        getattr(ours, name)(*arguments)
        getattr(theirs, name)(*arguments)
        assert differing(ours, theirs, source) == [], told


@pytest.mark.parametrize("seed", range(20))
def test_what_allocators_hold_is_the_same_to_both_however_often_it_changes(seed: int) -> None:
    """More ranges than the first piece of the table has room for; what lies beside whole pages tells which are held."""
    source = random.Random(seed)
    ours, theirs = InC(), InPython()
    for _ in range(400):
        start = ARENA + source.randrange(600) * PAGE
        arguments = start, start + source.choice([1, 1, 1, 2, 3, 40]) * PAGE, source.random() < 0.8
        ours.hold(*arguments)
        theirs.hold(*arguments)
    for page in range(1, 600, 2):
        for each in (ours, theirs):
            each.made(ARENA + page * PAGE, PAGE, 0, 0)
    limit = 602 * PAGE
    answers = [[each.first_bad(ARENA + at, 64) for at in range(0, limit, 64)] for each in (ours, theirs)]
    assert answers[0] == answers[1]
    assert set(answers[0][:: PAGE // 64]) == {-1, 0}, "some are held, and some are not"


@pytest.mark.parametrize(
    ("pointer", "size"), [(USER - 64, 64), (USER - 64, 65), (USER - 64, HUGE), (USER, 8), ((1 << 64) - 8, 8)]
)
def test_blocks_at_the_end_of_the_address_space_are_the_same_to_both(pointer: int, size: int) -> None:
    ours, theirs = InC(), InPython()
    for each in (ours, theirs):
        each.made(pointer, size, 0, 0)
        each.gone(pointer, size)
    places = range(pointer - 72, min(pointer + 200, 1 << 64), 8)
    assert [ours.first_bad(at, 8) for at in places] == [theirs.first_bad(at, 8) for at in places]
