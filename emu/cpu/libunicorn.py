"""libunicorn, called directly: the functions the engine needs, with argument buffers that are made once.

The `unicorn` package's own wrappers cost 1.6 us for each register; these calls cost 0.1 to 0.5 us. The package is only
asked where its library lies, so its Python code is not imported.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import CFUNCTYPE, POINTER, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from importlib.machinery import PathFinder

ARCH_X86, MODE_64, PROT_ALL = 4, 1 << 3, 7
CPU_EPYC_ROME = 37  # a model with SVM

HOOK_INTR, HOOK_INSN, HOOK_BLOCK, HOOK_EDGE = 1 << 0, 1 << 1, 1 << 3, 1 << 15
HOOK_MEM_READ, HOOK_MEM_WRITE, MEM_WRITE = 1 << 10, 1 << 11, 17
INS_SYSCALL, INS_CPUID, INS_RDTSC, INS_RDTSCP = 699, 113, 608, 609


def _ctl(kind: int, args: int, io: int) -> int:
    """UC_CTL of unicorn.h: what to control, how many arguments, 1 write / 2 read / 3 both. A C int."""
    return c_int(kind | args << 26 | io << 30).value


CTL_CPU_MODEL = _ctl(7, 1, 1)
CTL_TB_REQUEST = _ctl(8, 2, 3)
CTL_TB_REMOVE = _ctl(9, 2, 1)
CTL_TB_FLUSH = _ctl(10, 0, 1)
CTL_TLB_FLUSH = _ctl(11, 0, 1)
CTL_TCG_BUFFER = _ctl(13, 1, 1)

# uc_x86_reg
RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP = 35, 37, 38, 40, 43, 39, 36, 44
R8, R9, R10, R11, R12, R13, R14, R15 = range(106, 114)
RIP, RFLAGS = 41, 253
CR3, CR4, FS_BASE, GS_BASE, MSR = 53, 54, 250, 251, 248
MXCSR, FPCW, FPSW, FPTAG, FIP, FDP, FOP = 249, 246, 31, 247, 254, 256, 258
ST0, XMM0 = 114, 122  # ST0…ST7 and XMM0…XMM15 follow each other

BlockCallback = CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
EdgeCallback = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_void_p)
InterruptCallback = CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
SyscallCallback = CFUNCTYPE(None, c_void_p, c_void_p)
MemCallback = CFUNCTYPE(None, c_void_p, c_int, c_uint64, c_int, c_int64, c_void_p)
InsnCallback = CFUNCTYPE(c_int, c_void_p, c_void_p)  # returns whether the instruction was answered


class UcTb(ctypes.Structure):
    """uc_tb: one translated block."""

    _fields_ = (("pc", c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


class UcMsr(ctypes.Structure):
    """uc_x86_msr: one model-specific register, for reg_read and reg_write of MSR."""

    _fields_ = (("rid", c_uint32), ("value", c_uint64))


class UnicornError(RuntimeError):
    """Unicorn refused a call: a bug of ours, or a library that is not the version this was written for."""


def library_path() -> str:
    """Where the unicorn package keeps its shared library; LIBUNICORN_PATH names another folder (as its own binding)."""
    name = {"darwin": "libunicorn.2.dylib", "win32": "unicorn.dll"}.get(sys.platform, "libunicorn.so.2")
    override = os.environ.get("LIBUNICORN_PATH")
    if override:
        return os.path.join(override, name)
    spec = PathFinder.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the unicorn package is not installed: pip install unicorn==2.1.4")
    return os.path.join(spec.submodule_search_locations[0], "lib", name)


def load() -> ctypes.PyDLL:
    """The library, prototypes set. A PyDLL: the GIL is kept, as calls are short and emulation comes back in slices."""
    lib = ctypes.PyDLL(library_path())
    uc, ptr = c_void_p, c_void_p
    prototypes = {
        "uc_open": (c_int, c_int, POINTER(c_void_p)),
        "uc_emu_start": (uc, c_uint64, c_uint64, c_uint64, c_size_t),
        "uc_emu_stop": (uc,),
        "uc_mem_map_ptr": (uc, c_uint64, c_size_t, c_uint32, ptr),
        "uc_mem_unmap": (uc, c_uint64, c_size_t),
        "uc_reg_read": (uc, c_int, ptr),
        "uc_reg_write": (uc, c_int, ptr),
        "uc_reg_read_batch": (uc, ptr, ptr, c_int),
        "uc_reg_write_batch": (uc, ptr, ptr, c_int),
        "uc_context_alloc": (uc, POINTER(c_void_p)),
        "uc_context_save": (uc, ptr),
    }
    for name, arguments in prototypes.items():
        function = getattr(lib, name)
        function.argtypes = arguments
        function.restype = c_int
    lib.uc_context_size.argtypes = (uc,)
    lib.uc_context_size.restype = c_size_t
    lib.uc_ctl.restype = c_int  # variadic: no argtypes
    lib.uc_hook_add.restype = c_int
    return lib


def check(error: int, what: str) -> None:
    """Raise UnicornError unless a call returned UC_ERR_OK."""
    if error:
        raise UnicornError(f"{what}: unicorn error {error}")
