"""rt_sigframe: entering a signal handler and coming back, byte for byte (arch/x86/kernel/signal_64.c).

    sp before   red zone, 128 bytes (or the top of the alternate stack)
    fpstate ->  512 bytes of FXSAVE64, 64-byte aligned
    frame ->    pretcode (SA_RESTORER)        8 bytes; frame + 8 is 16-byte aligned
                ucontext: uc_flags uc_link uc_stack, sigcontext (256 bytes), uc_sigmask
                siginfo                       128 bytes

The CPU has no XSAVE, so the frame is what Linux makes with FXSAVE alone: no UC_FP_XSTATE, no extended area.
"""

from __future__ import annotations

import struct
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from kernel.abi.errno import EFAULT, EINVAL, ENOMEM, EPERM, LinuxError
from kernel.abi.limits import TASK_SIZE, U64
from kernel.abi.signal import MINSIGSTKSZ, SIGSEGV, Sa, Ss
from kernel.cpu import Regs, Vector
from kernel.task import signal
from kernel.task.siginfo import SIGINFO_SIZE, SigInfo, kernel
from kernel.task.task import AltStack

if TYPE_CHECKING:
    from kernel.task.task import Task

UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS = 2, 4
USER_CS, USER_DS = 0x33, 0x2B
FPSTATE_SIZE = 512
# pretcode; uc_flags uc_link; ss_sp ss_flags ss_size; r8-r15 di si bp bx dx ax cx sp ip flags;
# cs gs fs ss; err trapno oldmask cr2 fpstate, reserved; uc_sigmask
_FRAME = struct.Struct("<Q QQ QIxxxxQ 18Q 4H 5Q 64x Q")
FRAME_SIZE = _FRAME.size + SIGINFO_SIZE
UCONTEXT_SIZE = _FRAME.size - 8
MINSIGSTKSZ_AT = (FRAME_SIZE + 15 + FPSTATE_SIZE + 63 + 15) & ~15  # AT_MINSIGSTKSZ, as init_sigframe_size() adds up
_ORDER = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp",
          "rip", "rflags")  # fmt: skip
_saved = attrgetter(*_ORDER)
_restored = itemgetter(*(6 + _ORDER.index(name) for name in Regs.__slots__))  # from a frame's fields, as Regs has them

AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF = 1 << 18, 1 << 11, 1 << 10, 1 << 8, 1 << 7, 1 << 6, 1 << 4, 1 << 2, 1, 1 << 16
FIX_EFLAGS = AC | OF | DF | TF | SF | ZF | AF | PF | CF  # what rt_sigreturn may set; RF would last one instruction
MXCSR_MASK = 0xFFFF
INIT_FPU = struct.pack("<H22xII", 0x37F, 0x1F80, MXCSR_MASK).ljust(FPSTATE_SIZE, b"\0")
FP_XSTATE_MAGIC1 = 0x46505853
SW_BYTES = struct.pack("<IIQI", FP_XSTATE_MAGIC1, FPSTATE_SIZE + 4, 0, FPSTATE_SIZE).ljust(48, b"\0")


def on_sig_stack(task: Task, sp: int) -> bool:
    """Does `sp` lie on the alternate stack? Never with SS_AUTODISARM (Linux: on_sig_stack)."""
    if task.altstack.flags & Ss.AUTODISARM:
        return False
    return _within_altstack(task, sp)


def _within_altstack(task: Task, sp: int) -> bool:
    alt = task.altstack
    return sp > alt.sp and sp - alt.sp <= alt.size


def altstack_flags(task: Task, sp: int) -> int:
    """ss_flags as sigaltstack(2) and uc_stack show them, without SS_AUTODISARM (Linux: sas_ss_flags)."""
    if not task.altstack.size:
        return Ss.DISABLE
    return Ss.ONSTACK if on_sig_stack(task, sp) else 0


def push(task: Task, info: SigInfo, action: signal.SigAction, regs: Regs) -> bool:
    """Build the frame for `info` on the guest's stack and point `regs` and the FPU at the handler.

    False: it could not be done (no SA_RESTORER, no stack), nothing but stack bytes has changed."""
    if not action.flags & Sa.RESTORER:
        return False
    placed = _place(task, action, regs.rsp)
    if placed is None:
        return False
    frame, fpstate = placed
    alt = task.altstack
    mask = task.blocked if task.saved_blocked is None else task.saved_blocked
    head = _FRAME.pack(
        action.restorer,
        UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS, 0,
        alt.sp, alt.flags, alt.size,
        *_saved(regs),
        task.cs, 0, 0, task.ss,
        task.trap_error, task.trap_nr, mask, task.cr2, fpstate,
        mask,
    )  # fmt: skip
    cpu = task.system.cpu
    try:
        task.mm.copy_to_user(fpstate, _fxsave(cpu.read_fpu()))
        task.mm.copy_to_user(frame, head + info.raw if action.flags & Sa.SIGINFO else head)
    except LinuxError:
        return False
    regs.rdi, regs.rsi, regs.rdx = info.sig, frame + _FRAME.size, frame + 8
    regs.rax, regs.rip, regs.rsp = 0, action.handler, frame
    regs.rflags &= ~(DF | RF | TF)
    task.cs, task.ss = USER_CS, USER_DS
    cpu.write_fpu(INIT_FPU)
    return True


