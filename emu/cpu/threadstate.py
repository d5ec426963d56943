"""ThreadState: what the CPU holds of one thread, as the kernel reads and sets it: integer registers, FPU, bases."""

from __future__ import annotations

import struct

from emu.cpu import libunicorn as u
from emu.cpu.emulator import Emulator
from emu.cpu.fpu import INITIAL, Fpu
from emu.cpu.regs import FIXED_FLAGS, INTEGER, RF, USER_FLAGS, Batch
from kernel.cpu import Regs

_INTEGERS = struct.Struct(f"<{len(INTEGER)}Q")
MASK = (1 << 64) - 1


class ThreadState:
    """The part of `kernel.cpu.Cpu` that is plain state. In RFLAGS only what a user may change is ever set."""

    def __init__(self, emulator: Emulator) -> None:
        lib, uc = emulator.lib, emulator.uc
        self._integer = Batch(lib, uc, INTEGER)
        self._rflags = Batch(lib, uc, (u.RFLAGS,))
        self._fs_base, self._gs_base = Batch(lib, uc, (u.FS_BASE,)), Batch(lib, uc, (u.GS_BASE,))
        self._fpu = Fpu(lib, uc)

    def clear(self) -> None:
        """All zero, and the floating point as Linux starts a program."""
        self.write_regs(Regs())
        self.write_fpu(INITIAL)
        self.write_fs_base(0)
        self.write_gs_base(0)

    def read_regs(self) -> Regs:
        """All integer registers."""
        return Regs(*_INTEGERS.unpack_from(self._integer.read()))

    def write_regs(self, regs: Regs) -> None:
        """Set them, taken modulo 2^64."""
        words = (
            regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.rsp,
            regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
            regs.rip, regs.rflags & USER_FLAGS | FIXED_FLAGS,
        )  # fmt: skip
        try:
            _INTEGERS.pack_into(self._integer.values, 0, *words)
        except struct.error:
            self._integer.values[:] = list(words)
        self._integer.write()

    def set_resume_flag(self) -> None:
        """Set RFLAGS.RF."""
        values = self._rflags.read()
        values[0] = values[0] & USER_FLAGS | FIXED_FLAGS | RF
        self._rflags.write()

    def read_fpu(self) -> bytes:
        """The FXSAVE64 image, 512 bytes."""
        return self._fpu.read()

    def write_fpu(self, image: bytes) -> None:
        """Set it from 512 bytes. Raises ValueError for another length."""
        self._fpu.write(image)

    def read_fs_base(self) -> int:
        return int(self._fs_base.read()[0])

    def write_fs_base(self, value: int) -> None:
        self._fs_base.values[0] = value & MASK
        self._fs_base.write()

    def read_gs_base(self) -> int:
        return int(self._gs_base.read()[0])

    def write_gs_base(self, value: int) -> None:
        self._gs_base.values[0] = value & MASK
        self._gs_base.write()
