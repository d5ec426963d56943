"""Examines a guest that a signal has killed, while its memory and registers are still there: makes a Death."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.elf import Elf, ElfError
from emu.outcome import BACKTRACE_LIMIT, Call, Death
from emu.symbols import Symbols
from emu.unwind import Unwinder
from kernel.abi.siginfo import code_name
from kernel.abi.signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, signame
from kernel.mm.pte import PFN
from kernel.task.siginfo import SigInfo

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.task.task import Task

PAGE = 4096
PRESENT = 1
EXAMINED = frozenset((SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT))
MEANINGS = {
    "SEGV_MAPERR": "address not mapped",
    "SEGV_ACCERR": "the mapping does not permit this access",
    "SEGV_PKUERR": "a protection key forbids this access",
    "BUS_ADRALN": "misaligned access",
    "BUS_ADRERR": "no memory behind the address: past the end of the mapped file, or of RAM",
    "ILL_ILLOPN": "an instruction that this CPU does not have",
    "ILL_ILLOPC": "an instruction that this CPU does not have",
    "FPE_INTDIV": "integer division by zero, or its result does not fit",
    "FPE_INTOVF": "integer overflow",
    "FPE_FLTDIV": "floating-point division by zero",
    "FPE_FLTINV": "invalid floating-point operation",
    "FPE_FLTOVF": "floating-point overflow",
    "TRAP_BRKPT": "a breakpoint instruction",
    "TRAP_TRACE": "a single-step trap",
}


def examine(task: Task, info: SigInfo) -> Death:
    """What killed `task`: its memory and registers must be as they were at that moment."""
    regs = task.system.cpu.read_regs()
    body = _Body(task.mm)
    code = code_name(info.sig, info.code)
    faulted = info.code > 0 and code != "SI_KERNEL" and info.sig != SIGABRT
    pc = regs.rip - 1 if info.sig == SIGTRAP and body.peek(regs.rip - 1, 1) == b"\xcc" else regs.rip
    symbols = _symbols(task)
    text, raw, remedy = _instruction(body.peek(pc, 15), pc, symbols)
    return Death(
        sig=info.sig,
        name=signame(info.sig),
        code=code,
        siginfo=info.text,
        addr=info.addr if faulted and info.sig in (SIGSEGV, SIGBUS) else None,
        meaning=_meaning(code, info, task),
        where=_where(task.mm, info.addr) if faulted and info.sig in (SIGSEGV, SIGBUS) else "",
        pc=pc,
        place=_place(symbols, pc),
        instruction=text if info.sig != SIGABRT else "",
        code_bytes=raw,
        remedy=remedy if info.sig == SIGILL else "",
        registers=regs.as_dict(),
        backtrace=_backtrace(symbols, body, task),
    )


class _Body:
    """The dead guest's memory as it lies there: nothing is faulted in, nothing changes."""

    def __init__(self, mm: Mm) -> None:
        self._mm = mm

    def peek(self, va: int, size: int) -> bytes:
        """Up to `size` bytes at `va`, fewer where no page is present (or can be read from its file)."""
        taken = bytearray()
        while len(taken) < size and 0 <= va < 1 << 47:
            page = self._page(va)
            if page is None:
                break
            taken += page[va % PAGE : va % PAGE + size - len(taken)]
            va += PAGE - va % PAGE
        return bytes(taken)

    def _page(self, va: int) -> memoryview | None:
        pte = self._mm.page_table.entry(va)
        if not pte & PRESENT:
            return None
        pa = pte & PFN
        return self._mm.ram.bytes[pa : pa + PAGE]


def _symbols(task: Task) -> Symbols | None:
    """Those of the program that the task runs now (it may have called execve), at where it was loaded."""
    path = task.process.exe
    if path is None:
        return None
    file = path.inode.open(path, 0)
    try:
        elf = Elf(file.pread(path.inode.size, 0))
    except ElfError:
        return None
    lowest = min((segment.vaddr for segment in elf.executable), default=0)
    return Symbols(elf, task.mm.start_code - lowest)


def _place(symbols: Symbols | None, va: int) -> str:
    if symbols is None:
        return ""
    place = symbols.place(va)
    return str(place) if place.function or place.line else ""


def _meaning(code: str, info: SigInfo, task: Task) -> str:
    if code == "SI_KERNEL" and info.sig == SIGSEGV:
        return "general protection: a non-canonical address, a misaligned SSE operand, or a privileged instruction"
    if info.from_user:
        sender = int.from_bytes(info.raw[16:20], "little", signed=True)
        return "sent by itself" if sender == task.process.pid else f"sent by process {sender}"
    return MEANINGS.get(code, "")


def _where(mm: Mm, va: int) -> str:
    from kernel.mm.describe import describe

    return describe(mm, va)


def _instruction(code: bytes, pc: int, symbols: Symbols | None) -> tuple[str, bytes, str]:
    """(text, bytes, remedy) of the instruction at pc; empty where nothing can be read or decoded there."""
    from emu.disassembly import REMEDY, annotate, decode

    insn = decode(code, pc)
    if insn is None:
        return (f"(bad) {code[:8].hex(' ')}" if code else ""), code[:8], ""
    text = annotate(insn, symbols) if symbols else insn.text
    if not insn.extension:
        return text, insn.raw, ""
    return text, insn.raw, f"this is an {insn.extension} instruction; {REMEDY}"


def _backtrace(symbols: Symbols | None, body: _Body, task: Task) -> tuple[Call, ...]:
    if symbols is None:
        return ()
    unwinder = Unwinder(symbols, body.peek)
    frames = list(unwinder.frames(task.system.cpu.read_regs(), BACKTRACE_LIMIT))
    calls = [Call(frame.pc, _place(symbols, frame.look), frame.how) for frame in frames]
    for i, call in enumerate(calls[1:]):
        if call.how == "signal":
            calls[i] = calls[i]._replace(place="<where the signal handler returns to>")
    return tuple(calls)
