"""Argument kinds of times: dates as comments, utimensat and its kin, time(2), the rest of an interrupted sleep."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import Call, Kind, Result, number, pointer, read_struct
from kernel.abi.errno import LinuxError
from kernel.abi.fcntl import UTIME_NOW, UTIME_OMIT


class UtimesKind(Kind):
    """The two times of utimensat (nanoseconds, with UTIME_NOW and UTIME_OMIT) and utimes (microseconds)."""

    def __init__(self, field: str = "tv_nsec") -> None:
        self.field = field

    def show(self, call: Call, value: int) -> str:
        if not value:
            return "NULL"
        try:
            raw = call.user(value, 32)
        except LinuxError:
            return hex(value)
        fields = [int.from_bytes(raw[i : i + 8], "little", signed=True) for i in range(0, 32, 8)]
        if self.field == "tv_nsec" and fields[1] == fields[3] == UTIME_NOW:
            return "[UTIME_NOW, UTIME_NOW]"
        return f"[{self._one(fields[0], fields[1])}, {self._one(fields[2], fields[3])}]"

    def _one(self, sec: int, part: int) -> str:
        if self.field == "tv_nsec" and part in (UTIME_OMIT, UTIME_NOW):
            return "UTIME_OMIT" if part == UTIME_OMIT else "UTIME_NOW"
        return f"{{tv_sec={sec}, {self.field}={part}}}{date_comment(sec, part, 9 if self.field == 'tv_nsec' else 6)}"


class UtimbufKind(Kind):
    """utime's struct: `{actime=1 /* 1970-… */, modtime=2 /* … */}`."""

    def show(self, call: Call, value: int) -> str:
        if not value:
            return "NULL"
        try:
            raw = call.user(value, 16)
        except LinuxError:
            return hex(value)
        actime, modtime = (int.from_bytes(raw[i : i + 8], "little", signed=True) for i in (0, 8))
        return f"{{actime={actime}{date_comment(actime)}, modtime={modtime}{date_comment(modtime)}}}"


Utimes = Annotated[int, UtimesKind()]
UtimesUs = Annotated[int, UtimesKind("tv_usec")]
UtimePointer = Annotated[int, UtimbufKind()]


def date(sec: int, part: int = 0, digits: int = 9) -> str:
    """`2026-11-21T09:39:49+0000`, in UTC; the fraction when there is one; "" where there is no such date."""
    import time

    if not -(1 << 55) < sec < 1 << 55 or not 0 <= part < 10**digits:
        return ""
    fraction = f".{part:0{digits}d}" if part else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(sec)) + fraction + "+0000"


def date_comment(sec: int, part: int = 0, digits: int = 9) -> str:
    """The date after a number, as a comment; nothing for the zero time."""
    text = date(sec, part, digits) if sec or part else ""
    return f" /* {text} */" if text else ""


class TimeKind(Kind):
    """time(2)'s pointer: `[1795253989 /* 2026-… */]`."""

    after = True

    def show(self, call: Call, value: int) -> str:
        if not value or call.failed:
            return pointer(value)
        got = number(call, value, 8)
        return f"[{got} /* {date(got)} */]"


class TimeResultKind(Result):
    def show(self, call: Call, value: int) -> str:
        return f"{value} ({date(value)})"


TimePointer = Annotated[int, TimeKind()]
TimeResult = TimeResultKind()


class RemainingKind(Kind):
    """nanosleep's second pointer: the time left when a signal came, else an address."""

    after = True

    def show(self, call: Call, value: int) -> str:
        from kernel.abi.structs import Timespec

        interrupted = call.value is not None and -call.value in (4, 512, 513, 514, 516)
        return read_struct(call, value, Timespec) if value and interrupted else pointer(value)


Remaining = Annotated[int, RemainingKind()]
