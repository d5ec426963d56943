"""Address → source line, from DWARF 2 to 5: the line table of the unit that covers an address is read, and no other.

Source: DWARF 5, sections 3.1.1 and 6.2. The answer is the file's name as the compiler was given it. Every traced run
asks, for a few addresses at its end: pyelftools takes 70 ms to be imported and 20 more to answer for those.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator

from emu.dwarf.cursor import MAX_INFLATED, Effort, Sections, Unreadable
from emu.dwarf.lineprogram import Line, LineProgram
from emu.dwarf.units import Unit, Units
from emu.elf import SHF_COMPRESSED, SHT_NOBITS, Elf


class LineTables:
    """The line tables of one file. What cannot be read gives no lines."""

    def __init__(self, elf: Elf) -> None:
        self._code = [(segment.vaddr, segment.end) for segment in elf.executable]
        self._sections, self._effort = Sections(elf), Effort()
        self._all = Units(self._sections, self._effort) if _presentable(elf) else None
        self._units: list[Unit] = []  # those that were read; what comes after it failed is not
        self._unread: Iterator[Unit] = iter(self._all or ())
        self._programs: dict[int, tuple[LineProgram, list[Line]] | None] = {}  # by offset

    def find(self, va: int) -> tuple[str, int] | None:
        """(file, line) of the instruction at `va` (an address of the file), None where no table covers it."""
        if not any(start <= va < end for start, end in self._code):
            return None
        for unit in self._covering(va):
            with contextlib.suppress(Unreadable):
                found = self._find_in(unit, va)
                if found is not None:
                    return found
        return None

    def _covering(self, va: int) -> Iterator[Unit]:
        """The unit that an index has for `va`; units that tell that they cover it, read one after the other until
        somebody is content; then those that do not tell what they cover."""
        with contextlib.suppress(Unreadable):
            indexed = self._all.at(va) if self._all else None
            if indexed is not None:
                yield indexed
        at = 0
        while at < len(self._units) or self._read_one():
            if self._units[at].ranges is not None and self._units[at].covers(va):
                yield self._units[at]
            at += 1
        yield from [unit for unit in self._units if unit.ranges is None]

    def _read_one(self) -> bool:
        try:
            unit = next(self._unread, None)
        except Unreadable:
            return False
        if unit is not None:
            self._units.append(unit)
        return unit is not None

    def _find_in(self, unit: Unit, va: int) -> tuple[str, int] | None:
        if unit.lines not in self._programs:
            self._programs[unit.lines] = None  # where it fails it is not tried again
            self._programs[unit.lines] = self._read(unit.lines)
        found = self._programs[unit.lines]
        if found is None:
            return None
        program, lines = found
        index = bisect_right(lines, va, key=lambda line: line.start) - 1
        if index < 0 or va >= lines[index].end:
            return None
        return program.file_name(lines[index].file), lines[index].line

    def _read(self, offset: int) -> tuple[LineProgram, list[Line]]:
        """The program there and its lines by address. A linker that drops a function leaves its lines at address 0."""
        program = LineProgram(self._sections, offset, self._effort)
        low, high = min(start for start, _ in self._code), max(end for _, end in self._code)
        return program, sorted(line for line in program.lines() if low <= line[0] < high)


def _presentable(elf: Elf) -> bool:
    """Has it line tables whose sections lie in the file, and do not claim to inflate to more than we give them?"""
    size = 0
    for section in elf.sections:
        if section.name.startswith((".debug", ".zdebug")):
            if section.type == SHT_NOBITS or section.offset + section.size > len(elf.content):
                return False
            if section.name.startswith(".zdebug"):
                return False  # GNU's compression before ELF had its own: nobody has written it for years
            inflated = int.from_bytes(elf.content[section.offset + 8 : section.offset + 16], "little")
            size += inflated if section.flags & SHF_COMPRESSED else section.size
    return elf.section(".debug_line") is not None and size <= MAX_INFLATED
