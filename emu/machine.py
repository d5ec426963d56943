"""Machine: one kernel over one CPU, and the trap loop that runs a guest to its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emu.config import RunConfig
from emu.cpu.engine import UnicornCpu
from emu.interrupts import Interrupts
from emu.outcome import Counters
from kernel.abi.errno import LinuxError
from kernel.cpu import TrapKind
from kernel.fs.dentry import full_name
from kernel.kernel import Kernel
from kernel.kernel import Outcome as KernelOutcome
from kernel.mm.describe import whereabouts
from kernel.mm.mm import COW, MAJ_FLT, MIN_FLT
from kernel.mm.ram import LOW, Ram
from kernel.mm.stats import resident
from kernel.mm.vma import GROWSDOWN, WRITE
from kernel.probes import Probes

if TYPE_CHECKING:
    from emu.calls import HeapOptions
    from emu.elf import Elf
    from emu.trace.heap import HeapTotals, HeapTracer, Record
    from emu.trace.memcheck import Access
    from emu.trace.space import Range, SpaceSink
    from kernel.fs.inode import Inode
    from kernel.fs.vfs import Streams
    from kernel.mm.mm import Mm

PAGE = 4096


class Stopped(Enum):
    """Why a run ended."""

    EXITED = "the guest exited, or a signal killed it"
    TIMEOUT = "the time limit"
    INSTRUCTIONS = "the instruction limit"
    DEADLOCK = "everything sleeps, and nothing will wake it"
    PANIC = "no memory is left, and nobody may be killed for it"
    HARD = "interrupted twice"
    UNREAD = "nobody reads the trace any more"


STOPPED = {KernelOutcome.DEADLOCK: Stopped.DEADLOCK, KernelOutcome.PANIC: Stopped.PANIC}


class Sampler(Protocol):
    """Whoever looks at the machine now and then."""

    @property
    def next(self) -> int:
        """Before the block that goes past so many instructions; each time LONGEST_BLOCK more at least."""

    def sample(self, instructions: int, rss: int, /) -> None:
        """Now; `rss` in bytes."""


class Image(NamedTuple):
    """A program as execve left it in memory."""

    elf: Elf
    bias: int  # of its addresses
    path: str  # in the guest
    argv: tuple[bytes, ...]
    inode: Inode


class Machine:
    """One simulated machine. `boot` puts a program in it, `run` takes it to its end; its memory can be looked at until
    `close`, which must come before the next Machine of the process runs."""

    def __init__(self, config: RunConfig, streams: Streams, probes: Probes) -> None:
        self.config = config
        self.sampler: Sampler | None = None
        self._booted = b""  # the file that `boot` was given; forgotten when it runs
        self.replaced: Callable[[], None] | None = None  # called when execve has put a program in another's place
        self.ram = _take_ram(config.memory)
        self.cpu = UnicornCpu(self.ram, native=config.native)
        self.kernel = Kernel(config.kernel(), self.cpu, self.ram, probes, streams)
        clock = self.kernel.system.clock
        self.cpu.tsc_offset = lambda: clock.slept

    def boot(self, program: str, content: bytes, argv: list[bytes]) -> None:
        """Load the ELF file `content`, known to the host as `program`. Raises kernel.task.elf.ExecError."""
        name = os.fsencode(guest_path(program, self.config))
        self._booted = content
        self.kernel.boot(content, name, argv, self.config.environ, os.fsencode(self.config.argv0 or program))

    def image(self) -> Image:
        """The program that is about to run its first instruction."""
        from emu.elf import Elf

        task = self.kernel.current
        mm, exe = task.mm, task.process.exe
        assert exe is not None
        content = self._booted
        if content[:4] != b"\x7fELF":  # execve has put it there, or it is a script's interpreter
            content = exe.inode.open(exe, 0).pread(exe.inode.size, 0)
        elf = Elf(content)
        bias = mm.start_code - min(segment.vaddr for segment in elf.executable)
        argv = tuple(_peek(mm)(mm.arg_start, mm.arg_end - mm.arg_start).split(b"\0")[:-1])
        return Image(elf, bias, os.fsdecode(full_name(exe)), argv, exe.inode)

    def trace_heap(
        self, image: Image, options: HeapOptions, fold: HeapTotals, *spaces: SpaceSink, record: Record | None = None
    ) -> HeapTracer:
        """Trace the allocator functions of `image`, until it ends or calls execve. Raises RuleError."""
        from emu.trace.alloc_rules import probes_of
        from emu.trace.heap import Guest, HeapTracer

        task = self.kernel.current
        mm, (elf, bias) = task.mm, image[:2]
        guest = Guest(
            elf, bias, task.tid, mm.cr3, mm.counters, _peek(mm), self.cpu.read_regs,
            lambda va: whereabouts(mm, va), self.cpu.trace_calls, self.kernel.system.probes, lambda: self.cpu.insns,
            lambda: _ranges(mm), lambda: task.mm is not mm, lambda start, end: resident(mm, start, end),
            self._access(mm, options.uninitialised) if options.memcheck else None,
        )  # fmt: skip
        probes = probes_of(elf, bias, options.rules)
        return HeapTracer(fold, spaces, options.sinks, probes, guest, options.stack, record, options.strict)

    def _access(self, mm: Mm, uninitialised: bool) -> Access:
        from emu.trace.memcheck import Access

        cpu = self.cpu
        return Access(cpu.check_memory, cpu.retired_at, lambda: cpu.in_syscall, mm.frames.zero_pfn, uninitialised)

    def run(self, interrupts: Interrupts, unread: Callable[[], bool] | None = None) -> Stopped:
        """The trap loop. What the guest does to itself is its end; what we do to it is in the value.

        `unread` is asked now and then: true ends the run."""
        kernel, cpu, limit = self.kernel, self.cpu, self.config.max_instructions
        interrupts.stop, interrupts.give = cpu.stop, kernel.interrupt
        self._booted = b""
        mm = kernel.current.mm
        while kernel.running:
            until = kernel.until
            at_limit = limit is not None and (until is None or limit <= until)
            look = None if self.sampler is None else self.sampler.next
            trap = cpu.run(kernel, limit if at_limit else until, look)
            if at_limit and trap.kind is TrapKind.DEADLINE:
                return Stopped.INSTRUCTIONS
            if interrupts.hard:
                return Stopped.HARD
            if unread is not None and unread():
                return Stopped.UNREAD
            if interrupts.timed_out:
                return Stopped.TIMEOUT
            interrupts.forward()
            kernel.handle(trap)
            if kernel.current.mm is not mm and kernel.running:
                mm = kernel.current.mm
                if self.replaced is not None:
                    self.replaced()
            if self.sampler is not None and cpu.ahead > self.sampler.next:
                self.sampler.sample(cpu.insns, kernel.current.mm.rss * PAGE)
        return STOPPED.get(kernel.outcome, Stopped.EXITED)

    def counters(self) -> Counters:
        """As of now; to be asked before `close`."""
        mm = self.kernel.current.mm
        mm.update_hiwater()
        counts = mm.counters
        clock = self.kernel.system.clock
        return Counters(
            instructions=self.cpu.insns,
            faults={"COW": counts[COW]},
            minor_faults=counts[MIN_FLT],
            major_faults=counts[MAJ_FLT],
            rss=mm.rss * PAGE,
            peak_rss=mm.hiwater_rss * PAGE,
            vsz=mm.total_vm * PAGE,
            peak_vsz=mm.hiwater_vm * PAGE,
            start_brk=mm.start_brk,
            brk=mm.brk,
            mappings=mm.map_count,
            ram_used=self.kernel.system.frames.used * PAGE,
            virtual_ns=clock.monotonic_ns() - clock.boot_ns,
        )

    def close(self) -> None:
        """Give the guest's memory back."""
        self.kernel.close()
        _give_ram_back(self.ram)


