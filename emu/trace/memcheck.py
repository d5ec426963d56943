"""Bad accesses of a program to its heap, as the memory hooks find them: which are the allocator's right, which a string
function's, and of the rest, each once, what block they concern."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emu import uprobes
from emu.allocators import allocators_of
from emu.calls import (
    ALLOCATOR,
    BLANK_READ,
    BOTH,
    COPIES,
    IN_PLACE,
    LOG2,
    READS,
    SCANS,
    UNNAMED,
    WRITE,
    ZEROES,
    CallHooks,
    MemoryHooks,
    MemoryListener,
    MemoryPlan,
)
from emu.elf import STT_FUNC, Elf
from emu.symbols import Symbols
from emu.trace.events import UserCopy
from emu.trace.usercopy import argument_of
from emu.unwind import Unwinder
from kernel.cpu import Regs

if TYPE_CHECKING:
    import numpy as np

    Concerns = tuple[str, str, np.void | None]  # what a bad access is: kind, where in words, the block

AFTER, BEFORE = 64, 16  # bytes beside a block that are an allocator's, at least within a page
SYSCALL = 2  # bytes of the instruction
_ZEROING = re.compile("rezalloc|recalloc")
KEPT = 100  # bad accesses that are told with their stacks

# String functions that look at whole lines, glibc's for SSE and Zig's: those that begin at rdi, at both, and the others
_SCANS = re.compile(r"(str|wcs)n?len|_*(str(n?len|r?chr|chrnul)|(raw)?memchr|wcs(n?len|r?chr)|wmemchr)_s?sse\w+")
_BOTH = re.compile(r"_*(strn?(cpy|cat|cmp|casecmp(_l)?)|stpn?cpy|memcmp(eq)?|wcsn?cmp|wcscpy|wmemcmp)_s?sse\w+")
_READS = re.compile(r"_*(str(case)?str|strc?spn|strpbrk|memrchr|wcs\w+|wmem\w+)_s?sse\w+")
_COPIES = re.compile(r"_*(mem(p?cpy|move)|wmem(p?cpy|move))(_\w+)?")  # of glibc's and musl's
_MIMALLOC = re.compile(r"(_ZL?\d+)?_?mi_\w+")  # where it is there
_ALLOCATOR = re.compile(r"_*(libc_)?(malloc|mall(info|opt)|tcache|arena|ptmalloc)\w*|_*libc_(thread_)?freeres")


Key = tuple[int, str, int]  # (pc, kind, the allocation's site and stack)


class BadAccess(NamedTuple):
    """The first of its kind: `block` is the BLOCK that it concerns, None where that was forgotten. `kind`:
    use-after-free, overflow, underflow or uninitialised. `stack`: return addresses, innermost first."""

    kind: str
    where: str  # in words
    va: int
    size: int  # 0: not known
    store: bool
    pc: int
    function: str
    instructions: int  # that had retired before it
    block: np.void | None
    stack: tuple[int, ...]
    by: str = ""  # the syscall that asked the kernel for it, and its argument


class Access(NamedTuple):
    """What the checker may see of the machine, beside the tracer's Guest."""

    check: Callable[[CallHooks, MemoryListener, MemoryPlan], MemoryHooks]  # UnicornCpu.check_memory
    retired_at: Callable[[int], int]
    in_syscall: Callable[[], bool]
    zero_pfn: int
    loads_blank: bool  # HeapOptions.uninitialised