def _place(task: Task, action: signal.SigAction, sp: int) -> tuple[int, int] | None:
    """Addresses of frame and fpstate; None when the alternate stack would overflow (Linux: get_sigframe)."""
    on_alt = on_sig_stack(task, sp)
    sp = sp - 128 & U64
    if action.flags & Sa.ONSTACK and altstack_flags(task, sp) == 0:
        sp = task.altstack.sp + task.altstack.size
        on_alt = True
    fpstate = (sp - FPSTATE_SIZE & ~63) & U64
    frame = ((fpstate - FRAME_SIZE & ~15) - 8) & U64
    if on_alt and not _within_altstack(task, frame):
        task.system.note(task.tid, "the alternate signal stack has no room for the frame")
        return None
    return frame, fpstate


def _fxsave(image: bytes) -> bytes:
    """The image as the frame shows it: its last 48 bytes are the kernel's (struct _fpx_sw_bytes)."""
    return image[:464] + SW_BYTES


def restore(task: Task) -> int:
    """rt_sigreturn(2): mask, registers, FPU and alternate stack from the frame at sp - 8. The new rax.

    A frame that Linux refuses forces SIGSEGV, on the registers as far as they had been restored."""
    cpu = task.system.cpu
    regs = cpu.read_regs()
    frame = regs.rsp - 8 & U64
    try:
        fields = _FRAME.unpack(_read(task, frame, _FRAME.size, "the signal frame"))
        signal.set_blocked(task, fields[-1])
        regs = Regs(*_restored(fields))
        regs.rflags = fields[23] & FIX_EFLAGS | 0x202
        _restore_fpu(task, fields[32])
        set_altstack(task, fields[3], fields[4], fields[5], regs.rsp, quiet=True)
    except LinuxError as error:
        regs.rax = 0
        task.system.note(task.tid, f"bad frame in rt_sigreturn at {frame:#x}: {error.why}")
        signal.force(task, kernel(SIGSEGV))
    else:
        strict = fields[1] & UC_STRICT_RESTORE_SS
        _check_return(task, regs, fields[24] | 3, fields[27] | 3 if strict else USER_DS)
    cpu.write_regs(regs)
    return regs.rax


def _read(task: Task, va: int, n: int, what: str) -> bytes:
    if va + n > TASK_SIZE:
        raise LinuxError(EFAULT, f"{what} lies outside user space")
    return task.mm.copy_from_user(va, n)


def _restore_fpu(task: Task, fpstate: int) -> None:
    """FXRSTOR64 from the frame; a null pointer means the initial state (Linux: fpu__restore_sig)."""
    cpu = task.system.cpu
    if not fpstate:
        cpu.write_fpu(INIT_FPU)
        return
    image = _read(task, fpstate, FPSTATE_SIZE, "the FPU state")
    mxcsr = int.from_bytes(image[24:28], "little")
    if fpstate % 16 or mxcsr & ~MXCSR_MASK:
        cpu.write_fpu(INIT_FPU)
        raise LinuxError(EFAULT, f"the FPU state is not 16-byte aligned, or MXCSR {mxcsr:#x} has reserved bits")
    cpu.write_fpu(image)


def _check_return(task: Task, regs: Regs, cs: int, ss: int) -> None:
    """What IRET would refuse: segments that are no 64-bit user code and data, and a RIP that is not canonical."""
    if cs != USER_CS:
        why, error = f"code segment {cs:#x} is not 64-bit user code", cs & 0xFFF8
    elif ss != USER_DS:
        why, error = f"stack segment {ss:#x} is not user data", ss & 0xFFF8
    elif not (regs.rip < 1 << 47 or regs.rip >= U64 + 1 - (1 << 47)):
        why, error = f"rip {regs.rip:#x} is not canonical", 0
    else:
        return
    task.system.note(task.tid, f"rt_sigreturn: {why}")
    task.trap_nr, task.trap_error = Vector.GP, error
    task.cs, task.ss = cs, ss
    signal.force(task, kernel(SIGSEGV))


def set_altstack(task: Task, sp: int, flags: int, size: int, user_sp: int, *, quiet: bool = False) -> None:
    """sigaltstack(2)'s checks, in Linux's order, and its change. `quiet`: refusals are dropped (rt_sigreturn)."""
    try:
        if on_sig_stack(task, user_sp):
            raise LinuxError(EPERM, "the alternate stack is in use")
        mode = flags & 0xFFFFFFFF & ~Ss.AUTODISARM
        if mode not in (0, Ss.ONSTACK, Ss.DISABLE):
            raise LinuxError(EINVAL, "ss_flags has unknown bits")
        if mode == Ss.DISABLE:
            sp = size = 0
        elif size < MINSIGSTKSZ:
            raise LinuxError(ENOMEM, f"an alternate stack has at least {MINSIGSTKSZ} bytes")
    except LinuxError:
        if not quiet:
            raise
        return
    task.altstack = AltStack(sp, flags & 0xFFFFFFFF, size)
