"""Where a function keeps its frame when no table tells: its instructions followed from the entry to one address.

musl is built without unwind tables and without frame pointers, so a backtrace through abort() has nothing but the code.
Each path is followed once, rsp's distance from the CFA along with it; compilers keep it equal on all paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from emu.dwarf.frames import REGISTERS

if TYPE_CHECKING:
    from capstone import CsInsn

CALLEE_SAVED = {"rbx", "rbp", "r12", "r13", "r14", "r15"}
LIMIT = 20_000  # instructions of one function that are looked at


class FrameState:
    """Before one instruction: `depth` is CFA - rsp (None: unknown), `rbp_depth` CFA - rbp where rbp is the frame
    pointer, `saved` the callee-saved registers that were pushed, by name, as distances below the CFA."""

    __slots__ = ("depth", "rbp_depth", "saved")

    def __init__(self, depth: int | None = 8, rbp_depth: int | None = None, saved: dict[str, int] | None = None):
        self.depth, self.rbp_depth, self.saved = depth, rbp_depth, saved or {}

    def copy(self) -> FrameState:
        return FrameState(self.depth, self.rbp_depth, dict(self.saved))


class Step(NamedTuple):
    """What one instruction does to control flow: where it may go, and whether it also goes on to the next."""

    targets: tuple[int, ...]
    falls_through: bool


def decoder() -> Callable[[bytes, int], Iterator[CsInsn]]:
    """capstone, with details, as a function of (code, address). Imported here: a run that ends well never pays it."""
    from capstone import CS_ARCH_X86, CS_MODE_64, Cs

    engine = Cs(CS_ARCH_X86, CS_MODE_64)
    engine.detail = True
    return engine.disasm  # type: ignore[no-any-return]


def frame_at(start: int, end: int, target: int, read: Callable[[int, int], bytes]) -> FrameState | None:
    """The state before the instruction that `target` lies in, of the function at [start, end); None: not reached."""
    disasm = decoder()
    waiting: list[tuple[int, FrameState]] = [(start, FrameState())]
    seen: set[int] = set()
    while waiting and len(seen) < LIMIT:
        va, state = waiting.pop()
        while start <= va < end and va not in seen:
            seen.add(va)
            insn = next(iter(disasm(read(va, 15), va)), None)
            if insn is None:
                break
            if va <= target < va + insn.size:
                return state
            step = _control(insn)
            _apply(insn, state)
            waiting.extend((to, state.copy()) for to in step.targets)
            if not step.falls_through:
                break
            va += insn.size
    return None


def _control(insn: CsInsn) -> Step:
    name = insn.mnemonic.split()[-1]
    if name.startswith("ret") or name in ("ud2", "hlt", "iretq"):
        return Step((), False)
    if name[0] != "j" and not name.startswith("loop"):
        return Step((), True)
    operand = insn.operands[0]
    targets = (operand.imm,) if operand.type == 2 else ()  # CS_OP_IMM
    return Step(targets, name != "jmp")


def _apply(insn: CsInsn, state: FrameState) -> None:
    """What the instruction does to rsp and rbp."""
    name, operands = insn.mnemonic, insn.operands
    text = insn.op_str
    if name in ("push", "pushq", "pushfq"):
        _push(state, text)
    elif name in ("pop", "popq", "popfq"):
        _pop(state, text)
    elif name == "leave":
        state.depth = None if state.rbp_depth is None else state.rbp_depth - 8
        state.rbp_depth = None
    elif name == "mov" and text == "rbp, rsp":
        state.rbp_depth = state.depth
    elif name == "mov" and text == "rsp, rbp":
        state.depth = state.rbp_depth
    elif name in ("sub", "add") and text.startswith("rsp, "):
        _adjust(state, operands[1].imm if operands[1].type == 2 else None, name == "sub")
    elif name == "lea" and text.startswith("rsp, [rsp "):
        _adjust(state, operands[1].mem.disp if not operands[1].mem.index else None, False)
    elif name == "lea" and text.startswith("rsp, [rbp"):
        offset = operands[1].mem.disp
        state.depth = None if state.rbp_depth is None else state.rbp_depth - offset
    elif text.startswith("rsp, ") and name not in ("cmp", "test"):
        state.depth = None
    elif text.startswith("rbp, ") and name not in ("cmp", "test"):
        state.rbp_depth = None


def _push(state: FrameState, register: str) -> None:
    if state.depth is None:
        return
    state.depth += 8
    if register in CALLEE_SAVED:
        state.saved.setdefault(register, state.depth)


def _pop(state: FrameState, register: str) -> None:
    if state.depth is not None:
        if state.saved.get(register) == state.depth:
            del state.saved[register]
        state.depth -= 8
    if register == "rbp":
        state.rbp_depth = None


def _adjust(state: FrameState, amount: int | None, down: bool) -> None:
    if amount is None or state.depth is None:
        state.depth = None
    else:
        state.depth += amount if down else -amount


def caller(state: FrameState, registers: list[int], read: Callable[[int], int | None]) -> list[int] | None:
    """The registers (DWARF order) of the caller; None where the frame is not known or memory is missing."""
    if state.rbp_depth is not None:
        cfa = registers[6] + state.rbp_depth
    elif state.depth is not None:
        cfa = registers[7] + state.depth
    else:
        return None
    result = list(registers)
    for name, below in state.saved.items():
        value = read(cfa - below)
        if value is None:
            return None
        result[REGISTERS.index(name)] = value
    pc = read(cfa - 8)
    if pc is None:
        return None
    result[7], result[16] = cfa, pc
    return result
