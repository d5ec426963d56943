"""Argument kinds: register → plain int for the handler → strace's text. The signature of a handler is its ABI.

A kind is metadata of `Annotated[int, kind]`; the table reads it once and compiles decode and render from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from kernel.abi.errno import LinuxError
from kernel.abi.flags import CACHE as CACHE
from kernel.abi.flags import Cached as Cached
from kernel.abi.flags import Flags as Flags
from kernel.abi.flags import Option as Option
from kernel.abi.text import octal, quote, quote_hex

_PATH_MAX = 4096 - 1  # strace shows one byte less than a path may have


class Call:
    """One traced call, for the kinds that look at memory: task, decoded arguments, and after the call its value.

    `value` is rax (negative on an error), None before the call or where there is no value."""

    __slots__ = ("args", "kept", "names", "task", "value")

    def __init__(self, task: Any, names: dict[str, int], args: tuple[int, ...]) -> None:
        self.task = task
        self.names = names
        self.args = args
        self.value: int | None = None
        self.kept: dict[int, bytes] = {}

    def arg(self, name: str) -> int:
        return self.args[self.names[name]]

    @property
    def failed(self) -> bool:
        return self.value is None or self.value < 0

    def user(self, va: int, length: int) -> bytes:
        """Guest memory as the tracer sees it: nothing is faulted in. LinuxError(EFAULT) where it cannot be read."""
        raw: bytes = self.task.mm.peek(va, length)
        return raw

    def keep(self, va: int, length: int) -> None:
        """Remember what is there before the call overwrites it (see `before`)."""
        if va:
            try:
                self.kept[va] = self.user(va, length)
            except LinuxError:
                return

    def before(self, va: int, length: int) -> bytes | None:
        """What stood there when the call was made; None where it could not be read. The kind says `keeps`."""
        return self.kept.get(va)

    def cstring(self, va: int, limit: int) -> tuple[bytes, bool]:
        """Up to `limit` bytes of a C string, and whether it ended there."""
        out = b""
        while len(out) < limit:
            step = min(4096 - (va + len(out)) % 4096, limit - len(out))
            chunk = self.user(va + len(out), step)
            end = chunk.find(b"\0")
            if end >= 0:
                return out + chunk[:end], True
            out += chunk
        return out, False


class Kind:
    """How a register becomes a value (`decode`, a Python expression), and the value text (`expr`, or `show`).

    `expr` kinds need the value alone; others have `show(call, value)`, run before the call, or after it (`after`).
    `show` may give None: the argument is not printed (strace omits what the call does not read)."""

    decode = "{0}"
    expr = ""
    after = False
    keeps = 0  # bytes at the pointer to remember from before the call

    def env(self) -> dict[str, Any]:
        """Names that `expr` uses besides the value."""
        return {}

    def show(self, call: Call, value: int) -> str | None:
        raise NotImplementedError


U64 = "{0}"
S64 = "(({0} ^ 0x8000000000000000) - 0x8000000000000000)"
U32 = "({0} & 0xFFFFFFFF)"
S32 = "(({0} & 0xFFFFFFFF ^ 0x80000000) - 0x80000000)"
U16 = "({0} & 0xFFFF)"


class Plain(Kind):
    """A number that its own expression prints."""

    def __init__(self, decode: str, expr: str) -> None:
        self.decode = decode
        self.expr = expr


class Worded(Kind):
    """A number whose text is a cached function of the value alone."""

    expr = "{table}[{value}]"

    def __init__(self, text: Callable[[int], str], decode: str) -> None:
        self.decode = decode
        self.table = Cached(text)

    def env(self) -> dict[str, Any]:
        return {"table": self.table}


def Bits(flags: type[Flags], decode: str = U64) -> Kind:
    return Worded(flags.text, decode)


def Choice(option: type[Option], decode: str = S32) -> Kind:
    return Worded(option.text, decode)


def _dirfd(fd: int) -> str:
    return "AT_FDCWD" if fd == -100 else str(fd)


def _sig(sig: int) -> str:
    from kernel.abi.signal import signame

    return signame(sig)


def MmapFlags(kinds: type[Option], bits: type[Flags]) -> Kind:
    """mmap(2): a TYPE field, bits, and the log2 of the huge page size."""

    def text(value: int) -> str:
        type_ = value & 0xF
        huge = value >> 26 & 0x3F
        rest = value & ~0xF & ~(0x3F << 26)
        words = [kinds.text(type_) if type_ or not value else kinds.text(0)]
        if rest:
            known = [name for v, name in bits.words() if v > 0xF and rest & v]
            unknown = rest & ~sum(v for v, _ in bits.words() if v > 0xF) & 0xFFFFFFFF
            words += known + ([f"{unknown:#x}"] if unknown else [])
        if huge:
            words.append(f"{huge}<<MAP_HUGE_SHIFT")
        return "|".join(words)

    return Worded(text, U64)


def HugeFlags(bits: type[Flags], shift: str) -> Kind:
    """Flags with the log2 of a huge page size in the top six bits (memfd_create)."""

    def text(value: int) -> str:
        huge = value >> 26 & 0x3F
        words = bits.text(value & ~(0x3F << 26) & 0xFFFFFFFF)
        return f"{words}|{huge}<<{shift}" if huge else words

    return Worded(text, U32)


Addr = Annotated[int, Plain(U64, '(hex({value}) if {value} else "NULL")')]
Size = Annotated[int, Plain(U64, "{value}")]
ULong = Annotated[int, Plain(U64, "{value}")]
Long = Annotated[int, Plain(S64, "{value}")]
Off = Annotated[int, Plain(S64, "{value}")]
Len = Annotated[int, Plain(S64, "({value} & 0xFFFFFFFFFFFFFFFF)")]  # a loff_t that strace prints unsigned
Int = Annotated[int, Plain(S32, "{value}")]
UInt = Annotated[int, Plain(U32, "{value}")]
Hex = Annotated[int, Plain(U64, '(hex({value}) if {value} else "0")')]
XOff = Annotated[int, Plain(U64, '(hex({value}) if {value} else "0")')]  # mmap's offset
UIntHex = Annotated[int, Plain(U32, '(hex({value}) if {value} else "0")')]
Addr0 = Annotated[int, Plain(U64, '(hex({value}) if {value} else "0")')]  # a pointer that strace prints as a number
Fd = Annotated[int, Plain(S32, "{value}")]
Pid = Annotated[int, Plain(S32, "{value}")]
Uid = Annotated[int, Plain(U32, "({value} if {value} != 0xFFFFFFFF else -1)")]
DirFd = Annotated[int, Worded(_dirfd, S32)]
Mode = Annotated[int, Worded(octal, U16)]
Sig = Annotated[int, Worded(_sig, S32)]


def pointer(va: int) -> str:
    return hex(va) if va else "NULL"


class CString(Kind):
    """A pointer to a NUL-terminated string, quoted: a path in full, other strings cut at 32 bytes."""

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit

    def show(self, call: Call, value: int) -> str:
        if not value:
            return "NULL"
        try:
            raw, _ = call.cstring(value, self.limit + 1)
        except LinuxError:
            return hex(value)
        return quote(raw, self.limit)


class InBuf(Kind):
    """Bytes that the call reads; their number is another argument."""

    def __init__(self, length: str) -> None:
        self.length = length

    def show(self, call: Call, value: int) -> str:
        length = call.arg(self.length)
        return _buffer(call, value, length, quote)


class OutBuf(Kind):
    """Bytes that the call wrote: as many as it returned. The address when it failed."""

    after = True

    def __init__(self, quoting: Callable[[bytes], str] = quote) -> None:
        self.quoting = quoting

    def show(self, call: Call, value: int) -> str:
        if call.value is None or call.value < 0:
            return pointer(value)
        return _buffer(call, value, call.value, self.quoting)


def RandomBuf() -> OutBuf:
    return OutBuf(quote_hex)


def _buffer(call: Call, va: int, length: int, quoting: Callable[[bytes], str]) -> str:
    """At most 32 bytes are read and shown; `...` says that there are more."""
    if not va:
        return "NULL"
    if not length:
        return quoting(b"")
    try:
        raw = call.user(va, min(length, 32))
    except LinuxError:
        return hex(va)
    return quoting(raw) + ("..." if length > 32 else "")


def number(call: Call, va: int, size: int) -> int:
    """One signed little-endian integer of guest memory. LinuxError(EFAULT) where it cannot be read."""
    return int.from_bytes(call.user(va, size), "little", signed=True)


class Result:
    """How a value that is no error is printed."""

    def show(self, call: Call, value: int) -> str:
        return str(value)


class Struct(Kind):
    """A pointer to one layout: read before the call, or after its success."""

    def __init__(self, layout: Any, after: bool) -> None:
        self.layout = layout
        self.after = after

    def show(self, call: Call, value: int) -> str:
        if not value:
            return "NULL"
        if self.after and call.failed:
            return hex(value)
        return read_struct(call, value, self.layout)


def read_struct(call: Call, va: int, layout: Any) -> str:
    try:
        text: str = layout.unpack(call.user(va, layout.SIZE)).text()
    except LinuxError:
        return hex(va)
    return text


class Iov(Kind):
    """An array of iovecs: `[{iov_base="abc", iov_len=3}], 1`.

    With `out` the bytes are what the call wrote, as many as it returned; `data=False` shows addresses alone (the far
    side of process_vm_readv)."""

    def __init__(self, count: str, out: bool = False, data: bool = True) -> None:
        self.count = count
        self.after = out
        self.data = data

    def show(self, call: Call, value: int) -> str:
        left = call.value if self.after and not call.failed and call.value is not None else 1 << 64
        data = self.data and not (self.after and call.failed)

        def one(at: int) -> str:
            nonlocal left
            raw = call.user(at, 16)
            base, length = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")
            shown = min(length, left)
            left -= shown
            text = _buffer(call, base, shown, quote) if data else pointer(base)
            return f"{{iov_base={text}, iov_len={length}}}"

        return array(value, call.arg(self.count), 16, one)


def array(va: int, count: int, size: int, one: Callable[[int], str]) -> str:
    """`[a, b]`: up to 32 of `count` items of `size` bytes, `one` text an address; a comment where reading fails."""
    count &= 0xFFFFFFFFFFFFFFFF
    if not va:
        return "NULL"
    if va + count * size > 1 << 64:
        return hex(va)
    words: list[str] = []
    for i in range(min(count, 32)):
        try:
            words.append(one(va + size * i))
        except LinuxError:
            if not words:
                return hex(va)
            return "[" + ", ".join([*words, f"... /* {va + size * i:#x} */"]) + "]"
    return "[" + ", ".join(words) + (", ..." if count > 32 else "") + "]"


class SigsetKind(Kind):
    """A pointer to a sigset: `[INT TERM]`. Its size is the call's last argument; with another than 8 it is not read."""

    def __init__(self, after: bool = False) -> None:
        self.after = after

    def show(self, call: Call, value: int) -> str:
        from kernel.abi.signal import sigset_text

        if not value:
            return "NULL"
        if (self.after and call.failed) or call.args[-1] != 8:
            return hex(value)
        try:
            return sigset_text(int.from_bytes(call.user(value, 8), "little"))
        except LinuxError:
            return hex(value)


