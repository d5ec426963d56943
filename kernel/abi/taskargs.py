"""Argument kinds of the task syscalls: futex, clone, wait, exec, prctl, arch_prctl, limits, clocks, affinity."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import (
    S32,
    U32,
    U64,
    Bits,
    Call,
    Choice,
    Flags,
    Kind,
    Option,
    Result,
    Worded,
    number,
    pointer,
    read_struct,
)
from kernel.abi.errno import LinuxError
from kernel.abi.prctlargs import ArchAddr as ArchAddr
from kernel.abi.prctlargs import ArchCommand as ArchCommand
from kernel.abi.prctlargs import PrctlArg2 as PrctlArg2
from kernel.abi.prctlargs import PrctlArg3 as PrctlArg3
from kernel.abi.prctlargs import PrctlArg4 as PrctlArg4
from kernel.abi.prctlargs import PrctlArg5 as PrctlArg5
from kernel.abi.prctlargs import PrctlOption as PrctlOption
from kernel.abi.prctlargs import PrctlResult as PrctlResult
from kernel.abi.sched import Clone, Futex, Membarrier
from kernel.abi.text import octal, quote

# futex(2)

_PRIVATE, _REALTIME = 128, 256
_WAITS = {Futex.WAIT, Futex.WAIT_BITSET, Futex.LOCK_PI, Futex.WAIT_REQUEUE_PI, Futex.LOCK_PI2}
_CLOCKED = {Futex.WAIT, Futex.WAIT_BITSET, Futex.WAIT_REQUEUE_PI}
_NO_VALUE = {Futex.LOCK_PI, Futex.LOCK_PI2, Futex.UNLOCK_PI, Futex.TRYLOCK_PI}
_REQUEUES = {Futex.REQUEUE, Futex.CMP_REQUEUE, Futex.CMP_REQUEUE_PI, Futex.WAKE_OP}


def _futex_command(op: int) -> int:
    return op & ~(_PRIVATE | _REALTIME)


def futex_op(op: int) -> str:
    """`FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME`."""
    op &= 0xFFFFFFFF
    command = _futex_command(op)
    if not 0 <= command <= 13 or (op & _REALTIME and command not in _CLOCKED):
        return f"{op:#x} /* FUTEX_??? */"
    if op == Futex.FD | _PRIVATE:
        return "FUTEX_FD|FUTEX_PRIVATE_FLAG"
    text = Futex.text(command) + ("_PRIVATE" if op & _PRIVATE else "")
    return text + ("|FUTEX_CLOCK_REALTIME" if op & _REALTIME else "")


def _wake_op(value: int) -> str:
    """FUTEX_WAKE_OP's val3."""
    ops = ("FUTEX_OP_SET", "FUTEX_OP_ADD", "FUTEX_OP_OR", "FUTEX_OP_ANDN", "FUTEX_OP_XOR")
    tests = ("EQ", "NE", "LT", "LE", "GT", "GE")
    shift = "FUTEX_OP_OPARG_SHIFT<<28|" if value >> 31 else ""
    op, test = value >> 28 & 7, value >> 24 & 15
    op_text = f"{ops[op]}<<28" if op < len(ops) else f"{op:#x}<<28 /* FUTEX_OP_??? */"
    test_text = f"FUTEX_OP_CMP_{tests[test]}<<24" if test < len(tests) else f"{test:#x}<<24 /* FUTEX_OP_CMP_??? */"
    return f"{shift}{op_text}|{_hex(value >> 12 & 0xFFF)}<<12|{test_text}|{_hex(value & 0xFFF)}"


def _hex(value: int) -> str:
    return hex(value) if value else "0"


