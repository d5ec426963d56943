"""Argument kinds of fcntl(2): the third argument and the result, by command."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import U32, Call, Choice, Flags, Kind, Result, pointer, read_struct
from kernel.abi.fcntl import FcntlCmd, Lock, Seal
from kernel.abi.fileargs import open_flags

_NO_ARG = {FcntlCmd.GETFD, FcntlCmd.GETFL, FcntlCmd.GETOWN, FcntlCmd.GETSIG, FcntlCmd.GETLEASE,
           FcntlCmd.GETPIPE_SZ, FcntlCmd.GET_SEALS}  # fmt: skip
_INT_ARG = {FcntlCmd.DUPFD, FcntlCmd.DUPFD_CLOEXEC, FcntlCmd.SETOWN, FcntlCmd.SETPIPE_SZ}
_SETLOCK = {FcntlCmd.SETLK, FcntlCmd.SETLKW, FcntlCmd.OFD_SETLK, FcntlCmd.OFD_SETLKW}
_GETLOCK = {FcntlCmd.GETLK, FcntlCmd.OFD_GETLK}


class FdFlags(Flags, prefix="FD_"):
    CLOEXEC = 1


class Notify(Flags, prefix="DN_"):
    ACCESS = 1
    MODIFY = 2
    CREATE = 4
    DELETE = 8
    RENAME = 16
    ATTRIB = 32
    MULTISHOT = 0x80000000


class FcntlArgKind(Kind):
    """fcntl's third argument; GETLK is read after the call."""

    after = True

    def show(self, call: Call, value: int) -> str | None:
        cmd = call.arg("cmd")
        if cmd in _NO_ARG:
            return None
        if cmd in _INT_ARG:
            return str((value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000)
        if cmd == FcntlCmd.SETFD:
            return FdFlags.text(value & 0xFFFFFFFF)
        if cmd == FcntlCmd.SETFL:
            return open_flags(value & 0xFFFFFFFF)
        if cmd in _SETLOCK:
            return _lock(call, value)
        if cmd in _GETLOCK:
            return pointer(value) if call.failed else _lock(call, value, with_pid=True)
        return self._rarely(cmd, value)

    def _rarely(self, cmd: int, value: int) -> str:
        from kernel.abi.signal import signame

        if cmd == FcntlCmd.ADD_SEALS:
            return Seal.text(value & 0xFFFFFFFF)
        if cmd == FcntlCmd.SETLEASE:
            return Lock.text(value & 0xFFFFFFFF)
        if cmd == FcntlCmd.SETSIG:
            return signame(value & 0xFFFFFFFF)
        if cmd == FcntlCmd.NOTIFY:
            return Notify.text(value & 0xFFFFFFFF)
        return hex(value) if value else "0"


def _lock(call: Call, va: int, with_pid: bool = False) -> str:
    from kernel.abi.structs import Flock

    text = read_struct(call, va, Flock) if va else "NULL"
    return text if with_pid or not text.startswith("{") else text.rpartition(", ")[0] + "}"


class FcntlResultKind(Result):
    """`0x8002 (flags O_RDWR|O_LARGEFILE)` and its kin."""

    def show(self, call: Call, value: int) -> str:
        cmd = call.arg("cmd")
        if cmd == FcntlCmd.GETFD:
            return f"{value:#x} (flags {FdFlags.text(value)})" if value else "0"
        if cmd == FcntlCmd.GETFL:
            return f"{value:#x} (flags {open_flags(value)})"
        if cmd == FcntlCmd.GET_SEALS:
            return f"{value:#x} (seals {Seal.text(value)})" if value else "0"
        if cmd == FcntlCmd.GETLEASE:
            return f"{value:#x} ({Lock.text(value)})" if value else f"0 ({Lock.text(0)})"
        if cmd == FcntlCmd.GETSIG and value:
            from kernel.abi.signal import signame

            return f"{value} ({signame(value)})"
        return str(value)


FcntlCommand = Annotated[int, Choice(FcntlCmd, U32)]
FcntlArg = Annotated[int, FcntlArgKind()]
FcntlResult = FcntlResultKind()
