"""hp_event and hp_block of emu/native/heap.h in Python, as emu/cpu/pythoncalls.py fills them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.calls import ALL, BLOCK, EVENT, INNER, LOG2, Function

if TYPE_CHECKING:
    from emu.cpu.pythonstrict import Kept

MOST32 = (1 << 32) - 1


class Event:
    """hp_event under way, and what the shadow stack keeps beside it."""

    __slots__ = (
        "alignment", "born", "cost", "depth", "entry", "faults", "flags", "freed", "function", "kept", "number",
        "out", "pointer", "pool", "result", "ret", "site", "size", "sp", "stack", "syscalls", "tid",
    )  # fmt: skip

    def __init__(self, number: int, function: Function, sp: int, ret: int, entry: int) -> None:
        self.number, self.function, self.sp, self.ret, self.entry = number, function, sp, ret, entry
        self.size = self.pointer = self.result = self.born = self.freed = self.cost = self.site = self.stack = 0
        self.tid = self.alignment = self.faults = self.syscalls = self.depth = self.flags = self.out = self.pool = 0
        self.kept: Kept | None = None

    def take(self, arguments: list[int]) -> None:
        """What the call is told, by argument number."""
        function = self.function
        self.out = arguments[function.out] if function.out >= 0 else 0
        self.size = arguments[function.size] if function.size >= 0 else 0
        if function.times >= 0:
            self.size = min(self.size * arguments[function.times], ALL)
        self.pointer = arguments[function.pointer] if function.pointer >= 0 else 0
        self.pool = arguments[function.pool] if function.pool >= 0 else 0
        if function.alignment >= 0:
            alignment = arguments[function.alignment]
            if function.options & LOG2:
                alignment = 1 << (alignment & 63) if alignment & 63 else 0
            self.alignment = min(alignment, MOST32)

    def swept(self, block: Block) -> bytes:
        """A block that goes with its pool, by this call."""
        return EVENT.pack(
            self.entry, 0, block.event.result, 0, block.born, block.size,
            0, self.site, self.stack, self.tid, 0, 0, 0, self.number, 0, self.depth, 0,
        )  # fmt: skip

    def packed(self) -> bytes:
        return EVENT.pack(
            self.entry, self.size, self.pointer, self.result, self.born, self.freed,
            self.cost, self.site, self.stack, self.tid, self.alignment, self.faults,
            self.syscalls, self.number, self.function.kind, self.depth, self.flags,
        )  # fmt: skip


class Block:
    """hp_block."""

    __slots__ = ("born", "event", "freed_at", "freed_by", "inner", "pool", "size")

    def __init__(self, event: Event, born: int) -> None:
        self.event, self.born, self.inner = event, born, event.flags & INNER
        self.size = 0 if event.size >> 63 else event.size
        self.freed_at = self.pool = 0
        self.freed_by: Event | None = None

    def packed(self) -> bytes:
        made, by = self.event, self.freed_by
        freed = (by.site, by.stack, made.number, by.number) if by else (0, 0, made.number, 0)
        family = made.function.family
        return BLOCK.pack(
            made.result, self.size, self.born, self.freed_at, made.site, made.stack, *freed, family, self.inner, 1,
            self.pool,
        )  # fmt: skip
