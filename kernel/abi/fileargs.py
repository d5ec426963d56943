"""Argument kinds of the file syscalls: open's flags and mode, *at flags, fcntl, ioctl, poll, directory entries.

As args.py: each is metadata of an `Annotated[int, …]` alias, named for what a handler's signature says.
"""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import (
    S32,
    U16,
    U32,
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
from kernel.abi.fcntl import At, FcntlCmd, Lock, Open, OpenAccess, Poll, Seal
from kernel.abi.text import device, mode_text, octal


class OpenBits(Flags, prefix="O_", full=True):
    """open's flags as strace names them, without the access mode: what pipe2 and dup3 take."""

    O_CREAT = 0o100
    O_EXCL = 0o200
    O_NOCTTY = 0o400
    O_TRUNC = 0o1000
    O_APPEND = 0o2000
    O_NONBLOCK = 0o4000
    O_SYNC = 0o4010000
    O_DSYNC = 0o10000
    O_DIRECT = 0o40000
    O_LARGEFILE = 0o100000
    O_NOFOLLOW = 0o400000
    O_NOATIME = 0o1000000
    O_CLOEXEC = 0o2000000
    O_PATH = 0o10000000
    O_TMPFILE = 0o20200000
    FASYNC = 0o20000
    O_DIRECTORY = 0o200000
    TMPFILE = 0o20000000

    @classmethod
    def words(cls) -> tuple[tuple[int, str], ...]:
        return tuple((bits, "__O_TMPFILE" if name == "TMPFILE" else name) for bits, name in super().words())


def open_flags(value: int) -> str:
    """`O_RDWR|O_CREAT`: the access mode always, then the bits."""
    rest = value & ~3
    return OpenAccess.text(value & 3) + ("|" + OpenBits.text(rest).partition(" ")[0] if rest else "")


OpenFlags = Annotated[int, Worded(open_flags, U32)]
StatusFlags = Annotated[int, Worded(OpenBits.text, U32)]  # pipe2, dup3, eventfd2: no access mode


class OpenModeKind(Kind):
    """open's mode: printed only where it is used."""

    decode = U16

    def show(self, call: Call, value: int) -> str | None:
        flags = call.arg("flags")
        if flags & Open.CREAT or flags & Open.TMPFILE == Open.TMPFILE or flags & 0o20000000:
            return octal(value)
        return None


OpenMode = Annotated[int, OpenModeKind()]


class Unlinkat(Flags, prefix="AT_"):
    SYMLINK_NOFOLLOW = 0x100
    REMOVEDIR = 0x200
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


class Faccessat(Flags, prefix="AT_"):
    SYMLINK_NOFOLLOW = 0x100
    EACCESS = 0x200
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


class AccessWord(Flags, full=True, unknown="?_OK"):
    F_OK = 0
    R_OK = 4
    W_OK = 2
    X_OK = 1


def statx_flags(value: int) -> str:
    """The AT_STATX_SYNC_TYPE field, then bits."""
    words = [name for bit, name in ((0x2000, "AT_STATX_FORCE_SYNC"), (0x4000, "AT_STATX_DONT_SYNC")) if value & bit]
    word = "|".join(words) or "AT_STATX_SYNC_AS_STAT"
    rest = value & ~0x6000
    return word + ("|" + Unlinkat.text(rest).partition(" ")[0] if rest else "")


AtFlags = Annotated[int, Bits(Unlinkat, U32)]
UnlinkFlags = AtFlags
AccessAtFlags = Annotated[int, Bits(Faccessat, U32)]
StatxFlags = Annotated[int, Worded(statx_flags, U32)]
AccessMode = Annotated[int, Bits(AccessWord, U32)]
MknodMode = Annotated[int, Worded(mode_text, U32)]


class DevKind(Kind):
    """mknod's device: only where the mode says so."""

    decode = U32

    def show(self, call: Call, value: int) -> str | None:
        return device(value) if call.arg("mode") & 0o170000 in (0o020000, 0o060000) else None


Dev = Annotated[int, DevKind()]


class IntArray(Kind):
    """A pointer to a few C ints, shown `[3, 4]` (after success, unless `after` is False)."""

    def __init__(self, count: int = 1, after: bool = True, signed: bool = True) -> None:
        self.count = count
        self.after = after
        self.signed = signed

    def show(self, call: Call, value: int) -> str:
        if not value or (self.after and call.failed):
            return pointer(value)
        try:
            raw = call.user(value, 4 * self.count)
        except LinuxError:
            return hex(value)
        values = (int.from_bytes(raw[i : i + 4], "little", signed=self.signed) for i in range(0, len(raw), 4))
        return "[" + ", ".join(map(str, values)) + "]"


PipeFds = Annotated[int, IntArray(2)]
OutInt = Annotated[int, IntArray()]


class OffInOut(Kind):
    """sendfile's offset: `[3] => [13]`."""

    after = True
    keeps = 8

    def show(self, call: Call, value: int) -> str:
        before = call.before(value, 8)
        if not value or before is None:
            return pointer(value)
        text = f"[{int.from_bytes(before, 'little', signed=True)}]"
        if call.failed or not call.value:
            return text
        return f"{text} => [{number(call, value, 8)}]"


OffPointer = Annotated[int, OffInOut()]


class DirentsKind(Kind):
    """A buffer of linux_dirent64: strace says only how many."""

    after = True

    def show(self, call: Call, value: int) -> str:
        if call.value is None or call.value < 0 or not value:
            return pointer(value)
        try:
            raw = call.user(value, call.value)
        except LinuxError:
            return hex(value)
        count = offset = 0
        while offset + 19 <= len(raw):
            step = int.from_bytes(raw[offset + 16 : offset + 18], "little")
            count += 1
            offset += max(step, 19)
        return f"{value:#x} /* {count} entries */"


Dirents = Annotated[int, DirentsKind()]

# fcntl(2): what the third argument is, by command
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


class Falloc(Flags, prefix="FALLOC_FL_"):
    KEEP_SIZE = 1
    PUNCH_HOLE = 2
    NO_HIDE_STALE = 4
    COLLAPSE_RANGE = 8
    ZERO_RANGE = 16
    INSERT_RANGE = 32
    UNSHARE_RANGE = 64


FallocFlags = Annotated[int, Bits(Falloc, U32)]


class CloseRange(Flags, prefix="CLOSE_RANGE_"):
    UNSHARE = 2
    CLOEXEC = 4


CloseRangeFlags = Annotated[int, Bits(CloseRange, U32)]


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


UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
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


class Rwf(Flags, prefix="RWF_", later="NOAPPEND ATOMIC DONTCACHE"):
    """preadv2, pwritev2."""

    HIPRI = 1
    DSYNC = 2
    SYNC = 4
    NOWAIT = 8
    APPEND = 16
    NOAPPEND = 32
    ATOMIC = 64
    DONTCACHE = 128


RwfFlags = Annotated[int, Bits(Rwf, S32)]


__all__ = [
    "AccessAtFlags", "AccessMode", "At", "AtFlags", "CloseRangeFlags", "Dev", "Dirents", "EfdFlags",
    "EpollCreateFlags", "EpollOpChoice", "FallocFlags", "FcntlArg", "FcntlCommand", "FcntlResult", "IntArray",
    "MknodMode", "OffPointer", "OpenFlags", "OpenMode", "OutInt", "PipeFds", "PollFds", "PollResult", "RwfFlags",
    "StatusFlags",    "StatxFlags", "UnlinkFlags", "UtimePointer", "Utimes", "UtimesUs", "date", "open_flags",
]  # fmt: skip
