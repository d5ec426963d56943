"""Call frame rows from .eh_frame: how to find the caller's registers at any address of one program.

pyelftools decodes the entry of one function; which entry that is, an index of our own tells: pyelftools has none, and
decodes 200 us for each of the 4,000 to 32,000 functions of a static program before it answers (1 to 9 s; the index, 6
us each). Source: DWARF 5, section 6.4 "Call Frame Information"; the LSB's .eh_frame section.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

from emu.dwarf.boundary import Patience
from emu.dwarf.expression import MASK, Malformed, Read, evaluate, structs
from emu.elf import PT_GNU_EH_FRAME, Elf

# DWARF register numbers of x86-64 (psABI, figure 3.36); 16 is the return address
REGISTERS = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip")  # fmt: skip
RSP, RIP = 7, 16
MAX_TABLE = 64 << 20
FORMATS = {0x0: "<Q", 0x2: "<H", 0x3: "<I", 0x4: "<Q", 0xA: "<h", 0xB: "<i", 0xC: "<q"}  # DW_EH_PE_*


class Rule(NamedTuple):
    """How to find a register of the caller: at CFA+n, as CFA+n, in another register, or by an expression."""

    kind: str  # "offset", "val_offset", "register", "expression", "val_expression", "undefined", "same_value"
    number: int = 0
    block: bytes = b""


class Row(NamedTuple):
    """The unwind rules at one address. The CFA is `cfa_register` + `cfa_offset`, or an expression."""

    cfa_register: int
    cfa_offset: int
    cfa_block: bytes
    rules: dict[int, Rule]


class Fde(NamedTuple):
    """Where a function's entry lies in the table."""

    start: int
    end: int
    at: int  # of its length field
    cie: int


class FrameTable:
    """The entries of one program, sorted by address; indexed at the first question."""

    def __init__(self, elf: Elf) -> None:
        section = elf.section(".eh_frame")
        self._raw = elf.bytes_of(".eh_frame")[:MAX_TABLE]
        self._va = section.addr if section else 0
        if not self._raw:
            self._find_by_header(elf)
        self._fdes: list[Fde] | None = None
        self._starts: list[int] = []
        self._encodings: dict[int, int | None] = {}
        self._tables: dict[int, list[dict[Any, Any]]] = {}  # by Fde.at
        self._ask = Patience().ask

    def _find_by_header(self, elf: Elf) -> None:
        """Without section headers PT_GNU_EH_FRAME leads there; it says where .eh_frame starts, not how long it is."""
        segment = elf.segment(PT_GNU_EH_FRAME)
        header = elf.read(segment.vaddr, 12) if segment else b""
        if segment and len(header) == 12:
            self._va = _pointer(header, 4, header[1], segment.vaddr) or 0
            self._raw = elf.read(self._va, MAX_TABLE)

    def find(self, va: int) -> Fde | None:
        """The entry of the code at `va` (an address of the file)."""
        if self._fdes is None:
            self._fdes = sorted(self._index())
            self._starts = [fde.start for fde in self._fdes]
        index = bisect_right(self._starts, va) - 1
        if index < 0 or va >= self._fdes[index].end:
            return None
        return self._fdes[index]

    def row(self, va: int) -> Row | None:
        """The rules at the instruction at `va`; None where there is no entry, or none that can be read."""
        fde = self.find(va)
        return None if fde is None else self._ask(partial(self._row, fde, va), None)

    def caller(self, row: Row, registers: list[int], read: Read) -> list[int] | None:
        """The 17 registers of the caller, from those of the callee; None where this is the outermost frame, memory is
        missing or an expression cannot be evaluated."""
        return self._ask(partial(_caller, row, registers, read), None)

    def _index(self) -> Iterator[Fde]:
        """Every FDE that can be placed; a broken one ends the table."""
        raw, at = self._raw, 0
        while at + 8 <= len(raw):
            length, back = struct.unpack_from("<II", raw, at)
            if length == 0 or length == 0xFFFFFFFF or at + 4 + length > len(raw):
                return  # the terminator; 64-bit DWARF, which no x86-64 compiler writes in .eh_frame; nonsense
            cie = at + 4 - back
            if back and cie >= 0:
                if cie not in self._encodings:
                    self._encodings[cie] = self._ask(partial(self._encoding, cie), None)
                encoding = self._encodings[cie]
                width = None if encoding is None else struct.calcsize(FORMATS[encoding & 15])
                if encoding is not None and width and length >= 4 + 2 * width:
                    start = _pointer(raw, at + 8, encoding, self._va)
                    size = _pointer(raw, at + 8 + width, encoding & 7, 0)  # a length has neither base nor sign
                    if start and size:
                        yield Fde(start, start + size, at, cie)
            at += 4 + length

    def _encoding(self, cie: int) -> int | None:
        """The DW_EH_PE_* encoding of the addresses of a CIE's FDEs, where it is one we know."""
        entry = self._decoded(self._bytes(cie), 0)[0]
        encoding: int = entry.augmentation_dict.get("FDE_encoding", 0)
        return encoding if encoding & 15 in FORMATS and encoding & 0xF0 in (0, 0x10) else None

    def _bytes(self, at: int) -> bytes:
        """The whole entry that begins at `at`."""
        return self._raw[at : at + 4 + struct.unpack_from("<I", self._raw, at)[0]]

    def _decoded(self, section: bytes, va: int) -> list[Any]:
        from elftools.dwarf.callframe import CallFrameInfo

        return CallFrameInfo(BytesIO(section), len(section), va, structs(), for_eh_frame=True).get_entries()

    def _row(self, fde: Fde, va: int) -> Row | None:
        if fde.at not in self._tables:
            self._tables[fde.at] = []  # where it fails it is not tried again
            self._tables[fde.at] = self._lines(fde)
        lines = [line for line in self._tables[fde.at] if line["pc"] <= va]
        return _as_row(lines[-1]) if lines else None

    def _lines(self, fde: Fde) -> list[dict[Any, Any]]:
        """Have a section decoded that holds this entry and its CIE alone, at the address where the entry stood."""
        from elftools.dwarf.constants import DW_CFA

        cie, entry = self._bytes(fde.cie), bytearray(self._bytes(fde.at))
        struct.pack_into("<I", entry, 4, len(cie) + 4)
        common, function = self._decoded(cie + entry, self._va + fde.at - len(cie))
        if common["return_address_register"] != RIP:
            return []
        if any(step.opcode == DW_CFA.def_cfa_sf for step in (*common.instructions, *function.instructions)):
            return []  # pyelftools 0.33 scales it by the wrong factor; compilers for x86-64 do not use it
        return function.get_decoded().table  # type: ignore[no-any-return]


