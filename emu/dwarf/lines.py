"""Address → source line, from DWARF 2 to 5: pyelftools reads the compilation unit that covers an address, and no other.

Source: DWARF 5, sections 3.1.1 and 6.2. The answer is the file's name as the compiler was given it.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.dwarf.boundary import Patience
from emu.elf import SHF_COMPRESSED, SHT_NOBITS, Elf

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.dwarfinfo import DWARFInfo
    from elftools.dwarf.lineprogram import LineProgram

MAX_INFLATED = 512 << 20
CHDR, ELFCOMPRESS_ZLIB = 24, 1


class _Line(NamedTuple):
    start: int
    end: int
    file: int
    line: int


class _Unit:
    """One compilation unit. `ranges` are its addresses, None where it does not tell; `lines` are read when needed."""

    def __init__(self, unit: CompileUnit, ranges: list[tuple[int, int]] | None) -> None:
        self.unit, self.ranges = unit, ranges
        self.lines: list[_Line] | None = None
        self.program: LineProgram | None = None

    def covers(self, va: int) -> bool:
        return self.ranges is None or any(start <= va < end for start, end in self.ranges)


class LineTables:
    """The line tables of one file. What cannot be read gives no lines."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._code = [(segment.vaddr, segment.end) for segment in elf.executable]
        self._units: list[_Unit] = []  # those that were read; what comes after it failed is not
        self._unread: Iterator[_Unit] = self._read_units() if _presentable(elf) else iter(())
        self._patience = Patience()
        self._ask = self._patience.ask

    def find(self, va: int) -> tuple[str, int] | None:
        """(file, line) of the instruction at `va` (an address of the file), None where no table covers it."""
        if not any(start <= va < end for start, end in self._code):
            return None
        for unit in self._covering(va):
            found = self._ask(partial(self._find_in, unit, va), None)
            if found is not None:
                return found
        return None

    def _covering(self, va: int) -> Iterator[_Unit]:
        """Units that tell that they cover `va`, read one after the other until somebody is content; then those that do
        not tell what they cover."""
        at = 0
        while at < len(self._units) or self._read_one():
            if self._units[at].ranges is not None and self._units[at].covers(va):
                yield self._units[at]
            at += 1
        yield from [unit for unit in self._units if unit.ranges is None]

    def _read_one(self) -> bool:
        unit = self._ask(lambda: next(self._unread, None), None)
        if unit is not None:
            self._units.append(unit)
        return unit is not None

    def _read_units(self) -> Iterator[_Unit]:
        dwarf = _dwarf_of(self._elf)
        for unit in dwarf.iter_CUs():
            yield _Unit(unit, self._ask(partial(_ranges, dwarf, unit), None))

    def _find_in(self, unit: _Unit, va: int) -> tuple[str, int] | None:
        if unit.lines is None:
            unit.lines = []  # where it fails it is not tried again
            unit.program = unit.unit.dwarfinfo.line_program_for_CU(unit.unit)
            unit.lines = sorted(self._lines(unit.program)) if unit.program else []
        index = bisect_right(unit.lines, va, key=lambda line: line.start) - 1
        if index < 0 or va >= unit.lines[index].end or unit.program is None:
            return None
        return _file_name(unit.program, unit.lines[index].file), unit.lines[index].line

    def _lines(self, program: LineProgram) -> list[_Line]:
        """The matrix of section 6.2.2 as ranges. A linker that drops a function leaves its lines at address 0."""
        lines: list[_Line] = []
        before: Any = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if before is not None and before.address < state.address:
                lines.append(_Line(before.address, state.address, before.file, before.line))
            before = None if state.end_sequence else state
        return [line for line in lines if any(start <= line.start < end for start, end in self._code)]


def _presentable(elf: Elf) -> bool:
    """Has it line tables whose sections lie in the file, and do not claim to inflate to more than we give them?
    pyelftools takes a section's size as it stands."""
    size = 0
    for section in elf.sections:
        if section.name.startswith((".debug", ".zdebug", ".gnu_debug", ".eh_frame")):
            if section.type == SHT_NOBITS or section.offset + section.size > len(elf.content):
                return False
            if section.name.startswith(".zdebug"):
                return False  # GNU's compression before ELF had its own: nobody has written it for years
            inflated = int.from_bytes(elf.content[section.offset + 8 : section.offset + 16], "little")
            size += inflated if section.flags & SHF_COMPRESSED else section.size
    return elf.section(".debug_line") is not None and size <= MAX_INFLATED


def _dwarf_of(elf: Elf) -> DWARFInfo:
    """Its debug sections as the library wants them. Its own reader of ELF takes a fifth of all its import takes; and no
    link to another file is followed: a guest's must not lead us anywhere on the host."""
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    code = DWARFInfo.__init__.__code__
    wanted = [name for name in code.co_varnames[: code.co_argcount] if name.endswith("_sec")]
    sections: dict[str, Any] = dict.fromkeys(wanted)
    for argument in wanted:
        name = "." + argument.removesuffix("_sec")
        section = elf.section(name)
        if section is not None:
            content = elf.bytes_of(name)
            if section.flags & SHF_COMPRESSED:
                content = _inflated(content)
            sections[argument] = DebugSectionDescriptor(
                BytesIO(content), name, section.offset, len(content), section.addr
            )
    return DWARFInfo(DwarfConfig(little_endian=True, machine_arch="x64", default_address_size=8), **sections)


def _inflated(content: bytes) -> bytes:
    """A section behind its Elf64_Chdr, which says how large it is at most."""
    kind, _, size = struct.unpack_from("<IIQ", content)
    if kind != ELFCOMPRESS_ZLIB:
        raise ValueError(f"a section compressed in way {kind}")
    return zlib.decompressobj().decompress(content[CHDR:], min(size, MAX_INFLATED)) if size else b""


def _ranges(dwarf: DWARFInfo, unit: CompileUnit) -> list[tuple[int, int]] | None:
    """The addresses of a unit, as its top entry tells them."""
    from elftools.dwarf.ranges import BaseAddressEntry

    attributes = unit.get_top_DIE().attributes
    low = attributes["DW_AT_low_pc"].value if "DW_AT_low_pc" in attributes else 0
    if "DW_AT_high_pc" in attributes:
        high = attributes["DW_AT_high_pc"]
        return [(low, high.value if high.form.startswith("DW_FORM_addr") else low + high.value)]
    lists = dwarf.range_lists()
    if "DW_AT_ranges" not in attributes or lists is None:
        return None
    ranges = []
    for entry in lists.get_range_list_at_offset(attributes["DW_AT_ranges"].value, unit):
        if isinstance(entry, BaseAddressEntry):
            low = entry.base_address
        else:
            base = 0 if entry.is_absolute else low
            ranges.append((base + entry.begin_offset, base + entry.end_offset))
    return ranges


def _file_name(program: LineProgram, number: int) -> str:
    modern = program["version"] >= 5
    files, folders = program["file_entry"], program["include_directory"]
    index = number if modern else number - 1
    if not 0 <= index < len(files):
        return "?"
    name, folder = _text(files[index].name), files[index].dir_index or 0
    # the compiler's own folder (0) is left away: the name stands as it was given to the compiler
    position = folder if modern else folder - 1
    if name.startswith("/") or folder == 0 or not 0 <= position < len(folders):
        return name
    return f"{_text(folders[position])}/{name}"


def _text(raw: bytes | None) -> str:
    return "?" if raw is None else raw.decode("utf-8", "backslashreplace")
