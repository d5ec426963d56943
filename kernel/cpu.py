"""The CPU as the kernel sees it: what it may ask of one (Cpu), and the ways the CPU comes back (Traps, Trap).

The kernel never imports an emulator. `emu.cpu.engine.UnicornCpu` keeps this contract; so does `tests/fakes.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol


class Access(Enum):
    """What a faulting instruction was doing (the page-fault error code's W/R and I/D bits)."""

    READ = "read"
    WRITE = "write"
    FETCH = "fetch"


class Vector(IntEnum):
    """x86 exception vectors (AMD64 Architecture Programmer's Manual, vol. 2, table 8-1)."""

    DE = 0
    DB = 1
    BP = 3
    OF = 4
    BR = 5
    UD = 6
    NM = 7
    DF = 8
    TS = 10
    NP = 11
    SS = 12
    GP = 13
    PF = 14
    MF = 16
    AC = 17
    XM = 19
    INT80 = 0x80


class TrapKind(Enum):
    """Why `Cpu.run` came back."""

    SYSCALL = "syscall"  # Traps.syscall returned None, or asked for `stop()`: RIP is after the syscall
    FAULT = "fault"  # Traps.page_fault refused: RIP is at the faulting instruction
    EXCEPTION = "exception"  # any other vector; RIP as the CPU leaves it (at the instruction; after int3 and int 0x80)
    DEADLINE = "deadline"  # exactly `until` instructions have retired
    SLICE = "slice"  # nothing for the guest: the host gets a chance to look at signals and limits


class Trap(NamedTuple):
    kind: TrapKind
    vector: int = 0
    va: int = 0
    access: Access = Access.READ
    error: int = 0  # the error code the CPU pushed, where known (#GP selector, #PF bits)


class Regs:
    """The integer register file of one thread (struct user_regs_struct, less the segments)."""

    __slots__ = (  # noqa: RUF023 - in the order of __init__
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15", "rip", "rflags",
    )  # fmt: skip

    def __init__(
        self,
        rax: int = 0, rbx: int = 0, rcx: int = 0, rdx: int = 0, rsi: int = 0, rdi: int = 0,
        rbp: int = 0, rsp: int = 0, r8: int = 0, r9: int = 0, r10: int = 0, r11: int = 0,
        r12: int = 0, r13: int = 0, r14: int = 0, r15: int = 0, rip: int = 0, rflags: int = 0x202,
    ) -> None:  # fmt: skip
        self.rax = rax
        self.rbx = rbx
        self.rcx = rcx
        self.rdx = rdx
        self.rsi = rsi
        self.rdi = rdi
        self.rbp = rbp
        self.rsp = rsp
        self.r8 = r8
        self.r9 = r9
        self.r10 = r10
        self.r11 = r11
        self.r12 = r12
        self.r13 = r13
        self.r14 = r14
        self.r15 = r15
        self.rip = rip
        self.rflags = rflags

    def as_dict(self) -> dict[str, int]:
        """Name → value, in the order of the slots."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regs) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Regs({', '.join(f'{name}={value:#x}' for name, value in self.as_dict().items())})"


class FaultTable(NamedTuple):
    """What a CPU needs to answer the simplest page faults by itself, exactly as `kernel.mm.fault` would: the first
    touch of a page of an anonymous private VMA, and the first write to such a page after reads. All are u32 or u64
    arrays shared with their owners, who may change them whenever the CPU does not run."""

    windows: memoryview  # Windows.table: which VMAs, with which PTE bits
    mm_counters: memoryview  # Mm.counters
    frame_counters: memoryview  # Frames.counters
    refs: memoryview  # Frames.refs
    free: memoryview  # Frames.free


class Traps(Protocol):
    """The kernel's two ways in while the CPU runs; both are called from inside `Cpu.run`."""

    def syscall(self, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int, /) -> int | None:
        """Answer one syscall: the value for rax (any int, taken modulo 2^64), or None.

        None means: do not touch rax, stop, and come back with TrapKind.SYSCALL (exit, sleep, sigreturn, execve)."""

    def page_fault(self, va: int, access: Access, /) -> bool:
        """Make `va` accessible and return True (the instruction is tried again), or return False (TrapKind.FAULT)."""


class Cpu(Protocol):
    """One x86-64 CPU running at CPL 3 on page tables that live in `Ram`."""

    def run(self, traps: Traps, until: int | None = None) -> Trap:
        """Run until a Trap. `until` is an absolute instruction count (see `insns`) that is met exactly."""

    def stop(self) -> None:
        """From inside a `Traps` method: let it finish (its rax is written), then come back with TrapKind.SYSCALL."""

    @property
    def insns(self) -> int:
        """Instructions retired so far, exact whenever the kernel can look (inside `Traps`, or after `run`)."""

    def read_regs(self) -> Regs: ...

    def write_regs(self, regs: Regs) -> None:
        """Set all integer registers. Works inside `Traps.syscall` too, where it goes with returning None."""

    def set_resume_flag(self) -> None:
        """Set RFLAGS.RF, as a fault saves it. With the CPU stopped."""

    def read_fpu(self) -> bytes:
        """x87, SSE and MXCSR state as the 512-byte FXSAVE64 image (AMD64 APM vol. 2, figure 11-11)."""

    def write_fpu(self, image: bytes) -> None:
        """Set it back from a 512-byte FXSAVE64 image. The initial state is FCW 0x37F, MXCSR 0x1F80, rest zero."""

    def read_fs_base(self) -> int: ...

    def write_fs_base(self, value: int) -> None: ...

    def read_gs_base(self) -> int: ...

    def write_gs_base(self, value: int) -> None: ...

    def load_cr3(self, pa: int) -> None:
        """Switch the address space; flushes the TLB."""

    def flush_tlb(self) -> None:
        """A PTE that may be cached was cleared or lost a permission."""

    def delegate_faults(self, table: FaultTable | None) -> None:
        """Allow the CPU to answer faults of this address space as `table` says, unasked; None (as at the start, and
        after load_cr3): every fault comes to Traps, as it must when somebody listens to PageFault."""

    def invalidate_code(self, pfns: Collection[int]) -> None:
        """Bytes of these frames that may have been translated were written by the kernel (not the guest), or the
        frames are free now."""