class Hidden(Kind):
    """An argument that is never printed."""

    def show(self, call: Call, value: int) -> None:
        return None


Unshown = Annotated[int, Hidden()]


class OutPathKind(Kind):
    """A path that the call wrote (getcwd)."""

    after = True

    def show(self, call: Call, value: int) -> str:
        return pointer(value) if call.failed else CString(_PATH_MAX).show(call, value)


OutPath = Annotated[int, OutPathKind()]
Path = Annotated[int, CString(_PATH_MAX)]
Text = Annotated[int, CString()]
Sigset = Annotated[int, SigsetKind()]
OutSigset = Annotated[int, SigsetKind(after=True)]

T = TypeVar("T")

if TYPE_CHECKING:

    class In(int, Generic[T]):
        """A pointer to a T that the call reads."""

    class Out(int, Generic[T]):
        """A pointer to a T that the call writes."""

    class InOut(int, Generic[T]):
        """A pointer to a T that the call reads and writes."""

else:

    class In:
        def __class_getitem__(cls, layout):
            return Annotated[int, Struct(layout, after=False)]

    class Out:
        def __class_getitem__(cls, layout):
            return Annotated[int, Struct(layout, after=True)]

    class InOut:
        def __class_getitem__(cls, layout):
            return Annotated[int, Struct(layout, after=True)]
