"""UnicornCpu: keeps `kernel.cpu.Cpu` with Unicorn. The guest runs at CPL 3 under SVM; every way out is a hook here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from emu import native as accelerator
from emu.cpu import decode, interrupts, vmcb, walk
from emu.cpu import libunicorn as u
from emu.cpu.answers import Answers
from emu.cpu.emulator import NOWHERE, the_emulator
from emu.cpu.hooks import FOREVER, Blocks, PythonBlocks
from emu.cpu.nativehooks import NativeBlocks
from emu.cpu.regs import Batch
from emu.cpu.threadstate import MASK
from emu.cpu.traced import Traced
from kernel.cpu import Access, FaultTable, Regs, Trap, TrapKind, Traps, Vector
from kernel.mm.ram import Ram

if TYPE_CHECKING:
    from emu.calls import CallHooks

SLICES = (1_000_000, 20_000_000)  # instructions between two looks at the host's signals, twin and native: 5 to 200 ms
LONGEST_BLOCK = 4096  # instructions: Unicorn ends a block before it is a page long
MANY_FRAMES = 64  # more than so many stale ones: all translations are dropped
FLUSH_EVERY = 100_000_000  # instructions between two flushes of the TLB, at the end of a slice

_READ, _WRITE, _FETCH = Access.READ, Access.WRITE, Access.FETCH
_SYSCALL, _DEADLINE, _SLICE = Trap(TrapKind.SYSCALL), Trap(TrapKind.DEADLINE), Trap(TrapKind.SLICE)


class UnicornCpu(Traced):
    """One CPU over `ram`. Of several in one process the newest runs; it takes the Uc over from the one before it.

    Always holds outside `run`: the count of instructions is exact, RIP is where the guest goes on.
    `tsc_offset` is added to the instruction count by RDTSC: a number, or a function that is asked each time.
    `native`: the hooks in C (True: they must be there), the Python twins (False), or whichever there is (None).
    """

    def __init__(self, ram: Ram, *, slice_insns: int | None = None, native: bool | None = None) -> None:
        self._emulator = emulator = the_emulator()
        emulator.lend(ram, self)
        lib, uc = emulator.lib, emulator.uc
        self._uc, self._handle, self._words, self._memory = uc, uc.value, ram.words, ram.bytes
        self._emu_start, self._emu_stop, self._ctl = lib.uc_emu_start, lib.uc_emu_stop, lib.uc_ctl
        self.tsc_offset: int | Callable[[], int] = 0
        super().__init__(emulator)
        self._entry = Batch(lib, uc, (u.RAX, u.RDI, u.RSI, u.RDX, u.R10, u.R8, u.R9, u.RIP, u.RFLAGS))
        self._rax, self._rip = Batch(lib, uc, (u.RAX,)), Batch(lib, uc, (u.RIP,))
        self._clobbered = Batch(lib, uc, (u.RCX, u.R11))
        self._cr3 = Batch(lib, uc, (u.CR3,))
        self._traps: Traps | None = None
        self._trap: Trap | None = None
        self._error: BaseException | None = None
        self._new_regs: Regs | None = None  # set by write_regs inside a syscall, applied when the CPU has stopped
        self._stop_asked = False
        self._flush_at = FLUSH_EVERY
        self._stale_code: set[int] = set()  # frames
        self._edge: tuple[int, int] | None = None  # the block at which the limit stopped the CPU
        self._plan: list[int] = []  # on the way to an exact count: instructions to execute, and where to stop
        self._plan_code = b""  # their bytes
        self._calls: CallHooks | None = None
        self._blocks: Blocks
        self._native: NativeBlocks | None = None
        self._install(ram, native)
        slice_insns = SLICES[self._native is not None] if slice_insns is None else slice_insns
        self._slice_insns = max(slice_insns, LONGEST_BLOCK)  # so that each slice gets somewhere
        self._start()

    def _install(self, ram: Ram, native: bool | None) -> None:
        hook = self._emulator.hook
        library = accelerator.library() if native or native is None else None
        if library is None and native:
            raise RuntimeError("the native hooks were asked for, and are not there")
        if library is not None:
            self._native = blocks = NativeBlocks(
                library, self._emulator, ram, self._on_limit, self._on_native_interrupt, self._syscall
            )
            self._blocks = blocks
            hook(u.HOOK_BLOCK, blocks.block_callback, data=blocks.user_data)
            hook(u.HOOK_EDGE, blocks.edge_callback, data=blocks.user_data)
            hook(u.HOOK_INTR, blocks.interrupt_callback, data=blocks.user_data)
            hook(u.HOOK_INSN, blocks.syscall_callback, u.INS_SYSCALL, blocks.user_data)
        else:
            twin = self._blocks = PythonBlocks(self._read_code, self._on_limit)
            hook(u.HOOK_BLOCK, twin.block_callback)
            hook(u.HOOK_EDGE, twin.edge_callback)
            hook(u.HOOK_INTR, u.InterruptCallback(self._on_interrupt))
            hook(u.HOOK_INSN, u.SyscallCallback(self._on_syscall), u.INS_SYSCALL)
        self._answers = Answers(self._emulator, self._time_stamp, self._fail)

    def _start(self) -> None:
        """The state at boot: all registers zero, floating point as Linux starts a program."""
        self._blocks.reset()
        self.clear()

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self, traps: Traps, until: int | None = None, look: int | None = None) -> Trap:
        """Run until a Trap; see `kernel.cpu.Cpu`. What a method of `traps` raises comes out of here, CPU stopped.
        A SLICE comes before the block that goes past `look` instructions, too; `ahead` is where the next one ends."""
        if self._emulator.borrower is not self:
            raise RuntimeError("this CPU was superseded by a newer UnicornCpu of the same process")
        self._traps = traps
        goal = FOREVER if until is None else until
        blocks = self._blocks
        total = blocks.total
        slice_end = min(total + self._slice_insns, FOREVER if look is None else look)
        self.ahead = 0
        while True:
            self._refresh()
            if total >= goal:
                return _DEADLINE
            blocks.limit = min(goal, slice_end)
            trap = self._emulate(self._rip.read()[0], NOWHERE)
            if trap is not None:
                return self._settle_fetch(trap)
            if self._edge is not None:
                trap = self._at_edge(goal, *self._edge)
                if trap is not None:
                    return trap
            total = blocks.total

    def _emulate(self, rip: int, until: int) -> Trap | None:
        """Start the CPU at `rip`; what stopped it, or None: an edge, or the address `until`."""
        self._trap = self._edge = None
        self._stop_asked = False
        error = self._emu_start(self._handle, rip, until, 0, 0)
        if self._error is not None:
            held, self._error = self._error, None
            raise held
        u.check(error, "emulation")
        if self._new_regs is not None:
            regs, self._new_regs = self._new_regs, None
            self.write_regs(regs)
        return self._trap

    def _at_edge(self, goal: int, address: int, size: int) -> Trap | None:
        """Before a block that would go past a limit: the slice's, or the goal, which lies in this block."""
        left = goal - self._blocks.total
        code = self._read_code(address, size)
        starts, absent = decode.block(code)
        if absent is not None and absent[0] < left:
            return self._run_up_to(address, code, starts, absent[0], Trap(TrapKind.EXCEPTION, absent[1]))
        if left >= len(starts):
            if self._blocks.total >= self._flush_at:  # the TLB grows and shrinks only when it is flushed
                self._flush_at = self._blocks.total + FLUSH_EVERY
                self.flush_tlb()
            self.ahead = self._blocks.total + len(starts)
            return _SLICE
        return self._run_up_to(address, code, starts, left, _DEADLINE)

    def _run_up_to(self, rip: int, code: bytes, starts: Sequence[int], count: int, then: Trap) -> Trap | None:
        """Execute the first `count` instructions of the line of `code` at `rip`, then come out with `then`."""
        if not count:
            return then
        trap = self._run_exactly([rip + at for at in starts[: count + 1]], code[: starts[count]])
        return then if trap is _DEADLINE else trap

    def _run_exactly(self, plan: list[int], code: bytes) -> Trap | None:
        """Execute the straight line of instructions at `plan[:-1]`. None: their bytes changed on the way.

        Unicorn ends a block at the address it is to stop at, if it translates it anew (after a fault, another one)."""
        self._plan, self._plan_code = plan, code
        self._blocks.limit = -1
        first, end = plan[0], plan[-1]
        self._emulator.drop_translations(first, end)
        try:
            trap = self._emulate(first, end)
            if trap is None and self._plan and self._rip.read()[0] == end:
                self._advance(end)
                trap = _DEADLINE
            return trap
        finally:
            self._plan = []
            self._emulator.drop_translations(first, end)

    def _settle_fetch(self, trap: Trap) -> Trap:
        """Unicorn fetches a whole block before it runs any of it: a refused fetch of the next page comes too early.
        Run what stands before the instruction that needs that page, so that the fault is where the CPU has it."""
        if trap.access is not Access.FETCH or trap.kind is not TrapKind.FAULT:
            return trap
        rip = self._rip.read()[0]
        room = trap.va - rip
        if trap.va % 4096 or not 0 < room < 8192 or len(code := self._read_code(rip, room)) < room:
            return trap
        starts, absent = decode.block(code)
        if absent is not None:
            then = Trap(TrapKind.EXCEPTION, absent[1])
            return self._run_up_to(rip, code, starts, absent[0], then) or then
        return self._run_up_to(rip, code, starts, len(starts) - 1, trap) or trap

    def _advance(self, rip: int) -> None:
        """On the plan, all before `rip` was executed."""
        done = self._plan.index(rip)
        self._blocks.total += done
        self._plan_code = self._plan_code[rip - self._plan[0] :]
        del self._plan[:done]

    def stop(self) -> None:
        """From inside a method of Traps: come back with TrapKind.SYSCALL once it has returned."""
        self._stop_asked = True

    @property
    def insns(self) -> int:
        """Instructions retired so far."""
        return self._blocks.total

    # --- hooks: called by Unicorn; nothing may be raised out of them --------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._stop_now()

    def _leave(self, trap: Trap) -> None:
        self._trap = trap
        self._stop_now()

    def _stop_now(self) -> None:
        """No block is executed from here on, nor counted."""
        self._blocks.limit = -1
        self._emu_stop(self._handle)

    def _on_limit(self, address: int, size: int) -> int:
        """A block begins that is not counted as usual: the limit is met, or the CPU runs on a plan."""
        try:
            if self._trap is not None or self._error is not None:
                return 0  # the CPU is about to stop
            if not self._plan:
                if self._blocks.full:
                    self._stale_code.update(range(MANY_FRAMES + 1))  # all go
                else:
                    self._edge = (address, size)
                self._emu_stop(self._handle)
                return 0
            self._advance(address)
            if self._read_code(address, len(self._plan_code)) != self._plan_code:
                self._plan = []
                self._emu_stop(self._handle)
            elif self._calls is not None:
                self._calls.reached(address)
        except BaseException as error:
            self._fail(error)
        return 0

    def _on_syscall(self, _uc: int, _data: int) -> None:
        """The Python twin of hs_on_syscall. RCX and R11 are what the instruction leaves in them."""
        nr, a0, a1, a2, a3, a4, a5, rip, flags = self._entry.read()
        blocks = self._blocks
        assert isinstance(blocks, PythonBlocks)
        blocks.syscalls += 1
        start, size = blocks.block
        blocks.next_rip = start + size if size else rip + 2
        self._clobbered.values[:] = [blocks.next_rip, flags]
        self._clobbered.write()
        blocks.kept_rax = False
        result = self._syscall(nr, a0, a1, a2, a3, a4, a5)
        if not blocks.kept_rax:
            self._rax.values[0] = result & MASK
            self._rax.write()
        blocks.next_rip = 0
        self._refresh()

    def _syscall(self, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> int:
        """The value for rax, unless that is to be kept."""
        try:
            assert self._traps is not None
            result = self._traps.syscall(nr, a0, a1, a2, a3, a4, a5)
            if self._stale_code:
                self._refresh()
            if result is not None and not self._stop_asked:
                return result
            self._leave(_SYSCALL)
        except BaseException as error:
            self._fail(error)
            result = None
        if result is None:
            self._blocks.keep_rax()
            return 0
        return result

    def _on_interrupt(self, _uc: int, number: int, _data: int) -> None:
        """The Python twin of hs_on_interrupt."""
        try:
            rip = self._rip.read()[0]
            self._blocks.settle(rip)
            va = self._words[vmcb.EXITINFO2_WORD] if number == vmcb.PAGE_FAULT else 0
            error = 0 if self._emulator.error_offset is None else self._emulator.error_code()
        except BaseException as held:
            self._fail(held)
            return
        self._on_native_interrupt(number, rip, va, error)
        self._refresh()

    def _on_native_interrupt(self, number: int, rip: int, va: int, error: int) -> None:
        """The CPU came out before the instruction at `rip` ran; the count is settled, but on a plan."""
        try:
            if self._plan:
                self._advance(rip)
            if number != vmcb.PAGE_FAULT:
                self._leave(self._exception(number, rip, error))
                return
            if self._emulator.error_offset is None:
                error = self._fault_code(rip, va)
            how = _FETCH if error & 16 else _WRITE if error & 2 else _READ
            assert self._traps is not None
            if not self._traps.page_fault(va, how):
                self._leave(Trap(TrapKind.FAULT, Vector.PF, va, how, error))
            elif self._stop_asked:
                self._leave(_SYSCALL)
            if self._stale_code:
                self._refresh()
        except BaseException as held:
            self._fail(held)

    def _fault_code(self, rip: int, va: int) -> int:
        """The error code of a page fault, found out from the instruction where Unicorn does not show it."""
        from emu.cpu import access

        present = walk.translate(self._words, self._cr3.values[0], va) is not None
        return access.error_code(self._read_code(rip, decode.LONGEST), self.read_regs(), va, present)

    def _exception(self, number: int, rip: int, error: int) -> Trap:
        """An interrupt other than a page fault, as the exception a real CPU would raise."""
        code = self._read_code(rip, decode.LONGEST)
        meaning = interrupts.meaning(number, code, error)
        if meaning.length:  # a trap, not a fault: the instruction has retired
            self._blocks.total += 1
            if self._plan:
                del self._plan[0]
            regs = self.read_regs()
            regs.rip = rip + meaning.length
            self._new_regs = regs
        return Trap(TrapKind.EXCEPTION, meaning.vector, 0, Access.READ, meaning.error)

    def _time_stamp(self, rip: int) -> int:
        """What RDTSC at `rip` reads: instructions retired, and slept time."""
        return self.retired_at(rip) + (self.tsc_offset if isinstance(self.tsc_offset, int) else self.tsc_offset())

    # --- the kernel's side ------------------------------------------------------------------------------------------

    def read_regs(self) -> Regs:
        """All integer registers. Inside a syscall: as a signal handler would see them, RIP after the instruction."""
        if self._new_regs is not None:
            return self._new_regs
        regs = super().read_regs()
        if self._blocks.next_rip:
            regs.rip = self._blocks.next_rip
        return regs

    def write_regs(self, regs: Regs) -> None:
        """Set them. Inside a syscall they take effect when the CPU has stopped. RFLAGS: what a user may set."""
        if self._blocks.next_rip:
            self._new_regs = regs
        else:
            super().write_regs(regs)

    def load_cr3(self, pa: int) -> None:
        """Switch the address space. The same addresses may hold other code now."""
        self._cr3.values[0] = pa
        self._cr3.write()
        self._blocks.switch(pa)
        self.delegate_faults(None)

    def delegate_faults(self, table: FaultTable | None) -> None:
        """Let the native hooks answer simple faults; the Python twin asks Traps for each, with the same outcome."""
        if self._native is not None:
            self._native.delegate(table)

    def flush_tlb(self) -> None:
        """Before the guest goes on, the TLB will be empty."""
        self._blocks.flush_tlb()

    def invalidate_code(self, pfns: Collection[int]) -> None:
        """Before the guest goes on, the translated code of these frames will be dropped."""
        self._stale_code.update(pfns)

    def _refresh(self) -> None:
        if self._blocks.take_stale_tlb():
            self._ctl(self._uc, u.CTL_TLB_FLUSH)
        stale = self._stale_code
        if len(stale) > MANY_FRAMES:
            self._ctl(self._uc, u.CTL_TB_FLUSH)
            self._blocks.dropped()
        elif stale:
            self._emulator.drop_frames(stale, self._cr3.values[0])
        stale.clear()

    def _read_code(self, va: int, length: int) -> bytes:
        return walk.read(self._words, self._memory, self._cr3.values[0], va, length)