def _peek(mm: Mm) -> Callable[[int, int], bytes]:
    """Guest memory up to the first byte that cannot be read; nothing in the guest changes."""

    def peek(va: int, size: int) -> bytes:
        taken = b""
        while len(taken) < size:
            at = va + len(taken)
            try:
                taken += mm.peek(at, min(size - len(taken), PAGE - at % PAGE))
            except LinuxError:
                break
        return taken

    return peek


def _ranges(mm: Mm) -> list[Range]:
    """What a program that has just been loaded has: its image, where that may be written, and its stack."""
    from emu.trace.space import FILE, STACK, STATIC, Range

    return [
        Range(vma.start, vma.end, (STACK if vma.flags & GROWSDOWN else STATIC) | (FILE if vma.file is not None else 0))
        for vma in mm.vmas
        if vma.flags & WRITE
    ]


_spare: list[Ram] = []  # at most one, all zero above LOW: mapping another one costs Unicorn 0.1 s for 4 GiB


def _take_ram(size: int) -> Ram:
    """RAM that reads zero: the last run's again where its size is the same."""
    spare = _spare.pop() if _spare else None
    return spare if spare is not None and spare.size == size else Ram(size)


def _give_ram_back(ram: Ram) -> None:
    """The host gets the pages back at once; only the addresses are kept."""
    ram.discard(LOW, ram.size - LOW)
    _spare[:] = [ram]


def guest_path(program: str, config: RunConfig) -> str:
    """Where in the guest's tree the host's file `program` stands: in a mount that holds it, else /NAME, away from what
    is mounted."""
    host = os.path.realpath(program)
    for mount in config.mounts:
        folder = os.path.realpath(mount.host)
        if os.path.commonpath((host, folder)) == folder:
            return os.path.normpath(f"{mount.guest}/{os.path.relpath(host, folder)}")
    name = os.path.basename(host)
    covered = [os.path.normpath(mount.guest) for mount in config.mounts]
    for place in (f"/{name}", f"/tmp/{name}"):
        if not any(place == guest or place.startswith(guest.rstrip("/") + "/") for guest in covered):
            return place
    return f"/{name}"
