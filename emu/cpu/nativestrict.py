"""Strict in C: fills the state of emu/native/strict.c."""

from __future__ import annotations

import ctypes
from typing import Any

from emu.calls import EVENT, ErrnoPlace, Listener
from emu.cpu import libunicorn as u
from emu.native import calls


class NativeStrict:
    """Keeps `Strict`."""

    def __init__(self, lib: Any, hooks: int, listener: Listener, errno: ErrnoPlace) -> None:
        self._lib, self._listener = lib, listener
        self._state = state = lib.st_init(hooks).contents
        state.errno_how, state.errno_at, state.fs_base = errno.how, errno.at, u.FS_BASE
        self._callback = state.on_violation = calls.OnViolation(self._on_violation)

    @property
    def unchecked(self) -> int:
        return int(self._state.unchecked)

    def mapped(self, instructions: int, where: tuple[int, int, int]) -> None:
        self._lib.st_mapped(*where)

    def _on_violation(self, event: int, what: int, detail: int) -> None:
        self._listener.violation(ctypes.string_at(event, EVENT.size), what, detail)
