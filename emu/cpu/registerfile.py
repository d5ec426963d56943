"""Where Unicorn keeps the CPU's integer registers: sixteen u64 in a row, which C code may then read for nothing.

Private to Unicorn, so it is found by writing values and looking for them, twice; where that fails, uc_reg_read serves.
"""

from __future__ import annotations

import ctypes
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ctypes import c_char_p, c_size_t, c_void_p
from typing import TYPE_CHECKING

from emu.cpu import libunicorn as u
from emu.cpu.regs import Batch

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator

ENCODED = (u.RAX, u.RCX, u.RDX, u.RBX, u.RSP, u.RBP, u.RSI, u.RDI,
           u.R8, u.R9, u.R10, u.R11, u.R12, u.R13, u.R14, u.R15)  # fmt: skip  # as instructions number them
FAR = 256 << 10  # bytes of a CPU object that are looked through


def find(emulator: Emulator) -> int:
    """The host address of RAX, the others behind it in the order of ENCODED; 0: not found. The CPU must not run."""
    registers = Batch(emulator.lib, emulator.uc, ENCODED)
    before = list(registers.read())
    try:
        return _search(emulator, registers)
    finally:
        registers.values[:] = before
        registers.write()


def cpu_of(emulator: Emulator, registers: int) -> int:
    """The host address of the CPU object that holds `registers`, as `find` gave them; 0: not found."""
    own = struct.pack("<Q", emulator.uc.value)
    spans = _writable()
    for pointer in sorted(set(_words(emulator)), reverse=True):
        near = registers - FAR < pointer < registers and any(start <= pointer < end for start, end in spans)
        if near and own in ctypes.string_at(pointer, registers - pointer):  # CPUState names its uc
            return pointer
    return 0


def _sign(registers: Batch, salt: int) -> bytes:
    """Write sixteen values that stand nowhere else; they as bytes."""
    registers.values[:] = [(0x9E3779B97F4A7C15 * (salt + i)) & (1 << 64) - 1 for i in range(16)]
    registers.write()
    return struct.pack("<16Q", *registers.values)


def _search(emulator: Emulator, registers: Batch) -> int:
    sign = _sign(registers, 101)
    found = [at for start, end in _near(_words(emulator)) for at in _places(sign, start, end)]
    sign = _sign(registers, 202)
    moved = [address for address in found if ctypes.string_at(address, 128) == sign]
    return moved[0] if len(moved) == 1 else 0


def _places(sign: bytes, start: int, end: int) -> Iterator[int]:
    """The addresses in [start, end) where it stands: megabytes are looked through, and none is copied."""
    memmem = ctypes.CDLL(None).memmem
    memmem.argtypes, memmem.restype = (c_void_p, c_size_t, c_char_p, c_size_t), c_void_p
    while at := memmem(start, end - start, sign, len(sign)):
        yield at
        start = at + 1


def _near(words: Iterable[int]) -> list[tuple[int, int]]:
    """What may be read and lies FAR at most behind one of them that is a pointer, each byte once: [start, end)."""
    spans = _writable()
    starts = [start for start, _ in spans]
    near: list[tuple[int, int]] = []
    for pointer in sorted(set(words)):
        index = bisect_right(starts, pointer) - 1
        if index < 0 or pointer >= spans[index][1]:
            continue
        end = min(pointer + FAR, spans[index][1])
        if near and pointer <= near[-1][1]:
            near[-1] = near[-1][0], max(near[-1][1], end)
        else:
            near.append((pointer, end))
    return near


def _words(emulator: Emulator) -> tuple[int, ...]:
    """The pointers in struct uc_struct: one of them is its CPU."""
    try:
        usable = ctypes.CDLL(None).malloc_usable_size
    except (AttributeError, OSError, TypeError):
        return ()
    usable.argtypes, usable.restype = (c_void_p,), c_size_t
    image = ctypes.string_at(emulator.uc.value or 0, usable(emulator.uc) // 8 * 8)
    return struct.unpack(f"<{len(image) // 8}Q", image)


def _writable() -> list[tuple[int, int]]:
    """The host's writable mappings, by address."""
    spans = []
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                span, perms, *_ = line.split()
                if perms.startswith("rw"):
                    start, end = span.split("-")
                    spans.append((int(start, 16), int(end, 16)))
    except OSError:
        pass
    return sorted(spans)
