"""Which of the two CallHooks serves, and what keeps their callbacks from raising inside Unicorn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from emu.calls import ENDS, CallHooks, Listener, Rule
from emu.cpu.hooks import Blocks, PythonBlocks
from emu.cpu.nativehooks import NativeBlocks

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator

P = ParamSpec("P")
T = TypeVar("T")


def install(
    blocks: Blocks,
    emulator: Emulator,
    listener: Listener,
    fail: Callable[[BaseException], None],
    stack_depth: int,
    capacity: int,
) -> CallHooks:
    """CallHooks that count by `blocks`. What a listener raises goes to `fail`."""
    safe = Listener(
        guarded(listener.events, fail, None), guarded(listener.misuse, fail, None),
        guarded(listener.rule, fail, Rule(ENDS)), guarded(listener.violation, fail, None),
    )  # fmt: skip
    if isinstance(blocks, NativeBlocks):
        from emu.cpu.nativecalls import NativeCalls

        return NativeCalls(blocks, emulator, safe, stack_depth, capacity)
    from emu.cpu.pythoncalls import PythonCalls

    assert isinstance(blocks, PythonBlocks)
    calls = PythonCalls(blocks, emulator, safe, stack_depth, capacity)
    blocks.reached = guarded(calls.reached, fail, None)
    return calls


def guarded(told: Callable[P, T], fail: Callable[[BaseException], None], otherwise: T) -> Callable[P, T]:
    """`told`, but what it raises goes to `fail`."""

    def call(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return told(*arguments, **named)
        except BaseException as error:
            fail(error)
            return otherwise

    return call
