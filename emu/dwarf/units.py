"""The compilation units of .debug_info: which addresses each covers, and where its line table is. Of each the top entry
is read and nothing else.

Source: DWARF 5, sections 2.17 (ranges), 3.1.1 (the entry), 7.5 (headers, abbreviations), 7.25 and 7.27 (lists).
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property

from emu.dwarf.cursor import ADDR, ADDRX, IMPLICIT_CONST, RNGLISTX, Cursor, Effort, Sections, Unreadable, Widths

STMT_LIST, LOW_PC, HIGH_PC, RANGES, ADDR_BASE, RNGLISTS_BASE = 0x10, 0x11, 0x12, 0x55, 0x73, 0x74  # DW_AT_*
TYPE, SKELETON, SPLIT_COMPILE, SPLIT_TYPE = 2, 4, 5, 6  # DW_UT_*
# DW_RLE_*
END, BASE_X, START_X_END_X, START_X_LENGTH, OFFSET_PAIR, BASE, START_END, START_LENGTH = range(8)

Spans = list[tuple[int, int]]
Attributes = dict[int, tuple[int, int]]  # DW_AT_* → (form, value)


class Unit:
    """`ranges` are its addresses, None where it does not tell; `lines` is its line table's offset."""

    def __init__(self, ranges: Spans | None, lines: int) -> None:
        self.ranges, self.lines = ranges, lines

    def covers(self, va: int) -> bool:
        return self.ranges is None or any(start <= va < end for start, end in self.ranges)


