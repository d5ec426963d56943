"""An ELF file as reports and commands read it: headers, segments, sections, symbols. Hostile files raise ElfError only.

The kernel's loader is another reader, with execve(2)'s rules. This one is for looking: it takes what is well-formed and
leaves out what is not, as `readelf` does. Source: the System V ABI, "Object Files"; elf(5).

It reads the tables that every traced run and every report asks for before anything else, in one struct call a table:
2.5 us a symbol, where pyelftools takes 40 (4 s for the 100,000 of a large static program) and 70 ms to be imported.
Whatever else an ELF file holds (notes, unwinding tables, DWARF) is left to pyelftools, which is asked only where this
reader found the section headers sound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

PT_LOAD, PT_INTERP, PT_TLS = 1, 3, 7
PT_GNU_EH_FRAME, PT_GNU_STACK, PT_GNU_RELRO = 0x6474E550, 0x6474E551, 0x6474E552
SHT_SYMTAB, SHT_NOBITS, SHT_DYNSYM = 2, 8, 11
SHF_COMPRESSED = 0x800
STT_FUNC, STT_GNU_IFUNC, STT_FILE, STT_SECTION, STT_NOTYPE, STT_OBJECT, STT_TLS = 2, 10, 4, 3, 0, 1, 6
EM_X86_64 = 62
MAX_SYMBOLS = 4_000_000


class ElfError(Exception):
    """The file is not an ELF that can be read; the message is one line."""


class Segment(NamedTuple):
    """A program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        return self.vaddr + self.memsz

    @property
    def perms(self) -> str:
        return "".join(letter if self.flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


class Section(NamedTuple):
    """A section header, its name resolved."""

    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    entsize: int
    info: int
    align: int


class Symbol(NamedTuple):
    """A symbol table entry. `value` is an address of the file, without load bias."""

    name: str
    value: int
    size: int
    type: int
    bind: int
    shndx: int


class Elf:
    """One 64-bit little-endian ELF file held in memory. Every offset that is used was checked against its length."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._read_header()
        self.segments = list(self._read_segments())
        self.sections = self._read_sections()
        self.learned: list[list[Symbol]] = []  # functions that its tables do not have, those of each object file

    def _read_header(self) -> None:
        content = self.content
        if content[:4] != b"\x7fELF":
            raise ElfError("not an ELF file" if content else "the file is empty")
        if len(content) < 6 or content[4] == 1:
            raise ElfError("a 32-bit ELF file; only 64-bit x86-64 programs run here")
        if content[4] != 2 or content[5] not in (1, 2):
            raise ElfError("an ELF file of no known class or byte order")
        if content[5] == 2:
            raise ElfError("a big-endian ELF file; only little-endian x86-64 programs run here")
        if len(content) < 64:
            raise ElfError(f"the ELF header is cut off after {len(content)} bytes")
        (self.type, self.machine, _, self.entry, self.phoff, self.shoff, self.flags, _, self.phentsize, self.phnum,
         self.shentsize, self.shnum, self.shstrndx) = struct.unpack_from("<HHIQQQIHHHHHH", content, 16)  # fmt: skip

    def _read_segments(self) -> Iterator[Segment]:
        if self.phnum and self.phentsize != 56:
            raise ElfError(f"program headers of {self.phentsize} bytes; they are 56 on x86-64")
        if self.phoff + 56 * self.phnum > len(self.content):
            raise ElfError("the program header table lies past the end of the file")
        for i in range(self.phnum):
            kind, flags, *rest = struct.unpack_from("<IIQQQQQQ", self.content, self.phoff + 56 * i)
            yield Segment(kind, flags, *rest)

    def _read_sections(self) -> list[Section]:
        if not self.shoff or self.shentsize != 64 or self.shoff + 64 * self.shnum > len(self.content):
            return []
        headers = [struct.unpack_from("<IIQQQQIIQQ", self.content, self.shoff + 64 * i) for i in range(self.shnum)]
        names = b""
        if self.shstrndx < len(headers):
            names = self._slice(headers[self.shstrndx][4], headers[self.shstrndx][5])
        return [
            Section(_string(names, name), kind, flags, addr, offset, size, link, entsize, info, align)
            for name, kind, flags, addr, offset, size, link, info, align, entsize in headers
        ]

    def _slice(self, offset: int, size: int) -> bytes:
        """The file's bytes [offset, offset+size), cut at its end."""
        return self.content[offset : offset + size] if offset < len(self.content) else b""

    def section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)

    def bytes_of(self, name: str) -> bytes:
        """The contents of section `name` as they lie in the file; b"" where it is absent or has none there."""
        section = self.section(name)
        return self._slice(section.offset, section.size) if section and section.type != SHT_NOBITS else b""

    def segment(self, kind: int) -> Segment | None:
        return next((segment for segment in self.segments if segment.type == kind), None)

    def read(self, va: int, size: int) -> bytes:
        """Up to `size` bytes at address `va` of the file's image, shorter where the file's bytes end."""
        for segment in self.segments:
            if segment.type == PT_LOAD and segment.vaddr <= va < segment.vaddr + segment.filesz:
                at = va - segment.vaddr
                return self._slice(segment.offset + at, min(size, segment.filesz - at))
        return b""

    @property
    def executable(self) -> list[Segment]:
        """The PT_LOAD segments that hold code."""
        return [segment for segment in self.segments if segment.type == PT_LOAD and segment.flags & 1]

    def symbols(self) -> Iterator[Symbol]:
        """Named symbols of .symtab, or of .dynsym where the file is stripped; undefined and file symbols left out.
        Then what was learned."""
        yield from self._named
        for functions in self.learned:
            yield from functions

    @cached_property
    def _named(self) -> list[Symbol]:
        """Those of the tables; a traced run asks for all of them several times."""
        tables = [section for section in self.sections if section.type == SHT_SYMTAB]
        tables = tables or [section for section in self.sections if section.type == SHT_DYNSYM]
        return list(self._symbols_of(tables[0])) if tables else []

    def files(self) -> Iterator[list[Symbol]]:
        """The functions that are local to each source file, as far as .symtab tells; and of each that was learned."""
        yield from ([symbol for symbol in functions if not symbol.bind] for functions in self.learned)
        table = next((section for section in self.sections if section.type == SHT_SYMTAB), None)
        if table is None or table.link >= len(self.sections):
            return
        strings, raw = self._contents(self.sections[table.link]), self._contents(table)[: 24 * MAX_SYMBOLS]
        local: list[Symbol] = []
        for name, kind, _, shndx, value, size in struct.iter_unpack("<IBBHQQ", raw[: len(raw) // 24 * 24]):
            if kind == STT_FILE:
                yield local
                local = []
            elif kind == STT_FUNC and shndx:
                local.append(Symbol(_string(strings, name), value, size, kind, 0, shndx))
        yield local

    def _contents(self, section: Section) -> bytes:
        return self._slice(section.offset, section.size)

    def _symbols_of(self, table: Section) -> Iterator[Symbol]:
        if table.link >= len(self.sections):
            return
        names = self.sections[table.link]
        strings = self._slice(names.offset, names.size)
        raw = self._slice(table.offset, min(table.size, 24 * MAX_SYMBOLS))
        for name, kind, _, shndx, value, size in struct.iter_unpack("<IBBHQQ", raw[: len(raw) // 24 * 24]):
            if name and shndx and kind & 15 not in (STT_FILE, STT_SECTION):
                yield Symbol(_string(strings, name), value, size, kind & 15, kind >> 4, shndx)


def _string(table: bytes, at: int) -> str:
    end = table.find(b"\0", at)
    return table[at : end if end >= 0 else len(table)].decode("utf-8", "backslashreplace")


def read_elf(path: str) -> Elf:
    """Read the file at host `path`. Raises ElfError for a bad file, OSError for one that cannot be read."""
    with open(path, "rb") as file:
        return Elf(file.read())
