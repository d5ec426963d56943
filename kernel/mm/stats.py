"""What an address space amounts to: one source for /proc and for reports. In pages, unless the name says otherwise."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel.mm import vma as vm
from kernel.mm.frames import ONE_OWNER
from kernel.mm.mm import ANON, FILE, HUGE, SHMEM, SWAP
from kernel.mm.pte import ANON as PTE_ANON
from kernel.mm.pte import HERE, PFN, SPECIAL, A, D
from kernel.mm.pte import SWAP as PTE_SWAP
from kernel.mm.runs import runs

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class MmStats(NamedTuple):
    """The Vm and Rss lines of /proc/[pid]/status, and statm."""

    peak: int
    size: int
    locked: int
    hwm: int
    rss: int
    rss_anon: int
    rss_file: int
    rss_shmem: int
    data: int
    stack: int
    exe_bytes: int
    lib_bytes: int
    table_bytes: int
    swap: int


def mm_stats(mm: Mm) -> MmStats:
    """task_mem (fs/proc/task_mmu.c)."""
    counters = mm.counters
    exe = -(-mm.end_code // 4096) * 4096 - (mm.start_code & -4096)
    exe = min(exe, mm.exec_vm << 12)
    return MmStats(
        peak=max(mm.hiwater_vm, mm.total_vm), size=mm.total_vm, locked=mm.locked_vm & (1 << 62) - 1,
        hwm=max(mm.hiwater_rss, mm.rss), rss=mm.rss,
        rss_anon=counters[ANON], rss_file=counters[FILE], rss_shmem=counters[SHMEM],
        data=mm.data_vm, stack=mm.stack_vm, exe_bytes=exe, lib_bytes=(mm.exec_vm << 12) - exe,
        table_bytes=table_pages(mm) << 12, swap=counters[SWAP],
    )  # fmt: skip


def table_pages(mm: Mm) -> int:
    """VmPTE: PTE, PMD and PUD tables (mm_pgtables_bytes); the top table does not count."""
    table = mm.page_table
    table.drop_spare()
    leaves = len(table.leaves) - (mm.counters[HUGE] >> 9)  # a huge page has no table of its own in Linux
    return leaves + len(table.mids) + len(table.tops)


class VmaStats:
    """The counts of /proc/[pid]/smaps, in pages; `pss` in units of 1/4096 page (bytes of a share). All begin at 0."""

    __slots__ = (
        "anonymous",
        "hugetlb_private",
        "hugetlb_shared",
        "lazyfree",
        "private_clean",
        "private_dirty",
        "pss_bytes",
        "pss_dirty_bytes",
        "referenced",
        "rss",
        "shared_clean",
        "shared_dirty",
        "swap",
        "swap_shared",
    )  # fmt: skip
    rss: int
    pss_bytes: int
    pss_dirty_bytes: int
    shared_clean: int
    shared_dirty: int
    private_clean: int
    private_dirty: int
    referenced: int
    anonymous: int
    lazyfree: int
    swap: int
    hugetlb_private: int
    hugetlb_shared: int
    swap_shared: int  # of shared memory: counted in Swap, not in SwapPss

    def __init__(self) -> None:
        self.rss = self.pss_bytes = self.pss_dirty_bytes = self.anonymous = self.lazyfree = self.referenced = \
            self.shared_clean = self.shared_dirty = self.private_clean = self.private_dirty = \
            self.hugetlb_private = self.hugetlb_shared = self.swap = self.swap_shared = 0  # fmt: skip


def vma_stats(mm: Mm, vma: Vma) -> VmaStats:
    """smaps_account over one VMA: what its PTEs say."""
    stats = VmaStats()
    refs = mm.frames.refs
    cached = 0
    if vma.mappable is not None:
        cached = 1  # the page cache's own reference
        if vma.flags & vm.HUGETLB:
            return _hugetlb_stats(mm, vma, stats)
        if vma.shmem and (swapped := getattr(vma.mappable, "swapped", None)) is not None:
            stats.swap_shared = swapped(vma.pgoff, vma.pgoff + vma.pages)
    kinds: dict[tuple[int, int], int] = {}  # how many pages, by (entry without its frame, owners)
    for _, i, j in mm.page_table.leaves_in(vma.start, vma.end):
        for _, n, entry in runs(mm.words, i, j):
            if not entry & HERE:
                stats.swap += n if entry & PTE_SWAP else 0
            elif not entry & SPECIAL:
                pfn = (entry & PFN) >> 12
                owners = refs[pfn]
                if n == 1 or refs[pfn : pfn + n] == ONE_OWNER[:n]:
                    key = entry & ~PFN, owners
                    kinds[key] = kinds.get(key, 0) + n
                else:
                    for each in refs[pfn : pfn + n].tolist():
                        key = entry & ~PFN, each
                        kinds[key] = kinds.get(key, 0) + 1
    for (entry, owners), n in kinds.items():
        _count(stats, entry, n, owners - (0 if entry & PTE_ANON else cached))
    return stats


def resident(mm: Mm, start: int, end: int) -> int:
    """Bytes of [start, end) that have a page of their own in RAM: the shared zero page is none."""
    pages = 0
    for _, i, j in mm.page_table.leaves_in(start, end):
        pages += sum(bool(entry & HERE) and not entry & SPECIAL for entry in mm.words[i:j].tolist() if entry)
    return pages << 12


def _hugetlb_stats(mm: Mm, vma: Vma, stats: VmaStats) -> VmaStats:
    """smaps_hugetlb_range: huge pages are in lines of their own."""
    for _, i, _ in mm.page_table.leaves_in(vma.start, vma.end):
        entry = mm.words[i]
        if entry & HERE:
            owners = mm.frames.refs[(entry & PFN) >> 12] - (0 if entry & PTE_ANON else 1)
            if owners > 1:
                stats.hugetlb_shared += 512
            else:
                stats.hugetlb_private += 512
    return stats


def _count(stats: VmaStats, entry: int, pages: int, owners: int) -> None:
    """`pages` that as many PTEs like `entry` name, each with so many owners."""
    stats.rss += pages
    share = 4096 // owners * pages if owners > 1 else pages << 12
    stats.pss_bytes += share
    dirty = entry & D
    if owners > 1:
        if dirty:
            stats.shared_dirty += pages
        else:
            stats.shared_clean += pages
    elif dirty:
        stats.private_dirty += pages
    else:
        stats.private_clean += pages
    if dirty:
        stats.pss_dirty_bytes += share
    if entry & PTE_ANON:
        stats.anonymous += pages
        if not dirty:
            stats.lazyfree += pages
    if entry & A:
        stats.referenced += pages


# show_smap_vma_flags, in the order of its table
MNEMONICS = (
    (vm.READ, "rd"), (vm.WRITE, "wr"), (vm.EXEC, "ex"), (vm.SHARED, "sh"), (vm.MAYREAD, "mr"), (vm.MAYWRITE, "mw"),
    (vm.MAYEXEC, "me"), (vm.MAYSHARE, "ms"), (vm.GROWSDOWN, "gd"), (vm.PFNMAP, "pf"), (vm.MAYBE_GUARD, "gu"),
    (vm.LOCKED, "lo"),
    (vm.IO, "io"), (vm.SEQ_READ, "sr"), (vm.RAND_READ, "rr"), (vm.DONTCOPY, "dc"), (vm.DONTEXPAND, "de"),
    (vm.LOCKONFAULT, "lf"), (vm.ACCOUNT, "ac"), (vm.NORESERVE, "nr"), (vm.HUGETLB, "ht"), (vm.SYNC, "sf"),
    (vm.WIPEONFORK, "wf"), (vm.DONTDUMP, "dd"), (vm.SOFTDIRTY, "sd"), (vm.MIXEDMAP, "mm"), (vm.HUGEPAGE, "hg"),
    (vm.NOHUGEPAGE, "nh"), (vm.MERGEABLE, "mg"), (vm.DROPPABLE, "dp"), (vm.SEALED, "sl"),
)  # fmt: skip


@cache
def vm_flags(flags: int) -> str:
    """The VmFlags line of smaps, each word followed by a space."""
    return "".join(f"{word} " for bit, word in MNEMONICS if flags & bit)
