"""One machine instruction in words, and what to do where this CPU has not got it. capstone is imported here, lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from capstone import CsInsn

    from emu.symbols import Symbols

REMEDY = (
    "build for x86-64-v2, e.g. -march=x86-64-v2; the CPU offers no AVX, and a program that asks CPUID first will not "
    "use it"
)


class Instruction(NamedTuple):
    """A decoded instruction. `extension` names the instruction set that this CPU lacks, "" where it has all."""

    va: int
    raw: bytes
    text: str
    extension: str


@cache
def _engine() -> Callable[[bytes, int], Iterator[CsInsn]]:
    from emu.flow import decoder

    return decoder()


def decode(code: bytes, va: int) -> Instruction | None:
    """The instruction that `code`, up to 15 bytes at `va`, begins with; None where it is none."""
    insn = next(iter(_engine()(code[:15], va)), None)
    if insn is None:
        return None
    return Instruction(va, bytes(insn.bytes), f"{insn.mnemonic} {insn.op_str}".strip(), _extension(insn))


_EXTENSIONS = {"avx2": "AVX2", "avx": "AVX", "fma": "FMA", "fma4": "FMA4", "f16c": "F16C", "xop": "XOP"}


def _extension(insn: CsInsn) -> str:
    """AVX and its kin: what is encoded with a VEX or EVEX prefix and is not BMI."""
    groups = {insn.group_name(group).lower() for group in insn.groups}
    if any(group.startswith("avx512") for group in groups):
        return "AVX-512"
    for group, name in _EXTENSIONS.items():
        if group in groups:
            return name
    if any(word in insn.op_str for word in ("ymm", "zmm")):
        return "AVX"
    return "AVX" if insn.mnemonic.startswith("v") and insn.bytes[0] in (0xC4, 0xC5, 0x62) else ""


def listing(code: bytes, va: int) -> Iterator[Instruction]:
    """Disassemble all of `code`; bytes that are no instruction appear as `.byte 0x..`, one at a time."""
    at = 0
    while at < len(code):
        for insn in _engine()(code[at:], va + at):
            yield Instruction(insn.address, bytes(insn.bytes), f"{insn.mnemonic} {insn.op_str}".strip(), "")
            at += insn.size
        if at < len(code):
            yield Instruction(va + at, code[at : at + 1], f".byte {code[at]:#04x}", "")
            at += 1


def annotate(instruction: Instruction, symbols: Symbols) -> str:
    """The instruction's text, its branch target or rip-relative operand named: `call 0x401136 <main>`."""
    text = instruction.text
    mnemonic, _, operand = text.partition(" ")
    if (mnemonic == "call" or mnemonic[:1] == "j") and operand.startswith("0x"):
        place = symbols.name_of(int(operand, 16))
        return f"{text} <{place}>" if place else text
    marker = text.find("[rip ")
    if marker < 0:
        return text
    sign, _, offset = text[marker + 5 : text.index("]", marker)].partition(" ")
    target = instruction.va + len(instruction.raw) + int(offset, 16) * (-1 if sign == "-" else 1)
    name = symbols.name_of(target) or symbols.data_at(target)
    return f"{text} # {target:#x}" + (f" <{name}>" if name else "")
