"""The ELF headers that a loader needs: ehdr and phdrs, parsed from hostile bytes, refused in words.

No allocation depends on a field of the file beyond Linux's own limit of one page of program headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from kernel.abi.errno import EINVAL, ENOEXEC, Errno, LinuxError
from kernel.abi.limits import PAGE_SIZE, TASK_SIZE

EHDR = struct.Struct("<4sBBBBQHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
EM_X86_64 = 62
_MACHINES = {3: "i386", 8: "MIPS", 20: "PowerPC", 21: "64-bit PowerPC", 22: "S390", 40: "ARM", 62: "x86-64",
             183: "AArch64", 243: "RISC-V", 258: "LoongArch"}  # fmt: skip
_TYPES = {0: "no type", ET_REL: "a relocatable object, not a linked program", ET_CORE: "a core dump"}
PAGE_OFFSET = PAGE_SIZE - 1


class ExecError(LinuxError):
    """A program that cannot be run; `why` is one line for a human. A guest's execve gets `errno`."""

    def __init__(self, why: str, errno: Errno = ENOEXEC) -> None:
        super().__init__(errno, why)


class Segment(NamedTuple):
    """One PT_LOAD: `filesz` bytes of the file at `offset` go to `vaddr`, zeros follow up to `memsz`."""

    offset: int
    vaddr: int
    filesz: int
    memsz: int
    flags: int
    align: int

    @property
    def end(self) -> int:
        return self.vaddr + self.memsz


class Elf(NamedTuple):
    """A program that can be loaded. `loads` is not empty, its segments lie inside the file and below TASK_SIZE."""

    pie: bool
    entry: int
    phoff: int
    phnum: int
    loads: tuple[Segment, ...]
    exec_stack: bool

    @property
    def phdr(self) -> int:
        """Address of the program headers before relocation: 0 when no segment holds them."""
        at = 0
        for load in self.loads:
            if load.offset <= self.phoff < load.offset + load.filesz:
                at = self.phoff - load.offset + load.vaddr
        return at

    @property
    def alignment(self) -> int:
        """The largest p_align that is a power of two, at least a page (Linux: maximum_alignment)."""
        aligns = [load.align for load in self.loads if load.align and load.align & load.align - 1 == 0]
        return max([PAGE_SIZE, *aligns])

    @property
    def span(self) -> tuple[int, int]:
        """[start, end) over all segments, start page-aligned (Linux: total_mapping_size)."""
        return min(load.vaddr for load in self.loads) & ~PAGE_OFFSET, max(load.end for load in self.loads)


def parse(read: Callable[[int, int], bytes], size: int) -> Elf:
    """The headers of a file of `size` bytes; `read(offset, n)` gives up to n of them. Raises ExecError."""
    head = read(0, EHDR.size)
    if head[:4] != b"\x7fELF":
        raise ExecError("not an ELF file" if head[:2] != b"#!" else "a script, not an ELF file")
    if len(head) < EHDR.size:
        raise ExecError("truncated: the file ends inside its ELF header")
    (_, bits, order, _, _, _, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _) = EHDR.unpack(head)
    if bits != 2:
        raise ExecError("a 32-bit ELF program; only 64-bit x86-64 runs here")
    if order != 1 or machine != EM_X86_64:
        name = _MACHINES.get(machine, f"machine {machine}")
        raise ExecError(f"an ELF program for {name}{'' if order == 1 else ', big-endian'}, not for x86-64")
    if kind not in (ET_EXEC, ET_DYN):
        raise ExecError(f"not an executable: it is {_TYPES.get(kind, f'of ELF type {kind}')}")
    if phentsize != PHDR.size:
        raise ExecError(f"program headers of {phentsize} bytes each; x86-64 has {PHDR.size}")
    if not phnum or phnum * PHDR.size > PAGE_SIZE:
        raise ExecError(f"{phnum} program headers; there must be 1 to {PAGE_SIZE // PHDR.size}")
    if phoff + phnum * PHDR.size > size:
        raise ExecError("truncated: the program headers lie past the end of the file")
    return _program(kind == ET_DYN, entry, phoff, read(phoff, phnum * PHDR.size), size)


@lru_cache(64)
def _program(pie: bool, entry: int, phoff: int, table: bytes, size: int) -> Elf:
    loads: list[Segment] = []
    exec_stack = False
    for kind, flags, offset, vaddr, _, filesz, memsz, align in PHDR.iter_unpack(table):
        if kind == PT_INTERP:
            raise ExecError("a dynamically linked program (it has PT_INTERP); link it with -static or -static-pie")
        if kind == PT_GNU_STACK:
            exec_stack = bool(flags & PF_X)
        elif kind == PT_LOAD:
            loads.append(Segment(offset, vaddr, filesz, memsz, flags, align))
    if not loads:
        raise ExecError("nothing to load: it has no PT_LOAD segment")
    for number, load in enumerate(loads):
        _check(load, number, size)
    _check_overlap(loads)
    if pie and not entry:
        raise ExecError("a shared object without an entry point, not a program")
    if not pie and entry >= TASK_SIZE:
        raise ExecError(f"its entry point {entry:#x} is no user address", EINVAL)
    return Elf(pie, entry, phoff, len(table) // PHDR.size, tuple(loads), exec_stack)


def _check(load: Segment, number: int, size: int) -> None:
    """What load_elf_binary() and mmap(2) refuse, and files cut short (which Linux would kill by SIGBUS later)."""
    where = f"PT_LOAD segment {number}"
    if load.filesz > load.memsz:
        raise ExecError(f"{where} has more bytes in the file ({load.filesz}) than in memory ({load.memsz})", EINVAL)
    if load.memsz > TASK_SIZE or load.vaddr > TASK_SIZE - load.memsz:
        raise ExecError(f"{where} is out of range: {load.memsz:#x} bytes at {load.vaddr:#x} leave user space", EINVAL)
    if load.filesz and load.offset + load.filesz > size:
        raise ExecError(f"truncated: {where} needs {load.offset + load.filesz} bytes, the file has {size}")
    if load.filesz and (load.offset ^ load.vaddr) & PAGE_OFFSET:
        raise ExecError(f"{where}: offset {load.offset:#x} and address {load.vaddr:#x} differ within a page", EINVAL)


def _check_overlap(loads: list[Segment]) -> None:
    ordered = sorted((load for load in loads if load.memsz), key=lambda load: load.vaddr)
    for before, after in pairwise(ordered):
        if after.vaddr < before.end:
            raise ExecError(f"segments overlap at {after.vaddr:#x}")
