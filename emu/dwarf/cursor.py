"""Reading DWARF's fields one after the other, out of the sections that a file has them in.

Source: DWARF 5, sections 7.4 to 7.6. Whatever is wrong with a file, Unreadable is all that is raised; and what may be
read more than once is counted (`Effort`), so that no question takes more than some seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.elf import SHF_COMPRESSED, SHT_NOBITS, Elf

MAX_INFLATED = 512 << 20
ZLIB = 1  # ELFCOMPRESS_ZLIB
# DW_FORM_* → bytes; negative: of the length that stands before so many
_FORMS = {
    0x03: -2, 0x04: -4, 0x05: 2, 0x06: 4, 0x07: 8, 0x0A: -1, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8,
    0x19: 0, 0x1C: 4, 0x1E: 16, 0x20: 8, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3,
    0x2C: 4,
}  # fmt: skip
_OFFSETS = {0x0E, 0x10, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21}  # as wide as the unit's offsets
_NUMBERS = {0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23, 0x1F01, 0x1F02}  # LEB128, unsigned
ADDR, STRING, BLOCK, SDATA, REF_ADDR, INDIRECT, EXPRLOC = 0x01, 0x08, 0x09, 0x0D, 0x10, 0x16, 0x18
STRP, LINE_STRP, RNGLISTX, IMPLICIT_CONST = 0x0E, 0x1F, 0x23, 0x21
ADDRX = {0x1B, 0x29, 0x2A, 0x2B, 0x2C}


class Unreadable(Exception):
    """These bytes are no DWARF, or none that is read here."""


class Effort:
    """How many bytes of one file may still be read. A count, not a time: equal runs print equal bytes."""

    def __init__(self, left: int = 32 << 20) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Unreadable("more than anybody waits for")


class Widths(NamedTuple):
    """Of the fields of one unit, in bytes."""

    version: int
    offset: int  # 4, or 8 in 64-bit DWARF
    address: int


class Cursor:
    """A place in a section, [start, end) of `data`. What is read, is read from `at` on."""

    __slots__ = ("at", "data", "end", "start")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data, self.start, self.at, self.end = data, start, start, end

    @property
    def offset(self) -> int:
        """From the beginning of the section."""
        return self.at - self.start

    def part(self, offset: int, length: int | None = None) -> Cursor:
        """One that begins at `offset` of this one's section, and goes on for `length` bytes, or to its end."""
        start = self.start + offset
        end = self.end if length is None else start + length
        if not start <= end <= self.end:
            raise Unreadable("an offset that lies outside of its section")
        return Cursor(self.data, start, end)

    @property
    def done(self) -> bool:
        return self.at >= self.end

    def skip(self, length: int) -> None:
        self.at += length
        if self.at > self.end:
            raise Unreadable("cut off")

    def unsigned(self, length: int) -> int:
        at = self.at
        self.skip(length)
        return int.from_bytes(self.data[at : self.at], "little")

    def uleb(self) -> int:
        """LEB128; numbers of DWARF have 64 bits at most."""
        data, first = self.data, self.at
        value = 0
        for at in range(first, min(first + 10, self.end)):
            byte = data[at]
            value |= (byte & 127) << 7 * (at - first)
            if byte < 128:
                self.at = at + 1
                return value
        raise Unreadable("a number that is cut off, or has more than 64 bits")

    def sleb(self) -> int:
        at = self.at
        value = self.uleb()
        bits = 7 * (self.at - at)
        return value - (1 << bits) if value >> bits - 1 else value

    def string(self) -> bytes:
        at, end = self.at, self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise Unreadable("a string without an end")
        self.at = end + 1
        return self.data[at:end]

    def length(self) -> tuple[int, int]:
        """(bytes that follow, bytes of an offset there): the initial length of a unit."""
        length = self.unsigned(4)
        if length == 0xFFFFFFFF:
            return self.unsigned(8), 8
        if length >= 0xFFFFFFF0:
            raise Unreadable("a reserved length")
        return length, 4

    def value(self, form: int, widths: Widths) -> int | bytes:
        """A field of DW_FORM_`form`: a number, or the string that stands there. The content of a block is left out."""
        if form in _FORMS:
            width = _FORMS[form]
            if width < 0:
                self.skip(self.unsigned(-width))
                return 0
            return self.unsigned(width)
        if form == REF_ADDR and widths.version == 2:
            form = ADDR
        if form in _OFFSETS:
            return self.unsigned(widths.offset)
        if form in _NUMBERS:
            return self.uleb()
        if form == ADDR:
            return self.unsigned(widths.address)
        if form == STRING:
            return self.string()
        if form == SDATA:
            return self.sleb()
        if form in (BLOCK, EXPRLOC):
            self.skip(self.uleb())
            return 0
        if form == INDIRECT and (real := self.uleb()) != INDIRECT:
            return self.value(real, widths)
        raise Unreadable(f"form {form:#x}")


class Sections:
    """The sections of one file, inflated where they are compressed, each when it is first asked for."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._found: dict[str, Cursor] = {}

    def find(self, name: str) -> Cursor:
        """At its beginning; of one that is absent it is empty."""
        if name not in self._found:
            self._found[name] = self._read(name)
        return self._found[name].part(0)

    def _read(self, name: str) -> Cursor:
        section, content = self._elf.section(name), self._elf.content
        if section is None or section.type == SHT_NOBITS:
            return Cursor(b"", 0, 0)
        start, end = section.offset, min(section.offset + section.size, len(content))
        if not section.flags & SHF_COMPRESSED:
            return Cursor(content, min(start, end), end)
        header = Cursor(content, start, end)  # struct Elf64_Chdr
        kind = header.unsigned(4)
        header.skip(4)
        size = header.unsigned(8)
        header.skip(8)
        if kind != ZLIB or size > MAX_INFLATED:
            raise Unreadable("not compressed by zlib, or too large")
        import zlib

        try:
            raw = zlib.decompressobj().decompress(content[header.at : end], max(size, 1))
        except zlib.error:
            raise Unreadable("not what zlib wrote") from None
        return Cursor(raw, 0, len(raw))
