"""Call frame rows from .eh_frame: how to find the caller's registers at any address of one program.

Source: DWARF 5, section 6.4 "Call Frame Information"; the LSB's .eh_frame section. Expressions are evaluated as far as
compilers and libcs use them. What cannot be followed is Malformed or None, never a guess.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from emu.dwarf.cursor import Bytes, Malformed
from emu.dwarf.expression import MASK, Read, evaluate
from emu.elf import PT_GNU_EH_FRAME, Elf

# DWARF register numbers of x86-64 (psABI, figure 3.36); 16 is the return address
REGISTERS = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip")  # fmt: skip
RSP, RIP = 7, 16


class Rule(NamedTuple):
    """How to find a register of the caller: at CFA+n, as CFA+n, in another register, or by an expression."""

    kind: str  # "offset", "val_offset", "register", "expression", "val_expression", "undefined"
    number: int = 0
    block: bytes = b""


@dataclass(slots=True)
class Row:
    """The unwind rules at one address. The CFA is `cfa_register` + `cfa_offset`, or an expression."""

    cfa_register: int = RSP
    cfa_offset: int = 8
    cfa_block: bytes = b""
    rules: dict[int, Rule] = field(default_factory=dict)

    def copy(self) -> Row:
        return Row(self.cfa_register, self.cfa_offset, self.cfa_block, dict(self.rules))


@dataclass(slots=True)
class Cie:
    code_align: int
    data_align: int
    return_register: int
    encoding: int
    signal: bool
    augmented: bool
    program: Bytes


class Fde(NamedTuple):
    start: int
    end: int
    cie: Cie
    program: Bytes


class FrameTable:
    """The FDEs of one program, sorted by address, read at the first question."""

    def __init__(self, elf: Elf) -> None:
        section = elf.section(".eh_frame")
        self._raw = elf.bytes_of(".eh_frame")
        self._va = section.addr if section else 0
        if not self._raw:
            self._find_by_header(elf)
        self._fdes: list[Fde] | None = None
        self._starts: list[int] = []

    def _find_by_header(self, elf: Elf) -> None:
        """Without section headers PT_GNU_EH_FRAME leads there; it says where .eh_frame starts, not how long it is."""
        segment = elf.segment(PT_GNU_EH_FRAME)
        if segment is None:
            return
        try:
            header = Bytes(elf.read(segment.vaddr, segment.filesz), 1)
            encoding = header.uint(1)
            header.take(2)
            self._va = _pointer(header, encoding, segment.vaddr) or 0
        except Malformed:
            return
        self._raw = elf.read(self._va, 64 << 20)

    def find(self, va: int) -> Fde | None:
        """The FDE of the code at `va` (an address of the file)."""
        if self._fdes is None:
            self._fdes = sorted(self._read(), key=lambda fde: fde.start)
            self._starts = [fde.start for fde in self._fdes]
        index = bisect_right(self._starts, va) - 1
        if index < 0 or va >= self._fdes[index].end:
            return None
        return self._fdes[index]

    def row(self, va: int) -> tuple[Row, Cie] | None:
        """The rules at the instruction at `va`."""
        fde = self.find(va)
        if fde is None:
            return None
        try:
            initial = _run(_fresh(fde.cie.program), fde.cie, Row(), fde.start, fde.start, Row())
            return _run(_fresh(fde.program), fde.cie, initial.copy(), fde.start, va, initial), fde.cie
        except Malformed:
            return None

    def _read(self) -> list[Fde]:
        fdes: list[Fde] = []
        cies: dict[int, Cie] = {}
        cursor = Bytes(self._raw)
        try:
            while cursor.at + 4 <= cursor.end:
                entry = self._entry(cursor)
                if entry is None:
                    break
                self._add(entry, cies, fdes)
        except Malformed:
            pass  # what was read before the break stands
        return fdes

    def _entry(self, cursor: Bytes) -> Bytes | None:
        length = cursor.uint(4)
        if length == 0xFFFFFFFF:
            length = cursor.uint(8)
        if length == 0:
            return None
        entry = Bytes(cursor.raw, cursor.at, cursor.at + length)
        cursor.at += length
        return entry

    def _add(self, entry: Bytes, cies: dict[int, Cie], fdes: list[Fde]) -> None:
        at = entry.at
        back = entry.uint(4)
        if back == 0:
            return  # a CIE; it is read when an FDE asks for it
        cie = cies.get(at - back)
        if cie is None:
            cie = cies[at - back] = self._cie(at - back)
        start = _pointer(entry, cie.encoding, self._va)
        size = _pointer(entry, cie.encoding & 0x0F, 0)
        if start is None or size is None:
            return
        if cie.augmented:
            entry.take(entry.uleb())
        fdes.append(Fde(start, start + size, cie, entry))

    def _cie(self, at: int) -> Cie:
        """The CIE whose length field stands at offset `at`."""
        if at < 0:
            raise Malformed("a CIE before the section")
        length = Bytes(self._raw, at).uint(4)
        cie = Bytes(self._raw, at + 4, at + 4 + length)
        if cie.uint(4) != 0:
            raise Malformed("an FDE that points to no CIE")
        version = cie.uint(1)
        augmentation = cie.string()
        code_align, data_align = cie.uleb(), cie.sleb()
        return_register = cie.uint(1) if version == 1 else cie.uleb()
        encoding = 0
        if augmentation.startswith("z"):
            encoding = self._augmentation(cie, augmentation)
        elif augmentation:
            raise Malformed(f"augmentation {augmentation!r}")
        signal, augmented = "S" in augmentation, augmentation.startswith("z")
        return Cie(code_align, data_align, return_register, encoding, signal, augmented, cie)

    @staticmethod
    def _augmentation(cie: Bytes, letters: str) -> int:
        length = cie.uleb()
        fields = Bytes(cie.raw, cie.at, cie.at + length)
        encoding = 0
        for letter in letters[1:]:
            if letter == "R":
                encoding = fields.uint(1)
            elif letter == "P":
                _pointer(fields, fields.uint(1), 0)
            elif letter == "L":
                fields.uint(1)
        cie.take(length)
        return encoding


def _fresh(program: Bytes) -> Bytes:
    return Bytes(program.raw, program.at, program.end)


def _pointer(cursor: Bytes, encoding: int, base: int) -> int | None:
    """A DW_EH_PE pointer; `base` is the address of the cursor's byte 0 (for pc-relative ones)."""
    if encoding == 0xFF:
        return None
    at = cursor.at
    kind = encoding & 0x0F
    sizes = {0x00: 8, 0x02: 2, 0x03: 4, 0x04: 8, 0x0A: 2, 0x0B: 4, 0x0C: 8}
    if kind == 0x01:
        value = cursor.uleb()
    elif kind == 0x09:
        value = cursor.sleb()
    elif kind in sizes:
        value = int.from_bytes(cursor.take(sizes[kind]), "little", signed=kind >= 0x08)
    else:
        raise Malformed(f"pointer encoding {encoding:#x}")
    if encoding & 0x70 == 0x10:
        value += base + at
    return value & MASK


