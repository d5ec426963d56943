"""What a faulting instruction was doing, where Unicorn does not show the error code: decoded with capstone.

Only for versions of Unicorn whose context is laid out in a way the probe does not recognise.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from kernel.cpu import Regs

if TYPE_CHECKING:
    from capstone import CsInsn

P, W, U, FETCH = 1, 2, 4, 16
_WIDE = 64  # the most bytes one operand touches
_STORES = ("mov", "fst", "fist", "fnst", "fnsave", "fxsave", "stmxcsr", "pextr", "extract")  # capstone says: read
_PUSHES = ("push", "call", "enter", "lcall")


def error_code(code: bytes, regs: Regs, va: int, present: bool) -> int:
    """The #PF error code at `va` of the instruction whose (readable) bytes are `code` at `regs.rip`.

    A read-modify-write of an absent page faults on its read; of a present one nothing but a write, or a fetch, can."""
    insn = _decode(code)
    fetched = insn is None or regs.rip <= va < regs.rip + insn.size
    if fetched and (
        insn is None or (not _touches(insn, regs, va, write=False) and not _touches(insn, regs, va, write=True))
    ):
        return U | FETCH | (P if present else 0)
    assert insn is not None
    if present:
        return U | P | W
    return U | (0 if _touches(insn, regs, va, write=False) else W)


@functools.lru_cache(4096)
def _decode(code: bytes) -> CsInsn | None:
    return next(iter(_engine().disasm(code, 0)), None)


@functools.cache
def _engine():  # type: ignore[no-untyped-def]
    from capstone import CS_ARCH_X86, CS_MODE_64, Cs

    engine = Cs(CS_ARCH_X86, CS_MODE_64)
    engine.detail = True
    return engine


def _touches(insn: CsInsn, regs: Regs, va: int, write: bool) -> bool:
    """Does the instruction read (or write) memory around `va`?"""
    from capstone import CS_AC_READ, CS_AC_WRITE
    from capstone.x86 import X86_OP_MEM

    wanted = CS_AC_WRITE if write else CS_AC_READ
    for index, operand in enumerate(insn.operands):
        stores = not index and insn.mnemonic.startswith(_STORES)
        access = CS_AC_WRITE if stores else operand.access
        if operand.type == X86_OP_MEM and access & wanted:
            at = _effective(insn, operand.mem, regs)
            if (va - at) % (1 << 64) < max(operand.size, 1) + _WIDE:
                return True
    stack = regs.rsp
    if write and insn.mnemonic.startswith(_PUSHES):
        return (stack - va) % (1 << 64) <= _WIDE
    return not write and insn.mnemonic.startswith(("pop", "ret", "leave", "iret")) and (va - stack) % (1 << 64) < _WIDE


def _effective(insn: CsInsn, memory: object, regs: Regs) -> int:
    base, index, scale, displacement = memory.base, memory.index, memory.scale, memory.disp  # type: ignore[attr-defined]
    total: int = displacement
    if base:
        name = insn.reg_name(base)
        total += regs.rip + insn.size if name == "rip" else _value(name, regs)
    if index:
        total += _value(insn.reg_name(index), regs) * scale
    return total % (1 << 64)


def _value(name: str, regs: Regs) -> int:
    if hasattr(regs, name):
        return int(getattr(regs, name))
    wide = "r" + name[1:] if name.startswith("e") else name.rstrip("d")
    return int(getattr(regs, wide, 0)) & 0xFFFF_FFFF
