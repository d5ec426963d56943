"""How long an x86-64 instruction is, as Unicorn decodes it: what is needed to count the instructions of a block.

`emu/native/hooks.c` is given these very tables. An invalid opcode ends a block, so its length does not matter.
"""

from __future__ import annotations

# One flag byte for each opcode.
MODRM = 1  # a ModRM byte follows
IMM8 = 2  # an 8-bit immediate
IMM16 = 4  # a 16-bit immediate (with IMM8: enter)
IMMZ = 8  # 16 bits under a 66 prefix, else 32
IMMV = 16  # as IMMZ, but 64 bits under REX.W
MOFFS = 32  # an address: 64 bits, or 32 under a 67 prefix
GROUP3 = 64  # an immediate (IMM8 or IMMZ) only if ModRM.reg is 0 or 1
PREFIX = 128

LONGEST = 15


def _fill(table: bytearray, flags: int, *opcodes: int | range) -> None:
    for item in opcodes:
        for opcode in (item,) if isinstance(item, int) else item:
            table[opcode] |= flags


def _one_byte() -> bytes:
    table = bytearray(256)
    for base in range(0, 0x40, 8):  # add or adc sbb and sub xor cmp
        _fill(table, MODRM, range(base, base + 4))
        table[base + 4], table[base + 5] = IMM8, IMMZ
    _fill(table, PREFIX, 0x26, 0x2E, 0x36, 0x3E, range(0x40, 0x50), 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3)
    _fill(table, MODRM, 0x62, 0x63, range(0x84, 0x90), range(0xD0, 0xD4), range(0xD8, 0xE0), 0xFE, 0xFF)
    _fill(table, IMMZ, 0x68, 0xA9, 0xE8, 0xE9)
    _fill(table, IMM8, 0x6A, range(0x70, 0x80), 0xA8, range(0xB0, 0xB8), 0xCD, range(0xE0, 0xE8), 0xEB)
    _fill(table, MODRM | IMMZ, 0x69, 0x81, 0xC7)
    _fill(table, MODRM | IMM8, 0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6)
    _fill(table, MOFFS, range(0xA0, 0xA4))
    _fill(table, IMMV, range(0xB8, 0xC0))
    _fill(table, IMM16, 0xC2, 0xCA)
    _fill(table, IMM16 | IMM8, 0xC8)
    _fill(table, MODRM | GROUP3 | IMM8, 0xF6)
    _fill(table, MODRM | GROUP3 | IMMZ, 0xF7)
    return bytes(table)


def _two_byte() -> bytes:
    table = bytearray([MODRM]) * 256
    for item in (range(0x04, 0x0D), 0x0E, range(0x30, 0x38), 0x77, range(0xA0, 0xA3), range(0xA8, 0xAB), 0xFF):
        for opcode in (item,) if isinstance(item, int) else item:
            table[opcode] = 0
    for opcode in range(0x80, 0x90):
        table[opcode] = IMMZ
    for opcode in range(0xC8, 0xD0):
        table[opcode] = 0
    _fill(table, IMM8, 0x0F, range(0x70, 0x74), 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6)
    return bytes(table)


ONE_BYTE = _one_byte()
TWO_BYTE = _two_byte()


def length(code: bytes, at: int) -> int:
    """The length of the instruction at `code[at:]`. Past the end of `code`, and for opcodes that end a block: any."""
    i, end = at, len(code)
    operand16 = address32 = wide = False
    last_mandatory = 0
    while i < end and ONE_BYTE[code[i]] & PREFIX:
        byte = code[i]
        wide = byte & 0xF8 == 0x48  # a REX counts only where it is the last prefix
        if byte == 0x66:
            operand16 = True
        elif byte == 0x67:
            address32 = True
        elif byte in (0xF2, 0xF3):
            last_mandatory = byte
        i += 1
    if i + 1 >= end:
        return LONGEST
    opcode = code[i]
    i += 1
    flags = ONE_BYTE[opcode]
    if opcode == 0x0F:
        opcode = code[i]
        i += 1
        if opcode in (0x38, 0x3A):
            flags = MODRM if opcode == 0x38 else MODRM | IMM8
            i += 1
        else:
            flags = TWO_BYTE[opcode]
            if opcode == 0x78 and (operand16 or last_mandatory == 0xF2):
                i += 2  # extrq, insertq
    elif opcode in (0xC4, 0xC5):  # VEX
        table = 1 if opcode == 0xC5 else code[i] & 31
        i += 1 if opcode == 0xC5 else 2
        if i >= end:
            return LONGEST
        flags = TWO_BYTE[code[i]] if table == 1 else MODRM | (IMM8 if table == 3 else 0)
        i += 1
    return _operands(code, i, flags, operand16 and not wide, address32, wide) - at


def _operands(code: bytes, i: int, flags: int, operand16: bool, address32: bool, wide: bool) -> int:
    """Where the instruction ends whose ModRM byte, if any, is at `i`."""
    if flags & MODRM:
        if i >= len(code):
            return i + LONGEST
        modrm = code[i]
        i += 1
        mode, rm = modrm >> 6, modrm & 7
        if mode != 3:
            if rm == 4:
                rm = code[i] & 7 if i < len(code) else 0
                i += 1
            i += 1 if mode == 1 else 4 if mode == 2 or rm == 5 else 0
        if flags & GROUP3 and modrm & 0x30:
            return i
    if flags & IMM8:
        i += 1
    if flags & IMM16:
        i += 2
    if flags & IMMZ:
        i += 2 if operand16 else 4
    if flags & IMMV:
        i += 8 if wide else 2 if operand16 else 4
    if flags & MOFFS:
        i += 4 if address32 else 8
    return i


def starts(code: bytes) -> list[int]:
    """The offsets at which instructions of a block with these bytes begin. Its length is their number."""
    offsets = []
    at = 0
    while at < len(code):
        offsets.append(at)
        at += length(code, at)
    return offsets