def _pointer(raw: bytes, at: int, encoding: int, base: int) -> int | None:
    """A DW_EH_PE_* value at `raw[at:]`, which is loaded at `base`; None for what is not absolute or pc-relative."""
    form = FORMATS.get(encoding & 15)
    if form is None or encoding & 0xF0 not in (0, 0x10) or at + struct.calcsize(form) > len(raw):
        return None
    value: int = struct.unpack_from(form, raw, at)[0]
    return (value + base + at if encoding & 0x10 else value) & MASK


def _as_row(line: dict[Any, Any]) -> Row:
    cfa, rules = line["cfa"], {}
    for register, found in line.items():
        if isinstance(register, int) and register <= RIP:
            kind = found.type.lower()
            if kind in ("expression", "val_expression"):
                rules[register] = Rule(kind, 0, bytes(found.arg))
            else:
                rules[register] = Rule(kind, found.arg or 0)
    if cfa.expr is not None:
        return Row(RSP, 0, bytes(cfa.expr), rules)
    return Row(cfa.reg, cfa.offset, b"", rules)


def _caller(row: Row, registers: list[int], read: Read) -> list[int] | None:
    cfa = evaluate(row.cfa_block, registers, read, None) if row.cfa_block else registers[row.cfa_register]
    if cfa is None or RIP not in row.rules:
        return None
    cfa = cfa + row.cfa_offset & MASK
    result = list(registers)
    result[RSP] = cfa
    for register, rule in row.rules.items():
        value = _apply(rule, cfa, registers[register], registers, read)
        if value is None and register == RIP:
            return None
        result[register] = value or 0
    return result


def _apply(rule: Rule, cfa: int, same: int, registers: list[int], read: Read) -> int | None:
    match rule.kind:
        case "offset":
            return read(cfa + rule.number & MASK)
        case "val_offset":
            return cfa + rule.number & MASK
        case "register":
            return registers[rule.number]
        case "same_value":
            return same
        case "undefined":
            return None
        case "expression" | "val_expression":
            value = evaluate(rule.block, registers, read, cfa)
            return read(value) if rule.kind == "expression" and value is not None else value
    raise Malformed(f"a rule of kind {rule.kind}")
