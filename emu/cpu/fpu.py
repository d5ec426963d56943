"""x87, SSE and MXCSR as the 512-byte FXSAVE64 image (AMD64 APM vol. 2, figure 11-11), to and from Unicorn."""

from __future__ import annotations

import ctypes
import struct

from emu.cpu import libunicorn as u

SIZE = 512
MXCSR_MASK = 0xFFFF
HEADER = struct.Struct("<HHBxHQQII")  # FCW FSW FTW FOP RIP RDP MXCSR MXCSR_MASK
ST, XMM = 32, 160  # where the registers begin in the image, 16 bytes each
INITIAL = HEADER.pack(0x37F, 0, 0, 0, 0, 0, 0x1F80, MXCSR_MASK).ljust(SIZE, b"\0")

_SCALARS = (u.FPCW, u.FPSW, u.FPTAG, u.FOP, u.FIP, u.FDP, u.MXCSR)
_WORDS = struct.Struct(f"<{len(_SCALARS)}Q")
_TAGS = [sum(3 << 2 * i for i in range(8) if not valid >> i & 1) for valid in range(256)]  # FTW → tag word
_VALID = {tags: valid for valid, tags in enumerate(_TAGS)}  # and back, of registers that are valid or empty
_NOUGHT, _BLANK = (0,) * len(_SCALARS), bytes(SIZE)
_WIDE = tuple(range(u.ST0, u.ST0 + 8)) + tuple(range(u.XMM0, u.XMM0 + 16))


class Fpu:
    """The floating-point state of the CPU; one per Uc. An image read and written back changes nothing."""

    def __init__(self, lib: ctypes.PyDLL, handle: ctypes.c_void_p) -> None:
        self._read, self._write = lib.uc_reg_read_batch, lib.uc_reg_write_batch
        self._scalars = (ctypes.c_uint64 * len(_SCALARS))()
        self._image = ctypes.create_string_buffer(SIZE)
        registers = _SCALARS + _WIDE
        n = len(registers)
        ids = (ctypes.c_int * n)(*registers)
        scalars, image = ctypes.addressof(self._scalars), ctypes.addressof(self._image)
        where = [scalars + 8 * i for i in range(len(_SCALARS))]
        where += [image + ST + 16 * i for i in range(8)] + [image + XMM + 16 * i for i in range(16)]
        pointers = (ctypes.c_void_p * n)(*where)
        self._arrays = ids, pointers  # kept; as arguments their addresses are cheaper
        self._arguments = handle.value, ctypes.addressof(ids), ctypes.addressof(pointers), n
        self._bytes = memoryview(self._image).cast("B")

    def read(self) -> bytes:
        """The state now, 512 bytes."""
        _WORDS.pack_into(self._scalars, 0, *_NOUGHT)
        self._bytes[:] = _BLANK
        u.check(self._read(*self._arguments), "read fpu")
        fcw, fsw, tags, fop, fip, fdp, mxcsr = _WORDS.unpack_from(self._scalars)
        valid = _VALID.get(tags, -1)
        if valid < 0:
            valid = sum(1 << i for i in range(8) if tags >> 2 * i & 3 != 3)
        HEADER.pack_into(self._image, 0, fcw, fsw, valid, fop, fip, fdp, mxcsr, MXCSR_MASK)
        return bytes(self._bytes)

    def write(self, image: bytes) -> None:
        """Set the state from 512 bytes; reserved bits of MXCSR are dropped. Raises ValueError for another length."""
        if len(image) != SIZE:
            raise ValueError(f"an FXSAVE64 image has {SIZE} bytes, not {len(image)}")
        self._bytes[:] = image
        fcw, fsw, valid, fop, fip, fdp, mxcsr, _ = HEADER.unpack_from(image)
        _WORDS.pack_into(self._scalars, 0, fcw, fsw, _TAGS[valid], fop, fip, fdp, mxcsr & MXCSR_MASK)
        u.check(self._write(*self._arguments), "write fpu")