class Units:
    """Those of one file that have a line table."""

    def __init__(self, sections: Sections, effort: Effort) -> None:
        self._sections, self._effort = sections, effort

    def __iter__(self) -> Iterator[Unit]:
        """In their order. Raises Unreadable where it cannot go on; a unit that cannot be read is left out."""
        info = self._sections.find(".debug_info")
        while not info.done:
            length, offset = info.length()
            unit = info.part(info.offset, length)
            info.skip(length)
            self._effort.spend(16)
            try:
                found = self._unit(unit, offset)
            except Unreadable:
                found = None
            if found is not None:
                yield found

    def at(self, va: int) -> Unit | None:
        """The one that covers `va` by .debug_aranges, which gcc writes and clang does not. Raises Unreadable."""
        index = bisect_right(self._arranged, va, key=lambda each: each[0]) - 1
        if index < 0 or va >= self._arranged[index][1]:
            return None
        unit = self._sections.find(".debug_info").part(self._arranged[index][2])
        length, offset = unit.length()
        return self._unit(unit.part(unit.offset, length), offset)

    @cached_property
    def _arranged(self) -> list[tuple[int, int, int]]:
        """(start, end, offset of the unit), by address; up to what cannot be read."""
        tables, found = self._sections.find(".debug_aranges"), []
        with contextlib.suppress(Unreadable):
            while not tables.done:
                length, offset = tables.length()
                table = tables.part(tables.offset, length)
                tables.skip(length)
                self._effort.spend(length)
                version, unit, address, segment = (table.unsigned(width) for width in (2, offset, 1, 1))
                if (version, address, segment) == (2, 8, 0):
                    table.skip(-(table.offset + (4 if offset == 4 else 12)) % 16)  # from the table's first byte on
                    while (entry := (table.unsigned(8), table.unsigned(8))) != (0, 0):
                        found.append((entry[0], sum(entry), unit))
        return sorted(found)

    def _unit(self, unit: Cursor, offset: int) -> Unit | None:
        abbreviations = self._sections.find(".debug_abbrev")
        version, address = unit.unsigned(2), 0
        if not 2 <= version <= 5:
            raise Unreadable(f"DWARF {version}")
        if version == 5:
            kind, address, table = unit.unsigned(1), unit.unsigned(1), unit.unsigned(offset)
            if kind in (TYPE, SPLIT_TYPE):
                return None
            unit.skip(8 if kind in (SKELETON, SPLIT_COMPILE) else 0)
        else:
            table, address = unit.unsigned(offset), unit.unsigned(1)
        widths = Widths(version, offset, address)
        attributes = self._entry(unit, abbreviations.part(table), widths)
        if STMT_LIST not in attributes:
            return None
        try:
            ranges = self._ranges(attributes, widths)
        except Unreadable:
            ranges = None
        return Unit(ranges, attributes[STMT_LIST][1])

    def _entry(self, unit: Cursor, table: Cursor, widths: Widths) -> Attributes:
        """Of the entry that `unit` stands at; strings and constants of the abbreviation are left out."""
        found: Attributes = {}
        for attribute, form in self._declared(table, unit.uleb()):
            value = unit.value(form, widths)
            if isinstance(value, int):
                found[attribute] = form, value
        return found

    def _declared(self, table: Cursor, wanted: int) -> list[tuple[int, int]]:
        """(attribute, form) of each attribute of an abbreviation."""
        while (code := table.uleb()) != 0:
            before = table.at
            table.uleb()  # the tag
            table.skip(1)  # has it children?
            declared = []
            while True:
                attribute, form = table.uleb(), table.uleb()
                if form == IMPLICIT_CONST:
                    table.uleb()
                elif form:
                    declared.append((attribute, form))
                else:
                    break
            self._effort.spend(table.at - before)
            if code == wanted:
                return declared
        raise Unreadable("an abbreviation that is not there")

    def _ranges(self, attributes: Attributes, widths: Widths) -> Spans | None:
        """The addresses of a unit, as its entry tells them."""
        low = 0
        if LOW_PC in attributes:
            form, low = attributes[LOW_PC]
            if form in ADDRX:
                low = self._address(low, attributes, widths)
        if HIGH_PC in attributes:
            form, high = attributes[HIGH_PC]
            if form in ADDRX:
                high = self._address(high, attributes, widths)
            return [(low, high if form == ADDR or form in ADDRX else low + high)]
        if RANGES not in attributes:
            return None
        form, at = attributes[RANGES]
        if widths.version < 5:
            return list(self._list(self._sections.find(".debug_ranges").part(at), low, widths))
        lists = self._sections.find(".debug_rnglists")
        if form == RNGLISTX:
            base = attributes[RNGLISTS_BASE][1] if RNGLISTS_BASE in attributes else 8 + widths.offset
            at = base + lists.part(base + at * widths.offset).unsigned(widths.offset)
        return list(self._list_of_5(lists.part(at), low, attributes, widths))

    def _list(self, entries: Cursor, base: int, widths: Widths) -> Iterator[tuple[int, int]]:
        """Of DWARF 2 to 4."""
        select = (1 << 8 * widths.address) - 1
        while True:
            start, end = entries.unsigned(widths.address), entries.unsigned(widths.address)
            self._effort.spend(16)
            if start == select:
                base = end
            elif start or end:
                yield base + start, base + end
            else:
                return

    def _list_of_5(
        self, entries: Cursor, base: int, attributes: Attributes, widths: Widths
    ) -> Iterator[tuple[int, int]]:
        def address(kind_of_index: bool) -> int:
            if kind_of_index:
                return self._address(entries.uleb(), attributes, widths)
            return entries.unsigned(widths.address)

        while (kind := entries.unsigned(1)) != END:
            self._effort.spend(16)
            if kind in (BASE_X, BASE):
                base = address(kind == BASE_X)
            elif kind == OFFSET_PAIR:
                yield base + entries.uleb(), base + entries.uleb()
            elif kind in (START_X_END_X, START_END):
                yield address(kind == START_X_END_X), address(kind == START_X_END_X)
            elif kind in (START_X_LENGTH, START_LENGTH):
                start = address(kind == START_X_LENGTH)
                yield start, start + entries.uleb()
            else:
                raise Unreadable(f"a range of kind {kind}")

    def _address(self, index: int, attributes: Attributes, widths: Widths) -> int:
        base = attributes[ADDR_BASE][1] if ADDR_BASE in attributes else 4 + widths.offset
        return self._sections.find(".debug_addr").part(base + index * widths.address).unsigned(widths.address)
