"""Guest call stacks: from one thread's registers outwards, frame by frame, to where no caller is found.

Each frame is found by the surest way at hand: a signal frame by its trampoline, then .eh_frame, then the function's own
code (emu/flow.py), then the frame pointer, last a search of the stack for a return address. Each Frame says which.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from emu import flow
from emu.dwarf import frames
from emu.elf import Symbol
from emu.symbols import Symbols
from kernel.cpu import Regs

RSP, RBP, RIP = 7, 6, 16
MASK = (1 << 64) - 1
SCAN_WORDS = 2048
MAX_FUNCTION = 1 << 20
# mov $15, %eax (or %rax); syscall: what a sa_restorer is, in musl and in glibc
TRAMPOLINES = (b"\xb8\x0f\x00\x00\x00\x0f\x05", b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05")
# struct ucontext: uc_mcontext.gregs at 40, in the order of struct sigcontext
SIGCONTEXT = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
              "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip")  # fmt: skip

Peek = Callable[[int, int], bytes]  # up to n bytes at a guest address, fewer where nothing is mapped


class Frame(NamedTuple):
    """One activation. `pc` is where it stands; `look` is the address to name it by: a return address names the call
    before it. `how` tells by what this frame was found from the one inside it."""

    pc: int
    sp: int
    look: int
    how: str  # "registers", "signal", "cfi", "code", "frame pointer", "stack"


class Unwinder:
    """Walks stacks of one program. Reads guest memory through `peek` only; nothing in the guest changes."""

    def __init__(self, symbols: Symbols, peek: Peek) -> None:
        self.symbols, self.peek = symbols, peek
        self.table = frames.FrameTable(symbols.elf)
        self.bias = symbols.bias

    def frames(self, regs: Regs, limit: int = 64) -> Iterator[Frame]:
        """The frames of a thread, innermost first. A stack that loops or leaves its memory ends the walk."""
        values = dwarf_registers(regs)
        how, exact = "registers", True  # exact: pc is an instruction that was to run, not a return address
        for _ in range(limit):
            pc, sp = values[RIP], values[RSP]
            yield Frame(pc, sp, pc if exact else pc - 1, how)
            found = self._caller(values, exact)
            if found is None:
                return
            how, outer = found
            exact = how == "signal"
            if outer[RIP] == 0 or (outer[RSP] <= sp and not exact):
                return
            values = outer

    def _caller(self, values: list[int], exact: bool) -> tuple[str, list[int]] | None:
        pc = values[RIP]
        if self.peek(pc, 9).startswith(TRAMPOLINES):
            outer = self._signal_frame(values[RSP])
            return ("signal", outer) if outer else None
        look = pc if exact else pc - 1
        if not self._is_code(pc) and exact:  # a call through a bad pointer: the return address was just pushed
            return self._after_call(values)
        row = self.table.row(look - self.bias)
        if row is not None:
            outer = self.table.caller(row, values, self._word)
            return ("cfi", outer) if outer and self._is_code(outer[RIP] - 1) else None
        return self._by_code(values, look) or self._by_frame_pointer(values) or self._by_scan(values, look)

    def _signal_frame(self, sp: int) -> list[int] | None:
        raw = self.peek(sp + 40, 8 * len(SIGCONTEXT))
        if len(raw) < 8 * len(SIGCONTEXT):
            return None
        named = dict(zip(SIGCONTEXT, struct.unpack(f"<{len(SIGCONTEXT)}Q", raw), strict=True))
        return [named[name] for name in frames.REGISTERS]

    def _after_call(self, values: list[int]) -> tuple[str, list[int]] | None:
        pc = self._word(values[RSP])
        if pc is None or not self._follows_call(pc, None):
            return self._by_scan(values, values[RIP])
        outer = list(values)
        outer[RSP], outer[RIP] = values[RSP] + 8, pc
        return "stack", outer

    def _by_code(self, values: list[int], look: int) -> tuple[str, list[int]] | None:
        function = self.symbols.function(look)
        if function is None:
            return None
        start = function.value + self.bias
        end = max(start + min(function.size or MAX_FUNCTION, MAX_FUNCTION), look + 1)
        state = flow.frame_at(start, end, look, self._code)
        outer = flow.caller(state, values, self._word) if state else None
        if outer is None or not self._follows_call(outer[RIP], None):
            return None
        return "code", outer

    def _by_frame_pointer(self, values: list[int]) -> tuple[str, list[int]] | None:
        rbp = values[RBP]
        if rbp % 8 or not values[RSP] <= rbp < values[RSP] + (8 << 20):
            return None
        saved, pc = self._word(rbp), self._word(rbp + 8)
        if saved is None or pc is None or not self._follows_call(pc, None):
            return None
        outer = list(values)
        outer[RBP], outer[RSP], outer[RIP] = saved, rbp + 16, pc
        return "frame pointer", outer

    def _by_scan(self, values: list[int], look: int) -> tuple[str, list[int]] | None:
        """The nearest word on the stack that follows a call, best one that calls the function we are in."""
        function = self.symbols.function(look)
        raw = self.peek(values[RSP], 8 * SCAN_WORDS)
        words = struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
        for i, word in enumerate(words):
            if self._follows_call(word, function):
                outer = list(values)
                outer[RSP], outer[RIP] = values[RSP] + 8 * (i + 1), word
                return "stack", outer
        return None

    def _follows_call(self, pc: int, function: Symbol | None) -> bool:
        """Is the instruction before `pc` a call (of `function`, where that can be told)?"""
        if not self._is_code(pc - 1):
            return False
        before = self._code(pc - 7, 7)
        if len(before) < 7:
            return False
        if before[2] == 0xE8:  # call rel32
            target = pc + int.from_bytes(before[3:], "little", signed=True) & MASK
            return function is None or target == function.value + self.bias
        # call r/m64: FF /2, with 0 to 4 bytes of ModRM's displacement and SIB
        return any(before[7 - n] == 0xFF and before[8 - n] >> 3 & 7 == 2 for n in (2, 3, 4, 6, 7))

    def _is_code(self, va: int) -> bool:
        return any(s.vaddr <= va - self.bias < s.end for s in self.symbols.elf.executable)

    def _code(self, va: int, size: int) -> bytes:
        return self.symbols.elf.read(va - self.bias, size) or self.peek(va, size)

    def _word(self, va: int) -> int | None:
        raw = self.peek(va, 8)
        return int.from_bytes(raw, "little") if len(raw) == 8 else None


def dwarf_registers(regs: Regs) -> list[int]:
    """Regs in DWARF's order."""
    return [getattr(regs, name) for name in frames.REGISTERS]
