"""CallHooks in C: fills the state of emu/native/heap.c and keeps what it points to."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emu import native
from emu.calls import ALL, BLOCK, EVENT, TOTALS, Ends, ErrnoPlace, Function, Listener, Taken, Totals, Unfreed
from emu.cpu import registerfile
from emu.native import calls

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator
    from emu.cpu.nativehooks import NativeBlocks
    from emu.cpu.nativestrict import NativeStrict


MOST = ALL  # bytes that one table may take


class NativeCalls:
    """Keeps `CallHooks`."""

    def __init__(
        self, blocks: NativeBlocks, emulator: Emulator, listener: Listener, stack_depth: int, capacity: int
    ) -> None:
        self._lib, self._listener, self._count, self._hooks = blocks.lib, listener, 0, blocks.user_data
        calls.prepare(self._lib)
        found = self._lib.hp_init(blocks.user_data)
        if not found:
            raise MemoryError("no memory to trace the heap")
        self._state = state = found.contents
        self._ring = bytearray(capacity * EVENT.size)
        view = memoryview(self._ring)
        state.ring, state.capacity, state.stack_depth = native.address_of(view), capacity, stack_depth
        state.most = MOST
        self._counters: memoryview | None = None
        self._callbacks = calls.OnFull(self._on_full), calls.OnMisuse(self._on_misuse), calls.OnPc(self._on_pc)
        state.on_full, state.on_misuse, state.on_pc = self._callbacks
        state.registers = registerfile.find(emulator) or None
        self.switch(0)

    @property
    def lost(self) -> int:
        return int(self._state.lost)

    @property
    def stopped(self) -> bool:
        return bool(self._state.stopped)

    def add(self, va: int, function: Function) -> int:
        if not self._lib.hp_add(va, calls.Function(*function)):
            raise MemoryError("no memory for the functions to trace")
        self._count += 1
        return self._count - 1

    def be_strict(self, errno: ErrnoPlace) -> NativeStrict:
        from emu.cpu.nativestrict import NativeStrict

        self._state.strict, self._state.quick = 1, 0
        self._strict = NativeStrict(self._lib, self._hooks, self._listener, errno)
        return self._strict

    def look_at(self, cr3: int, counters: memoryview | None) -> None:
        if self.stopped:
            return
        self._state.cr3, self._counters = cr3, counters
        self._state.mm_counters = native.address_of(counters) if counters is not None else None

    def switch(self, tid: int) -> None:
        if not self._lib.hp_switch(tid):
            raise MemoryError("no memory for one more thread's calls")

    def mute(self) -> None:
        self.drain()
        state = self._state
        state.ring = None
        state.quick = bool(state.registers) and not (state.stack_depth or state.strict)

    def reached(self, address: int) -> None:
        self._lib.hp_reached(address)

    def inside(self) -> bool:
        return bool(self._lib.hp_inside())

    def live(self) -> tuple[int, int]:
        self._lib.hp_settle()
        live, blocks = (ctypes.c_int64 * 10).from_address(self._state.totals)[8:10]
        return live, blocks

    def drain(self) -> None:
        self._lib.hp_settle()
        state = self._state
        used = state.used
        if used:
            self._listener.events(memoryview(self._ring)[: used * EVENT.size])
            state.used = 0

    def end(self) -> None:
        self._lib.hp_end()
        self.drain()

    def sites(self) -> list[int]:
        return self._state.sites[: self._state.sites_used]  # type: ignore[no-any-return]

    def stacks(self, first: int = 0) -> list[tuple[int, ...]]:
        state = self._state
        pcs = [state.rules[number].pc for number in range(state.rules_used)]
        found: list[tuple[int, ...]] = []
        for key in state.stacks[first : state.stacks_used]:
            start, length = key >> 8, key & 255
            found.append(tuple(pcs[number] for number in state.frames[start : start + length]) if length else ())
        return found

    def totals(self) -> Totals | None:
        self._lib.hp_settle()
        state = self._state
        places = ctypes.string_at(state.places, 16 * state.places_size) if state.places_size else b""
        dear = ctypes.string_at(state.dear, 16 * (state.dear_mask + 1))
        return Totals(ctypes.string_at(state.totals, TOTALS.size), places, dear)

    def sum_up(self, held: Sequence[tuple[int, int]]) -> Ends | None:
        ranges = (ctypes.c_uint64 * (2 * len(held)))(*(edge for each in held for edge in each))
        found = self._lib.hp_sum_up(ranges, len(held))
        if not found:
            return None
        ends = found.contents
        unfreed = map(Unfreed._make, struct.iter_unpack("4Q", ctypes.string_at(ends.leaks, 32 * ends.leaks_used)))
        taken = map(Taken._make, struct.iter_unpack("3Q", ctypes.string_at(ends.taken, 24 * ends.taken_used)))
        return Ends(ends.live, ends.freed, ends.elsewhere, [leak for leak in unfreed if leak.blocks], list(taken))

    def block_at(self, pointer: int) -> bytes:
        found = self._lib.hp_block_at(pointer)
        return ctypes.string_at(found, BLOCK.size) if found else b""

    def blocks(self) -> bytes:
        self._lib.hp_settle()
        return ctypes.string_at(self._state.blocks, self._state.blocks_size * BLOCK.size)

    def _on_full(self) -> None:
        self._listener.events(memoryview(self._ring))

    def _on_misuse(self, event: int, block: int | None) -> None:
        known = ctypes.string_at(block, BLOCK.size) if block else b""
        self._listener.misuse(ctypes.string_at(event, EVENT.size), known)

    def _on_pc(self, pc: int, rule: ctypes._Pointer[calls.Rule]) -> None:
        told = self._listener.rule(pc)
        found = rule.contents
        found.how, found.cfa, found.rbp, found.by_rbp = told.how, told.cfa, told.rbp, told.by_rbp
