"""Address → source line, from .debug_line: DWARF 2 to 5, read one line table at a time. Broken tables give no lines.

Source: DWARF 5, section 6.2 "Line Number Information". Only this section is read, not .debug_info: the answer is the
file's name as the compiler was given it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from emu.dwarf.cursor import Bytes, Malformed
from emu.elf import Elf


@dataclass(slots=True)
class _Table:
    """The header of one line table."""

    version: int = 0
    offset_size: int = 4
    min_insn: int = 1
    line_base: int = 0
    line_range: int = 1
    opcode_base: int = 1
    operands: list[int] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    files: list[tuple[str, int]] = field(default_factory=list)  # (name, directory)

    def file(self, number: int) -> str:
        index = number if self.version >= 5 else number - 1
        if not 0 <= index < len(self.files):
            return "?"
        name, directory = self.files[index]
        # the compiler's own folder (0) is left away: the name stands as it was given to the compiler
        position = directory if self.version >= 5 else directory - 1
        if name.startswith("/") or directory == 0 or not 0 <= position < len(self.directories):
            return name
        return f"{self.directories[position]}/{name}"


MAX_SECTION = 32 << 20  # larger ones would take longer to read than anybody waits for a line number


class LineTables:
    """All line tables of one file, read at the first question. A broken table is left out from the break on."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._code = [(segment.vaddr, segment.end) for segment in elf.executable]
        self._starts: list[int] | None = None
        self._rows: list[tuple[int, int, int, int]] = []  # (end, table, file, line) for each start
        self._tables: list[_Table] = []

    def find(self, va: int) -> tuple[str, int] | None:
        """(file, line) of the instruction at `va` (an address of the file), None where no table covers it."""
        if self._starts is None:
            self._starts = self._read()
        index = bisect_right(self._starts, va) - 1
        if index < 0 or va >= self._rows[index][0]:
            return None
        _, table, file, line = self._rows[index]
        return self._tables[table].file(file), line

    def _read(self) -> list[int]:
        section = self._elf.bytes_of(".debug_line")
        strings = {0x1F: self._elf.bytes_of(".debug_line_str"), 0x0E: self._elf.bytes_of(".debug_str")}
        cursor = Bytes(section if len(section) <= MAX_SECTION else b"")
        rows: list[tuple[int, int, int, int, int]] = []
        while cursor.at < cursor.end:
            try:
                unit, offset_size = _unit(cursor)
            except Malformed:
                break  # where the next one begins is not known
            with suppress(Malformed):
                self._add(unit, offset_size, strings, rows)
        rows.sort()
        self._rows = [row[1:] for row in rows]
        return [row[0] for row in rows]

    def _add(
        self, unit: Bytes, offset_size: int, strings: dict[int, bytes], rows: list[tuple[int, int, int, int, int]]
    ) -> None:
        table, program = _header(unit, offset_size, strings)
        number = len(self._tables)
        self._tables.append(table)
        before: tuple[int, int, int] | None = None  # (address, file, line) of the row before, in one sequence
        for address, file, line, end in _rows(table, program):
            if before is not None and before[0] < address and self._is_code(before[0]):
                rows.append((before[0], address, number, before[1], before[2]))
            before = None if end else (address, file, line)

    def _is_code(self, va: int) -> bool:
        """A linker that drops a function leaves its lines at address 0."""
        return any(start <= va < end for start, end in self._code)


def _unit(cursor: Bytes) -> tuple[Bytes, int]:
    """The next table as a cursor of its own, and its offset size; `cursor` moves behind it."""
    length, offset_size = cursor.uint(4), 4
    if length == 0xFFFFFFFF:
        length, offset_size = cursor.uint(8), 8
    unit = Bytes(cursor.raw, cursor.at, cursor.at + length)
    if cursor.at + length > cursor.end:
        raise Malformed("a table longer than its section")
    cursor.at += length
    return unit, offset_size


