"""What an instruction does to memory, by capstone: how its accesses come, and where its operands lie."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from emu.calls import SCANS, UNNAMED, UNSEEN, WIDE
from emu.cpu import access
from kernel.cpu import Regs

if TYPE_CHECKING:
    from capstone import CsInsn

# Unicorn does these in functions of its own, not in translated code.
_APART = ("fxsave", "fxrstor", "xsave", "xrstor", "fnsave", "fsave", "frstor", "fldenv", "fnstenv", "fstenv", "fbld",
          "fbstp", "cmpxchg8b", "cmpxchg16b", "maskmov", "enter")  # fmt: skip
_LONG_DOUBLE, _XMM = 10, 16


@functools.lru_cache(4096)
def _decode(code: bytes) -> CsInsn | None:
    return next(iter(access._engine().disasm(code, 0)), None)


def traits(known: int, code: bytes) -> int:
    """`known` of the instruction whose bytes `code` begins with, and WIDE and UNSEEN. In a program without names each
    load of 16 bytes may be a string function's."""
    insn = _decode(code)
    if insn is None:
        return known
    from capstone.x86 import X86_OP_MEM

    sizes = {operand.size for operand in insn.operands if operand.type == X86_OP_MEM}
    mnemonic = insn.mnemonic.split()[-1]
    apart = mnemonic.startswith(_APART) or (_LONG_DOUBLE in sizes and mnemonic.startswith("f"))
    scans = SCANS if _XMM in sizes and known & UNNAMED else 0
    return known | scans | (WIDE if _XMM in sizes else 0) | (UNSEEN if apart else 0)


def addresses(code: bytes, regs: Regs) -> Iterator[int]:
    """Where the operands in memory of the instruction at `regs.rip` begin, the stack's top among them."""
    insn = _decode(code)
    if insn is not None:
        from capstone.x86 import X86_OP_MEM

        memory = (operand.mem for operand in insn.operands if operand.type == X86_OP_MEM)
        yield from (access._effective(insn, operand, regs) for operand in memory)
    yield from (regs.rsp, regs.rbp)
