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
    Flags,
    Kind,
    Worded,
    number,
    pointer,
)
from kernel.abi.errno import LinuxError
from kernel.abi.fcntl import Open, OpenAccess
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


def makes_file(flags: int) -> bool:
    """O_CREAT or __O_TMPFILE: the mode matters."""
    return bool(flags & (Open.CREAT | 0o20000000))


class OpenModeKind(Kind):
    """open's mode: printed only where it is used."""

    decode = U16

    def show(self, call: Call, value: int) -> str | None:
        return octal(value) if makes_file(call.arg("flags")) else None


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


class Xattr(Flags, prefix="XATTR_"):
    CREATE = 1
    REPLACE = 2


XattrFlags = Annotated[int, Bits(Xattr, S32)]