class FutexArg(Kind):
    """An argument of futex(2) after the operation: which of them are printed depends on that."""

    def __init__(self, name: str, decode: str) -> None:
        self.name = name
        self.decode = decode

    def show(self, call: Call, value: int) -> str | None:
        command = _futex_command(call.args[1] & 0xFFFFFFFF)
        known = 0 <= command <= 13
        text: str | None = getattr(self, "_" + self.name)(call, value, command, known)
        return text

    def _val(self, call: Call, value: int, command: int, known: bool) -> str | None:
        return None if command in _NO_VALUE else str(value)

    def _timeout(self, call: Call, value: int, command: int, known: bool) -> str | None:
        from kernel.abi.structs import Timespec

        if command in _WAITS:
            return read_struct(call, value, Timespec) if value else "NULL"
        if command in _REQUEUES:
            return str(value & 0xFFFFFFFF)
        return None if known else pointer(value)

    def _uaddr2(self, call: Call, value: int, command: int, known: bool) -> str | None:
        if command in _REQUEUES or command == Futex.WAIT_REQUEUE_PI:
            return pointer(value)
        return None if known else pointer(value)

    def _val3(self, call: Call, value: int, command: int, known: bool) -> str | None:
        if command in (Futex.WAIT_BITSET, Futex.WAKE_BITSET):
            return "FUTEX_BITSET_MATCH_ANY" if value == 0xFFFFFFFF else _hex(value)
        if command == Futex.WAKE_OP:
            return _wake_op(value)
        if command in (Futex.CMP_REQUEUE, Futex.CMP_REQUEUE_PI):
            return str(value)
        return None if known else _hex(value)


FutexOp = Annotated[int, Worded(futex_op, S32)]
FutexVal = Annotated[int, FutexArg("val", U32)]
FutexTimeout = Annotated[int, FutexArg("timeout", U64)]
FutexAddr2 = Annotated[int, FutexArg("uaddr2", U64)]
FutexVal3 = Annotated[int, FutexArg("val3", U32)]

# wait, clone, exec


class WaitStatusKind(Kind):
    """`[{WIFEXITED(s) && WEXITSTATUS(s) == 0}]` when a child was reaped."""

    after = True

    def show(self, call: Call, value: int) -> str:
        if not value or call.value is None or call.value <= 0:
            return pointer(value)
        return f"[{wait_status(number(call, value, 4))}]"


def wait_status(status: int) -> str:
    from kernel.abi.signal import signame

    sig = status & 0x7F
    if status & 0xFF == 0x7F:
        return f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {signame(status >> 8 & 0xFF)}}}"
    if status == 0xFFFF:
        return "{WIFCONTINUED(s)}"
    if sig:
        core = " && WCOREDUMP(s)" if status & 0x80 else ""
        return f"{{WIFSIGNALED(s) && WTERMSIG(s) == {signame(sig)}{core}}}"
    return f"{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}"


class WaitWord(Flags, full=True, unknown="W???"):
    WNOHANG = 1
    WSTOPPED = 2
    WEXITED = 4
    WCONTINUED = 8
    WNOWAIT = 0x01000000

    @classmethod
    def words(cls) -> tuple[tuple[int, str], ...]:
        own = ((0x80000000, "__WCLONE"), (0x40000000, "__WALL"), (0x20000000, "__WNOTHREAD"))
        return super().words() + own


WaitStatus = Annotated[int, WaitStatusKind()]
WaitOptions = Annotated[int, Bits(WaitWord, U32)]


def clone_flags(value: int) -> str:
    from kernel.abi.signal import signame

    words = Clone.text(value & ~0xFF) if value & ~0xFF else ""
    sig = value & 0xFF
    if sig:
        words += ("|" if words else "") + signame(sig)
    return words or "0"


class CloneArg(Kind):
    """One of clone's arguments, in strace's order (child_stack first) and only where the flags make it matter."""

    after = True

    def __init__(self, name: str, needs: int = 0) -> None:
        self.name = name
        self.needs = needs

    def show(self, call: Call, value: int) -> str | None:
        flags = call.args[0]
        if self.name == "flags":
            return f"child_stack={pointer(call.args[1])}, flags={clone_flags(value)}"
        if not self.needs or not flags & self.needs:
            return None
        if self.name == "parent_tid" and not call.failed:
            return f"parent_tid=[{number(call, value, 4)}]"
        return f"{self.name}={pointer(value)}"


CloneFlags = Annotated[int, CloneArg("flags")]
CloneStack = Annotated[int, CloneArg("stack")]
CloneParentTid = Annotated[int, CloneArg("parent_tid", Clone.PARENT_SETTID | Clone.PIDFD)]
CloneChildTid = Annotated[int, CloneArg("child_tidptr", Clone.CHILD_SETTID | Clone.CHILD_CLEARTID)]
CloneTls = Annotated[int, CloneArg("tls", Clone.SETTLS)]


