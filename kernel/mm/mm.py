"""Mm: one address space. Owns the VmaSet, the PageTable, and the counters of what both hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import kernel.mm.peek as peeking
import kernel.mm.uaccess as uaccess
from kernel.abi.limits import PAGE_SIZE, STACK_GUARD_GAP, TASK_SIZE
from kernel.cpu import FaultTable
from kernel.events import PageFault
from kernel.mm.pagetable import PageTable
from kernel.mm.vma import CODE_MASK, DATA_MASK, EXEC, GROWSDOWN, WRITE, Vma
from kernel.mm.vmaset import VmaSet

if TYPE_CHECKING:
    from kernel.mm.commit import Commit
    from kernel.mm.frames import Frames
    from kernel.mm.mempolicy import Policy
    from kernel.mm.ram import Ram
    from kernel.probes import Probes
    from kernel.rlimit import Rlimits

# Indices into Mm.counters, which a native fault path shares. The first four and HUGE (hugetlb) in pages.
ANON, FILE, SHMEM, SWAP, MIN_FLT, MAJ_FLT, COW, HUGE = range(8)


class Mm:
    """One address space.

    Always holds (mm/check.py recounts it): a PTE lies in a VMA; `counters` are what the page table says;
    `total_vm`, `data_vm`, `stack_vm`, `exec_vm`, `locked_vm` (pages) and `map_count` are what the VMAs say, but for
    `lost_locks`: locked pages that MREMAP_DONTUNMAP counted twice, or mlock miscounted, as Linux 6.18 does.
    """

    __slots__ = (
        "arg_end", "arg_start", "brk", "counters", "data_vm", "def_flags", "end_code", "end_data",
        "env_end", "env_start", "exec_vm", "exiting", "frames", "hiwater_rss", "hiwater_vm", "legacy_layout", "limits",
        "locked_vm", "lost_locks", "map_count", "max_map_count", "mmap_base", "mmap_min_addr", "next_anon_vma",
        "now", "page_table", "policy", "privileged", "probes", "ram", "read_implies_exec", "stack_guard_gap",
        "stack_vm", "start_brk", "start_code", "start_data", "start_stack", "tlb", "total_vm", "vmas", "windows",
        "words",
    )  # fmt: skip

    def __init__(
        self,
        ram: Ram,
        frames: Frames,
        probes: Probes,
        limits: Rlimits,
        *,
        tlb: Callable[[], None] = lambda: None,
        privileged: bool = False,
        mmap_base: int | None = None,
        now: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        """An empty address space. `tlb` flushes the CPU's TLB; `now` gives (virtual ns,
        tid) for events. `privileged` stands for the capabilities (CAP_IPC_LOCK, CAP_SYS_RAWIO…)."""
        self.ram = ram
        self.words = ram.words
        self.frames = frames
        self.probes = probes
        self.limits = limits
        self.tlb = tlb
        self.exiting = False
        self.now = now
        self.privileged = privileged
        self.page_table = PageTable(frames)
        self.vmas = VmaSet()
        self.windows = self.vmas.windows
        self.counters = memoryview(bytearray(8 * 8)).cast("Q")
        self.hiwater_rss = self.hiwater_vm = 0
        self.total_vm = self.data_vm = self.stack_vm = self.exec_vm = self.locked_vm = 0
        self.lost_locks = self.map_count = 0
        self.max_map_count = frames.max_map_count
        self.mmap_min_addr = frames.mmap_min_addr
        self.stack_guard_gap = STACK_GUARD_GAP
        self.mmap_base = mmap_base_for(limits) if mmap_base is None else mmap_base
        self.legacy_layout = False  # personality ADDR_COMPAT_LAYOUT: bottom-up
        self.read_implies_exec = False  # personality READ_IMPLIES_EXEC
        self.def_flags = 0  # VM_LOCKED, VM_LOCKONFAULT after mlockall(MCL_FUTURE)
        self.policy: Policy | None = None  # the task's own, of set_mempolicy
        self.next_anon_vma = 1
        self.start_code = self.end_code = self.start_data = self.end_data = 0
        self.start_brk = self.brk = self.start_stack = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        frames.spaces[self] = None

    @property
    def cr3(self) -> int:
        """Physical address of the top table."""
        return self.page_table.cr3

    def fault_table(self) -> FaultTable | None:
        """What lets a CPU answer simple faults unasked; None while somebody listens to PageFault."""
        if self.frames.nodes > 1 or self.probes.wants(PageFault):
            return None
        frames = self.frames
        return FaultTable(self.windows.table, self.counters, frames.counters, frames.refs, frames.free)

    @property
    def commit(self) -> Commit:
        return self.frames.commit

    @property
    def rss(self) -> int:
        """Resident pages: anonymous, file and shmem."""
        counters = self.counters
        return counters[ANON] + counters[FILE] + counters[SHMEM]

    def find(self, va: int) -> Vma | None:
        """The VMA that contains `va`."""
        return self.vmas.find(va)

    def update_hiwater(self) -> None:
        """To be called before pages or mappings go (Linux: update_hiwater_rss, update_hiwater_vm)."""
        counters = self.counters
        rss = counters[ANON] + counters[FILE] + counters[SHMEM]
        if rss > self.hiwater_rss:
            self.hiwater_rss = rss
        if self.total_vm > self.hiwater_vm:
            self.hiwater_vm = self.total_vm

    def account(self, flags: int, pages: int) -> None:
        """Count `pages` more (or, negative, fewer) of a mapping with these flags (vm_stat_account)."""
        self.total_vm += pages
        if flags & DATA_MASK == WRITE:
            self.data_vm += pages
        elif flags & CODE_MASK == EXEC:
            self.exec_vm += pages
        elif flags & GROWSDOWN:
            self.stack_vm += pages

    def add(self, vma: Vma) -> None:
        """Enter a new VMA into the set; accounting is the caller's."""
        self.vmas.insert(vma)
        self.map_count += 1
        if vma.mappable is not None:
            vma.mappable.added(self, vma)

    def drop(self, vma: Vma) -> None:
        """Take a VMA out of the set; its pages and accounting are the caller's."""
        self.vmas.remove(vma)
        self.map_count -= 1
        if vma.mappable is not None:
            vma.mappable.removed(self, vma)

    def zap_mapped(self, start: int, end: int, *, private: bool) -> None:
        """The mappable behind [start, end), a part of one VMA, drops these pages (truncation): so do the PTEs.
        `private`: this mm's private copies of them too."""
        from kernel.mm.zap import zap_file, zap_range

        vma = self.vmas.find(start)
        if vma is not None and start < end:
            self.update_hiwater()
            if private:
                zap_range(self, vma, start, min(end, vma.end), guards=False)
            else:
                zap_file(self, vma, start, min(end, vma.end))

    def destroy(self) -> None:
        """Unmap everything and free all tables (exit_mmap). The Mm cannot be used again."""
        from kernel.mm.map import unmap_all

        self.update_hiwater()
        unmap_all(self)
        self.page_table.destroy()
        self.frames.spaces.pop(self, None)

    # The only ways to guest memory: see uaccess.py

    copy_from_user = uaccess.copy_from_user
    copy_to_user = uaccess.copy_to_user
    strncpy_from_user = uaccess.strncpy_from_user

    def peek(self, va: int, n: int) -> bytes:
        """`n` bytes at `va` for a tracer: nothing is faulted in. Raises LinuxError(EFAULT)."""
        return peeking.peek(self, va, n)

    def clear_user(self, va: int, n: int) -> None:
        """Write `n` zero bytes. Raises LinuxError(EFAULT)."""
        uaccess.clear_user(self, va, n)


def mmap_base_for(limits: Rlimits, stack_random: int = 0, random: int = 0) -> int:
    """Where top-down placement starts (arch/x86/mm/mmap.c, mmap_base): below the stack's limit and its guard gap, at
    least 128 MiB below TASK_SIZE. `stack_random` is the largest stack shift, `random` this run's shift, in bytes."""
    gap = limits.soft("STACK")
    pad = stack_random + STACK_GUARD_GAP
    if gap + pad < 1 << 64:
        gap += pad
    gap = min(max(gap, 128 << 20), TASK_SIZE // 6 * 5)
    return -(-(TASK_SIZE - gap - random) // PAGE_SIZE) * PAGE_SIZE
