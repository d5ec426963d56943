"""The column that `make bench` compares with: a static ELF on stock Unicorn, as most emulation harnesses run one.

A `mem_map` region for each mapping, flat and without page tables, the package's own binding, one Python hook for
syscalls, and just the syscalls that a musl program on its heap makes. No tracing, no counting, no protection: all that
it leaves out makes it faster.

    python tests/bench/stock_unicorn.py PROGRAM [ARG...]
"""

# mypy: disable-error-code="no-untyped-call,attr-defined"

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, UC_PROT_ALL, Uc, UcError
from unicorn.x86_const import (
    UC_X86_INS_SYSCALL,
    UC_X86_REG_FS_BASE,
    UC_X86_REG_MXCSR,
    UC_X86_REG_R8,
    UC_X86_REG_R9,
    UC_X86_REG_R10,
    UC_X86_REG_RAX,
    UC_X86_REG_RDI,
    UC_X86_REG_RDX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
)

PAGE = 4096
STACK_TOP, STACK_SIZE, MMAP_TOP = 0x7FFF_FFFF_F000, 8 << 20, 0x7FFF_0000_0000
PT_LOAD, ET_DYN, PIE_BASE = 1, 3, 0x5555_5555_4000
ENOSYS, ENOMEM, EINVAL = 38, 12, 22
ARGUMENTS = (UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RDX, UC_X86_REG_R10, UC_X86_REG_R8, UC_X86_REG_R9)


def up(n: int) -> int:
    return -(-n // PAGE) * PAGE


class Harness:
    """One guest. Mappings go ever further down from MMAP_TOP."""

    def __init__(self, path: str, argv: list[str]) -> None:
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self.status = 0
        self.mmap_next = MMAP_TOP
        with open(path, "rb") as file:
            entry, auxv = self._load(file.read())
        self._stack(argv, auxv)
        self.entry = entry
        self.calls: dict[int, Callable[..., int]] = {
            1: self._write, 9: self._mmap, 10: lambda *_: 0, 11: self._munmap, 12: self._brk, 13: lambda *_: 0,
            14: lambda *_: 0, 16: lambda *_: -25, 20: self._writev, 25: self._mremap, 28: lambda *_: 0,
            60: self._exit, 158: self._arch_prctl, 186: lambda *_: 1, 218: lambda *_: 1, 231: self._exit,
        }  # fmt: skip

    def _load(self, image: bytes) -> tuple[int, list[int]]:
        kind, entry, phoff = struct.unpack_from("<16xH6xQQ", image)
        phentsize, phnum = struct.unpack_from("<HH", image, 54)
        bias = PIE_BASE if kind == ET_DYN else 0
        end = phdr = 0
        for i in range(phnum):
            segment, _, offset, va, _, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", image, phoff + i * phentsize)
            if segment != PT_LOAD:
                continue
            start = max((va + bias) // PAGE * PAGE, end)
            end = up(va + bias + memsz)
            if end > start:
                self.uc.mem_map(start, end - start, UC_PROT_ALL)
            self.uc.mem_write(va + bias, image[offset : offset + filesz])
            if offset <= phoff < offset + filesz:
                phdr = va + bias + phoff - offset
        self.brk_start = self.brk = self.brk_mapped = end + 16 * PAGE
        return entry + bias, [
            3,
            phdr,
            4,
            phentsize,
            5,
            phnum,
            6,
            PAGE,
            7,
            0,
            9,
            entry + bias,
            11,
            0,
            12,
            0,
            13,
            0,
            14,
            0,
        ]

    def _stack(self, argv: list[str], auxv: list[int]) -> None:
        self.uc.mem_map(STACK_TOP - STACK_SIZE, STACK_SIZE, UC_PROT_ALL)
        at, pointers = STACK_TOP - PAGE, []
        for text in argv:
            self.uc.mem_write(at, text.encode() + b"\0")
            pointers.append(at)
            at += len(text.encode()) + 1
        words = [len(argv), *pointers, 0, 0, *auxv, 23, 0, 25, STACK_TOP - 64, 0, 0]
        self.sp = (STACK_TOP - 2 * PAGE - 8 * len(words)) & -16
        self.uc.mem_write(self.sp, struct.pack(f"<{len(words)}Q", *words))

    def run(self) -> int:
        """The guest's exit status. Raises UcError when it dies."""
        uc = self.uc
        uc.hook_add(UC_HOOK_INSN, self._syscall, None, 1, 0, UC_X86_INS_SYSCALL)
        uc.reg_write(UC_X86_REG_RSP, self.sp)
        uc.reg_write(UC_X86_REG_MXCSR, 0x1F80)
        uc.emu_start(self.entry, 0)
        return self.status

    def _syscall(self, uc: Uc, _: object) -> None:
        call = self.calls.get(uc.reg_read(UC_X86_REG_RAX))
        value = call(*(uc.reg_read(register) for register in ARGUMENTS)) if call else -ENOSYS
        uc.reg_write(UC_X86_REG_RAX, value & (1 << 64) - 1)

    def _exit(self, status: int, *_: int) -> int:
        self.status = status & 255
        self.uc.emu_stop()
        return 0

    def _brk(self, new: int, *_: int) -> int:
        if new >= self.brk_start:
            if up(new) > self.brk_mapped:
                self.uc.mem_map(self.brk_mapped, up(new) - self.brk_mapped, UC_PROT_ALL)
                self.brk_mapped = up(new)
            self.brk = new
        return self.brk

    def _mmap(self, va: int, length: int, prot: int, flags: int, *_: int) -> int:
        length = up(length)
        if flags & 0x10:
            self._unmap(va, length)
        else:
            self.mmap_next -= length
            va = self.mmap_next
        try:
            self.uc.mem_map(va, length, UC_PROT_ALL)
        except UcError:
            return -ENOMEM
        return va

    def _munmap(self, va: int, length: int, *_: int) -> int:
        self._unmap(va, up(length))
        return 0

    def _unmap(self, va: int, length: int) -> None:
        for start, end, _ in list(self.uc.mem_regions()):
            low, high = max(start, va), min(end + 1, va + length)
            if low < high:
                self.uc.mem_unmap(low, high - low)

    def _mremap(self, old: int, old_size: int, new_size: int, *_: int) -> int:
        va = self._mmap(0, new_size, 3, 0)
        if va > 0:
            self.uc.mem_write(va, bytes(self.uc.mem_read(old, min(old_size, new_size))))
            self._unmap(old, up(old_size))
        return va

    def _write(self, fd: int, va: int, length: int, *_: int) -> int:
        data = bytes(self.uc.mem_read(va, length))
        (sys.stderr if fd == 2 else sys.stdout).buffer.write(data)
        return length

    def _writev(self, fd: int, va: int, count: int, *_: int) -> int:
        vector = struct.unpack(f"<{2 * count}Q", self.uc.mem_read(va, 16 * count))
        return sum(self._write(fd, base, size) for base, size in zip(vector[::2], vector[1::2], strict=True) if size)

    def _arch_prctl(self, code: int, value: int, *_: int) -> int:
        if code != 0x1002:
            return -EINVAL
        self.uc.reg_write(UC_X86_REG_FS_BASE, value)
        return 0


def main() -> int:
    """Run it; its status, or 139 with a line on stderr when Unicorn gave up."""
    harness = Harness(sys.argv[1], sys.argv[1:])
    try:
        return harness.run()
    except UcError as error:
        print(f"stock_unicorn: {error} at {harness.uc.reg_read(UC_X86_REG_RIP):#x}", file=sys.stderr)
        return 139


if __name__ == "__main__":
    sys.exit(main())
