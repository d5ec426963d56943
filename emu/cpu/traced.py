"""Traced: what a CPU tells of the program that it runs, beside its traps: calls of functions, loads and stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.cpu.threadstate import ThreadState

if TYPE_CHECKING:
    from emu.calls import CallHooks, Listener, MemoryHooks, MemoryListener, MemoryPlan
    from emu.cpu.emulator import Emulator
    from emu.cpu.hooks import Blocks
    from emu.cpu.nativehooks import NativeBlocks


class Traced(ThreadState):
    """The CPU sets the fields. What a listener raises comes out of its `run`."""

    _emulator: Emulator
    _blocks: Blocks
    _native: NativeBlocks | None
    _calls: CallHooks | None
    _plan: list[int]

    def _fail(self, error: BaseException) -> None:
        raise NotImplementedError

    def trace_calls(self, listener: Listener, stack_depth: int = 0, capacity: int = 1 << 11) -> CallHooks:
        """Hook entry and return of the functions that the CallHooks are given. `stack_depth` frames of each call stack
        are kept, events come in batches of `capacity`. CallHooks that were there before are over, their `end` called;
        not while the CPU runs."""
        from emu.cpu import libunicorn as u
        from emu.cpu.callhooks import install

        if self._calls is not None:  # translations know what was watched
            self._emulator.lib.uc_ctl(self._emulator.uc, u.CTL_TB_FLUSH)
            self._blocks.dropped()
        self._calls = install(self._native or self._blocks, self._emulator, listener, self._fail, stack_depth, capacity)
        return self._calls

    def check_memory(self, calls: CallHooks, listener: MemoryListener, plan: MemoryPlan) -> MemoryHooks:
        """Check each load and store against the blocks that `calls` knows; before the first instruction runs. Raises
        RuleError where that cannot be."""
        from emu.cpu.memoryhooks import install

        return install(self._native or self._blocks, self._emulator, calls, listener, plan, self._fail)

    @property
    def in_syscall(self) -> bool:
        return self._blocks.next_rip != 0

    def retired_at(self, rip: int) -> int:
        """Instructions retired before the one at `rip`, which runs now."""
        return self._blocks.total + self._plan.index(rip) if self._plan else self._blocks.here(rip)
