"""Argument kinds of single words in memory, siginfo_t and stack_t: what the task syscalls point at."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import Call, Kind, number, pointer
from kernel.abi.errno import LinuxError
from kernel.abi.limits import NGROUPS_MAX


class OutWord(Kind):
    """A pointer to one integer that the call writes: `[7]`, `[0x7f…]`."""

    after = True

    def __init__(self, size: int, hexadecimal: bool = False) -> None:
        self.size = size
        self.hexadecimal = hexadecimal

    def show(self, call: Call, value: int) -> str:
        if not value or call.failed:
            return pointer(value)
        try:
            word = number(call, value, self.size)
        except LinuxError:
            return hex(value)
        return f"[{pointer(word & (1 << 8 * self.size) - 1)}]" if self.hexadecimal else f"[{word}]"


class InWord(Kind):
    """A pointer to one signed 64-bit integer that the call reads first: `[3]`."""

    def show(self, call: Call, value: int) -> str:
        try:
            return f"[{number(call, value, 8)}]" if value else "NULL"
        except LinuxError:
            return hex(value)


InLong = Annotated[int, InWord()]
OutInt = Annotated[int, OutWord(4)]
OutLong = Annotated[int, OutWord(8)]
OutPointer = Annotated[int, OutWord(8, hexadecimal=True)]


class InIds(Kind):
    """setgroups(2): `[1000, 27]`."""

    def __init__(self, count: str) -> None:
        self.count = count

    def show(self, call: Call, value: int) -> str:
        count = call.arg(self.count)
        return pointer(value) if not 0 < count <= NGROUPS_MAX else _ids(call, value, count)


class OutIdsKind(Kind):
    """getgroups(2): as many as were returned."""

    after = True

    def show(self, call: Call, value: int) -> str:
        if call.value is None or call.value < 0 or not call.args[0]:
            return pointer(value)
        return _ids(call, value, call.value)


def _ids(call: Call, va: int, count: int) -> str:
    try:
        return "[" + ", ".join(str(number(call, va + 4 * i, 4) & 0xFFFFFFFF) for i in range(min(count, 32))) + "]"
    except LinuxError:
        return pointer(va)


OutIds = Annotated[int, OutIdsKind()]


class SiginfoKind(Kind):
    """A siginfo_t: `{si_signo=SIGUSR1, si_code=SI_QUEUE, …}`. `when` says whether the call fills it in."""

    def __init__(self, after: bool = False) -> None:
        self.after = after

    def show(self, call: Call, value: int) -> str:
        from kernel.abi.siginfo import siginfo_text

        if not value or (self.after and call.failed):
            return pointer(value)
        try:
            return siginfo_text(call.user(value, 48))
        except LinuxError:
            return hex(value)


InSiginfo = Annotated[int, SiginfoKind()]
OutSiginfo = Annotated[int, SiginfoKind(after=True)]
