"""What Unicorn does not tell, found out by running a few instructions in it: never trusted unprobed.

Where the error code of a page fault stands in a saved context; and the switch that spares a call after each load and
store. Both are private to Unicorn; where a probe fails, the CPU works without, slower.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_size_t, c_uint8, c_void_p
from typing import TYPE_CHECKING

from emu.cpu import libunicorn as u
from emu.cpu import vmcb
from emu.cpu.regs import Batch
from kernel.mm.ram import Ram

if TYPE_CHECKING:
    from emu.cpu.emulator import Emulator

NOWHERE = 1 << 63
TABLES, TEXT = vmcb.PROBE_TABLES, vmcb.PROBE_TABLES + 0x4000  # physical: four tables, then the page of code
CODE, HOLE, DATA = 0x40_0000, 0x40_1000, 0x40_2000  # virtual: read and execute; nothing; the same page, not executable
FAULTS = (  # code, RDI, and the error code its fault must show (APM vol. 2, 8.4.2: P, W, U, RSV, I/D)
    (b"\x8a\x07", HOLE, 0x4),  # mov al, [rdi]
    (b"\x88\x07", HOLE, 0x6),  # mov [rdi], al
    (b"\x88\x07", CODE, 0x7),
    (b"\xff\xe7", DATA, 0x15),  # jmp rdi
)
# Stopped by its CPUID, it counts in RBX unless the load after it is followed by a look whether to stop.
STOPPED = b"\x31\xdb\x0f\xa2\x8a\x07\x48\xff\xc3\xeb\xfe"  # xor ebx, ebx; cpuid; mov al, [rdi]; inc rbx; jmp .
HEADERS = range(24, 73, 8)  # bytes of a uc_context that are not the CPU's


def write_tables(ram: Ram) -> int:
    """Page tables for the probes, in the CPU's own megabyte. The physical address of the top one."""
    for level, index in ((0, 0), (1, 0), (2, CODE >> 21)):
        ram.words[(TABLES + 0x1000 * level >> 3) + index] = TABLES + 0x1000 * (level + 1) | 7
    pages = (TABLES + 0x3000 >> 3) + (CODE >> 12 & 511)
    ram.words[pages], ram.words[pages + 2] = TEXT | 5, TEXT | 7 | 1 << 63
    return TABLES


def find_error_code(emulator: Emulator, ram: Ram) -> int | None:
    """Provoke FAULTS, the first of them through VMRUN, and look for the one u32 that showed each error code."""
    lib, uc = emulator.lib, emulator.uc
    images: list[bytes] = []
    size = lib.uc_context_size(uc)

    def on_interrupt(_uc: int, number: int, _data: int) -> None:
        lib.uc_context_save(uc, c_void_p(emulator.context_address()))
        images.append(ctypes.string_at(emulator.context_address(), size) if number == vmcb.PAGE_FAULT else b"")
        lib.uc_emu_stop(uc)

    emulator.hook(u.HOOK_INTR, u.InterruptCallback(on_interrupt))
    start = vmcb.CODE
    for text, address, _ in FAULTS:
        _run(emulator, ram, text, start, address)
        start = CODE
    emulator.unhook_all()
    return only_offset(images, [expected for _, _, expected in FAULTS])


def only_offset(images: list[bytes], expected: list[int]) -> int | None:
    """The one offset at which each of `images` holds its `expected` u32; None unless exactly one does."""
    if len(images) != len(expected) or len({len(image) for image in images}) != 1:
        return None
    wanted = [struct.pack("<I", value) for value in expected]
    found = []
    at = images[0].find(wanted[0])
    while at >= 0:
        if at % 4 == 0 and all(image[at : at + 4] == want for image, want in zip(images, wanted, strict=True)):
            found.append(at)
        at = images[0].find(wanted[0], at + 1)
    return found[0] if len(found) == 1 else None


def spare_exit_checks(emulator: Emulator, ram: Ram) -> bool:
    """Set Unicorn's `no_exit_request`: translated code does not look after every load and store whether to stop.

    We stop at block edges and in interrupts only, and those looks are a quarter of a run that works on memory. The
    switch (Unicorn's own, for ARM's IT blocks) is looked for by its neighbours, tried, and kept if it does that."""
    lib, uc = emulator.lib, emulator.uc
    switch = _find_switch(lib, uc)
    if switch is None:
        return False

    def on_cpuid(_uc: int, _data: int) -> int:
        lib.uc_emu_stop(uc)
        return 1

    emulator.hook(u.HOOK_INSN, u.InsnCallback(on_cpuid), u.INS_CPUID)
    rbx = Batch(lib, uc, (u.RBX,))
    seen = []
    for value in (0, 1):
        switch.value = value
        _run(emulator, ram, STOPPED, CODE, CODE)
        seen.append(rbx.read()[0])
    emulator.unhook_all()
    works = seen == [0, 1]
    switch.value = int(works)
    return works


def _find_switch(lib: ctypes.PyDLL, uc: c_void_p) -> c_uint8 | None:
    """In struct uc_struct: int cpu_context_size; uint64_t next_pc; bool hook_insert, first_tb, no_exit_request,
    init_done. None unless there is exactly one such place."""
    try:
        usable = ctypes.CDLL(None).malloc_usable_size
    except (AttributeError, OSError, TypeError):
        return None
    usable.argtypes, usable.restype = (c_void_p,), c_size_t
    image = ctypes.string_at(uc.value or 0, usable(uc))
    sizes = {lib.uc_context_size(uc) - header for header in HEADERS}
    found = []
    for at in range(0, len(image) - 19, 8):
        flags = image[at + 16 : at + 20]
        if int.from_bytes(image[at : at + 8], "little") in sizes and max(flags) == 1 and flags[2:] == b"\0\1":
            found.append((uc.value or 0) + at + 18)
    return c_uint8.from_address(found[0]) if len(found) == 1 else None


def _run(emulator: Emulator, ram: Ram, text: bytes, start: int, rdi: int) -> None:
    """Run `text` at CODE until it stops, RDI set, entering at `start`."""
    ram.bytes[TEXT : TEXT + len(text)] = text
    emulator.lib.uc_ctl(emulator.uc, u.CTL_TB_FLUSH)
    registers = Batch(emulator.lib, emulator.uc, (u.RAX, u.RDI))
    registers.values[:] = [vmcb.VMCB, rdi]
    registers.write()
    u.check(emulator.lib.uc_emu_start(emulator.uc, start, NOWHERE, 0, c_size_t(0)), "probe")
