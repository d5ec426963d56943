"""One line table of .debug_line: its header, and its program run to the matrix of addresses and lines.

Source: DWARF 5, section 6.2; DWARF 2 to 4 differ in the header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.dwarf.cursor import LINE_STRP, STRP, Cursor, Effort, Sections, Unreadable, Widths

PATH, DIRECTORY_INDEX = 1, 2  # DW_LNCT_*
EXTENDED, COPY, ADVANCE_PC, ADVANCE_LINE, SET_FILE, CONST_ADD_PC, FIXED_ADVANCE_PC = 0, 1, 2, 3, 4, 8, 9  # DW_LNS_*
END_SEQUENCE, SET_ADDRESS, DEFINE_FILE = 1, 2, 3  # DW_LNE_*


class File(NamedTuple):
    """A file or a folder as the header names it: a string, or where one stands; and the number of its folder."""

    name: bytes | int
    form: int = 0
    folder: int = 0


class Line(NamedTuple):
    """The instructions of [start, end) are of this line; `file` is a number."""

    start: int
    end: int
    file: int
    line: int


class LineProgram:
    """The table at one offset of .debug_line. Making one and asking it raise Unreadable."""

    def __init__(self, sections: Sections, offset: int, effort: Effort) -> None:
        self._sections = sections
        unit = sections.find(".debug_line").part(offset)
        length, width = unit.length()
        effort.spend(length)
        unit = unit.part(unit.offset, length)
        version = unit.unsigned(2)
        if not 2 <= version <= 5:
            raise Unreadable(f"DWARF {version}")
        self._modern = version == 5
        address = unit.unsigned(1) if self._modern else 8
        unit.skip(1 if self._modern else 0)  # bytes of a segment selector
        header = unit.unsigned(width)
        self._program = unit.part(unit.offset + header)
        self._read_header(unit, Widths(version, width, address))

    def _read_header(self, header: Cursor, widths: Widths) -> None:
        self._shortest = header.unsigned(1)  # bytes of an instruction
        header.skip(2 if widths.version >= 4 else 1)  # operations of an instruction: 1, as this is no VLIW; is_stmt
        base, self._range, self._first = (header.unsigned(1) for _ in range(3))
        self._base = base - 256 if base > 127 else base
        self._operands = [0, *(header.unsigned(1) for _ in range(1, self._first))]  # of each standard opcode
        if not self._range or not self._first:
            raise Unreadable("no special opcodes")
        if self._modern:
            self._folders = list(_entries(header, widths))
            self._files = list(_entries(header, widths))
            return
        self._folders, self._files = [], []
        while folder := header.string():
            self._folders.append(File(folder))
        while name := header.string():
            self._files.append(_old_file(name, header))

    def lines(self) -> Iterator[Line]:
        """The matrix (6.2.2), as ranges: each row reaches as far as the next one of its sequence."""
        before: tuple[int, int, int] | None = None
        for address, file, line, end in self._rows():
            if before is not None and before[0] < address:
                yield Line(before[0], address, before[1], before[2])
            before = None if end else (address, file, line)

    def _rows(self) -> Iterator[tuple[int, int, int, bool]]:
        """(address, file, line, does the sequence end before it?) of each row."""
        program = self._program
        data, end = program.data, program.end
        address, file, line = 0, 1, 1
        while program.at < end:
            opcode = data[program.at]
            program.at += 1
            if opcode >= self._first:
                step, more = divmod(opcode - self._first, self._range)
                address += step * self._shortest
                line += self._base + more
                yield address, file, line, False
            elif opcode == COPY:
                yield address, file, line, False
            elif opcode == ADVANCE_PC:
                address += program.uleb() * self._shortest
            elif opcode == ADVANCE_LINE:
                line += program.sleb()
            elif opcode == SET_FILE:
                file = program.uleb()
            elif opcode == CONST_ADD_PC:
                address += (255 - self._first) // self._range * self._shortest
            elif opcode == FIXED_ADVANCE_PC:
                address += program.unsigned(2)
            elif opcode != EXTENDED:  # of a register that is not told
                for _ in range(self._operands[opcode]):
                    program.uleb()
            else:
                length = program.uleb()
                extended = program.part(program.offset, length)
                program.skip(length)
                what = extended.unsigned(1)
                if what == END_SEQUENCE:
                    yield address, file, line, True
                    address, file, line = 0, 1, 1
                elif what == SET_ADDRESS:
                    address = extended.unsigned(min(length - 1, 8))
                elif what == DEFINE_FILE:
                    self._files.append(_old_file(extended.string(), extended))

    def file_name(self, number: int) -> str:
        """As it was given to the compiler: the compiler's own folder (0) is left away. "?" where there is none."""
        index = number if self._modern else number - 1
        if not 0 <= index < len(self._files):
            return "?"
        name, folder = self._text(self._files[index]), self._files[index].folder
        position = folder if self._modern else folder - 1
        if name.startswith("/") or folder == 0 or not 0 <= position < len(self._folders):
            return name
        return f"{self._text(self._folders[position])}/{name}"

    def _text(self, file: File) -> str:
        name = file.name
        if isinstance(name, int):
            if file.form not in (STRP, LINE_STRP):
                return "?"
            strings = self._sections.find(".debug_line_str" if file.form == LINE_STRP else ".debug_str")
            name = strings.part(name).string()
        return name.decode("utf-8", "backslashreplace")


def _entries(header: Cursor, widths: Widths) -> Iterator[File]:
    """The folders or the files of DWARF 5."""
    fields = [(header.uleb(), header.uleb()) for _ in range(header.unsigned(1))]
    for _ in range(header.uleb()):
        before, file = header.at, File(b"?")
        for content, form in fields:
            value = header.value(form, widths)
            if content == PATH:
                file = file._replace(name=value, form=form)
            elif content == DIRECTORY_INDEX and isinstance(value, int):
                file = file._replace(folder=value)
        if header.at == before:
            raise Unreadable("names without content")
        yield file


def _old_file(name: bytes, header: Cursor) -> File:
    """Of DWARF 2 to 4; its time and length follow."""
    folder = header.uleb()
    header.uleb()
    header.uleb()
    return File(name, folder=folder)
