"""What an instruction does to memory, by capstone: how its accesses come, and where its operands lie."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from emu.calls import APART, COPIES, SCANS, UNNAMED, WIDE
from emu.cpu import access
from kernel.cpu import Regs

if TYPE_CHECKING:
    from capstone import CsInsn

# Unicorn does these in functions of its own, not in translated code: bytes, and whether they load.
_APART = {
    "fxsave": (512, False), "fxrstor": (512, True), "xsave": (576, False), "xrstor": (576, True),
    "fnsave": (108, False), "fsave": (108, False), "frstor": (108, True), "fldenv": (28, True),
    "fnstenv": (28, False), "fstenv": (28, False), "fbld": (10, True), "fbstp": (10, False),
    "cmpxchg8b": (8, True), "cmpxchg16b": (16, True),
}  # fmt: skip
_MASKED = "maskmov"  # so these, byte by byte
_SHORT, _LESS = 0x66, 14  # the prefix of the short forms of those with an environment, and how much shorter they are
_LONG_DOUBLE, _XMM = 10, 16


@functools.lru_cache(4096)
def _decode(code: bytes) -> CsInsn | None:
    return next(iter(access._engine().disasm(code, 0)), None)


def traits(known: int, code: bytes) -> int:
    """`known` of the instruction whose bytes `code` begins with, and WIDE and APART. In a program without names each
    load of 16 bytes may be a string function's."""
    insn = _decode(code)
    if insn is None:
        return known
    from capstone.x86 import X86_OP_MEM

    sizes = {operand.size for operand in insn.operands if operand.type == X86_OP_MEM}
    mnemonic = insn.mnemonic.split()[-1]
    apart = _form(mnemonic) is not None or mnemonic.startswith(_MASKED) or _is_long_double(mnemonic, sizes)
    scans = SCANS if _XMM in sizes and known & UNNAMED else 0
    copies = COPIES if mnemonic.startswith("movs") and sizes and insn.operands[0].type == X86_OP_MEM else 0
    return known | scans | copies | (WIDE if _XMM in sizes else 0) | (APART if apart else 0)


def _form(mnemonic: str) -> tuple[int, bool] | None:
    return _APART.get(mnemonic.removesuffix("64").removesuffix("opt"))


def _is_long_double(mnemonic: str, sizes: set[int]) -> bool:
    return _LONG_DOUBLE in sizes and mnemonic.startswith("f")


def whole(code: bytes, regs: Regs, store: bool) -> tuple[int, int, bool] | None:
    """(va, size, it stores) of the APART instruction at `regs.rip`, which comes as many accesses; None: each is one."""
    insn = _decode(code)
    assert insn is not None
    mnemonic = insn.mnemonic.split()[-1]
    if mnemonic.startswith(_MASKED):
        return None
    size, loads = _form(mnemonic) or (_LONG_DOUBLE, not store)
    if size in (28, 108) and insn.prefix[2] == _SHORT:
        size -= _LESS
    return next(addresses(code, regs)), size, not loads


def addresses(code: bytes, regs: Regs) -> Iterator[int]:
    """Where the operands in memory of the instruction at `regs.rip` begin, the stack's top among them."""
    insn = _decode(code)
    if insn is not None:
        from capstone.x86 import X86_OP_MEM

        memory = (operand.mem for operand in insn.operands if operand.type == X86_OP_MEM)
        yield from (access._effective(insn, operand, regs) for operand in memory)
    yield from (regs.rsp, regs.rbp)
