"""How long an x86-64 instruction is, as Unicorn decodes it: what is needed to count the instructions of a block.

`emu/native/hooks.c` is given these very tables. An invalid opcode ends a block, so its length does not matter.
"""

from __future__ import annotations

from functools import lru_cache

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

# Instructions that Unicorn executes and this machine does not have: added to the length, the exception they raise.
UNDEFINED, FORBIDDEN = 6 << 8, 13 << 8  # #UD, #GP
LENGTH = 255
BMI = {2: (0xF2, 0xF3, 0xF5, 0xF6, 0xF7), 3: (0xF0,)}  # the VEX opcodes of general registers, by opcode map


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
    """The length of the instruction at `code[at:]`, with UNDEFINED or FORBIDDEN added. Past the end of `code`, and for
    opcodes that Unicorn ends a block at: any."""
    i, end = at, len(code)
    operand16 = address32 = wide = False
    mandatory = 0
    while i < end and ONE_BYTE[code[i]] & PREFIX:
        byte = code[i]
        wide = byte & 0xF8 == 0x48  # a REX counts only where it is the last prefix
        if byte == 0x66:
            operand16 = True
        elif byte == 0x67:
            address32 = True
        elif byte in (0xF2, 0xF3):
            mandatory = byte
        i += 1
    if i >= end:
        return LONGEST
    opcode = code[i]
    following = code[i + 1] if i + 1 < end else 0
    i += 1
    flags = ONE_BYTE[opcode]
    absent = 0
    if opcode == 0x0F:
        i += 1
        if following in (0x38, 0x3A):
            flags = MODRM if following == 0x38 else MODRM | IMM8
            i += 1
        else:
            flags = TWO_BYTE[following]
            if following == 0x78 and (operand16 or mandatory == 0xF2):
                i += 2  # extrq, insertq
            elif following == 0xC7 and i < end and code[i] >= 0xF0:
                absent = UNDEFINED  # rdrand, rdseed, rdpid
    elif opcode in (0xC4, 0xC5):  # VEX: Unicorn takes it for SSE
        table = 1 if opcode == 0xC5 else following & 31
        i += 1 if opcode == 0xC5 else 2
        vex = code[i] if i < end else 0
        flags = TWO_BYTE[vex] if table == 1 else MODRM | (IMM8 if table == 3 else 0)
        absent = 0 if vex in BMI.get(table, ()) else UNDEFINED
        i += 1
    elif opcode & 0xFC == 0x6C or opcode & 0xF4 == 0xE4:
        absent = FORBIDDEN  # in, out, ins, outs
    elif opcode == 0x8F and following & 0x38:
        absent = UNDEFINED  # XOP
    return _operands(code, i, flags, operand16 and not wide, address32, wide) - at | absent


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
        at += length(code, at) & LENGTH
    return offsets


def first_absent(code: bytes) -> tuple[int, int] | None:
    """The index of the first instruction of a block that this machine lacks, and the vector it raises; None: none."""
    at = index = 0
    while at < len(code):
        step = length(code, at)
        if step > LENGTH:
            return index, step >> 8
        at, index = at + step, index + 1
    return None


@lru_cache(maxsize=256)
def block(code: bytes) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    """`starts` and `first_absent`. Whoever stops a program now and then meets the same few blocks."""
    return tuple(starts(code)), first_absent(code)
