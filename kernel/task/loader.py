"""The ELF loader: a program's segments become VMAs of a new address space, as load_elf_binary() lays them.

    static            segments where they say          break right above them
    static-pie        below mmap_base, in one piece    break at 0x555555555000 (two thirds of the address space)

With ASLR the stack, mmap_base and the break move by as much as Linux moves them, from the config's seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.abi import limits as at
from kernel.abi.errno import EEXIST, EINVAL, EPERM
from kernel.abi.limits import PAGE_SIZE, TASK_SIZE
from kernel.mm import map
from kernel.mm.mm import Mm, mmap_base_for
from kernel.mm.place import get_unmapped_area
from kernel.mm.vma import DEFAULT_DATA, EXEC, GROWSDOWN, MAY
from kernel.task import stack
from kernel.task.elf import PF_R, PF_W, PF_X, Elf, ExecError, Segment, parse
from kernel.task.sigframe import MINSIGSTKSZ_AT

if TYPE_CHECKING:
    from kernel.fs.file import File
    from kernel.mm.mappable import Mappable
    from kernel.task.task import Task

STACK_TOP = TASK_SIZE
ELF_ET_DYN_BASE = TASK_SIZE // 3 * 2
STACK_EXPAND = 128 << 10
STACK_RND_PAGES = 0x3FFFFF
MMAP_RND_BITS = 28
BRK_RANGE = 1 << 30
ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT = 0x0040000, 0x0200000
RSEQ_FEATURE_SIZE, RSEQ_ALIGN = 28, 32


class Program(NamedTuple):
    """A program ready to start: a complete address space, and where it begins."""

    mm: Mm
    entry: int
    sp: int
    auxv: bytes


class Shifts(NamedTuple):
    """How far ASLR moves things, in bytes; all 0 without it."""

    stack_top: int = 0
    mmap_base: int = 0
    brk: int = 0
    stack: int = 0  # within the first page or two


def load(task: Task, file: File, argv: list[bytes], envp: list[bytes], execfn: bytes) -> Program:
    """Load the program in `file` into an address space of its own. Raises LinuxError, ExecError for a bad image."""
    elf = parse(lambda offset, n: file.pread(n, offset), file.inode.size)
    mappable = file.mappable()
    if mappable is None:
        raise ExecError("its file cannot be mapped")
    shifts = shifts_for(task)
    mm = new_mm(task, shifts)
    try:
        return _fill(task, mm, elf, mappable, argv, envp, execfn, shifts)
    except BaseException:
        mm.destroy()
        raise


def shifts_for(task: Task) -> Shifts:
    """ASLR's draws for one exec: reproducible, and in Linux's ranges (arch/x86/mm/mmap.c, fs/binfmt_elf.c)."""
    config = task.system.config
    if config.aslr is None or task.process.personality & ADDR_NO_RANDOMIZE:
        return Shifts()
    rng = task.system.aslr
    return Shifts(
        rng.below(STACK_RND_PAGES + 1) * PAGE_SIZE,
        rng.below(1 << MMAP_RND_BITS) * PAGE_SIZE,
        rng.below(BRK_RANGE // PAGE_SIZE) * PAGE_SIZE + PAGE_SIZE,
        rng.below(8192),
    )


def new_mm(task: Task, shifts: Shifts) -> Mm:
    """An empty address space with the layout that the task's limits and personality give."""
    system, process = task.system, task.process
    clock, cpu, tid = system.clock, system.cpu, task.tid
    stack_random = STACK_RND_PAGES * PAGE_SIZE if shifts.stack_top or shifts.mmap_base else 0
    mm = Mm(
        system.ram,
        system.frames,
        system.probes,
        process.rlimits,
        tlb=cpu.flush_tlb,
        privileged=process.cred.privileged,
        mmap_base=mmap_base_for(process.rlimits, stack_random, shifts.mmap_base),
        now=lambda: (clock.monotonic_ns(), tid),
    )
    mm.legacy_layout = bool(process.personality & ADDR_COMPAT_LAYOUT)
    return mm


def _fill(
    task: Task, mm: Mm, elf: Elf, mappable: Mappable, argv: list[bytes], envp: list[bytes], execfn: bytes,
    shifts: Shifts,
) -> Program:  # fmt: skip
    stack_top = STACK_TOP - shifts.stack_top
    _map_stack(mm, stack_top, elf.exec_stack, _strings_size(argv, envp, execfn), task.rlimits.soft("STACK"))
    bias = _map_segments(mm, elf, mappable)
    _describe(mm, elf, bias)
    _set_brk(mm, elf, bias, shifts)
    auxv = _auxv(task, elf, bias)
    built = stack.build(stack_top, argv, envp, execfn, auxv, task.system.at_random.bytes(16), shifts.stack)
    mm.copy_to_user(built.sp, built.data)
    mm.start_stack = built.sp
    mm.arg_start, mm.arg_end = built.arg_start, built.arg_end
    mm.env_start, mm.env_end = built.env_start, built.env_end
    return Program(mm, elf.entry + bias, built.sp, built.auxv)


def _strings_size(argv: list[bytes], envp: list[bytes], execfn: bytes) -> int:
    return sum(len(text) + 1 for text in (*argv, *envp, execfn)) + 8