class MemoryChecker:
    """Checks until `end`. `times` counts each of `caught`."""

    def __init__(
        self, calls: CallHooks, symbols: Symbols, unwinder: Unwinder, registers: Callable[[], Regs],
        peek: Callable[[int, int], bytes], probes: Sequence[uprobes.Uprobe], block: np.dtype[np.void], cr3: int,
        barred: Iterable[tuple[int, int]], access: Access, told: Callable[[BadAccess], None] | None = None,
    ) -> None:  # fmt: skip
        """`told` is called at each of `caught`, when it happens."""
        self._calls, self._symbols, self._unwinder, self._registers = calls, symbols, unwinder, registers
        self._told = told
        self._block, self._retired_at, self._in_syscall = block, access.retired_at, access.in_syscall
        self._cr3, self._peek = cr3, peek
        self._copied: tuple[int, Key] | None = None  # the last bad one: instructions, key
        self._code = _merged(allocator_code(symbols.elf, symbols.bias, probes))
        self._starts = [start for start, _ in self._code]
        self._found: dict[Key, int] = {}  # how often
        self._last: dict[int, Key] = {}  # by pc
        self._kept: dict[Key, BadAccess] = {}
        slacks = tuple(
            (AFTER, BEFORE, _is_blank(probe)) if uprobes.known(probe.name) else (0, 0, False) for probe in probes
        )
        plan = MemoryPlan(cr3, access.zero_pfn, tuple(barred), slacks, access.loads_blank)
        self._hooks = access.check(calls, MemoryListener(self._traits, self._access), plan)

    def mapped(self, start: int, end: int) -> None:
        """What is mapped anew was never part of a block; an allocator's it is if one mapped it."""
        self._hooks.forget(start, end)
        self._hooks.hold(start, end, self._calls.inside())

    def unmapped(self, start: int, end: int) -> None:
        self._hooks.hold(start, end, False)

    def end(self) -> None:
        self._hooks.end()
        for pc, key in self._last.items():
            self._found[key] += self._hooks.more(pc)

    @property
    def count(self) -> int:
        """Different ones: by instruction, kind, and where the block was allocated."""
        return len(self._found)

    @property
    def caught(self) -> Iterator[tuple[BadAccess, int]]:
        """The first KEPT of them, each with how often it happened."""
        return ((access, self._found[key]) for key, access in self._kept.items())

    def _is_allocator(self, pc: int) -> bool:
        at = bisect_right(self._starts, pc) - 1
        return at >= 0 and pc < self._code[at][1]

    def _traits(self, pc: int) -> int:
        if self._is_allocator(pc):
            return ALLOCATOR
        name = self._symbols.name_of(pc).split("+")[0]
        if not name:
            return UNNAMED
        if _BOTH.fullmatch(name):
            return SCANS | BOTH
        if _COPIES.fullmatch(name):
            return COPIES
        return SCANS if _SCANS.fullmatch(name) else READS if _READS.fullmatch(name) else 0

    def _access(self, pc: int, va: int, size: int, how: int) -> None:
        if self._calls.lost:
            return  # a call that was not traced may have made a block there
        stack = tuple(frame.pc for frame in self._unwinder.frames(self._registers()))[1:]
        if any(self._is_allocator(ret - 1) for ret in stack):
            return  # called by the allocator, on a way that is not traced
        concerns = self._blank(va) if how == BLANK_READ else self._concerns(va, size)
        key = self._last[pc] = _key(pc, concerns)
        self._count(key, concerns, va, size, how == WRITE, stack)

    def copied(self, event: UserCopy) -> None:
        """A syscall of the program reads or writes memory: as if its instruction did, once for each thing amiss."""
        va, size, store = event.va, event.size, event.store
        if event.cr3 != self._cr3:
            return
        bad = self._hooks.first_bad(va, size)
        if store:
            self._hooks.wrote(va, size)
        blank = self._hooks.first_blank(va, size) if bad < 0 and not store else -1
        if (bad < 0 and blank < 0) or not self._in_syscall() or self._calls.inside() or self._calls.lost:
            return
        regs = self._registers()
        pc = regs.rip - SYSCALL
        stack = tuple(frame.pc for frame in self._unwinder.frames(regs))[1:]
        if self._is_allocator(pc) or any(self._is_allocator(ret - 1) for ret in stack):
            return
        argument = argument_of(regs, va, self._peek)
        if bad < 0 and not argument.plain:
            return
        concerns = self._blank(va + blank) if bad < 0 else self._badly(va, bad, size)
        key = _key(pc, concerns)
        if self._copied != (self._retired_at(pc), key):
            self._copied = self._retired_at(pc), key
            self._count(key, concerns, va, size, store, stack, argument.text)

    def _badly(self, va: int, bad: int, size: int) -> Concerns:
        """What a copy concerns: the block that it begins in, or else what its first bad byte does."""
        below = self._block_at(self._hooks.around(va, 0)[0])
        if below is not None and va < int(below["pointer"]) + int(below["size"]):
            return self._concerns(va, size)
        return self._concerns(va + bad, size - bad)

    def _blank(self, va: int) -> Concerns:
        """What a read of the blank byte at `va` concerns."""
        block = self._block_at(self._hooks.around(va, 0)[0])
        assert block is not None
        return "uninitialised", f"byte {va - int(block['pointer'])} of {_block(block)} was never written", block

    def _count(
        self, key: Key, concerns: Concerns, va: int, size: int, store: bool, stack: tuple[int, ...], by: str = ""
    ) -> None:
        self._found[key] = self._found.get(key, 0) + 1
        if self._found[key] == 1 and len(self._kept) < KEPT:
            pc, (kind, where, block) = key[0], concerns
            name = self._symbols.name_of(pc).split("+")[0] or f"{pc:#x}"
            now = self._retired_at(pc)
            self._kept[key] = BadAccess(kind, where, va, size, store, pc, name, now, block, stack, by)
            if self._told is not None:
                self._told(self._kept[key])

    def _block_at(self, pointer: int) -> np.void | None:
        import numpy as np

        raw = self._calls.block_at(pointer) if pointer else b""
        found: np.void | None = np.frombuffer(raw, self._block)[0] if raw else None
        return found

    def _concerns(self, va: int, size: int) -> Concerns:
        below, above = (self._block_at(start) for start in self._hooks.around(va, BEFORE))
        before = int(above["pointer"]) - va if above is not None and not int(above["freed_at"]) else AFTER
        if below is None:
            if before == AFTER:
                return "use-after-free", "in memory that was freed", None
            return "underflow", f"{_bytes(before)} before {_block(above)}", above
        inside = va - int(below["pointer"])
        past = inside - int(below["size"])
        freed = int(below["freed_at"]) != 0
        if past < 0 and freed:
            return "use-after-free", f"{_bytes(inside)} inside {_block(below)}", below
        if past < 0:
            return "overflow", f"{_bytes(inside)} inside {_block(below)}, {_bytes(past + size)} past its end", below
        if before < min(past, AFTER):
            return "underflow", f"{_bytes(before)} before {_block(above)}", above
        if not freed and past - self._hooks.first_bad(va - past, past + 1) >= AFTER:
            return "use-after-free", "in memory that was freed", None  # a block lies where a larger one began
        where = f"{_bytes(past) if past else 'just'} past the end of {_block(below)}"
        return ("use-after-free" if freed else "overflow"), where, below


