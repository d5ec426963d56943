"""What Unicorn's interrupt numbers mean at CPL 3: the exception that Linux on hardware would see, and where.

Software interrupts and a few instructions are intercepted at the instruction; those that a real CPU reports after it
(int3, int 0x80, int1) say by how many bytes. Linux lets a program use the gates 3, 4 and 0x80; others are #GP.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.cpu import decode, vmcb
from emu.cpu.libunicorn import UnicornError
from kernel.cpu import Vector


class Meaning(NamedTuple):
    """An exception: its `vector`, its `error` code, and the instruction's `length` if RIP is to be after it, else 0."""

    vector: int
    error: int = 0
    length: int = 0


UNDEFINED = Meaning(Vector.UD)
_UNDEFINED_EXITS = {0x180, vmcb.VMMCALL, 0x182, 0x183, 0x184, 0x185, 0x186, vmcb.MONITOR, vmcb.MWAIT}
# Instructions that Unicorn answers with #GP for a privilege we do not have, and hardware as if they did not exist:
# SVM's (EFER.SVME is off under Linux), and sysenter and sysexit (AMD has none in long mode).
_SVM = {b"\x0f\x01" + bytes([third]) for third in range(0xD8, 0xE0)}
_SYSENTER = {b"\x0f\x34", b"\x0f\x35"}
_XSETBV = b"\x0f\x01\xd1"  # without OSXSAVE


def meaning(number: int, code: bytes, error: int) -> Meaning:
    """The exception behind Unicorn's `number` at an instruction with the bytes `code`; `error` is the CPU's error code.
    Raises UnicornError for a number that no intercept asked for."""
    skip = 0
    while skip < len(code) and decode.ONE_BYTE[code[skip]] & decode.PREFIX:
        skip += 1
    bare = code[skip:]
    if number == vmcb.SWINT:
        return _software(bare, skip)
    if number == vmcb.RDPMC:
        return Meaning(Vector.GP)
    if number in _UNDEFINED_EXITS:
        return UNDEFINED
    vector = number - vmcb.EXCEPTION
    if vector == Vector.UD and bare[:1] == b"\xf1":  # int1, which Unicorn lacks
        return Meaning(Vector.DB, 0, skip + 1)
    if vector == Vector.GP and (bare[:3] in _SVM or bare[:3] == _XSETBV or bare[:2] in _SYSENTER):
        return UNDEFINED
    if 0 <= vector < 32:
        return Meaning(vector, error)
    raise UnicornError(f"unexpected interrupt {number:#x} at {code.hex(' ')}")


def _software(bare: bytes, skip: int) -> Meaning:
    if bare[:1] == b"\xcc":
        return Meaning(Vector.BP, 0, skip + 1)
    number = bare[1] if bare[:1] == b"\xcd" and len(bare) > 1 else 0
    if number in (Vector.BP, Vector.OF, Vector.INT80):
        return Meaning(number, 0, skip + 2)
    return Meaning(Vector.GP, number << 3 | 2)