def _run(program: Bytes, cie: Cie, row: Row, location: int, until: int, initial: Row) -> Row:
    """Execute call frame instructions while their location is not past `until`; the row that holds there."""
    saved: list[Row] = []
    while program.at < program.end:
        opcode = program.uint(1)
        high, low = opcode & 0xC0, opcode & 0x3F
        advance = _advance(program, opcode, cie)
        if advance is not None:
            location = advance if opcode == 0x01 else location + advance
            if location > until:
                return row
        elif high == 0x80:  # DW_CFA_offset
            row.rules[low] = Rule("offset", program.uleb() * cie.data_align)
        elif high == 0xC0:  # DW_CFA_restore
            _restore(row, initial, low)
        elif opcode == 0x0A:  # DW_CFA_remember_state
            saved.append(row.copy())
        elif opcode == 0x0B:  # DW_CFA_restore_state
            if not saved:
                raise Malformed("restore_state without remember_state")
            row = saved.pop()
        else:
            _instruction(program, opcode, cie, row, initial)
    return row


def _advance(program: Bytes, opcode: int, cie: Cie) -> int | None:
    """The bytes by which an advance_loc moves (for DW_CFA_set_loc: where to), None for any other instruction."""
    if opcode & 0xC0 == 0x40:
        return (opcode & 0x3F) * cie.code_align
    if opcode in (0x02, 0x03, 0x04):  # DW_CFA_advance_loc1, 2, 4
        return program.uint(1 << (opcode - 2)) * cie.code_align
    if opcode == 0x01:
        return program.uint(8)
    return None


