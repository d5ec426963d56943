"""The ctypes mirror of heap.h, and its functions."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_int, c_int8, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

OnFull = CFUNCTYPE(None)
OnMisuse = CFUNCTYPE(None, c_void_p, c_void_p)


class Function(ctypes.Structure):
    """hp_function."""

    _fields_ = (
        ("verb", c_uint8), ("kind", c_uint8), ("family", c_uint8), ("options", c_uint8),
        ("size", c_int8), ("count", c_int8), ("pointer", c_int8), ("alignment", c_int8), ("out", c_int8),
        ("aligned", c_uint8), ("pool", c_int8), ("unused", c_int8 * 5),
    )  # fmt: skip


class Rule(ctypes.Structure):
    """hp_rule."""

    _fields_ = (
        ("pc", c_uint64), ("cfa", c_int32), ("rbp", c_int32), ("by_rbp", c_uint8), ("how", c_uint8),
        ("unused", c_uint8 * 6),
    )  # fmt: skip


OnPc = CFUNCTYPE(None, c_uint64, POINTER(Rule))


class State(ctypes.Structure):
    """hp_state: the library has one, see hp_init. Whoever fills it keeps what it points to."""

    _fields_ = (
        ("ring", c_void_p), ("capacity", c_uint64), ("used", c_uint64), ("events", c_uint64), ("lost", c_uint64),
        ("registers", c_void_p), ("mm_counters", c_void_p), ("cr3", c_uint64), ("tid", c_uint32),
        ("stack_depth", c_uint32), ("on_full", OnFull), ("on_misuse", OnMisuse), ("on_pc", OnPc),
        ("blocks", c_void_p), ("blocks_size", c_uint64),
        ("sites", POINTER(c_uint64)), ("sites_used", c_uint64), ("stacks", POINTER(c_uint64)),
        ("stacks_used", c_uint64), ("frames", POINTER(c_uint32)), ("frames_used", c_uint64),
        ("rules", POINTER(Rule)), ("rules_used", c_uint64),
        ("totals", c_void_p), ("places", c_void_p), ("places_size", c_uint64),
        ("dear", c_void_p), ("dear_mask", c_uint64), ("dear_used", c_uint64),
        ("most", c_uint64), ("stopped", c_uint64), ("strict", c_uint64), ("quick", c_uint64),
    )  # fmt: skip


class Ends(ctypes.Structure):
    """hp_ends; leaks of (stack, site, blocks, bytes), taken of (size, takes, blocks)."""

    _fields_ = (
        ("live", c_uint64), ("freed", c_uint64), ("elsewhere", c_uint64),
        ("leaks", POINTER(c_uint64 * 4)), ("leaks_used", c_uint64),
        ("taken", POINTER(c_uint64 * 3)), ("taken_used", c_uint64),
    )  # fmt: skip


OnViolation = CFUNCTYPE(None, c_void_p, c_uint32, c_uint64)


class StrictState(ctypes.Structure):
    """st_state: the library has one, see st_init."""

    _fields_ = (
        ("unchecked", c_uint64), ("errno_at", c_int64), ("errno_how", c_uint32), ("fs_base", c_uint32),
        ("on_violation", OnViolation),
    )  # fmt: skip


def prepare(lib: Any) -> None:
    """Set the prototypes of the functions of heap.c and strict.c."""
    prototypes: dict[str, tuple[Any, ...]] = {
        "hp_init": (POINTER(State), c_void_p),
        "hp_add": (c_int, c_uint64, POINTER(Function)),
        "hp_reached": (None, c_uint64),
        "hp_switch": (c_int, c_uint32),
        "hp_settle": (None,),
        "hp_end": (None,),
        "hp_inside": (ctypes.c_int,),
        "hp_sum_up": (POINTER(Ends), c_void_p, c_uint64),
        "st_init": (POINTER(StrictState), c_void_p),
        "st_mapped": (None, c_uint64, c_uint64, c_uint32),
        "hp_block_at": (c_void_p, c_uint64),
    }
    for name, (result, *arguments) in prototypes.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
