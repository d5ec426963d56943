"""Broken promises as they happen, and where errno is, which some of them are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from emu.calls import AT_ADDRESS, IN_TLS, NO_PLACE, ErrnoPlace
from emu.elf import PT_TLS, STT_FUNC, STT_OBJECT, STT_TLS
from emu.trace.space import BRK, FILE, KIND, STATIC

if TYPE_CHECKING:
    import numpy as np

    from emu.calls import Strict
    from emu.elf import Elf
    from emu.trace.space import Range

MOST = 100  # reported with their stacks; all are counted


class Broken(NamedTuple):
    """A broken promise: the call (EVENT), which (index in calls.VIOLATIONS) and its detail, the return addresses."""

    event: np.void
    what: int
    detail: int
    stack: tuple[int, ...]


class Promises:
    """What was found of them in a run."""

    def __init__(
        self, event: np.dtype[np.void], errno: ErrnoPlace, stack: Callable[[], tuple[int, ...]],
        told: Callable[[Broken], None] | None = None,
    ) -> None:  # fmt: skip
        """`event` is the dtype of EVENT; `stack` is asked when a call has just returned; `told` is called at each of
        `broken`."""
        self.errno, self.broken, self.count = errno, list[Broken](), 0
        self._event, self._stack, self._told = event, stack, told
        self.strict: Strict | None = None

    def violation(self, raw: bytes, what: int, detail: int) -> None:
        import numpy as np

        self.count += 1
        if len(self.broken) < MOST:
            self.broken.append(Broken(np.frombuffer(raw, self._event)[0], what, detail, self._stack()))
            if self._told is not None:
                self._told(self.broken[-1])

    def mapped(self, instructions: int, where: Range) -> None:
        """Of a block's place it matters what lies in one piece: brk's memory does, whoever asked for it, and the
        image's, whose first pages a file stands behind."""
        start, end, kind = where
        if kind & BRK:
            kind = BRK
        elif kind & KIND == STATIC:
            kind = STATIC | FILE
        if self.strict is not None:
            self.strict.mapped(instructions, (start, end, kind))

    @property
    def errno_checked(self) -> bool:
        return self.errno.how != NO_PLACE

    @property
    def unchecked(self) -> int:
        return 0 if self.strict is None else self.strict.unchecked


def errno_place(elf: Elf, bias: int) -> ErrnoPlace:
    """By the code of `__errno_location`, which adds a number to the FS base; else by the symbol, in the TLS or not."""
    symbols = {symbol.name: symbol for symbol in elf.symbols() if "errno" in symbol.name}
    location = symbols.get("__errno_location") or symbols.get("___errno_location")
    if location is not None and location.type == STT_FUNC:
        offset = _added_to_fs(elf.read(location.value, 64), location.value)
        if offset is not None:
            return ErrnoPlace(IN_TLS, offset)
    for name in ("errno", "__libc_errno"):
        symbol, tls = symbols.get(name), elf.segment(PT_TLS)
        if symbol is not None and symbol.type == STT_TLS and tls is not None:  # psABI, variant II: below the FS base
            align = max(tls.align, 1)
            return ErrnoPlace(IN_TLS, symbol.value - -(-tls.memsz // align) * align)
        if symbol is not None and symbol.type == STT_OBJECT:
            return ErrnoPlace(AT_ADDRESS, symbol.value + bias)
    return ErrnoPlace()


def _added_to_fs(code: bytes, va: int) -> int | None:
    """What a function adds to the FS base and returns; None: it does anything else."""
    from emu.flow import decoder

    based, offset = False, 0
    for insn in decoder()(code, va):
        name, text = insn.mnemonic, insn.op_str
        if name == "ret":
            return offset if based else None
        if name in ("endbr64", "nop") or text in ("rbp", "rbp, rsp"):
            continue
        operand = insn.operands[-1] if insn.operands else None
        if text == "rax, qword ptr fs:[0]" and name in ("mov", "add"):
            based, offset = True, offset if name == "add" else 0
        elif text.startswith("rax, ") and name in ("mov", "add", "sub") and operand is not None and operand.type == 2:
            offset = operand.imm if name == "mov" else offset + (operand.imm if name == "add" else -operand.imm)
            based = based and name != "mov"
        elif text.startswith("rax, [rax ") and name == "lea" and operand is not None and not operand.mem.index:
            offset += operand.mem.disp
        else:
            return None
    return None
