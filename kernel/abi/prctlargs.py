"""prctl(2) and arch_prctl(2): which arguments an option has, and what each of them is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from kernel.abi.args import S32, U32, Call, Choice, Flags, Kind, Option, Result, number, pointer
from kernel.abi.errno import LinuxError
from kernel.abi.sched import Arch, Pr
from kernel.abi.text import quote

Show = Callable[[Call, int], str]


def hexadecimal(value: int) -> str:
    return hex(value) if value else "0"


class ArchAddrKind(Kind):
    """arch_prctl's second argument: a value, where the value went, or nothing."""

    after = True

    def show(self, call: Call, value: int) -> str | None:
        code = call.args[0]
        if code == Arch.GET_CPUID:
            return None
        if code in (Arch.GET_FS, Arch.GET_GS):
            if call.failed:
                return pointer(value)
            return f"[{pointer(int.from_bytes(call.user(value, 8), 'little'))}]"
        return hexadecimal(value)


ArchCommand = Annotated[int, Choice(Arch, U32)]
ArchAddr = Annotated[int, ArchAddrKind()]


class Dump(Option, prefix="SUID_DUMP_"):
    DISABLE = 0
    USER = 1
    ROOT = 2


class Tsc(Option, prefix="PR_TSC_"):
    ENABLE = 1
    SIGSEGV = 2


class MceKill(Option, prefix="PR_MCE_KILL_"):
    CLEAR = 0
    SET = 1


class McePolicy(Option, prefix="PR_MCE_KILL_"):
    LATE = 0
    EARLY = 1
    DEFAULT = 2


class Ambient(Option, prefix="PR_CAP_AMBIENT_"):
    IS_SET = 1
    RAISE = 2
    LOWER = 3
    CLEAR_ALL = 4


class Seccomp(Option, prefix="SECCOMP_MODE_"):
    DISABLED = 0
    STRICT = 1
    FILTER = 2


class Securebits(Flags, prefix="SECBIT_"):
    NOROOT = 1
    NOROOT_LOCKED = 2
    NO_SETUID_FIXUP = 4
    NO_SETUID_FIXUP_LOCKED = 8
    KEEP_CAPS = 16
    KEEP_CAPS_LOCKED = 32


class SetVma(Option, prefix="PR_SET_VMA_"):
    ANON_NAME = 0


