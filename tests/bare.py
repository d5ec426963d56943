"""Bare: a CPU with page tables and no kernel; guests are bytes. For tests of emu.cpu."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from emu.cpu.engine import UnicornCpu
from kernel.cpu import Access, Regs, Trap, TrapKind
from kernel.mm.frames import BUMP, Frames
from kernel.mm.ram import LOW, Ram

PAGE = 4096
P, W, U, NX = 1, 2, 4, 1 << 63
CODE, DATA, STACK = 0x40_0000, 0x60_0000, 0x7FFF_F000_0000
RAM = Ram(64 << 20)  # one for all tests of a process: another Ram must be mapped anew

Syscall = Callable[..., int | None]


@dataclass
class Bare:
    """Memory in `ranges` (start, end, "rwx") is filled on demand; `faults` and `calls` log what the CPU asked."""

    native: bool | None = None
    slice_insns: int = 10_000_000
    ranges: list[tuple[int, int, str]] = field(default_factory=list)
    faults: list[tuple[int, int, Access]] = field(default_factory=list)  # instruction count, address, access
    calls: list[tuple[int, ...]] = field(default_factory=list)  # instruction count, number, a0
    on_syscall: Syscall | None = None

    def __post_init__(self) -> None:
        RAM.discard(0, RAM.size)
        self.ram, self.words = RAM, RAM.words
        self.frames = Frames(self.ram)
        self.cpu = UnicornCpu(self.ram, slice_insns=self.slice_insns, native=self.native)
        self.cr3 = self.new_tables()
        self.cpu.load_cr3(self.cr3)

    def new_tables(self) -> int:
        return self.frames.alloc() << 12

    def pte(self, va: int, cr3: int | None = None) -> int:
        """The index in `words` of va's PTE, its tables made."""
        table = self.cr3 if cr3 is None else cr3
        for shift in (39, 30, 21):
            index = (table >> 3) + (va >> shift & 511)
            if not self.words[index] & P:
                self.words[index] = self.frames.alloc() << 12 | P | W | U
            table = self.words[index] & 0x000F_FFFF_FFFF_F000
        return (table >> 3) + (va >> 12 & 511)

    def map(self, va: int, data: bytes = b"", perms: str = "rx", cr3: int | None = None, pages: int = 1) -> None:
        """Map pages at `va` now, holding `data`."""
        for i in range(max(pages, -(-len(data) // PAGE))):
            pfn = self.frames.alloc()
            piece = data[i * PAGE : (i + 1) * PAGE]
            self.ram.bytes[pfn << 12 : (pfn << 12) + len(piece)] = piece
            bits = P | U | (W if "w" in perms else 0) | (0 if "x" in perms else NX)
            self.words[self.pte(va + i * PAGE, cr3)] = pfn << 12 | bits

    def read(self, va: int, length: int) -> bytes:
        pa = (self.words[self.pte(va)] & 0x000F_FFFF_FFFF_F000) + va % PAGE
        return bytes(self.ram.bytes[pa : pa + length])

    @property
    def used_frames(self) -> range:
        return range(LOW >> 12, self.frames.counters[BUMP])

    def start(self, rip: int = CODE, **regs: int) -> None:
        self.cpu.write_regs(Regs(rip=rip, **regs))
        self.cpu.invalidate_code(self.used_frames)

    def run(self, until: int | None = None) -> Trap:
        """Run to a trap that is not a slice."""
        while True:
            trap = self.cpu.run(self, until)
            if trap.kind is not TrapKind.SLICE:
                return trap

    def syscall(self, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> int | None:
        self.calls.append((self.cpu.insns, nr, a0))
        if self.on_syscall is not None:
            return self.on_syscall(nr, a0, a1, a2, a3, a4, a5)
        return None if nr in (60, 231) else nr

    def page_fault(self, va: int, access: Access) -> bool:
        self.faults.append((self.cpu.insns, va, access))
        for start, end, perms in self.ranges:
            if start <= va < end:
                index = self.pte(va)
                if self.words[index] & P or (access is Access.WRITE and "w" not in perms):
                    return False
                bits = P | U | (W if "w" in perms else 0) | (0 if "x" in perms else NX)
                self.words[index] = self.frames.alloc() << 12 | bits
                return True
        return False


def guest(code: bytes, native: bool | None = None, **regs: int) -> Bare:
    """`code` at CODE (read and execute), two pages of data at DATA, a stack on demand; RIP at CODE."""
    bare = Bare(native)
    bare.map(CODE, code)
    bare.map(DATA, perms="rw", pages=2)
    bare.ranges.append((STACK - (1 << 20), STACK, "rw"))
    bare.start(**{"rsp": STACK - 4096, **regs})
    return bare
