"""The ctypes mirror of memcheck.h, and its functions."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_int, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

# Unicorn's functions for loads and stores, as memcheck.h orders them. Those that are not there are not called either.
HELPERS = tuple(
    f"helper_{name}_mmu_x86_64"
    for name in ("ret_ldub", "ret_ldsb", "le_lduw", "le_ldsw", "le_ldul", "le_ldsl", "le_ldq",
                 "be_lduw", "be_ldsw", "be_ldul", "be_ldsl", "be_ldq",
                 "ret_stb", "le_stw", "le_stl", "le_stq", "be_stw", "be_stl", "be_stq")
)  # fmt: skip
NEEDED = tuple(name for name in HELPERS if "lds" not in name and "_be_" not in name)
APARTS = tuple(
    f"helper_{name}_x86_64"
    for name in ("fldt_ST0", "fstt_ST0", "fbld_ST0", "fbst_ST0", "fldenv", "fstenv", "fsave", "frstor", "fxsave",
                 "fxrstor", "xsave", "xsaveopt", "xrstor", "cmpxchg8b_unlocked", "cmpxchg8b", "cmpxchg16b_unlocked",
                 "cmpxchg16b", "maskmov_mmx", "maskmov_xmm")
)  # fmt: skip
RESTORE = "cpu_restore_state_x86_64"

OnPc = CFUNCTYPE(c_uint32, c_uint64)
OnAccess = CFUNCTYPE(None, c_uint64, c_uint64, c_uint32, c_uint32)


class State(ctypes.Structure):
    """mc_state: the library has one, see mc_init. Whoever fills it keeps what it points to."""

    _fields_ = (
        ("cr3", c_uint64), ("tells", c_uint64), ("loads_blank", c_uint64), ("blocks", c_uint64),
        ("redirected", c_uint64), ("cpu", c_void_p), ("restore", c_void_p),
        ("helpers", c_void_p * len(HELPERS)),
        ("aparts", c_void_p * len(APARTS)), ("apart_low", c_void_p), ("apart_high", c_void_p),
        ("on_pc", OnPc), ("on_access", OnAccess),
    )  # fmt: skip


def prepare(lib: Any) -> None:
    """Set the prototypes of memcheck.c's functions."""
    prototypes: dict[str, tuple[Any, ...]] = {
        "mc_init": (POINTER(State), c_void_p),
        "mc_bar": (None, c_uint64, c_uint64),
        "mc_slack": (None, c_uint8, c_uint8, c_uint8),
        "mc_made": (None, c_uint64, c_uint64, c_uint32, c_int),
        "mc_keep": (None, c_uint64, c_uint64),
        "mc_asked": (None, c_uint64, c_uint64, c_uint64, c_uint32),
        "mc_gone": (None, c_uint64, c_uint64),
        "mc_forget": (None, c_uint64, c_uint64),
        "mc_first_bad": (c_int64, c_uint64, c_uint64),
        "mc_first_blank": (c_int64, c_uint64, c_uint64),
        "mc_wrote": (None, c_uint64, c_uint64),
        "mc_hold": (None, c_uint64, c_uint64, c_int),
        "mc_around": (None, c_uint64, c_uint64, POINTER(c_uint64), POINTER(c_uint64)),
        "mc_more": (c_uint64, c_uint64),
        "mc_start": (c_int,),
        "mc_stop": (None,),
    }
    for name, (result, *arguments) in prototypes.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
