"""DWARF expressions, as far as unwind tables use them: a stack of u64s, without control flow.

Source: DWARF 5, section 2.5. An operation that is not known is Malformed, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable

from emu.dwarf.cursor import Bytes, Malformed

MASK = (1 << 64) - 1
Read = Callable[[int], int | None]  # the u64 at an address, None where nothing is mapped


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << min(b, 64),
    0x25: lambda a, b: a >> min(b, 64),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b),
    0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)),
    0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)),
    0x2E: lambda a, b: int(a != b),
}


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def evaluate(block: bytes, registers: list[int], read: Read, initial: int | None) -> int | None:
    """A DWARF expression (2.5), without control flow; None where it reads memory that is not there."""
    code, stack = Bytes(block), [] if initial is None else [initial]
    while code.at < code.end:
        opcode = code.uint(1)
        if opcode in _BINARY or opcode in (0x06, 0x12, 0x13, 0x23, 0x96):
            if not _on_stack(code, opcode, stack, read):
                return None
        else:
            stack.append(_pushed(code, opcode, registers))
    return stack[-1] if stack else None


def _on_stack(code: Bytes, opcode: int, stack: list[int], read: Read) -> bool:
    if len(stack) < (2 if opcode in _BINARY else 1):
        raise Malformed("an expression that pops from nothing")
    if opcode in _BINARY:
        right = stack.pop()
        stack[-1] = _BINARY[opcode](stack[-1], right) & MASK
    elif opcode == 0x06:  # DW_OP_deref
        value = read(stack.pop())
        if value is None:
            return False
        stack.append(value)
    elif opcode == 0x12:  # DW_OP_dup
        stack.append(stack[-1])
    elif opcode == 0x13:  # DW_OP_drop
        stack.pop()
    elif opcode == 0x23:  # DW_OP_plus_uconst
        stack[-1] = stack[-1] + code.uleb() & MASK
    return True


def _pushed(code: Bytes, opcode: int, registers: list[int]) -> int:
    if 0x30 <= opcode <= 0x4F:  # DW_OP_lit
        return opcode - 0x30
    if 0x70 <= opcode <= 0x70 + 16:  # DW_OP_breg
        return registers[opcode - 0x70] + code.sleb() & MASK
    if 0x08 <= opcode <= 0x0F:  # DW_OP_const1u … const8s
        size = 1 << (opcode - 0x08 >> 1)
        return int.from_bytes(code.take(size), "little", signed=bool(opcode & 1)) & MASK
    if opcode == 0x10:
        return code.uleb() & MASK
    if opcode == 0x11:
        return code.sleb() & MASK
    raise Malformed(f"expression operation {opcode:#x}")
