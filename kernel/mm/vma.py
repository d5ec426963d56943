"""Vma: one promise about [start, end). VM_ flags have Linux's names and values (include/linux/mm.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kernel.mm.pte import ANON, PROTECTION, D, W

if TYPE_CHECKING:
    from kernel.mm.mappable import Mappable, Origin
    from kernel.mm.mempolicy import Policy

READ, WRITE, EXEC, SHARED = 1, 2, 4, 8
MAYREAD, MAYWRITE, MAYEXEC, MAYSHARE = 0x10, 0x20, 0x40, 0x80
GROWSDOWN = 0x100
PFNMAP = 0x400
MAYBE_GUARD = 0x800  # MADV_GUARD_INSTALL was here
LOCKED = 0x2000
IO = 0x4000
SEQ_READ, RAND_READ = 0x8000, 0x10000
DONTCOPY = 0x20000
DONTEXPAND = 0x40000
LOCKONFAULT = 0x80000
ACCOUNT = 0x100000
NORESERVE = 0x200000
HUGETLB = 0x400000
SYNC = 0x800000
WIPEONFORK = 0x2000000
DONTDUMP = 0x4000000
SOFTDIRTY = 0x8000000
MIXEDMAP = 0x10000000
HUGEPAGE, NOHUGEPAGE = 0x20000000, 0x40000000
MERGEABLE = 0x80000000
PKEY_SHIFT = 32
DROPPABLE = 1 << 38
SEALED = 1 << 42
ACCESS = READ | WRITE | EXEC
MAY = MAYREAD | MAYWRITE | MAYEXEC
STICKY = MAYBE_GUARD | SOFTDIRTY  # does not keep VMAs from merging; the merged one has it if one had
SPECIAL = IO | DONTEXPAND | PFNMAP | MIXEDMAP  # never merged
DATA_MASK = WRITE | SHARED | GROWSDOWN  # of these WRITE alone: counts as data (is_data_mapping)
CODE_MASK = EXEC | WRITE | GROWSDOWN  # of these EXEC alone: counts as code (is_exec_mapping)

# The PTE bits of a page just delivered, by VM_READ|VM_WRITE|VM_EXEC|VM_SHARED: by a write, and by a read. A store
# through a shared file mapping must be noticed (dirty accounting); shmem has nothing to write back.
WRITE_BITS = tuple(bits | W | D | (0 if n & SHARED else ANON) for n, bits in enumerate(PROTECTION))
READ_BITS = tuple(bits & ~W for bits in PROTECTION)
DEFAULT_DATA = READ | WRITE | MAY  # VM_DATA_DEFAULT_FLAGS, without READ_IMPLIES_EXEC


class Vma:
    """One mapping, page-aligned and never empty. Change `start`, `end` through VmaSet only, `flags` through `reflag`.

    `pgoff` is the page index of `start` in `mappable`; for anonymous private memory it is the page number where the
    memory was first touched or mapped, so that neighbours which were moved apart do not merge (Linux: vm_pgoff).
    `anon_vma` is 0 until a page of its own was faulted in: which family of anonymous pages it belongs to.
    `prev` and `next` are its neighbours in the VmaSet that holds it (at the ends: the set's sentinels).
    `file` is the open file description behind `mappable` (or `mappable` itself): two of one file never merge.
    `read_bits` and `write_bits` are the PTE bits of a page that a read, or a write, has just delivered.
    `window` is its number in `Windows`, 0 for none.
    """

    next: Vma
    prev: Vma
    __slots__ = (
        "anon_vma", "end", "file", "flags", "forked", "mappable", "name", "next", "pgoff", "policy", "prev",
        "read_bits", "shmem", "start", "window", "write_bits",
    )  # fmt: skip

    def __init__(
        self, start: int, end: int, flags: int, mappable: Mappable | None = None, pgoff: int = 0, anon_vma: int = 0,
        policy: Policy | None = None, file: object = None,
    ) -> None:  # fmt: skip
        self.start = start
        self.end = end
        self.mappable = mappable
        self.file = mappable if file is None else file
        self.pgoff = pgoff
        self.anon_vma = anon_vma
        self.forked = False  # its anon_vma has ancestors (Linux: vma_is_fork_child)
        self.policy = policy
        self.name = ""
        self.window = 0
        self.shmem = mappable is not None and bool(getattr(mappable, "shmem", False))
        self.flags = flags
        self.write_bits = WRITE_BITS[flags & 15]
        self.read_bits = PROTECTION[flags & 15] if self.shmem else READ_BITS[flags & 15]

    def reflag(self, flags: int) -> None:
        """Set `flags`. Pages already delivered are the caller's business."""
        self.flags = flags
        self.write_bits = WRITE_BITS[flags & 15]
        self.read_bits = PROTECTION[flags & 15] if self.shmem else READ_BITS[flags & 15]

    @property
    def pages(self) -> int:
        return self.end - self.start >> 12

    @property
    def prot(self) -> int:
        """PROT_* bits."""
        return self.flags & ACCESS

    @property
    def shared(self) -> bool:
        """As /proc/self/maps says it: `s` (a shared mapping of a read-only file counts)."""
        return bool(self.flags & MAYSHARE)

    @property
    def origin(self) -> Origin | None:
        """What maps names: its content, or the file that private anonymous memory was mapped from (/dev/zero)."""
        return self.mappable if self.mappable is not None else cast("Origin | None", self.file)

    def page_index(self, va: int) -> int:
        """The index of va's page in `mappable`."""
        return self.pgoff + (va - self.start >> 12)

    def __repr__(self) -> str:
        prot = "".join(c if self.flags & bit else "-" for c, bit in (("r", READ), ("w", WRITE), ("x", EXEC)))
        return f"Vma({self.start:#x}, {self.end:#x}, {prot}{'s' if self.shared else 'p'}, flags={self.flags:#x})"
