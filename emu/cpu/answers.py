"""Instructions that ask about the machine, answered by us: CPUID, RDTSC, RDTSCP."""

from __future__ import annotations

from collections.abc import Callable

from emu.cpu import libunicorn as u
from emu.cpu.cpuid import cpuid
from emu.cpu.emulator import Emulator
from emu.cpu.regs import Batch

LOW = 0xFFFF_FFFF


class Answers:
    """Hooks on one Emulator. `now` gives the time stamp as of the address it is called with; what is raised goes to
    `fail`, for nothing may be raised out of a hook."""

    def __init__(self, emulator: Emulator, now: Callable[[int], int], fail: Callable[[BaseException], None]) -> None:
        self._registers = Batch(emulator.lib, emulator.uc, (u.RAX, u.RBX, u.RCX, u.RDX))
        self._rip = Batch(emulator.lib, emulator.uc, (u.RIP,))
        self._now, self._fail = now, fail
        emulator.hook(u.HOOK_INSN, u.InsnCallback(self._on_cpuid), u.INS_CPUID)
        emulator.hook(u.HOOK_INSN, u.InsnCallback(self._on_rdtsc), u.INS_RDTSC)
        emulator.hook(u.HOOK_INSN, u.InsnCallback(self._on_rdtscp), u.INS_RDTSCP)

    def _on_cpuid(self, _uc: int, _data: int) -> int:
        try:
            values = self._registers.read()
            values[:] = list(cpuid(values[0] & LOW, values[2] & LOW))
            self._registers.write()
        except BaseException as error:
            self._fail(error)
        return 1

    def _on_rdtsc(self, _uc: int, _data: int) -> int:
        try:
            now = self._now(self._rip.read()[0])
            values = self._registers.read()
            values[0], values[3] = now & LOW, now >> 32 & LOW
            self._registers.write()
        except BaseException as error:
            self._fail(error)
        return 1

    def _on_rdtscp(self, uc: int, data: int) -> int:
        self._on_rdtsc(uc, data)
        self._registers.values[2] = 0  # TSC_AUX: node 0, CPU 0
        self._registers.write()
        return 1
