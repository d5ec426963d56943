"""MemoryHooks in C: fills the state of emu/native/memcheck.c and keeps what it points to."""

from __future__ import annotations

import ctypes
import sys
from ctypes import c_uint64
from typing import TYPE_CHECKING

from emu.calls import TELLS, MemoryListener, MemoryPlan
from emu.cpu import decode, operands, registerfile, walk
from emu.cpu import libunicorn as u
from emu.native import memory

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator
    from emu.cpu.nativehooks import NativeBlocks

BLOCKS = 50  # so many do not all go without a load or store
NOWHERE = 1 << 62  # no such physical address: the hook there makes each access call a helper, and is never called


def lacking(emulator: Emulator) -> str:
    """What this host or libunicorn lacks for them; "" for nothing."""
    if not sys.platform.startswith("linux"):
        return "translated code can be changed on Linux alone"
    absent = [name for name in (*memory.NEEDED, *memory.APARTS, memory.RESTORE) if not _address(emulator, name)]
    if absent:
        return f"libunicorn does not export {absent[0]}"
    return "" if _cpu(emulator) else "libunicorn keeps its CPU elsewhere"


def _address(emulator: Emulator, name: str) -> int:
    try:
        return ctypes.cast(getattr(emulator.lib, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def _cpu(emulator: Emulator) -> int:
    registers = registerfile.find(emulator)
    return registerfile.cpu_of(emulator, registers) if registers else 0


class NativeMemory:
    """Keeps `MemoryHooks`."""

    def __init__(
        self, blocks: NativeBlocks, emulator: Emulator, listener: MemoryListener, plan: MemoryPlan
    ) -> None:
        assert emulator.ram is not None
        self._lib, self._listener, self._cr3 = blocks.lib, listener, plan.cr3
        self._words, self._ram = emulator.ram.words, emulator.ram.bytes
        memory.prepare(self._lib)
        found = self._lib.mc_init(blocks.user_data)
        if not found:
            raise RuntimeError("no place near to translated code")
        self._state = state = found.contents
        state.cr3, state.tells, state.cpu = plan.cr3, TELLS, _cpu(emulator)
        state.loads_blank = plan.loads_blank
        state.restore = _address(emulator, memory.RESTORE)
        for index, name in enumerate(memory.HELPERS):
            state.helpers[index] = _address(emulator, name) or None
        aparts = [_address(emulator, name) for name in memory.APARTS]
        state.aparts[:] = [address or None for address in aparts]
        state.apart_low, state.apart_high = min(aparts), max(aparts)
        self._callbacks = memory.OnPc(self._on_pc), memory.OnAccess(self._on_access)
        state.on_pc, state.on_access = self._callbacks
        for start, end in plan.barred:
            self._lib.mc_bar(start, end)
        for slack in plan.slacks:
            self._lib.mc_slack(*slack)
        never = u.MemCallback(lambda *_: None)
        emulator.hook(u.HOOK_MEM_READ | u.HOOK_MEM_WRITE, never, first=NOWHERE, last=NOWHERE)
        emulator.lib.uc_ctl(emulator.uc, u.CTL_TB_FLUSH)
        self._lib.hs_dropped()
        if not self._lib.mc_start():
            raise RuntimeError("the host lets no code be made")

    def more(self, pc: int) -> int:
        return int(self._lib.mc_more(pc))

    def hold(self, start: int, end: int, allocators: bool) -> None:
        self._lib.mc_hold(start, end, allocators)

    def forget(self, start: int, end: int) -> None:
        self._lib.mc_forget(start, end)

    def first_bad(self, va: int, size: int) -> int:
        return int(self._lib.mc_first_bad(va, size))

    def first_blank(self, va: int, size: int) -> int:
        return int(self._lib.mc_first_blank(va, size))

    def wrote(self, va: int, size: int) -> None:
        self._lib.mc_wrote(va, size)

    def around(self, va: int, reach: int) -> tuple[int, int]:
        below, above = c_uint64(), c_uint64()
        self._lib.mc_around(va, reach, ctypes.byref(below), ctypes.byref(above))
        return below.value, above.value

    def end(self) -> None:
        self._lib.mc_stop()
        if self._state.blocks > BLOCKS and not self._state.redirected:
            raise RuntimeError("libunicorn's translated code is not as expected: no access was checked")

    def _on_pc(self, pc: int) -> int:
        code = walk.read(self._words, self._ram, self._cr3, pc, decode.LONGEST)
        return operands.traits(self._listener.traits(pc), code)

    def _on_access(self, pc: int, va: int, size: int, how: int) -> None:
        self._listener.access(pc, va, size, how)
