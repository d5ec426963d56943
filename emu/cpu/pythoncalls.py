"""Entry and return hooks in Python: the twin of emu/native/heap.c, with equal results.

A function's entry and its return address both begin a block, so the block hook sees both, before the block is counted:
the count of instructions is exact there. A return address is watched from the first call on that pushes it. Which
return belongs to which entry is told by the stack pointer on a shadow stack: this survives tail calls (two entries with
one return), longjmp and exceptions (the stack pointer is above an entry's, or its return address was overwritten: it
was abandoned). Only the outermost traced call is the program's; what it calls is the allocator's own business.

A block is released when the call that releases it is entered, so that misuse is seen before the allocator acts, and
made when the call that makes it returns.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emu.calls import (
    ABANDONED,
    ALLOCATE,
    ASK,
    CHOOSE,
    DEEPEST,
    EVENT,
    EXACT_SIZE,
    FREED_TWICE,
    FREES_FAILED,
    IN_PLACE,
    INNER,
    MERGE,
    MISMATCHED,
    MISUSE,
    NO_BLOCK,
    OVERLAPS,
    RELEASE,
    RESIZE,
    SWEEP,
    TAIL,
    UNFINISHED,
    WRONG_SIZE,
    ErrnoPlace,
    Function,
    Listener,
    Totals,
)
from emu.cpu import libunicorn as u
from emu.cpu import walk
from emu.cpu.hooks import PythonBlocks
from emu.cpu.pythonevents import MOST32, Block, Event
from emu.cpu.pythonpools import Pools
from emu.cpu.pythonstacks import PythonStacks
from emu.cpu.pythonstrict import PythonStrict
from emu.cpu.regs import Batch

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator
    from emu.cpu.shadow import Shadow

MIN_FLT, MAJ_FLT = 4, 5
MANY_DEAD = 1 << 20
MOST16 = (1 << 16) - 1
ARGUMENTS = (2, 3, 4, 5, 6, 7)  # where REGISTERS has them
REGISTERS = (u.RAX, u.RSP, u.RDI, u.RSI, u.RDX, u.RCX, u.R8, u.R9, u.RBP)


def _ends_block(function: Function) -> bool:
    """Is the block that it names gone by it?"""
    return function.verb == RELEASE or function.verb >= SWEEP


class PythonCalls:
    """Keeps `CallHooks`."""

    def __init__(
        self, blocks: PythonBlocks, emulator: Emulator, listener: Listener, stack_depth: int, capacity: int
    ) -> None:
        assert emulator.ram is not None
        self._counted, self._words, self._memory = blocks, emulator.ram.words, emulator.ram.bytes
        self._registers = Batch(emulator.lib, emulator.uc, REGISTERS)
        self._listener, self._stack_depth, self._capacity = listener, stack_depth, capacity
        self._functions: list[Function] = []
        self._entries: dict[int, int] = {}
        self._site_numbers: dict[int, int] = {}
        self._stacks = PythonStacks(listener, stack_depth, self._word)
        self._table: dict[int, Block] = {}
        self._pools = Pools()
        self._room, self._dead = 4096, 0
        self._threads: dict[int, list[Event]] = {}
        self._stack: list[Event] = []
        self._tid = self._cr3 = 0
        self._emulator = emulator
        self._strict: PythonStrict | None = None
        self._counters: memoryview | None = None
        self._ring = bytearray()
        self._drained = self._live = self._live_blocks = 0
        self._muted = self.stopped = False
        self.lost = 0
        self.shadow: Shadow | None = None  # with --memcheck
        blocks.watched.clear()
        self.switch(0)

    # --- CallHooks

    def add(self, va: int, function: Function) -> int:
        self._functions.append(function)
        self._entries[va] = len(self._functions) - 1
        self._counted.watched.add(va)
        return len(self._functions) - 1

    def be_strict(self, errno: ErrnoPlace) -> PythonStrict:
        self._strict = PythonStrict(self._emulator, self._listener, errno)
        self._strict.cr3 = self._cr3
        return self._strict

    def look_at(self, cr3: int, counters: memoryview | None) -> None:
        self._cr3, self._counters = cr3, counters
        if self._strict is not None:
            self._strict.cr3 = cr3

    def switch(self, tid: int) -> None:
        self._tid = tid
        self._stack = self._threads.setdefault(tid, [])

    def inside(self) -> bool:
        outer = self._stack[0] if self._stack else None
        return outer is not None and outer.sp >= self._registers.read()[1] and self._word(outer.sp) == outer.ret

    def mute(self) -> None:
        self.drain()
        self._muted = True

    def live(self) -> tuple[int, int]:
        return self._live, self._live_blocks

    def drain(self) -> None:
        ring, self._ring = self._ring, bytearray()
        if ring:
            if not self._muted:
                self._listener.events(memoryview(ring))
            self._drained += len(ring) // EVENT.size

    def end(self) -> None:
        for stack in self._threads.values():
            while stack:
                self._leave(stack[-1], UNFINISHED)
                self._append(stack.pop())
        self.drain()

    def sites(self) -> list[int]:
        return [0, *self._site_numbers]

    def stacks(self, first: int = 0) -> list[tuple[int, ...]]:
        return list(self._stacks.numbers)[first:]

    def totals(self) -> Totals | None:
        return None

    def sum_up(self, held: Sequence[tuple[int, int]]) -> None:
        return None

    def block_at(self, pointer: int) -> bytes:
        return self._table[pointer].packed() if pointer in self._table else b""

    def blocks(self) -> bytes:
        return b"".join(block.packed() for block in self._table.values())

    # --- calls and returns

    def reached(self, address: int) -> None:
        """The CPU is about to run the block at `address`."""
        if self._counted.cr3 != self._cr3:
            return
        values = list(self._registers.read())
        if address in self._site_numbers:
            self._returned(address, values[1], values[0])
        number = self._entries.get(address)
        if number is not None:
            self._entered(number, values)

    def _word(self, va: int) -> int | None:
        raw = walk.read(self._words, self._memory, self._cr3, va, 8) if va < 1 << 47 else b""
        return struct.unpack("<Q", raw)[0] if len(raw) == 8 else None

    def _faults(self) -> int:
        return self._counters[MIN_FLT] + self._counters[MAJ_FLT] if self._counters is not None else 0

    def _append(self, event: Event) -> None:
        if not event.flags & INNER:
            made = event.function.verb in (ALLOCATE, RESIZE) and event.result != 0
            self._live += event.size * made - event.freed
            self._live_blocks += made - (event.born != 0)
        self._tell(event.packed())

    def _tell(self, packed: bytes) -> None:
        self._ring += packed
        if len(self._ring) >= self._capacity * EVENT.size:
            self.drain()

    def _leave(self, event: Event, how: int) -> None:
        """Until now the event held where the counters stood when it began."""
        event.flags |= how
        abandoned = how & ABANDONED
        event.cost = 0 if abandoned else min(self._counted.total - event.entry, MOST32)
        event.faults = 0 if abandoned else min(self._faults() - event.faults, MOST32)
        event.syscalls = 0 if abandoned else min(self._counted.syscalls - event.syscalls, MOST16)

    def _returned(self, address: int, sp: int, rax: int) -> None:
        stack = self._stack
        while stack and stack[-1].sp + 8 <= sp:
            if stack[-1].sp + 8 == sp and stack[-1].ret == address:
                self._finish(stack.pop(), rax)
            else:
                self._abandon(len(stack) - 1)

    def _finish(self, event: Event, rax: int) -> None:
        self._leave(event, 0)
        function, told = event.function, rax
        if function.out >= 0:
            rax = (self._word(event.out) or 0) if rax & MOST32 == 0 else 0
        if function.options & IN_PLACE:
            rax = event.pointer if rax >= event.size else 0
        if function.verb <= RESIZE or function.verb == ASK:
            event.result = rax
        pool = self._pools.of(event)
        gone = event.result or not event.size or function.options & FREES_FAILED
        if function.verb == RESIZE and event.pointer and not event.flags & INNER and gone:
            block = self._table.get(event.pointer)
            if block is not None and not block.freed_at:
                if self.shadow is not None and event.result:
                    self.shadow.keep(event.pointer, block.event.size)
                pool = block.pool if event.result == event.pointer else pool
                self._release(block, event)
        if event.kept is not None and self._strict is not None and not _ends_block(function):
            self._strict.returned(event, event.kept, told)
        if function.verb in (ALLOCATE, RESIZE) and event.result:
            self._insert(event, pool)
        if function.verb == ASK and self.shadow is not None and not event.flags & INNER:
            self.shadow.asked(event, self._table.get(event.pointer))
        self._append(event)

    def _abandon(self, depth: int) -> None:
        while len(self._stack) > depth:
            self._leave(self._stack[-1], ABANDONED)
            self._append(self._stack.pop())

    def _still_inside(self, number: int, sp: int, ret: int) -> bool:
        """Is it a call that is under way, its first instruction faulted? Calls that were left are abandoned."""
        for i, event in enumerate(self._stack):
            same = event.sp == sp and event.number == number
            if same and event.ret == ret and event.entry == self._counted.total:
                return True
            if event.sp < sp or same or self._word(event.sp) != event.ret:
                self._abandon(i)
                return False
        return False

    def _goes_on(self, function: Function, sp: int, arguments: list[int]) -> bool:
        """Was the innermost function nothing but a jump to this one, which is told the same and does the same? Then it
        is one call: musl's free is such a jump."""
        outer = self._stack[-1] if self._stack else None
        if outer is None or outer.sp != sp or outer.entry + 1 != self._counted.total or outer.function != function:
            return False
        if max(function.times, function.alignment, function.out, function.pool) >= 0 or function.verb >= SWEEP:
            return False
        told = ((function.size, outer.size), (function.pointer, outer.pointer))
        return all(number < 0 or arguments[number] == value for number, value in told)

    def _entered(self, number: int, registers: list[int]) -> None:
        sp, stack, function = registers[1], self._stack, self._functions[number]
        arguments = [registers[at] for at in ARGUMENTS]
        if function.verb == CHOOSE:
            self._pools.choose(self._tid, arguments[function.pool])
            return
        ret = self._word(sp)
        if ret is None:
            self.lost += 1
            return
        if self._goes_on(function, sp, arguments) or self._still_inside(number, sp, ret):
            return
        if len(stack) == DEEPEST:
            self.lost += 1
            return
        event = Event(number, function, sp, ret, self._counted.total)
        event.faults, event.syscalls, event.tid = self._faults(), self._counted.syscalls, self._tid
        event.depth = len(stack)
        if stack:
            event.flags = INNER | TAIL if stack[-1].sp == sp else INNER
        event.site = self._site_numbers.setdefault(ret, len(self._site_numbers) + 1)
        self._counted.watched.add(ret)
        event.take(arguments)
        stack.append(event)
        if self._stack_depth and not event.flags & INNER:
            self._stacks.take(event, registers[8])
        if event.pointer and function.verb != ASK:
            self._named(event)
        if function.verb >= SWEEP:
            self._end_pool(event)
        if self._strict is not None and not event.flags & INNER:
            event.kept = self._strict.entered(event, registers[ARGUMENTS[function.alignment]])

    # --- the table of blocks

    def _named(self, event: Event) -> None:
        """The call names a block."""
        releases = _ends_block(event.function)
        if event.flags & INNER:
            block = self._table.get(event.pointer)
            if releases and block is not None and block.inner and not block.freed_at:
                self._release(block, event)
            return
        block = self._check(event)
        if block is not None and releases:
            self._release(block, event)

    def _check(self, event: Event) -> Block | None:
        """Is it a block that the program may name here? None: it is not one, or no more."""
        block, function = self._table.get(event.pointer), event.function
        if block is None:
            event.flags |= NO_BLOCK
        elif block.freed_at:
            event.flags |= FREED_TWICE
        else:
            if not block.event.function.family & function.family:
                event.flags |= MISMATCHED
            if function.options & EXACT_SIZE and block.size != event.size:
                event.flags |= WRONG_SIZE
        if event.flags & MISUSE:
            self._listener.misuse(event.packed(), block.packed() if block else b"")
        return None if event.flags & (NO_BLOCK | FREED_TWICE) else block

    def _end_pool(self, event: Event) -> None:
        """The call is told a pool, which is gone when it returns; of one that is none, or no more, that was said."""
        if not event.pool or event.flags & (NO_BLOCK | FREED_TWICE):
            return
        if event.function.verb == MERGE:
            self._pools.merge(self._tid, event.pool)
            return
        for block in self._pools.end(self._tid, event.pool):
            if not block.inner:
                self._live -= block.size
                self._live_blocks -= 1
            self._die(block, event)
            if not block.inner:
                self._tell(event.swept(block))

    def _insert(self, event: Event, pool: int) -> None:
        old = self._table.get(event.result)
        inner = event.flags & INNER
        if old is not None and not old.freed_at:
            if old.inner:
                pool = pool or old.pool  # of the call inside, whose block it is
            elif inner:
                return
            else:
                event.flags |= OVERLAPS
                event.freed += old.size
            self._pools.leave(old)
        if old is not None:
            self._dead -= old.freed_at != 0
        elif 2 * len(self._table) >= self._room:
            self._grow()
        block = self._table[event.result] = Block(event, self._drained + len(self._ring) // EVENT.size + 1)
        self._pools.join(block, pool)
        if self.shadow is not None:
            self.shadow.made(event.result, event.size, event.number, inner)

    def _grow(self) -> None:
        """Where more than a million dead blocks are the greater part, they are forgotten."""
        if self._dead > MANY_DEAD and 2 * self._dead > len(self._table) + 1:
            self._table = {at: block for at, block in self._table.items() if not block.freed_at}
            self._dead = 0
        else:
            self._room *= 2

    def _release(self, block: Block, event: Event) -> None:
        if not block.inner:
            event.born = block.born
            event.freed += block.size
        self._die(block, event)

    def _die(self, block: Block, event: Event) -> None:
        if self._strict is not None and not block.inner:
            self._strict.released(block.event.result, block.event.function)
        self._pools.leave(block)
        block.freed_at, block.freed_by = event.entry, event
        self._dead += 1
        if self.shadow is not None:
            self.shadow.gone(block.event.result, block.event.size)