class ArgvKind(Kind):
    """execve's argv: the strings."""

    def show(self, call: Call, value: int) -> str:
        if not value:
            return "NULL"
        words: list[str] = []
        while len(words) < 32:
            try:
                item = number(call, value + 8 * len(words), 8)
            except LinuxError:
                if not words:
                    return hex(value)
                return "[" + ", ".join([*words, f"... /* {value + 8 * len(words):#x} */"]) + "]"
            if not item:
                return "[" + ", ".join(words) + "]"
            words.append(_string(call, item))
        return "[" + ", ".join(words) + ", ...]"


def _string(call: Call, va: int) -> str:
    try:
        return quote(call.cstring(va, 33)[0])
    except LinuxError:
        return hex(va)


class EnvpKind(Kind):
    """execve's envp: strace says only how many."""

    def show(self, call: Call, value: int) -> str:
        if not value:
            return "NULL"
        count = 0
        try:
            while number(call, value + 8 * count, 8):
                count += 1
        except LinuxError:
            return f"{value:#x} /* {count} vars, unterminated */" if count else hex(value)
        return f"{value:#x} /* {count} var{'' if count == 1 else 's'} */"


Argv = Annotated[int, ArgvKind()]
Envp = Annotated[int, EnvpKind()]


def execve_text(path: bytes, argv: list[bytes], envp_va: int, envc: int) -> str:
    """The trace's first line, for the harness, which runs no execve itself."""
    words = [quote(arg) for arg in argv[:32]] + (["..."] if len(argv) > 32 else [])
    plural = "" if envc == 1 else "s"
    return f"execve({quote(path, 4096)}, [{', '.join(words)}], {envp_va:#x} /* {envc} var{plural} */)"


# clocks, identities, the rest


class Octal(Result):
    """umask's result."""

    def show(self, call: Call, value: int) -> str:
        return octal(value)


OctalResult = Octal()


class CpuMaskKind(Kind):
    """`[0 1]`: the CPUs of an affinity mask; `length` names its size argument, `after` what the kernel wrote."""

    def __init__(self, length: str, after: bool = False) -> None:
        self.length = length
        self.after = after

    def show(self, call: Call, value: int) -> str:
        if not value or (self.after and call.failed):
            return pointer(value)
        size = call.arg(self.length)
        size = min(size, call.value) if self.after and call.value is not None else size
        try:
            mask = int.from_bytes(call.user(value, min(size, 128)), "little")
        except LinuxError:
            return hex(value)
        return "[" + " ".join(str(i) for i in range(mask.bit_length()) if mask >> i & 1) + "]"


class PolicyResultKind(Result):
    def show(self, call: Call, value: int) -> str:
        from kernel.abi.sched import Policy

        return f"{value} ({Policy.text(value)})"


PolicyResult = PolicyResultKind()


class Prio(Option, prefix="PRIO_"):
    PROCESS = 0
    PGRP = 1
    USER = 2


PrioChoice = Annotated[int, Choice(Prio)]


class IdType(Option, prefix="P_"):
    ALL = 0
    PID = 1
    PGID = 2
    PIDFD = 3


IdTypeChoice = Annotated[int, Choice(IdType)]


class MembarrierResultKind(Result):
    def show(self, call: Call, value: int) -> str:
        if call.args[0] or not value:
            return str(value)
        return f"{value:#x} ({membarrier_commands(value)})"


def membarrier_commands(value: int) -> str:
    rest, words = value, []
    for bit, name in Membarrier.words():
        if bit and rest & bit:
            words.append(name)
            rest &= ~bit
    return "|".join(words) + (f"|{rest:#x}" if rest else "")


MembarrierResult = MembarrierResultKind()


def rt_sigreturn_mask(call: Call, rsp: int) -> str:
    """`{mask=[INT]}`: uc_sigmask of the frame at `rsp` (ucontext at rsp; uc_sigmask 296 bytes into it)."""
    from kernel.abi.signal import sigset_text

    try:
        return f"{{mask={sigset_text(int.from_bytes(call.user(rsp + 296, 8), 'little'))}}}"
    except LinuxError:
        return hex(rsp)



class OutRusageKind(Kind):
    """wait4's rusage: filled in only when a child was reaped."""

    after = True

    def show(self, call: Call, value: int) -> str:
        from kernel.abi.structs import Rusage

        return read_struct(call, value, Rusage) if value and call.value and not call.failed else pointer(value)


OutRusage = Annotated[int, OutRusageKind()]
