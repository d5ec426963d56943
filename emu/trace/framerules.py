"""How each return address's frame finds its caller, as a rule of three numbers that the hooks follow without asking.

From .eh_frame where it is, else from the function's own code (emu/flow.py): the same ways as emu/unwind.py, but for the
two that guess. What those tables need more than rsp and rbp for is cut there, and said so.
"""

from __future__ import annotations

from emu import flow
from emu.calls import ENDS, GOES_ON, NOTHING_TELLS, Rule
from emu.unwind import Unwinder

RBP, RSP, RIP = 6, 7, 16
MAX_FUNCTION = 1 << 20


class FrameRules:
    """Asked with a return address, answers with its Rule."""

    def __init__(self, unwinder: Unwinder) -> None:
        self._symbols, self._table, self._peek = unwinder.symbols, unwinder.table, unwinder.peek

    def __call__(self, pc: int) -> Rule:
        at = pc - 1 - self._symbols.bias
        if not any(segment.vaddr <= at < segment.end for segment in self._symbols.elf.executable):
            return Rule(NOTHING_TELLS)
        function = self._symbols.function(pc - 1)
        if function is not None and function.value == self._symbols.elf.entry:
            return Rule(ENDS)
        row = self._table.row(at)
        if row is None:
            return self._by_code(pc - 1)
        rules = row.rules
        rbp = rules.get(RBP)
        if RIP in rules and rules[RIP].kind == "undefined":
            return Rule(ENDS)
        if row.cfa_block or row.cfa_register not in (RSP, RBP) or (rbp is not None and rbp.kind != "offset"):
            return Rule(NOTHING_TELLS)
        return Rule(GOES_ON, row.cfa_offset, rbp.number if rbp else 0, row.cfa_register == RBP)

    def _by_code(self, look: int) -> Rule:
        function = self._symbols.function(look)
        if function is None:
            return Rule(NOTHING_TELLS)
        start = function.value + self._symbols.bias
        end = max(start + min(function.size or MAX_FUNCTION, MAX_FUNCTION), look + 1)
        state = flow.frame_at(start, end, look, self._code)
        if state is None:
            return Rule(NOTHING_TELLS)
        saved = -state.saved.get("rbp", 0)
        if state.rbp_depth is not None:
            return Rule(GOES_ON, state.rbp_depth, saved, True)
        return Rule(GOES_ON, state.depth, saved) if state.depth is not None else Rule(NOTHING_TELLS)

    def _code(self, va: int, size: int) -> bytes:
        return self._symbols.elf.read(va - self._symbols.bias, size) or self._peek(va, size)
