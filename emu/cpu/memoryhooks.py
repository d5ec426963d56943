"""Which of the two MemoryHooks serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.calls import CallHooks, MemoryHooks, MemoryListener, MemoryPlan, RuleError
from emu.cpu.callhooks import guarded
from emu.cpu.hooks import Blocks, PythonBlocks
from emu.cpu.nativehooks import NativeBlocks

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator


def install(
    blocks: Blocks,
    emulator: Emulator,
    calls: CallHooks,
    listener: MemoryListener,
    plan: MemoryPlan,
    fail: Callable[[BaseException], None],
) -> MemoryHooks:
    """MemoryHooks over the blocks of `calls`. What a listener raises goes to `fail`.

    Raises RuleError where the native hooks cannot check on this host."""
    safe = MemoryListener(guarded(listener.traits, fail, 0), guarded(listener.access, fail, None))
    if isinstance(blocks, NativeBlocks):
        from emu.cpu.nativememory import NativeMemory, lacking

        why = lacking(emulator)
        if why:
            raise RuleError(f"--memcheck by the native hooks: {why}; with --no-native it works, slowly")
        return NativeMemory(blocks, emulator, safe, plan)
    from emu.cpu.pythoncalls import PythonCalls
    from emu.cpu.pythonmemory import PythonMemory

    assert isinstance(blocks, PythonBlocks)
    assert isinstance(calls, PythonCalls)
    return PythonMemory(blocks, emulator, calls, safe, plan, fail)
