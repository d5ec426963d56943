"""The process's one Unicorn instance: opened once (Unicorn leaks at each close), put into SVM once, lent to one CPU."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_size_t, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

from emu.cpu import libunicorn as u
from emu.cpu import probe, vmcb
from emu.cpu.regs import Batch
from kernel.mm.ram import Ram

if TYPE_CHECKING:
    from collections.abc import Iterable

NOWHERE = 1 << 63  # not canonical: an address at which emulation never ends


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
        self.ram: Ram | None = None  # kept: Unicorn walks the page tables in it even while it unmaps it
        self._hooks: list[tuple[c_void_p, Any]] = []  # with their callbacks, which must live as long
        self.spares_exit_checks = False
        self._context = c_void_p()
        self._error_code = ctypes.c_uint32()
        self._cr3 = Batch(self.lib, self.uc, (u.CR3,))

    def lend(self, ram: Ram, borrower: object) -> None:
        """Make `ram` the physical memory and `borrower` the one who may run. All hooks and translations are dropped."""
        self.unhook_all()
        first = self.ram is None
        self._map(ram)
        vmcb.write_direct_tables(ram.words, ram.size)
        if first:
            self._enter_svm(ram)
        self.lib.uc_ctl(self.uc, u.CTL_TB_FLUSH)
        self.lib.uc_ctl(self.uc, u.CTL_TLB_FLUSH)
        self.borrower = borrower

    def unhook_all(self) -> None:
        """Take all hooks away."""
        for hook, _ in self._hooks:
            self.lib.uc_hook_del(self.uc, hook)
        self._hooks.clear()

    def hook(
        self, kind: int, callback: Any, insn: int | None = None, data: int | None = None, first: int = 1, last: int = 0
    ) -> None:
        """Install a hook for the addresses [first, last], by default all; `data` is its user data."""
        hook = c_void_p()
        span = c_uint64(first), c_uint64(last)
        arguments = [self.uc, ctypes.byref(hook), c_int(kind), callback, c_void_p(data), *span]
        if insn is not None:
            arguments.append(c_int(insn))
        u.check(self.lib.uc_hook_add(*arguments), "hook")
        self._hooks.append((hook, callback))

    def drop_translations(self, start: int, end: int) -> None:
        """Translate what overlaps [start, end) anew, where its pages are present."""
        while start < end:  # by page: Unicorn looks up the first one only
            stop = min(end, (start | 4095) + 1)
            self.lib.uc_ctl(self.uc, u.CTL_TB_REMOVE, c_uint64(start), c_uint64(stop))
            start = stop

    def drop_frames(self, pfns: Iterable[int], cr3: int) -> None:
        """Translate what lies in these frames anew, wherever they are mapped. `cr3` is the address space that the CPU
        is in: Unicorn goes by virtual addresses, so it sees all of RAM for a moment. Its TLB is flushed."""
        self._cr3.values[0] = vmcb.DIRECT_TABLES
        self._cr3.write()
        for pfn in pfns:
            self.lib.uc_ctl(self.uc, u.CTL_TB_REMOVE, c_uint64(pfn << 12), c_uint64(pfn + 1 << 12))
        self._cr3.values[0] = cr3
        self._cr3.write()

    def error_code(self) -> int:
        """The error code of the exception that just came out. Only where `error_offset` was found."""
        self.lib.uc_context_save(self.uc, self._context)
        return self._error_code.value

    def context_address(self) -> int:
        """Where `error_code` saves the context, for native code."""
        return self._context.value or 0

    def _map(self, ram: Ram) -> None:
        """Another Ram costs 0.1 s for 4 GiB (Unicorn unmaps page by page); the same one again, nothing."""
        if self.ram is ram:
            return
        if self.ram is not None:
            u.check(self.lib.uc_mem_unmap(self.uc, 0, c_size_t(self.ram.size)), "unmap RAM")
        address = ctypes.addressof(ctypes.c_char.from_buffer(ram.buffer))
        u.check(self.lib.uc_mem_map_ptr(self.uc, 0, ram.size, u.PROT_ALL, c_void_p(address)), "map RAM")
        self.ram = ram

    def _msr(self, rid: int, value: int) -> None:
        u.check(self.lib.uc_reg_write(self.uc, u.MSR, ctypes.byref(u.UcMsr(rid, value))), "msr")

    def _enter_svm(self, ram: Ram) -> None:
        """VMRUN into the probe's code; that guest is never left again. Find out what is not documented."""
        vmcb.write_vmcb(ram.bytes, probe.write_tables(ram), probe.CODE)
        self._msr(vmcb.EFER_MSR, vmcb.EFER_HOST)
        self._msr(vmcb.HSAVE_MSR, vmcb.HSAVE)
        cr4 = Batch(self.lib, self.uc, (u.CR4,))
        cr4.values[0] = vmcb.CR4_PAE
        cr4.write()
        u.check(self.lib.uc_context_alloc(self.uc, ctypes.byref(self._context)), "context")
        self.error_offset = probe.find_error_code(self, ram)
        if self.error_offset is not None:
            self._error_code = ctypes.c_uint32.from_address(self.context_address() + self.error_offset)
        self.spares_exit_checks = probe.spare_exit_checks(self, ram)


_the_emulator: Emulator | None = None


def the_emulator() -> Emulator:
    """The process's Emulator, made at the first call."""
    global _the_emulator
    if _the_emulator is None:
        _the_emulator = Emulator()
    return _the_emulator
