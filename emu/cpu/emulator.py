"""The process's one Unicorn instance: opened once (Unicorn leaks at each close), put into SVM once, lent to one CPU.

It also finds out, by provoking faults, where the error code of a page fault can be read.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_int, c_size_t, c_uint64, c_void_p
from typing import Any

from emu.cpu import libunicorn as u
from emu.cpu import vmcb
from emu.cpu.regs import Batch
from kernel.mm.ram import Ram

NOWHERE = 1 << 63  # not canonical: an address at which emulation never ends
PROBE_CODE, PROBE_HOLE, PROBE_NX = 0x40_0000, 0x40_1000, 0x40_2000
PROBES = (  # code, and the error code its fault must show (APM vol. 2, 8.4.2: P, W, U, RSV, I/D)
    (b"\x8a\x07", PROBE_HOLE, 0x4),  # mov al, [rdi]
    (b"\x88\x07", PROBE_HOLE, 0x6),  # mov [rdi], al
    (b"\x88\x07", PROBE_CODE, 0x7),
    (b"\xff\xe7", PROBE_NX, 0x15),  # jmp rdi
)


class Emulator:
    """`lib` and `uc`, ready to run a guest in SVM; `hooks` belong to whom it is lent (`lend`).

    `error_offset` is where in the context saved at an exit the error code stands as a u32; None: not found.
    """

    def __init__(self) -> None:
        self.lib = u.load()
        self.uc = c_void_p()
        u.check(self.lib.uc_open(u.ARCH_X86, u.MODE_64, ctypes.byref(self.uc)), "uc_open")
        u.check(self.lib.uc_ctl(self.uc, u.CTL_CPU_MODEL, c_int(u.CPU_EPYC_ROME)), "cpu model")
        self.borrower: object = None
        self.error_offset: int | None = None
        self._ram: Ram | None = None  # kept: Unicorn walks the page tables in it even while it unmaps it
        self._hooks: list[tuple[c_void_p, Any]] = []  # with their callbacks, which must live as long
        self.context_size = 0
        self._context = c_void_p()
        self._error_code = ctypes.c_uint32()

    def lend(self, ram: Ram, borrower: object) -> None:
        """Make `ram` the physical memory and `borrower` the one who may run. All hooks and translations are dropped."""
        for hook, _ in self._hooks:
            self.lib.uc_hook_del(self.uc, hook)
        self._hooks.clear()
        first = self._ram is None
        self._map(ram)
        if first:
            self._enter_svm(ram)
        self.lib.uc_ctl(self.uc, u.CTL_TB_FLUSH)
        self.lib.uc_ctl(self.uc, u.CTL_TLB_FLUSH)
        self.borrower = borrower

    def hook(self, kind: int, callback: Any, insn: int | None = None, data: int | None = None) -> None:
        """Install a hook for all addresses; `data` is its user data."""
        hook = c_void_p()
        arguments = [self.uc, ctypes.byref(hook), c_int(kind), callback, c_void_p(data), c_uint64(1), c_uint64(0)]
        if insn is not None:
            arguments.append(c_int(insn))
        u.check(self.lib.uc_hook_add(*arguments), "hook")
        self._hooks.append((hook, callback))

    def error_code(self) -> int:
        """The error code of the exception that just came out. Only where `error_offset` was found."""
        self.lib.uc_context_save(self.uc, self._context)
        return self._error_code.value

    def context_address(self) -> int:
        """Where `error_code` saves the context, for native code."""
        return self._context.value or 0

    def _map(self, ram: Ram) -> None:
        """Another Ram costs 0.1 s for 4 GiB (Unicorn unmaps page by page); the same one again, nothing."""
        if self._ram is ram:
            return
        if self._ram is not None:
            u.check(self.lib.uc_mem_unmap(self.uc, 0, c_size_t(self._ram.size)), "unmap RAM")
        address = ctypes.addressof(ctypes.c_char.from_buffer(ram.buffer))
        u.check(self.lib.uc_mem_map_ptr(self.uc, 0, ram.size, u.PROT_ALL, c_void_p(address)), "map RAM")
        self._ram = ram

    def _msr(self, rid: int, value: int) -> None:
        u.check(self.lib.uc_reg_write(self.uc, u.MSR, ctypes.byref(u.UcMsr(rid, value))), "msr")

    def _enter_svm(self, ram: Ram) -> None:
        """VMRUN into the probe's code. The guest that it enters is never left again."""
        tables = vmcb.PROBE_TABLES
        code = tables + 0x4000
        for level, index in ((0, 0), (1, 0), (2, PROBE_CODE >> 21)):
            ram.words[(tables + 0x1000 * level >> 3) + index] = tables + 0x1000 * (level + 1) | 7
        page_table = (tables + 0x3000 >> 3) + (PROBE_CODE >> 12 & 511)
        ram.words[page_table] = code | 5
        ram.words[page_table + 2] = code | 7 | 1 << 63
        vmcb.write_vmcb(ram.bytes, tables, PROBE_CODE)
        self._msr(vmcb.EFER_MSR, vmcb.EFER_HOST)
        self._msr(vmcb.HSAVE_MSR, vmcb.HSAVE)
        cr4 = Batch(self.lib, self.uc, (u.CR4,))
        cr4.values[0] = vmcb.CR4_PAE
        cr4.write()
        u.check(self.lib.uc_context_alloc(self.uc, ctypes.byref(self._context)), "context")
        self.context_size = self.lib.uc_context_size(self.uc)
        self._probe(ram, code)

    def _probe(self, ram: Ram, code: int) -> None:
        """Run PROBES, and look for the one place where each showed its error code."""
        images: list[bytes] = []

        def on_interrupt(_uc: int, number: int, _data: int) -> None:
            self.lib.uc_context_save(self.uc, self._context)
            image = ctypes.string_at(self.context_address(), self.context_size)
            images.append(image if number == vmcb.PAGE_FAULT else b"")
            self.lib.uc_emu_stop(self.uc)

        self.hook(u.HOOK_INTR, u.InterruptCallback(on_interrupt))
        registers = Batch(self.lib, self.uc, (u.RAX, u.RDI))
        start = vmcb.CODE
        for text, address, _ in PROBES:
            ram.bytes[code : code + 2] = text
            self.lib.uc_ctl(self.uc, u.CTL_TB_FLUSH)
            registers.values[:] = [vmcb.VMCB, address]
            registers.write()
            error = self.lib.uc_emu_start(self.uc, start, NOWHERE, 0, c_size_t(0))
            u.check(error, "probe")
            start = PROBE_CODE
        hook, _ = self._hooks.pop()
        self.lib.uc_hook_del(self.uc, hook)
        self.error_offset = error_offset(images, [expected for _, _, expected in PROBES])
        if self.error_offset is not None:
            self._error_code = ctypes.c_uint32.from_address(self.context_address() + self.error_offset)


def error_offset(images: list[bytes], expected: list[int]) -> int | None:
    """The one offset at which each of `images` holds its `expected` u32; None unless exactly one does."""
    sizes = {len(image) for image in images}
    if len(images) != len(expected) or len(sizes) != 1:
        return None
    wanted = [struct.pack("<I", value) for value in expected]
    found = []
    at = images[0].find(wanted[0])
    while at >= 0:
        if at % 4 == 0 and all(image[at : at + 4] == want for image, want in zip(images, wanted, strict=True)):
            found.append(at)
        at = images[0].find(wanted[0], at + 1)
    return found[0] if len(found) == 1 else None


_the_emulator: Emulator | None = None


def the_emulator() -> Emulator:
    """The process's Emulator, made at the first call."""
    global _the_emulator
    if _the_emulator is None:
        _the_emulator = Emulator()
    return _the_emulator
