"""Call stacks by the rules for each return address: the twin of emu/native/heap_stacks.h, with equal results."""

from __future__ import annotations

from collections.abc import Callable

from emu.calls import ALL, CUT, ENDS, GOES_ON, Listener, Rule
from emu.cpu.pythonevents import Event


class PythonStacks:
    """Call stacks of `depth` frames, and their numbers."""

    def __init__(self, listener: Listener, depth: int, word: Callable[[int], int | None]) -> None:
        """`word`: the eight bytes of guest memory at an address."""
        self._listener, self._depth, self._word = listener, depth, word
        self._rules: dict[int, Rule] = {}
        self.numbers: dict[tuple[int, ...], int] = {(): 0}

    def take(self, event: Event, rbp: int) -> None:
        """From the call site outwards."""
        pcs: list[int] = []
        pc: int | None = event.ret
        at = event.sp + 8
        while len(pcs) < self._depth:
            assert pc is not None
            rule = self._rules.get(pc) or self._rules.setdefault(pc, self._listener.rule(pc))
            pcs.append(pc)
            if rule.how != GOES_ON:
                event.flags |= 0 if rule.how == ENDS else CUT
                break
            cfa = (rbp if rule.by_rbp else at) + rule.cfa & ALL
            pc = self._word(cfa - 8) if cfa > at else None
            saved = self._word(cfa + rule.rbp) if rule.rbp and pc is not None else rbp
            if pc is None or saved is None:
                event.flags |= CUT
                break
            rbp, at = saved, cfa
        event.stack = self.numbers.setdefault(tuple(pcs), len(self.numbers))
