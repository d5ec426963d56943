"""Stand-ins for tests without an emulator: ScriptedCpu, tiny ELF programs, and a Kernel that runs on both."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from kernel.abi.nr import NR
from kernel.config import KernelConfig
from kernel.cpu import Access, FaultTable, Regs, Trap, TrapKind, Traps, Vector
from kernel.kernel import Kernel
from kernel.mm.ram import Ram
from kernel.probes import Probes
from kernel.task.sigframe import INIT_FPU
from kernel.task.task import Task

M64 = (1 << 64) - 1
RAM_BYTES = 64 << 20
CODE = 0x401000
DATA = 0x402000


class Syscall(NamedTuple):
    """A step of a script: the guest executes `syscall`."""

    nr: int
    args: tuple[int, ...] = ()


class Touch(NamedTuple):
    """A step: the guest accesses `va`."""

    va: int
    access: Access = Access.READ


class Raise(NamedTuple):
    """A step: an instruction raises another exception."""

    vector: Vector
    error: int = 0


class Spin(NamedTuple):
    """A step: `insns` instructions that do nothing."""

    insns: int


Step = Syscall | Touch | Raise | Spin | Callable[["ScriptedCpu"], None]


class ScriptedCpu:
    """A CPU that keeps `kernel.cpu.Cpu` and plays a list of steps instead of instructions.

    Each step is one instruction (Spin: as many as it says). `results` are the values that syscalls left in rax. When
    the script is over, `run` comes back with SLICE. `log` names what the kernel asked of the CPU."""

    def __init__(self, script: Iterable[Step] = ()) -> None:
        self.script: deque[Step] = deque(script)
        self.results: list[int] = []
        self.log: list[str] = []
        self.regs = Regs()
        self.fpu = INIT_FPU
        self.fs_base = self.gs_base = self.cr3 = 0
        self._insns = 0
        self._stop = False

    @property
    def insns(self) -> int:
        return self._insns

    def stop(self) -> None:
        self._stop = True

    def run(self, traps: Traps, until: int | None = None) -> Trap:
        while self.script:
            if until is not None and self._insns >= until:
                return Trap(TrapKind.DEADLINE)
            trap = self._play(traps, until)
            if trap is not None:
                return trap
        return Trap(TrapKind.SLICE)

    def _play(self, traps: Traps, until: int | None) -> Trap | None:
        step = self.script.popleft()
        if isinstance(step, Spin):
            return self._spin(step, until)
        if isinstance(step, Syscall):
            self._insns += 1
            return self._syscall(traps, step)
        if isinstance(step, Touch):
            if traps.page_fault(step.va, step.access):
                self._insns += 1
                return None
            return Trap(TrapKind.FAULT, Vector.PF, step.va, step.access)
        if isinstance(step, Raise):
            return Trap(TrapKind.EXCEPTION, step.vector, error=step.error)
        step(self)
        return None

    def _spin(self, step: Spin, until: int | None) -> Trap | None:
        room = step.insns if until is None else min(step.insns, until - self._insns)
        self._insns += room
        if room < step.insns:
            self.script.appendleft(Spin(step.insns - room))
        return None

    def _syscall(self, traps: Traps, step: Syscall) -> Trap | None:
        args = [arg & M64 for arg in (*step.args, 0, 0, 0, 0, 0, 0)[:6]]
        self.regs.rip += 2
        self._stop = False
        value = traps.syscall(step.nr, *args)
        if value is not None:
            self.regs.rax = value & M64
            self.results.append(value)
        return Trap(TrapKind.SYSCALL) if value is None or self._stop else None

    def read_regs(self) -> Regs:
        return Regs(*(getattr(self.regs, name) for name in Regs.__slots__))

    def write_regs(self, regs: Regs) -> None:
        self.regs = Regs(*(getattr(regs, name) for name in Regs.__slots__))

    def set_resume_flag(self) -> None:
        self.regs.rflags |= 1 << 16

    def read_fpu(self) -> bytes:
        return self.fpu

    def write_fpu(self, image: bytes) -> None:
        assert len(image) == 512
        self.fpu = bytes(image)

    def read_fs_base(self) -> int:
        return self.fs_base

    def write_fs_base(self, value: int) -> None:
        self.fs_base = value

    def read_gs_base(self) -> int:
        return self.gs_base

    def write_gs_base(self, value: int) -> None:
        self.gs_base = value

    def load_cr3(self, pa: int) -> None:
        self.cr3 = pa
        self.log.append("load_cr3")

    def delegate_faults(self, table: FaultTable | None) -> None:
        """Every fault comes to Traps."""

    def flush_tlb(self) -> None:
        self.log.append("flush_tlb")

    def invalidate_code(self, pfns: Collection[int]) -> None:
        self.log.append("invalidate_code")


EHDR = struct.Struct("<4sBBBBQHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")


def phdr(kind: int = 1, flags: int = 5, offset: int = 0, vaddr: int = 0x400000, filesz: int = 0x1000,
         memsz: int | None = None, align: int = 0x1000) -> bytes:  # fmt: skip
    """One program header; PT_LOAD unless said otherwise."""
    return PHDR.pack(kind, flags, offset, vaddr, vaddr, filesz, filesz if memsz is None else memsz, align)


def elf(*phdrs: bytes, kind: int = 2, machine: int = 62, bits: int = 2, entry: int = CODE, size: int = 0x3000,
        phnum: int | None = None, phoff: int = 64) -> bytes:  # fmt: skip
    """An ELF file of `size` bytes; without `phdrs`: headers, a page of code (nops) at CODE and a page of data at DATA,
    which ends in a page of BSS."""
    if not phdrs:
        phdrs = (
            phdr(flags=4, filesz=0x1000),
            phdr(flags=5, offset=0x1000, vaddr=CODE),
            phdr(flags=6, offset=0x2000, vaddr=DATA, filesz=0x800, memsz=0x2000),
            phdr(0x6474E551, 6, vaddr=0, filesz=0),
        )
    head = EHDR.pack(b"\x7fELF", bits, 1, 1, 0, 0, kind, machine, 1, entry, phoff, 0, 0, 64, 56,
                     len(phdrs) if phnum is None else phnum, 0, 0, 0)  # fmt: skip
    body = (head + b"".join(phdrs)).ljust(0x1000, b"\0").ljust(0x2000, b"\x90").ljust(size, b"\0")
    return body[:size]


class World:
    """A Kernel with a booted tiny program on a ScriptedCpu, and short ways to make it do things."""

    def __init__(self, image: bytes | None = None, argv: tuple[bytes, ...] = (b"prog",),
                 envp: tuple[bytes, ...] = (), probes: Probes | None = None, **config: Any) -> None:  # fmt: skip
        config.setdefault("ram_bytes", RAM_BYTES)
        self.config = KernelConfig(**config)
        self.cpu = ScriptedCpu()
        self.probes = probes or Probes()
        self.seen: list[Any] = []
        self.kernel = Kernel(self.config, self.cpu, Ram(self.config.ram_bytes), self.probes)
        self.kernel.boot(elf() if image is None else image, b"/prog", list(argv), list(envp))

    @property
    def task(self) -> Task:
        return self.kernel.current

    def watch(self, *kinds: type) -> list[Any]:
        """Collect these events from now on."""
        for kind in kinds:
            self.probes.listen(kind, self.seen.append)
        return self.seen

    def play(self, *steps: Step) -> None:
        """Run these steps, and answer every trap, until they are over or the program ended."""
        self.cpu.script.extend(steps)
        while self.kernel.running:
            trap = self.cpu.run(self.kernel, self.kernel.until)
            self.kernel.handle(trap)
            if trap.kind is TrapKind.SLICE:
                break

    def call(self, name: str, *args: int) -> int:
        """One syscall by name: what it left in rax. A handler may run after it: see `cpu.regs`."""
        before = len(self.cpu.results)
        self.play(Syscall(NR[name], args))
        return self.cpu.results[-1] if len(self.cpu.results) > before else self.cpu.regs.rax

    def put(self, data: bytes, at: int = DATA) -> int:
        """Write into the guest's data page; where."""
        self.task.mm.copy_to_user(at, data)
        return at

    def get(self, n: int, at: int = DATA) -> bytes:
        return self.task.mm.copy_from_user(at, n)

    def u64(self, at: int = DATA) -> int:
        return int.from_bytes(self.get(8, at), "little")
