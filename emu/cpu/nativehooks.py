"""The same hooks as `hooks.py` and the engine's, in C: fills emu.native's State and keeps what it points to."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from emu import native
from emu.cpu import decode, vmcb
from emu.cpu.emulator import Emulator
from emu.cpu.hooks import FOREVER
from kernel.cpu import FaultTable
from kernel.mm.ram import Ram


def _word(name: str) -> int:
    """The index of a field of State, as of 64-bit words."""
    offset: int = getattr(native.State, name).offset
    return offset // 8


LEFT, LIMIT, USED = _word("left"), _word("limit"), _word("used")
NEXT_RIP, KEEP_RAX, STALE_TLB = _word("next_rip"), _word("keep_rax"), _word("stale_tlb")
FIRST_FLUSH = 128  # page faults before the first flush of the TLB, which starts with 256 entries


class NativeBlocks:
    """Keeps `Blocks`, over an hs_state whose callbacks are the engine's."""

    def __init__(
        self,
        lib: Any,
        emulator: Emulator,
        ram: Ram,
        on_limit: Callable[[int, int], int],
        on_interrupt: Callable[[int, int, int, int], None],
        on_syscall: Callable[[int, int, int, int, int, int, int], int],
    ) -> None:
        self.lib, self._ram = lib, ram
        self._map = (ctypes.c_uint32 * (1 << native.MAP_BITS))()
        self._blocks = mmap.mmap(-1, ctypes.sizeof(native.Block) * native.BLOCKS)  # touched as used
        self._tables = [ctypes.create_string_buffer(table, 256) for table in (decode.ONE_BYTE, decode.TWO_BYTE)]
        self._delegated: FaultTable | None = None
        memory, context, offset = native.address_of(ram.bytes), emulator.context_address(), emulator.error_offset
        code, code_end = _code_buffer()
        fields: dict[str, Any] = {
            "map": ctypes.addressof(self._map),
            "blocks": native.address_of(memoryview(self._blocks)),
            "code": code,
            "code_end": code_end,
            "ram": memory,
            "ram_size": ram.size,
            "one_byte": ctypes.addressof(self._tables[0]),
            "two_byte": ctypes.addressof(self._tables[1]),
            "uc": emulator.uc.value,
            "context": context,
            "error_code": None if offset is None else context + offset,
            "fault_address": memory + vmcb.EXITINFO2_WORD * 8,
            "reg_read": _address(emulator.lib.uc_reg_read),
            "reg_read_batch": _address(emulator.lib.uc_reg_read_batch),
            "reg_write_batch": _address(emulator.lib.uc_reg_write_batch),
            "context_save": _address(emulator.lib.uc_context_save),
            "ctl": _address(emulator.lib.uc_ctl),
            "on_limit": native.OnLimit(on_limit),
            "on_interrupt": native.OnInterrupt(on_interrupt),
            "on_syscall": native.OnSyscall(on_syscall),
        }
        self._state = state = lib.hs_init().contents
        for name, value in fields.items():
            setattr(state, name, value)
        self._callbacks = fields  # live as long as the hooks
        self._words = memoryview(state).cast("B").cast("q")
        self.user_data = ctypes.addressof(state)
        self.block_callback = ctypes.cast(lib.hs_on_block, ctypes.c_void_p)
        self.edge_callback = ctypes.cast(lib.hs_on_edge, ctypes.c_void_p)
        self.interrupt_callback = ctypes.cast(lib.hs_on_interrupt, ctypes.c_void_p)
        self.syscall_callback = ctypes.cast(lib.hs_on_syscall, ctypes.c_void_p)
        self.reset()

    @property
    def total(self) -> int:
        return self._words[LIMIT] - self._words[LEFT]

    @total.setter
    def total(self, value: int) -> None:
        self._words[LEFT] = self._words[LIMIT] - value

    @property
    def limit(self) -> int:
        return self._words[LIMIT]

    @limit.setter
    def limit(self, value: int) -> None:
        self._words[LEFT] += value - self._words[LIMIT]
        self._words[LIMIT] = value

    @property
    def full(self) -> bool:
        return self._words[USED] >= native.BLOCKS

    @property
    def next_rip(self) -> int:
        return self._words[NEXT_RIP] & (1 << 64) - 1

    def keep_rax(self) -> None:
        """The syscall under way has no value: leave rax as it is."""
        self._words[KEEP_RAX] = 1

    def flush_tlb(self) -> None:
        self._words[STALE_TLB] = 1

    def take_stale_tlb(self) -> bool:
        stale = bool(self._words[STALE_TLB])
        self._words[STALE_TLB] = 0
        return stale

    def reset(self) -> None:
        self._words[LIMIT] = self._words[LEFT] = FOREVER
        self._state.faults, self._state.flush_at = 0, FIRST_FLUSH
        self._state.watched, self._state.syscalls = None, 0
        self.dropped()

    def settle(self, rip: int) -> int:
        return int(self.lib.hs_settle(rip))

    def here(self, rip: int) -> int:
        return int(self.lib.hs_here(rip))

    def dropped(self) -> None:
        self.lib.hs_dropped()

    def switch(self, cr3: int) -> None:
        self._state.cr3 = cr3
        self.lib.hs_forget()

    def delegate(self, table: FaultTable | None) -> None:
        """Answer the simplest page faults here, as `table` allows; None: none."""
        if table is None:
            self._state.windows = None
            return
        for name, view, known in zip(FaultTable._fields, table, self._delegated or table, strict=True):
            if view is not known or self._delegated is None or name == "windows":
                setattr(self._state, name, native.address_of(view))
        self._delegated = table


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value


def _code_buffer() -> tuple[int, int]:
    """Where Unicorn translates to: the largest mapping that may be both written and executed; (0, 0): none is known."""
    best = (0, 0)
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                span, perms, *_ = line.split()
                if perms.startswith("rwx"):
                    start, end = (int(part, 16) for part in span.split("-"))
                    best = max(best, (start, end), key=lambda pair: pair[1] - pair[0])
    except OSError:
        pass
    return best
