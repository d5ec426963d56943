"""The machine code of a static library, with what a linker writes into it left open: what it can be found by in a
program that was linked with it and has no symbols any more.

The linker puts each section of an object file into the program whole. It changes the fields of its relocations, and
where it finds a shorter way, the instructions around some: those of GOTPCRELX and of thread-local variables.
Source: the psABI for x86-64, "Relocation" and "Optimize GOTPCRELX Relocations"; "ELF Handling For Thread-Local
Storage", 5.5, "Linker Optimizations".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from emu.elf import EM_X86_64, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC, Elf, ElfError, Section, Symbol

ET_REL, SHT_PROGBITS, SHT_RELA, SHF_EXECINSTR = 1, 1, 4, 4
PC32, PLT32, TLSGD, TLSLD, GOTTPOFF, TPOFF32, GOTPCRELX, REX_GOTPCRELX = 2, 4, 19, 20, 22, 23, 41, 42
# type → (first byte, end) of what the linker may write, from the relocation's offset on; others: a field of 4 bytes
_WRITTEN = {
    1: (0, 8),  # 64
    24: (0, 8),  # PC64
    25: (0, 8),  # GOTOFF64
    12: (0, 2),  # 16
    13: (0, 2),  # PC16
    14: (0, 1),  # 8
    15: (0, 1),  # PC8
    TLSGD: (-4, 12),  # data16 lea; call __tls_get_addr: the whole sequence
    TLSLD: (-3, 10),  # lea; call, or call through the GOT
    GOTTPOFF: (-3, 4),  # mov or add, its REX and its ModRM
    GOTPCRELX: (-2, 4),  # mov, call or jmp, and its ModRM
    REX_GOTPCRELX: (-3, 4),
    34: (-3, 4),  # GOTPC32_TLSDESC
    35: (0, 2),  # TLSDESC_CALL
}
_TAKES_NUMBER = (0xC7, 0x81, 0x8D)  # mov, add, lea: what a linker makes of mov and add of an address in the GOT


class Reference(NamedTuple):
    """A field of 4 bytes at `offset` that holds symbol + `addend` - the field's address."""

    offset: int
    addend: int
    name: str


class Code:
    """One section of code of one object file. `file` is one number for all of a file."""

    def __init__(self, member: str, elf: Elf, index: int, relocations: list[tuple[int, int, int]]) -> None:
        self.member, self._elf, self._index = member, elf, index
        self.file = id(elf)
        section = elf.sections[index]
        self.section, self.align = section.name, max(section.align, 1)
        self.bytes = elf.content[section.offset : section.offset + section.size]
        # (offset, symbol << 32 | type, addend)
        self._relocations = [each for each in relocations if each[0] < len(self.bytes)]
        self.runs = list(self._runs())
        self.fixed = sum(end - start for start, end in self.runs)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """(start, end) of the bytes that no linker changes."""
        at = 0
        for offset, info, _ in sorted(self._relocations):
            first, end = _WRITTEN.get(info & 0xFFFFFFFF, (0, 4))
            if offset + first > at:
                yield at, offset + first
            at = max(at, offset + end)
        if at < len(self.bytes):
            yield at, len(self.bytes)

    def stands_at(self, image: bytes, at: int) -> bool:
        """Are these bytes those of `image` from `at` on, but for what a linker writes?"""
        if at < 0 or at + len(self.bytes) > len(image):
            return False
        return all(image[at + start : at + end] == self.bytes[start:end] for start, end in self.runs)

    @cached_property
    def functions(self) -> list[Symbol]:
        """Those that begin in it, `value` from its first byte on. One of assembly without a size reaches as far as the
        next one."""
        inside = [s for s in self._elf.symbols() if s.shndx == self._index and s.value < len(self.bytes)]
        chosen = sorted((s for s in inside if s.type in (STT_FUNC, STT_GNU_IFUNC)), key=lambda each: each.value)
        starts = [*sorted({symbol.value for symbol in chosen}), len(self.bytes)]
        return [s if s.size else s._replace(size=_after(s.value, starts) - s.value) for s in chosen]

    @cached_property
    def references(self) -> list[Reference]:
        """Its fields that hold the distance to something with a global name."""
        return [
            Reference(offset, addend, self._names[info >> 32])
            for offset, info, addend in self._relocations
            if info & 0xFFFFFFFF in (PC32, PLT32) and info >> 32 in self._names
        ]

    def thread_locals(self, linked: bytes) -> Iterator[tuple[str, int]]:
        """(global name, distance from the FS base) of the thread-local variables that it uses, `linked` being its bytes
        in the program. Where the linker left an address of the GOT, nothing is told."""
        for offset, info, addend in self._relocations:
            kind, name = info & 0xFFFFFFFF, self._names.get(info >> 32)
            if name is not None and (kind == TPOFF32 or (kind == GOTTPOFF and linked[offset - 2] in _TAKES_NUMBER)):
                told = int.from_bytes(linked[offset : offset + 4], "little", signed=True)
                yield name, told - (addend if kind == TPOFF32 else 0)

    @cached_property
    def _names(self) -> dict[int, str]:
        return _names(self._elf)


def _after(value: int, starts: list[int]) -> int:
    return next((start for start in starts if start > value), value)


def _names(elf: Elf) -> dict[int, str]:
    """The global symbols of an object file by number."""
    table = next((section for section in elf.sections if section.type == SHT_SYMTAB), None)
    if table is None or table.link >= len(elf.sections):
        return {}
    strings = _contents(elf, elf.sections[table.link])
    raw = _contents(elf, table)
    return {
        number: strings[name : max(strings.find(b"\0", name), name)].decode("latin-1")
        for number, (name, kind) in enumerate(struct.iter_unpack("<IB19x", raw[: len(raw) // 24 * 24]))
        if kind >> 4 and name
    }


def _contents(elf: Elf, section: Section) -> bytes:
    return elf.content[section.offset : section.offset + section.size]


def code_of(member: str, content: bytes) -> Iterator[Code]:
    """The sections of code of one object file; nothing of what is none for x86-64 (LLVM's bitcode has no code)."""
    try:
        elf = Elf(content)
    except ElfError:
        return
    if elf.type != ET_REL or elf.machine != EM_X86_64:
        return
    tables: dict[int, list[tuple[int, int, int]]] = {}
    for section in elf.sections:
        if section.type == SHT_RELA:
            raw = _contents(elf, section)
            tables.setdefault(section.info, []).extend(struct.iter_unpack("<QQq", raw[: len(raw) // 24 * 24]))
    for index, section in enumerate(elf.sections):
        if section.type == SHT_PROGBITS and section.flags & SHF_EXECINSTR and section.size:
            yield Code(member, elf, index, tables.get(index, []))
