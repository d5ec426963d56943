"""Argument kinds of poll, select and epoll: what is asked for, and in the result what came."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import U32, Bits, Call, Choice, Flags, Kind, Option, Result, pointer, read_struct
from kernel.abi.errno import LinuxError
from kernel.abi.fcntl import Poll


class PollFdsKind(Kind):
    """`[{fd=0, events=POLLIN}]`; what came back is part of the result."""

    def show(self, call: Call, value: int) -> str:
        count = call.arg("nfds")
        if not value:
            return "NULL"
        words = []
        for i in range(min(count, 32)):
            try:
                raw = call.user(value + 8 * i, 8)
            except LinuxError:
                if i == 0:
                    return hex(value)
                words.append(f"... /* {value + 8 * i:#x} */")
                break
            fd, events = int.from_bytes(raw[:4], "little", signed=True), int.from_bytes(raw[4:6], "little")
            words.append(f"{{fd={fd}, events={Poll.text(events)}}}" if fd >= 0 else f"{{fd={fd}}}")
        return "[" + ", ".join(words) + (", ..." if count > 32 else "") + "]"


class PollResultKind(Result):
    """`1 ([{fd=0, revents=POLLIN}])`, `0 (Timeout)`; ppoll adds `left {…}`."""

    def show(self, call: Call, value: int) -> str:
        if value == 0:
            return "0 (Timeout)"
        fds = call.args[0]
        words = []
        for i in range(min(call.arg("nfds"), 4096)):
            raw = call.user(fds + 8 * i, 8)
            fd, revents = int.from_bytes(raw[:4], "little", signed=True), int.from_bytes(raw[6:8], "little")
            if revents and fd >= 0:
                words.append(f"{{fd={fd}, revents={Poll.text(revents)}}}")
        shown = words[:32] + (["..."] if len(words) > 32 else [])
        return f"{value} ([{', '.join(shown)}]{self._left(call)})"

    @staticmethod
    def _left(call: Call) -> str:
        from kernel.abi.structs import Timespec

        if "tmo" not in call.names or not call.arg("tmo"):
            return ""
        return ", left " + read_struct(call, call.arg("tmo"), Timespec)


PollFds = Annotated[int, PollFdsKind()]
PollResult = PollResultKind()


class FdSetKind(Kind):
    """One of select's three sets, as asked for: `[0 3]`."""

    def show(self, call: Call, value: int) -> str:
        if not value or not 0 < call.args[0] <= 1 << 20:
            return pointer(value)
        try:
            return f"[{fd_set(call, value)}]"
        except LinuxError:
            return hex(value)


def fd_set(call: Call, va: int) -> str:
    """The descriptors of a set below the call's first argument. LinuxError(EFAULT) where it cannot be read."""
    count = max(0, min(call.args[0], 1024))
    mask = int.from_bytes(call.user(va, (count + 63) // 64 * 8), "little")
    return " ".join(str(fd) for fd in range(count) if mask >> fd & 1)


class SelectResultKind(Result):
    """`1 (out [1], left {tv_sec=0, tv_usec=0})`, `0 (Timeout)`."""

    def show(self, call: Call, value: int) -> str:
        from kernel.abi.structs import Timespec, Timeval

        if not value:
            return "0 (Timeout)"
        words = []
        for name, va in zip(("in", "out", "except"), call.args[1:4], strict=True):
            shown = fd_set(call, va) if va else ""
            if shown:
                words.append(f"{name} [{shown}]")
        if call.args[4]:
            words.append("left " + read_struct(call, call.args[4], Timespec if len(call.args) > 5 else Timeval))
        return f"{value} ({', '.join(words)})" if words else str(value)


class SigsetArgKind(Kind):
    """pselect6's last argument: a pointer to the address and the size of a sigset."""

    def show(self, call: Call, value: int) -> str:
        from kernel.abi.signal import sigset_text

        if not value:
            return "NULL"
        try:
            raw = call.user(value, 16)
            va, size = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")
            text = pointer(va)
            if va and size == 8:
                text = sigset_text(int.from_bytes(call.user(va, 8), "little"))
        except LinuxError:
            return hex(value)
        return f"{{sigmask={text}, sigsetsize={size}}}"


FdSet = Annotated[int, FdSetKind()]
SelectResult = SelectResultKind()
SigsetArg = Annotated[int, SigsetArgKind()]


class EpollOp(Option, prefix="EPOLL_CTL_"):
    ADD = 1
    DEL = 2
    MOD = 3


class EpollCreate(Flags, prefix="EPOLL_"):
    CLOEXEC = 0o2000000


class Efd(Flags, prefix="EFD_"):
    SEMAPHORE = 1
    CLOEXEC = 0o2000000
    NONBLOCK = 0o4000


EpollOpChoice = Annotated[int, Choice(EpollOp)]
EpollCreateFlags = Annotated[int, Bits(EpollCreate, U32)]
EfdFlags = Annotated[int, Bits(Efd, U32)]
