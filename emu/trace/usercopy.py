"""Which argument of a syscall names the memory that the kernel is about to copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kernel.abi.args import CString, InBuf, Iov, Kind, OutBuf
from kernel.syscalls.table import TABLE

if TYPE_CHECKING:
    from kernel.cpu import Regs
    from kernel.syscalls.table import Entry

SEGMENT = 16  # bytes of a struct iovec


class Argument(NamedTuple):
    """What a syscall copies."""

    text: str  # `read(buf)`, `writev(iov[1])`; `execve(…)` where no argument names it by itself
    plain: bool  # bytes or a string, each of which counts; of a struct the call may read fields that it does not use


def argument_of(regs: Regs, va: int, peek: Callable[[int, int], bytes]) -> Argument:
    """Of the syscall that the registers ask for, what names `va`."""
    entry = TABLE.get(regs.rax)
    if entry is None:
        return Argument("a syscall", False)
    given = dict(zip(entry.names, (regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9), strict=False))
    name, kind = _argument(entry, given, va, peek)
    return Argument(f"{entry.name}({name})", isinstance(kind, (InBuf, CString)) or "[" in name)


def _argument(
    entry: Entry, given: dict[str, int], va: int, peek: Callable[[int, int], bytes]
) -> tuple[str, Kind | None]:
    kinds = dict(zip(given, entry.kinds, strict=True))
    for name, value in given.items():
        if value == va:
            return name, kinds[name]
    for name, kind in kinds.items():
        if isinstance(kind, Iov):
            number = _segment(peek(given[name], given[kind.count] * SEGMENT), va)
            if number is not None:
                return f"{name}[{number}]", kind
    buffers = (InBuf, OutBuf)  # large ones are copied piece by piece
    below = [(given[name], name) for name, kind in kinds.items() if isinstance(kind, buffers) and given[name] <= va]
    if not below:
        return "…", None
    name = max(below)[1]
    return name, kinds[name]


def _segment(iov: bytes, va: int) -> int | None:
    words = memoryview(iov[: len(iov) // SEGMENT * SEGMENT]).cast("Q").tolist()
    for number, (base, size) in enumerate(zip(words[::2], words[1::2], strict=True)):
        if base <= va < base + size:
            return number
    return None
