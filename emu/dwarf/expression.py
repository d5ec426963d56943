"""DWARF expressions, as far as unwind tables use them: a stack of u64s, without control flow. pyelftools decodes them.

Source: DWARF 5, section 2.5. An operation that is not known raises Malformed, never is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elftools.dwarf.dwarf_expr import DWARFExprOp
    from elftools.dwarf.structs import DWARFStructs

MASK = (1 << 64) - 1
Read = Callable[[int], int | None]  # the u64 at an address, None where nothing is mapped

_BINARY: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, b: a & b,
    "minus": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "or": lambda a, b: a | b,
    "plus": lambda a, b: a + b,
    "shl": lambda a, b: a << min(b, 64),
    "shr": lambda a, b: a >> min(b, 64),
    "xor": lambda a, b: a ^ b,
    "eq": lambda a, b: int(a == b),
    "ge": lambda a, b: int(_signed(a) >= _signed(b)),
    "gt": lambda a, b: int(_signed(a) > _signed(b)),
    "le": lambda a, b: int(_signed(a) <= _signed(b)),
    "lt": lambda a, b: int(_signed(a) < _signed(b)),
    "ne": lambda a, b: int(a != b),
}


class Malformed(Exception):
    """An expression or a rule that cannot be followed."""


@cache
def structs() -> DWARFStructs:
    """How x86-64 lays out DWARF's fields."""
    from elftools.dwarf.structs import DWARFStructs

    return DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def evaluate(block: Iterable[int], registers: list[int], read: Read, initial: int | None) -> int | None:
    """The value of an expression (2.5), which begins with `initial` on its stack; None where it reads memory that is
    not there."""
    from elftools.dwarf.dwarf_expr import DWARFExprParser

    stack = [] if initial is None else [initial]
    for op in DWARFExprParser(structs()).parse_expr(bytes(block)):
        if not _step(op, stack, registers, read):
            return None
    return stack[-1] if stack else None


def _step(op: DWARFExprOp, stack: list[int], registers: list[int], read: Read) -> bool:
    name = op.op_name.removeprefix("DW_OP_")
    if name.startswith(("lit", "breg", "const")) and name != "bregx":
        stack.append(_pushed(name, op, registers) & MASK)
    elif len(stack) < (2 if name in _BINARY else 1):
        raise Malformed("an expression that pops from nothing")
    elif name in _BINARY:
        right = stack.pop()
        stack[-1] = _BINARY[name](stack[-1], right) & MASK
    elif name == "deref":
        value = read(stack.pop())
        if value is None:
            return False
        stack.append(value)
    elif name == "dup":
        stack.append(stack[-1])
    elif name == "drop":
        stack.pop()
    elif name == "plus_uconst":
        stack[-1] = stack[-1] + op.args[0] & MASK
    else:
        raise Malformed(f"expression operation {op.op_name}")
    return True


def _pushed(name: str, op: DWARFExprOp, registers: list[int]) -> int:
    if name.startswith("lit"):
        return int(name[3:])
    value: int = op.args[0]
    return registers[int(name[4:])] + value if name.startswith("breg") else value
