"""Unicorn's memory hooks in Python: the twin of emu/native/memcheck.c, with equal results.

They report physical addresses. Which page of the guest that is, is remembered by frame, looked up in the page tables
each time, and searched for in all of them where it has changed. The zero page stands in many places: there, the
operands of the instruction tell. A load across two pages is reported three times: as itself, then as two aligned ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.calls import APART, BLANK_READ, READ, TELLS, WRITE, MemoryListener, MemoryPlan
from emu.cpu import decode, operands, vmcb, walk
from emu.cpu import libunicorn as u
from emu.cpu.callhooks import guarded
from emu.cpu.regs import INTEGER, Batch
from emu.cpu.shadow import Shadow
from kernel.cpu import Regs

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator
    from emu.cpu.hooks import PythonBlocks
    from emu.cpu.pythoncalls import PythonCalls

PAGE, PRESENT = 4096, 1


class PythonMemory:
    """Keeps `MemoryHooks`."""

    def __init__(
        self, blocks: PythonBlocks, emulator: Emulator, calls: PythonCalls, listener: MemoryListener, plan: MemoryPlan,
        fail: Callable[[BaseException], None],
    ) -> None:  # fmt: skip
        assert emulator.ram is not None
        self._blocks, self._calls, self._listener, self._plan = blocks, calls, listener, plan
        self._words, self._ram = emulator.ram.words, emulator.ram.bytes
        self._registers = Batch(emulator.lib, emulator.uc, INTEGER)
        self._shadow = calls.shadow = shadow = Shadow(plan.barred, plan.slacks)
        self.forget, self.around, self.wrote = shadow.forget, shadow.around, shadow.wrote
        self.hold = shadow.hold
        self.first_bad, self.first_blank = shadow.first_bad, shadow.first_blank
        self._vpns: dict[int, int] = {}  # by frame
        self._traits: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._more: dict[int, int] = {}
        self._halves: list[tuple[int, int]] = []  # (offset in its page, size) of loads that are parts of the last one
        self._last = (0, 0, 0, READ)
        self._on = True
        callback = u.MemCallback(guarded(self._on_access, fail, None))
        emulator.hook(u.HOOK_MEM_READ | u.HOOK_MEM_WRITE, callback)
        emulator.hook(u.HOOK_INTR, u.InterruptCallback(self._on_interrupt))
        self._stop, self._uc = emulator.lib.uc_emu_stop, emulator.uc
        emulator.lib.uc_ctl(emulator.uc, u.CTL_TB_FLUSH)
        blocks.dropped()

    def more(self, pc: int) -> int:
        return self._more.get(pc, 0)

    def end(self) -> None:
        self._on, self._calls.shadow = False, None

    def _on_interrupt(self, _uc: int, number: int, _data: int) -> None:
        """A fetch or load across two pages that faults on the second leaves Unicorn thinking that it is under way, and
        memory hooks are off until it is started again."""
        if self._on and number == vmcb.PAGE_FAULT:
            self._stop(self._uc)

    def _on_access(self, _uc: int, kind: int, pa: int, size: int, _value: int, _data: int) -> None:
        if not self._on or self._blocks.cr3 != self._plan.cr3:
            return
        store, at = kind == u.MEM_WRITE, pa % PAGE
        if not store and self._halves:
            half, self._halves = self._halves[0], self._halves[1:]
            if half == (at, size):
                return
            self._halves = []
        if at + size > PAGE and not store:
            first = at & ~(size - 1)
            self._halves = [(first, size), (first + size - PAGE, size)]
        va = self._virtual(pa)
        if va is None:
            return
        if store and self._shadow.first_blank(va, size) >= 0:
            self._wrote(va, size)
        if self._shadow.bad(va, size):
            self._examine(va, size, WRITE if store else READ)
        elif not store and self._plan.loads_blank and self._shadow.first_blank(va, size) == 0:
            self._examine(va, size, BLANK_READ)

    def _wrote(self, va: int, size: int) -> None:
        """An APART instruction counts as one that writes all that it may."""
        regs = self._regs()
        apart = operands.whole(self._code(regs.rip), regs, True) if self._traits_of(regs.rip) & APART else None
        self._shadow.wrote(*(apart[:2] if apart is not None else (va, size)))

    def _traits_of(self, pc: int) -> int:
        traits = self._traits.get(pc)
        if traits is None:
            traits = self._traits[pc] = operands.traits(self._listener.traits(pc), self._code(pc))
        return traits

    def _examine(self, va: int, size: int, how: int) -> None:
        if self._calls.inside():
            return
        regs = self._regs()
        pc = regs.rip
        traits = self._traits_of(pc)
        if traits & APART:
            va, size, store = operands.whole(self._code(pc), regs, how == WRITE) or (va, size, how == WRITE)
            how = how if how == BLANK_READ else WRITE if store else READ
        if self._spares(traits, va, size, how, (regs.rdi, regs.rsi)):
            return
        this = (self._blocks.here(pc), pc, va, how)
        if this == self._last:  # its second page was absent: it begins again
            return
        self._last = this
        told = self._told.get(pc, 0)
        if told == TELLS:
            self._more[pc] = self._more.get(pc, 0) + 1
            return
        self._told[pc] = told + 1
        self._listener.access(pc, va, size, how)

    def _spares(self, traits: int, va: int, size: int, how: int, pointers: tuple[int, int]) -> bool:
        if how == BLANK_READ:
            return self._shadow.spares_blank(traits, va, size)
        return self._shadow.spares(traits, va, size, how == WRITE, pointers)

    def _regs(self) -> Regs:
        return Regs(*self._registers.read())

    def _code(self, pc: int) -> bytes:
        return walk.read(self._words, self._ram, self._plan.cr3, pc, decode.LONGEST)

    def _virtual(self, pa: int) -> int | None:
        """Where the program has the byte at `pa`."""
        pfn = pa // PAGE
        if pfn == self._plan.zero_pfn:
            return self._of_operand(pa)
        vpn = self._vpns.get(pfn)
        if vpn is None or self._translate(vpn * PAGE) != pfn * PAGE:
            self._vpns = dict(self._pages(self._plan.cr3, 39, 0))
            vpn = self._vpns.get(pfn)
        return None if vpn is None else vpn * PAGE + pa % PAGE

    def _translate(self, va: int) -> int | None:
        return walk.translate(self._words, self._plan.cr3, va)

    def _of_operand(self, pa: int) -> int | None:
        regs = self._regs()
        for begin in operands.addresses(self._code(regs.rip), regs):
            va = begin + (pa - begin) % PAGE
            if va - begin < 64 and va < 1 << 47 and self._translate(va) == pa:
                return va
        return None

    def _pages(self, table: int, shift: int, va: int) -> list[tuple[int, int]]:
        """(frame, page) of all that is present below 2^47, by the tables from `table` on."""
        first, found = (table & walk.FRAME) >> 3, []
        for index, word in enumerate(self._words[first : first + (256 if shift == 39 else 512)].tolist()):
            if word & PRESENT:
                at = va | index << shift
                if shift == 12:
                    found.append(((word & walk.FRAME) // PAGE, at // PAGE))
                else:
                    found += self._pages(word, shift - 9, at)
        return found
