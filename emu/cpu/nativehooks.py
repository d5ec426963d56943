"""The same hooks as `hooks.py` and the engine's, in C: fills emu.native's State and keeps what it points to."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from emu import native
from emu.cpu import decode, vmcb
from emu.cpu.emulator import Emulator
from emu.cpu.hooks import FOREVER
from kernel.cpu import FaultTable
from kernel.mm.ram import Ram

TOTAL, LIMIT, NEXT_RIP, KEEP_RAX = 0, 1, 7, 8  # fields of State, as indices of 64-bit words
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
        self._lib, self._ram = lib, ram
        self._map = (native.Entry * (1 << native.MAP_BITS))()
        self._tables = [ctypes.create_string_buffer(table, 256) for table in (decode.ONE_BYTE, decode.TWO_BYTE)]
        self._delegated: FaultTable | None = None
        memory, context, offset = native.address_of(ram.bytes), emulator.context_address(), emulator.error_offset
        self._state = native.State(
            map=ctypes.addressof(self._map),
            generation=1,
            ram=memory,
            ram_size=ram.size,
            one_byte=ctypes.addressof(self._tables[0]),
            two_byte=ctypes.addressof(self._tables[1]),
            uc=emulator.uc.value,
            context=context,
            error_code=None if offset is None else context + offset,
            fault_address=memory + vmcb.EXITINFO2_WORD * 8,
            reg_read=_address(emulator.lib.uc_reg_read),
            reg_read_batch=_address(emulator.lib.uc_reg_read_batch),
            reg_write_batch=_address(emulator.lib.uc_reg_write_batch),
            context_save=_address(emulator.lib.uc_context_save),
            ctl=_address(emulator.lib.uc_ctl),
            on_limit=native.OnLimit(on_limit),
            on_interrupt=native.OnInterrupt(on_interrupt),
            on_syscall=native.OnSyscall(on_syscall),
        )
        self._words = memoryview(self._state).cast("B").cast("q")
        self._pointer = ctypes.byref(self._state)
        self.user_data = ctypes.addressof(self._state)
        self.block_callback = ctypes.cast(lib.hs_on_block, ctypes.c_void_p)
        self.edge_callback = ctypes.cast(lib.hs_on_edge, ctypes.c_void_p)
        self.interrupt_callback = ctypes.cast(lib.hs_on_interrupt, ctypes.c_void_p)
        self.syscall_callback = ctypes.cast(lib.hs_on_syscall, ctypes.c_void_p)
        self.reset()

    @property
    def total(self) -> int:
        return self._words[TOTAL]

    @total.setter
    def total(self, value: int) -> None:
        self._words[TOTAL] = value

    @property
    def limit(self) -> int:
        return self._words[LIMIT]

    @limit.setter
    def limit(self, value: int) -> None:
        self._words[LIMIT] = value

    @property
    def next_rip(self) -> int:
        return self._words[NEXT_RIP] & (1 << 64) - 1

    def keep_rax(self) -> None:
        """The syscall under way has no value: leave rax as it is."""
        self._words[KEEP_RAX] = 1

    def reset(self) -> None:
        self._state.total, self._state.limit = 0, FOREVER
        self._state.size = 0
        self._state.faults, self._state.flush_at = 0, FIRST_FLUSH
        self.forget()

    def settle(self, rip: int) -> int:
        return int(self._lib.hs_settle(self._pointer, rip))

    def here(self, rip: int) -> int:
        return int(self._lib.hs_here(self._pointer, rip))

    def forget(self) -> None:
        self._lib.hs_forget(self._pointer)

    def switch(self, cr3: int) -> None:
        self._state.cr3 = cr3
        self.forget()

    def delegate(self, table: FaultTable | None) -> None:
        """Answer the simplest page faults here, as `table` allows; None: none."""
        self._delegated = table
        for name in FaultTable._fields:
            setattr(self._state, name, None if table is None else native.address_of(getattr(table, name)))


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value