def _map_stack(mm: Mm, top: int, executable: bool, strings: int, limit: int) -> None:
    """The stack's VMA: what the strings take, and 128 KiB to grow into (setup_arg_pages)."""
    used = -(-strings // PAGE_SIZE) * PAGE_SIZE
    size = max(used, min(limit & -PAGE_SIZE, used + STACK_EXPAND))
    prot = 7 if executable else 3
    map.mmap(mm, top - size, size, prot, fixed=True, flags=GROWSDOWN)


def _map_segments(mm: Mm, elf: Elf, mappable: Mappable) -> int:
    """Map all PT_LOADs; the bias that their addresses get."""
    start, end = elf.span
    length = _page_up(end) - start
    if elf.pie:
        first = elf.loads[0].vaddr & -PAGE_SIZE
        base = get_unmapped_area(mm, 0, length, fixed=False)
        bias = (base & -elf.alignment) - (first if first == start else start)
    else:
        bias = 0
        if start < mm.mmap_min_addr and not mm.privileged:
            raise ExecError(f"a segment at {start:#x} lies below vm.mmap_min_addr ({mm.mmap_min_addr:#x})", EPERM)
    if start + bias < 0 or end + bias > TASK_SIZE:
        raise ExecError("its segments do not fit the address space", EINVAL)
    hit = mm.vmas.overlapping(start + bias, start + bias + length)
    if hit:
        raise ExecError(f"its segments collide with the stack at {hit[0].start:#x}", EEXIST)
    for load in elf.loads:
        _map_segment(mm, load, bias, mappable)
    return bias


def _map_segment(mm: Mm, load: Segment, bias: int, mappable: Mappable) -> None:
    """One PT_LOAD: its file part, then zeros up to memsz (elf_load)."""
    prot = (1 if load.flags & PF_R else 0) | (2 if load.flags & PF_W else 0) | (4 if load.flags & PF_X else 0)
    va = load.vaddr + bias
    start = va & -PAGE_SIZE
    file_end = start
    if load.filesz:
        file_end = _page_up(va + load.filesz)
        map.mmap_region(mm, start, file_end, prot | MAY, mappable, load.offset >> 12)
    if load.memsz <= load.filesz:
        return
    if load.filesz:
        _zero_tail(mm, va + load.filesz, file_end, prot)
    end = _page_up(va + load.memsz)
    if end > file_end:  # always writable, whatever p_flags says (vm_brk_flags)
        map.mmap_region(mm, file_end, end, DEFAULT_DATA | (EXEC if prot & 4 else 0))


def _zero_tail(mm: Mm, start: int, end: int, prot: int) -> None:
    """The rest of the last file page reads zero; where the segment is not writable it stays the file's (padzero)."""
    if start == end or not prot & 2:
        return
    mm.clear_user(start, end - start)


def _describe(mm: Mm, elf: Elf, bias: int) -> None:
    """mm_struct's start_code … end_data, by load_elf_binary()'s rules."""
    code = [load for load in elf.loads if load.flags & PF_X]
    mm.start_code = bias + min((load.vaddr for load in code), default=0)
    mm.end_code = bias + max((load.vaddr + load.filesz for load in code), default=0)
    mm.start_data = bias + max(load.vaddr for load in elf.loads)
    mm.end_data = bias + max(load.vaddr + load.filesz for load in elf.loads)


def _set_brk(mm: Mm, elf: Elf, bias: int, shifts: Shifts) -> None:
    """Above the segments; a static-pie's is moved out of the mmap area, where it would soon meet something."""
    brk = _page_up(ELF_ET_DYN_BASE if elf.pie else elf.span[1] + bias)
    if shifts.brk:
        brk += shifts.brk if not elf.pie else shifts.brk - PAGE_SIZE
    mm.start_brk = mm.brk = brk


def _auxv(task: Task, elf: Elf, bias: int) -> list[tuple[int, int]]:
    """The auxiliary vector in Linux's order (create_elf_tables), without AT_SYSINFO_EHDR: there is no vDSO."""
    config, cred = task.system.config, task.process.cred
    return [
        (at.AT_MINSIGSTKSZ, MINSIGSTKSZ_AT),
        (at.AT_HWCAP, config.hwcap),
        (at.AT_PAGESZ, PAGE_SIZE),
        (at.AT_CLKTCK, at.CLK_TCK),
        (at.AT_PHDR, elf.phdr + bias if elf.phdr or elf.pie else 0),
        (at.AT_PHENT, 56),
        (at.AT_PHNUM, elf.phnum),
        (at.AT_BASE, 0),
        (at.AT_FLAGS, 0),
        (at.AT_ENTRY, elf.entry + bias),
        (at.AT_UID, cred.uid),
        (at.AT_EUID, cred.euid),
        (at.AT_GID, cred.gid),
        (at.AT_EGID, cred.egid),
        (at.AT_SECURE, 0),
        (at.AT_RANDOM, 0),
        (at.AT_HWCAP2, config.hwcap2),
        (at.AT_EXECFN, 0),
        (at.AT_PLATFORM, 0),
        (at.AT_RSEQ_FEATURE_SIZE, RSEQ_FEATURE_SIZE),
        (at.AT_RSEQ_ALIGN, RSEQ_ALIGN),
    ]


def _page_up(va: int) -> int:
    return -(-va // PAGE_SIZE) * PAGE_SIZE
