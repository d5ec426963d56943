"""Which argument of a syscall names the memory that the kernel is about to copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kernel.abi.args import InBuf, Iov, OutBuf
from kernel.syscalls.table import TABLE

if TYPE_CHECKING:
    from kernel.cpu import Regs
    from kernel.syscalls.table import Entry

SEGMENT = 16  # bytes of a struct iovec


def argument_of(regs: Regs, va: int, peek: Callable[[int, int], bytes]) -> str:
    """`read(buf)`, `writev(iov[1])`: the syscall that the registers ask for, and what of it names `va`; `execve(…)`
    where no argument does by itself."""
    entry = TABLE.get(regs.rax)
    if entry is None:
        return "a syscall"
    given = dict(zip(entry.names, (regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9), strict=False))
    return f"{entry.name}({_argument(entry, given, va, peek) or '…'})"


def _argument(entry: Entry, given: dict[str, int], va: int, peek: Callable[[int, int], bytes]) -> str:
    for name, value in given.items():
        if value == va:
            return name
    for (name, value), kind in zip(given.items(), entry.kinds, strict=True):
        if isinstance(kind, Iov):
            number = _segment(peek(value, given[kind.count] * SEGMENT), va)
            if number is not None:
                return f"{name}[{number}]"
    buffers = (InBuf, OutBuf)  # large ones are copied piece by piece
    below = [(value, name) for (name, value), kind in zip(given.items(), entry.kinds, strict=True)
             if isinstance(kind, buffers) and value <= va]  # fmt: skip
    return max(below)[1] if below else ""


def _segment(iov: bytes, va: int) -> int | None:
    words = memoryview(iov[: len(iov) // SEGMENT * SEGMENT]).cast("Q").tolist()
    for number, (base, size) in enumerate(zip(words[::2], words[1::2], strict=True)):
        if base <= va < base + size:
            return number
    return None