def _header(unit: Bytes, offset_size: int, strings: dict[int, bytes]) -> tuple[_Table, Bytes]:
    table = _Table(version=unit.uint(2), offset_size=offset_size)
    if not 2 <= table.version <= 5:
        raise Malformed(f"line tables of version {table.version}")
    if table.version >= 5:
        unit.take(2)  # address and segment selector size
    length = unit.uint(offset_size)
    program = Bytes(unit.raw, unit.at + length, unit.end)
    table.min_insn = unit.uint(1)
    unit.take(2 if table.version >= 4 else 1)  # maximum operations per instruction (4 and later), default_is_stmt
    table.line_base, table.line_range, table.opcode_base = unit.int8(), unit.uint(1), unit.uint(1)
    if not table.line_range or not table.opcode_base:
        raise Malformed("a zero line_range or opcode_base")
    table.operands = [unit.uint(1) for _ in range(table.opcode_base - 1)]
    if table.version >= 5:
        table.directories = [name for name, _ in _entries(unit, table, strings)]
        table.files = _entries(unit, table, strings)
    else:
        _old_names(unit, table)
    return table, program


def _old_names(unit: Bytes, table: _Table) -> None:
    """include_directories and file_names as they stand before DWARF 5."""
    while name := unit.string():
        table.directories.append(name)
    while name := unit.string():
        table.files.append((name, unit.uleb()))
        unit.uleb(), unit.uleb()  # time, length


def _entries(unit: Bytes, table: _Table, strings: dict[int, bytes]) -> list[tuple[str, int]]:
    """DWARF 5 directory or file entries as (name, directory index)."""
    formats = [(unit.uleb(), unit.uleb()) for _ in range(unit.uint(1))]
    count = unit.uleb()
    if formats and count > unit.end - unit.at:
        raise Malformed("more entries than bytes")
    entries = []
    for _ in range(count if formats else 0):
        name, directory = "?", 0
        for content, form in formats:
            value = _form(unit, form, table.offset_size, strings)
            if content == 1 and isinstance(value, str):
                name = value
            elif content == 2 and isinstance(value, int):
                directory = value
        entries.append((name, directory))
    return entries


def _form(unit: Bytes, form: int, offset_size: int, strings: dict[int, bytes]) -> int | str | bytes:
    """One attribute value of the forms that DWARF 5 allows here (section 6.2.4.1)."""
    if form == 0x08:  # DW_FORM_string
        return unit.string()
    if form in strings:  # DW_FORM_strp, DW_FORM_line_strp
        return Bytes(strings[form], unit.uint(offset_size)).string()
    if form == 0x0F:  # DW_FORM_udata
        return unit.uleb()
    if form == 0x09:  # DW_FORM_block
        return unit.take(unit.uleb())
    sizes = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}  # data1, data2, data4, data8, data16
    if form not in sizes:
        raise Malformed(f"form {form:#x}")
    return unit.uint(sizes[form])


def _rows(table: _Table, program: Bytes) -> Iterator[tuple[int, int, int, bool]]:
    """Run a line number program: (address, file, line, end of sequence) for each row."""
    address, file, line = 0, 1, 1
    const_add = (255 - table.opcode_base) // table.line_range * table.min_insn
    while program.at < program.end:
        opcode = program.uint(1)
        if opcode >= table.opcode_base:
            special = opcode - table.opcode_base
            address += special // table.line_range * table.min_insn
            line += table.line_base + special % table.line_range
            yield address, file, line, False
        elif opcode == 0:
            extended = Bytes(program.raw, program.at, program.end)
            size = extended.uleb()
            body = Bytes(program.raw, extended.at, extended.at + size)
            program.at = extended.at + size
            code = body.uint(1)
            if code == 1:  # DW_LNE_end_sequence
                yield address, file, line, True
                address, file, line = 0, 1, 1
            elif code == 2:  # DW_LNE_set_address
                address = body.uint(body.end - body.at)
        elif opcode == 1:  # DW_LNS_copy
            yield address, file, line, False
        elif opcode == 2:  # DW_LNS_advance_pc
            address += program.uleb() * table.min_insn
        elif opcode == 3:  # DW_LNS_advance_line
            line += program.sleb()
        elif opcode == 4:  # DW_LNS_set_file
            file = program.uleb()
        elif opcode == 8:  # DW_LNS_const_add_pc
            address += const_add
        elif opcode == 9:  # DW_LNS_fixed_advance_pc
            address += program.uint(2)
        else:  # the rest move neither address, file nor line
            for _ in range(table.operands[opcode - 1]):
                program.uleb()