def _key(pc: int, concerns: Concerns) -> Key:
    kind, _, block = concerns
    return pc, kind, 0 if block is None else int(block["stack"]) << 32 | int(block["site"])


def _is_blank(probe: uprobes.Uprobe) -> bool:
    """Has nobody written what it makes? A flag asks jemalloc's functions for zeroes; mimalloc has some that zero what
    they add."""
    does = probe.function
    return not (does.options & (ZEROES | LOG2 | IN_PLACE) or _ZEROING.search(probe.name))


def _bytes(n: int) -> str:
    return f"{n} byte{'s' * (n != 1)}"


def _block(block: np.void | None) -> str:
    assert block is not None
    return f"a {'freed ' * (int(block['freed_at']) != 0)}block of {_bytes(int(block['size']))}"


def gone(va: int, block: np.void) -> str:
    """What an access concerns that found nothing mapped where a block was."""
    return f"{_bytes(va - int(block['pointer']))} inside {_block(block)}, which is no longer mapped"


def allocator_code(elf: Elf, bias: int, probes: Iterable[uprobes.Uprobe]) -> Iterator[tuple[int, int]]:
    """The functions that are an allocator's own, as ranges of addresses: the traced ones, those of known allocators,
    and what else was local to their source files."""
    known = allocators_of(elf)
    own = {probe.va - bias for probe in probes} | {function.va for function in known}
    names = [_ALLOCATOR, *([_MIMALLOC] if any(function.family == "mimalloc" for function in known) else [])]
    for symbol in elf.symbols():
        if symbol.type == STT_FUNC and (symbol.value in own or any(name.fullmatch(symbol.name) for name in names)):
            own.add(symbol.value)
            yield symbol.value + bias, symbol.value + bias + max(symbol.size, 1)
    for local in elf.files():
        if any(symbol.value in own for symbol in local):
            yield from ((symbol.value + bias, symbol.value + bias + max(symbol.size, 1)) for symbol in local)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, sorted, none overlapping."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