_CAPABILITIES: tuple[str, ...] = tuple(
    """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()  # noqa: SIM905
)


def capability(value: int) -> str:
    return f"CAP_{_CAPABILITIES[value]}" if value < len(_CAPABILITIES) else f"{value:#x} /* CAP_??? */"


def _hex(call: Call, value: int) -> str:
    return hexadecimal(value)


def _unsigned(call: Call, value: int) -> str:
    return str(value)


def _signed(call: Call, value: int) -> str:
    return str((value ^ 1 << 63) - (1 << 63))


def _sig(call: Call, value: int) -> str:
    from kernel.abi.signal import signame

    return str(value) if value > 128 else signame(value)


def _word(option: type[Option]) -> Show:
    return lambda _, value: option.text(value)


def _name(limit: int) -> Show:
    """A string that is looked at up to `limit` bytes; `...` when no NUL was among them."""

    def show(call: Call, value: int) -> str:
        if not value:
            return "NULL"
        try:
            raw, ended = call.cstring(value, limit)
        except LinuxError:
            return hex(value)
        return quote(raw[: limit - 1]) + ("" if ended else "...")

    return show


def _out(form: Callable[[int], str], size: int = 4) -> Show:
    """`[value]` of what the call wrote."""

    def show(call: Call, value: int) -> str:
        if not value or call.failed:
            return pointer(value)
        return f"[{form(number(call, value, size) & (1 << 8 * size) - 1)}]"

    return show


def _out_name(call: Call, value: int) -> str:
    return pointer(value) if call.failed else _name(16)(call, value)


def _out_sig(value: int) -> str:
    from kernel.abi.signal import signame

    return signame(value)


_ALL_HEX: tuple[Show, ...] = (_hex, _hex, _hex, _hex)
_FLAG: tuple[Show, ...] = (_unsigned, _hex, _hex, _hex)
_ONE: tuple[Show, ...] = (_unsigned,)
_CAP: tuple[Show, ...] = (lambda _, value: capability(value),)
_SHAPES: dict[int, tuple[Show, ...]] = {
    Pr.GET_KEEPCAPS: (), Pr.GET_SECCOMP: (), Pr.GET_TIMERSLACK: (), Pr.GET_TIMING: (), Pr.GET_DUMPABLE: (),
    Pr.GET_SECUREBITS: (), Pr.TASK_PERF_EVENTS_DISABLE: (), Pr.TASK_PERF_EVENTS_ENABLE: (),
    Pr.GET_CHILD_SUBREAPER: (_out(str),), Pr.GET_UNALIGN: (_out(str),), Pr.GET_ENDIAN: (_out(str),),
    Pr.GET_FPEMU: (_out(str),),
    Pr.GET_FPEXC: (_out(str),), Pr.GET_NAME: (_out_name,), Pr.GET_PDEATHSIG: (_out(_out_sig),),
    Pr.GET_TID_ADDRESS: (_out(pointer, 8),), Pr.GET_TSC: (_out(Tsc.text),),
    Pr.SET_CHILD_SUBREAPER: _ONE, Pr.SET_KEEPCAPS: _ONE, Pr.SET_TIMING: _ONE,
    Pr.SET_DUMPABLE: (_word(Dump),), Pr.SET_TSC: (_word(Tsc),), Pr.SET_TIMERSLACK: (_signed,),
    Pr.SET_NAME: (_name(16),), Pr.SET_PDEATHSIG: (_sig,), Pr.CAPBSET_READ: _CAP, Pr.CAPBSET_DROP: _CAP,
    Pr.SET_NO_NEW_PRIVS: _FLAG, Pr.SET_THP_DISABLE: _FLAG, Pr.SET_IO_FLUSHER: _FLAG,
    Pr.SET_SECCOMP: (_word(Seccomp), _hex, _hex, _hex),
}  # fmt: skip


def _shape(call: Call) -> tuple[Show, ...]:
    """How the arguments after the option are shown; as many as the option has."""
    option, arg2 = call.args[0], call.args[1]
    if option == Pr.SET_VMA:
        named: tuple[Show, ...] = (lambda _, value: pointer(value), _unsigned, _name(80))
        return (_word(SetVma), *(named if arg2 == 0 else (_hex, _hex, _hex)))
    if option == Pr.CAP_AMBIENT:
        return (_word(Ambient), *(_CAP if 1 <= arg2 <= 3 else (_hex,)), _hex, _hex)
    if option == Pr.MCE_KILL:
        return (_word(MceKill), _word(McePolicy) if arg2 == 1 else _hex, _hex, _hex)
    return _SHAPES.get(option, _ALL_HEX)


class PrctlArgKind(Kind):
    """prctl's argument `position` (2 to 5)."""

    after = True

    def __init__(self, position: int) -> None:
        self.position = position

    def show(self, call: Call, value: int) -> str | None:
        shape = _shape(call)
        return shape[self.position - 2](call, value) if self.position - 2 < len(shape) else None


class PrctlResultKind(Result):
    def show(self, call: Call, value: int) -> str:
        if call.args[0] == Pr.GET_SECUREBITS and value:
            return f"{value:#x} ({Securebits.text(value)})"
        words = {Pr.GET_DUMPABLE: Dump, Pr.MCE_KILL_GET: McePolicy}.get(call.args[0])
        return f"{value} ({words.text(value)})" if words else str(value)


PrctlOption = Annotated[int, Choice(Pr, S32)]
PrctlArg2 = Annotated[int, PrctlArgKind(2)]
PrctlArg3 = Annotated[int, PrctlArgKind(3)]
PrctlArg4 = Annotated[int, PrctlArgKind(4)]
PrctlArg5 = Annotated[int, PrctlArgKind(5)]
PrctlResult = PrctlResultKind()