def _restore(row: Row, initial: Row, register: int) -> None:
    if register in initial.rules:
        row.rules[register] = initial.rules[register]
    else:
        row.rules.pop(register, None)


def _instruction(program: Bytes, opcode: int, cie: Cie, row: Row, initial: Row) -> None:
    """The instructions with operands in full bytes (DWARF 5, 6.4.2)."""
    if opcode in (0x00, 0x2D):  # DW_CFA_nop
        return
    if opcode in (0x0C, 0x12):  # DW_CFA_def_cfa, def_cfa_sf
        row.cfa_block, row.cfa_register = b"", program.uleb()
        row.cfa_offset = program.uleb() if opcode == 0x0C else program.sleb() * cie.data_align
    elif opcode == 0x0D:  # DW_CFA_def_cfa_register
        row.cfa_block, row.cfa_register = b"", program.uleb()
    elif opcode in (0x0E, 0x13):  # DW_CFA_def_cfa_offset, def_cfa_offset_sf
        row.cfa_offset = program.uleb() if opcode == 0x0E else program.sleb() * cie.data_align
    elif opcode == 0x0F:  # DW_CFA_def_cfa_expression
        row.cfa_block = program.take(program.uleb())
    elif opcode == 0x2E:  # DW_CFA_GNU_args_size
        program.uleb()
    else:
        _register_rule(program, opcode, cie, row, initial)


def _register_rule(program: Bytes, opcode: int, cie: Cie, row: Row, initial: Row) -> None:
    """The instructions that begin with a register number."""
    register = program.uleb()
    if opcode == 0x05:  # DW_CFA_offset_extended
        row.rules[register] = Rule("offset", program.uleb() * cie.data_align)
    elif opcode == 0x11:  # DW_CFA_offset_extended_sf
        row.rules[register] = Rule("offset", program.sleb() * cie.data_align)
    elif opcode == 0x06:  # DW_CFA_restore_extended
        _restore(row, initial, register)
    elif opcode == 0x07:  # DW_CFA_undefined
        row.rules[register] = Rule("undefined")
    elif opcode == 0x08:  # DW_CFA_same_value
        row.rules.pop(register, None)
    elif opcode == 0x09:  # DW_CFA_register
        row.rules[register] = Rule("register", program.uleb())
    elif opcode in (0x10, 0x16):  # DW_CFA_expression, val_expression
        block = program.take(program.uleb())
        row.rules[register] = Rule("expression" if opcode == 0x10 else "val_expression", 0, block)
    elif opcode in (0x14, 0x15):  # DW_CFA_val_offset, val_offset_sf
        number = program.uleb() if opcode == 0x14 else program.sleb()
        row.rules[register] = Rule("val_offset", number * cie.data_align)
    else:
        raise Malformed(f"call frame instruction {opcode:#x}")


def caller(row: Row, cie: Cie, registers: list[int], read: Read) -> list[int] | None:
    """The 17 registers of the caller, from those of the callee; None where this is the outermost frame or memory is
    missing. Raises Malformed for an expression that cannot be evaluated."""
    cfa = evaluate(row.cfa_block, registers, read, None) if row.cfa_block else None
    if cfa is None:
        if row.cfa_block or row.cfa_register > 16:
            return None
        cfa = registers[row.cfa_register] + row.cfa_offset & MASK
    result = list(registers)
    result[RSP] = cfa
    for register, rule in row.rules.items():
        if register > RIP:
            continue
        value = _apply(rule, cfa, registers, read)
        if value is None and register == cie.return_register:
            return None
        result[register] = value or 0
    if cie.return_register not in row.rules:
        return None
    return result


def _apply(rule: Rule, cfa: int, registers: list[int], read: Read) -> int | None:
    if rule.kind == "offset":
        return read(cfa + rule.number & MASK)
    if rule.kind == "val_offset":
        return cfa + rule.number & MASK
    if rule.kind == "register":
        return registers[rule.number] if rule.number <= RIP else None
    if rule.kind == "undefined":
        return None
    value = evaluate(rule.block, registers, read, cfa)
    return read(value) if rule.kind == "expression" and value is not None else value
