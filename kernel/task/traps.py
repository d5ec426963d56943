"""What Linux makes of a CPU exception: which signal, with which si_code and si_addr (arch/x86/kernel/traps.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import LinuxError
from kernel.abi.signal import (
    BUS_ADRALN,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    FPE_INTDIV,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
    IllCode,
)
from kernel.cpu import Access, Trap, Vector
from kernel.mm.pte import P
from kernel.task import signal
from kernel.task.sigframe import RF, TF
from kernel.task.siginfo import SigInfo, fault, kernel

if TYPE_CHECKING:
    from kernel.task.task import Task

PF_PROT, PF_WRITE, PF_USER, PF_INSTR = 1, 2, 4, 0x10
TASK_SIZE_MAX = (1 << 47) - 4096
INT80_LENGTH = 2
_TRAPS = {Vector.BP, Vector.OF, Vector.DB, Vector.INT80}  # RIP is past the instruction; the others are faults


def page_fault(task: Task, trap: Trap, sig: int, code: int) -> None:
    """Force the signal of a page fault that mm refused."""
    error = PF_USER
    if task.mm.page_table.entry(trap.va) & P:
        error |= PF_PROT
    if trap.access is Access.WRITE:
        error |= PF_WRITE
    elif trap.access is Access.FETCH:
        error |= PF_INSTR
    if trap.va >= TASK_SIZE_MAX:
        error |= PF_PROT  # nobody is told what the kernel's half maps (sanitize_error_code)
    task.trap_nr, task.trap_error, task.cr2 = Vector.PF, error, trap.va
    task.system.cpu.set_resume_flag()  # as the signal frame shows
    signal.force(task, fault(sig, code, trap.va))


def exception(task: Task, trap: Trap) -> None:
    """Force the signal of any other exception."""
    vector = trap.vector
    task.trap_nr, task.trap_error = vector, trap.error
    if vector not in _TRAPS:
        task.system.cpu.set_resume_flag()
    if vector == Vector.GP and not trap.error:
        task.trap_error = _gate_error(task)
    info = _int80(task) if vector == Vector.INT80 else _signal_of(task, vector)
    if info is not None:
        signal.force(task, info)


def _signal_of(task: Task, vector: int) -> SigInfo | None:
    rip = task.system.cpu.read_regs().rip
    if vector == Vector.DE:
        return fault(SIGFPE, FPE_INTDIV, rip)
    if vector == Vector.UD:
        return fault(SIGILL, IllCode.ILLOPN, rip)
    if vector == Vector.BP:
        return kernel(SIGTRAP)
    if vector == Vector.DB:
        return fault(SIGTRAP, TRAP_TRACE if _stepping(task) else TRAP_BRKPT, rip)
    if vector in (Vector.MF, Vector.XM):
        code = _fpe_code(task.system.cpu.read_fpu(), vector)
        return fault(SIGFPE, code, rip) if code else None
    if vector == Vector.AC:
        return fault(SIGBUS, BUS_ADRALN, 0)
    return fault(SIGBUS if vector in (Vector.NP, Vector.SS) else SIGSEGV, SI_KERNEL, 0)


def _gate_error(task: Task) -> int:
    """The error code of a #GP: the gate that `int n` may not use, 0 for all else (the CPU does not tell)."""
    try:
        opcode, gate = task.mm.copy_from_user(task.system.cpu.read_regs().rip, 2)
    except LinuxError:
        return 0
    return gate * 8 + 2 if opcode == 0xCD else 0


def _stepping(task: Task) -> bool:
    """Is it the trap flag, not `int1` (0xF1)?"""
    regs = task.system.cpu.read_regs()
    if regs.rflags & TF:
        return True
    try:
        return task.mm.copy_from_user(regs.rip - 1, 1) != b"\xf1"
    except LinuxError:
        return True


def _fpe_code(image: bytes, vector: int) -> int:
    """si_code from the unmasked exceptions in the FXSAVE image; 0: none, the trap is spurious (fpu__exception_code)."""
    if vector == Vector.MF:
        error = int.from_bytes(image[2:4], "little") & ~int.from_bytes(image[0:2], "little")
    else:
        mxcsr = int.from_bytes(image[24:28], "little")
        error = ~(mxcsr >> 7) & mxcsr
    for bits, code in ((1, FPE_FLTINV), (4, FPE_FLTDIV), (8, FPE_FLTOVF), (0x12, FPE_FLTUND), (0x20, FPE_FLTRES)):
        if error & bits:
            return code
    return 0


def _int80(task: Task) -> SigInfo:
    """int 0x80: the 32-bit ABI is not there, as on a Linux without IA32_EMULATION: #GP at the instruction."""
    cpu = task.system.cpu
    regs = cpu.read_regs()
    regs.rip -= INT80_LENGTH
    regs.rflags |= RF
    cpu.write_regs(regs)
    task.trap_nr, task.trap_error = Vector.GP, Vector.INT80 * 8 + 2
    task.system.note(task.tid, "int 0x80: the 32-bit syscall ABI is not modelled; use the syscall instruction")
    return kernel(SIGSEGV)
