"""The register file: read and written in one call each, through arrays that are made once."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from emu.cpu import libunicorn as u

INTEGER = (
    u.RAX, u.RBX, u.RCX, u.RDX, u.RSI, u.RDI, u.RBP, u.RSP,
    u.R8, u.R9, u.R10, u.R11, u.R12, u.R13, u.R14, u.R15, u.RIP, u.RFLAGS,
)  # fmt: skip  # the order of kernel.cpu.Regs

# What a program may change of RFLAGS (Linux: FIX_EFLAGS, and ID); IF and bit 1 always stand.
USER_FLAGS = 0x254DD5
FIXED_FLAGS = 0x202
RF = 1 << 16


class Batch:
    """A fixed list of registers, 8 bytes each, moved between the CPU and `values` in one call.

    `values[i]` belongs to `registers[i]`; narrower registers fill the low bytes only.
    """

    __slots__ = ("_arguments", "_arrays", "_read", "_write", "values")

    def __init__(self, lib: ctypes.PyDLL, handle: ctypes.c_void_p, registers: Sequence[int]) -> None:
        n = len(registers)
        self.values = (ctypes.c_uint64 * n)()
        ids = (ctypes.c_int * n)(*registers)
        base = ctypes.addressof(self.values)
        pointers = (ctypes.c_void_p * n)(*(base + 8 * i for i in range(n)))
        self._arrays = ids, pointers  # kept; as arguments their addresses are cheaper
        self._arguments = handle.value, ctypes.addressof(ids), ctypes.addressof(pointers), n
        self._read, self._write = lib.uc_reg_read_batch, lib.uc_reg_write_batch

    def read(self) -> ctypes.Array[ctypes.c_uint64]:
        """Fill `values` from the CPU, and return it."""
        self._read(*self._arguments)
        return self.values

    def write(self) -> None:
        """Set the CPU's registers from `values`."""
        self._write(*self._arguments)
