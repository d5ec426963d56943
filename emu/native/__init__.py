"""The C accelerator: the ctypes mirror of hooks.h, and whether it is there. Without it the Python twins serve.

`HEAPSCOPE_NATIVE=0` in the environment turns it off.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from ctypes import CFUNCTYPE, c_int, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any

from emu.native import place

MAP_BITS, BLOCKS = 14, 1 << 20

OnLimit = CFUNCTYPE(c_int, c_uint64, c_uint64)
OnInterrupt = CFUNCTYPE(None, c_uint32, c_uint64, c_uint64, c_uint32)
OnSyscall = CFUNCTYPE(c_int64, *[c_uint64] * 7)


class Block(ctypes.Structure):
    """hs_block: one block, counted."""

    _fields_ = (
        ("address", c_uint64), ("size", c_uint16), ("count", c_uint16), ("generation", c_uint32),
        ("watch", c_uint64), ("run", c_void_p),
    )  # fmt: skip


class State(ctypes.Structure):
    """hs_state: the library has one, see hs_init. Whoever fills it keeps what it points to."""

    _fields_ = (
        ("left", c_int64),
        ("last", c_uint32),
        ("unused", c_uint32),
        ("over", c_void_p),
        ("limit", c_int64),
        ("blocks", c_void_p),
        ("cr3", c_uint64),
        ("syscalls", c_uint64),
        ("entries", c_uint64),
        ("next_rip", c_uint64),
        ("keep_rax", c_uint64),
        ("stale_tlb", c_uint64),
        ("generation", c_uint64),
        ("map", c_void_p),
        ("used", c_uint64),
        ("code", c_uint64),
        ("code_end", c_uint64),
        ("patched", c_uint64),
        ("ram", c_void_p),
        ("ram_size", c_uint64),
        ("one_byte", c_void_p),
        ("two_byte", c_void_p),
        ("uc", c_void_p),
        ("context", c_void_p),
        ("error_code", c_void_p),
        ("fault_address", c_void_p),
        ("reg_read", c_void_p),
        ("reg_read_batch", c_void_p),
        ("reg_write_batch", c_void_p),
        ("context_save", c_void_p),
        ("ctl", c_void_p),
        ("on_limit", OnLimit),
        ("on_interrupt", OnInterrupt),
        ("on_syscall", OnSyscall),
        ("windows", c_void_p),
        ("mm_counters", c_void_p),
        ("frame_counters", c_void_p),
        ("refs", c_void_p),
        ("free", c_void_p),
        ("faults", c_uint64),
        ("flush_at", c_uint64),
        ("watched", c_void_p),
        ("reached", c_void_p),
    )


def load(path: str) -> Any:
    """The shared object at `path`, prototypes set. Hooks are taken as addresses: Unicorn calls them, not we."""
    lib = ctypes.PyDLL(path)
    prototypes: dict[str, tuple[Any, ...]] = {
        "hs_init": (ctypes.POINTER(State),),
        "hs_settle": (c_int64, c_uint64),
        "hs_here": (c_int64, c_uint64),
        "hs_forget": (None,),
        "hs_dropped": (None,),
        "hs_length": (c_uint64, ctypes.c_char_p, c_uint64, c_uint64),
    }
    for name, (result, *arguments) in prototypes.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@functools.cache
def library() -> Any | None:
    """The accelerator, built if it must be and can be; None where it cannot, which is said once on stderr."""
    if os.environ.get("HEAPSCOPE_NATIVE") == "0":
        return None
    path, reason = place.find(), ""
    if not path:
        from emu.native.build import build

        path, reason = build(zig=False)  # zig's first compilation takes half a minute: `make native`
    if path:
        try:
            return load(path)
        except (OSError, AttributeError) as error:
            reason = str(error)
    print(f"heapscope: no native hooks, the Python twin serves (slower, same results): {reason}", file=sys.stderr)
    return None


def address_of(view: memoryview) -> int:
    """The host address of a writable buffer's first byte."""
    return ctypes.addressof(c_uint8.from_buffer(view))
