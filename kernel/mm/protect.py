"""mprotect: a VMA's promise changes, and with it the PTEs that were delivered (mm/mprotect.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EINVAL, ENOMEM, LinuxError
from kernel.mm.codealias import hold_writers
from kernel.mm.fault import populate_vma
from kernel.mm.frames import ONE_OWNER
from kernel.mm.map import check_sealed, may_expand_vm
from kernel.mm.merge import modify
from kernel.mm.pte import ANON, HERE, NX, PFN, PROTECTION_BITS, SPECIAL, D, P, W
from kernel.mm.runs import FEW, fill, runs
from kernel.mm.vma import (
    ACCESS,
    ACCOUNT,
    EXEC,
    GROWSDOWN,
    HUGETLB,
    LOCKED,
    MAYEXEC,
    NORESERVE,
    SHARED,
    SOFTDIRTY,
    WRITE,
    Vma,
)
from kernel.mm.zap import forget_code

if TYPE_CHECKING:
    from kernel.mm.mm import Mm


def mprotect(mm: Mm, start: int, end: int, prot: int, *, growsdown: bool = False, growsup: bool = False) -> None:
    """Give [start, end) the protection `prot`, VMA by VMA: what comes before a refusal has changed.

    Raises LinuxError: ENOMEM (holes, limits), EACCES (more than the file allows), EINVAL, EPERM (sealed)."""
    vma = mm.vmas.first(start)
    if vma is None or vma.start >= end:
        raise LinuxError(ENOMEM, "nothing is mapped there")
    if growsdown:
        start = vma.start
        if not vma.flags & GROWSDOWN:
            raise LinuxError(EINVAL, "PROT_GROWSDOWN, but the mapping does not grow down")
    elif vma.start > start:
        raise LinuxError(ENOMEM, f"the range starts in a hole (0x{start:x}-0x{vma.start:x})")
    elif growsup:
        raise LinuxError(EINVAL, "PROT_GROWSUP: no mapping grows up on x86-64")
    at = start
    while at < end:
        vma = mm.vmas.first(at)
        if vma is None or vma.start > at:
            raise LinuxError(ENOMEM, f"the range has a hole at 0x{at:x}")
        wanted = prot
        if mm.read_implies_exec and prot & 1 and vma.flags & MAYEXEC:
            wanted |= EXEC
        flags = vma.flags & ~ACCESS | wanted
        if flags & ~(flags >> 4) & ACCESS:
            raise LinuxError(EACCES, f"the file behind 0x{vma.start:x} was not opened for that")
        stop = min(vma.end, end)
        _fixup(mm, vma, at, stop, flags)
        at = stop


def _fixup(mm: Mm, vma: Vma, start: int, end: int, flags: int) -> None:
    """mprotect_fixup: one VMA's part."""
    check_sealed(vma)
    old = vma.flags
    if not (flags ^ old) & ~SOFTDIRTY:
        return
    pages = end - start >> 12
    if flags & WRITE:
        why = may_expand_vm(mm, flags, pages)
        if why and not may_expand_vm(mm, old, pages):
            raise LinuxError(ENOMEM, why)
        if not old & (ACCOUNT | WRITE | HUGETLB | SHARED | NORESERVE):
            mm.frames.commit.charge(pages, mm.privileged, mm.total_vm)
            flags |= ACCOUNT
    elif old & ACCOUNT and vma.mappable is None and not vma.anon_vma:
        flags &= ~ACCOUNT
    try:
        vma = modify(mm, vma, start, end, flags, vma.policy)
    except LinuxError:
        if flags & ACCOUNT and not old & ACCOUNT:
            mm.frames.commit.uncharge(pages)
        raise
    change_protection(mm, vma, start, end, bool(old & EXEC))
    if old & ACCOUNT and not flags & ACCOUNT:
        mm.frames.commit.uncharge(pages)
    mm.account(old, -pages)
    mm.account(flags, pages)
    if old & (WRITE | SHARED | LOCKED) == LOCKED and flags & WRITE:
        populate_vma(mm, vma, start, end)


def change_protection(mm: Mm, vma: Vma, start: int, end: int, was_exec: bool) -> None:
    """Make the PTEs of [start, end) agree with `vma`'s flags."""
    base = vma.read_bits & PROTECTION_BITS
    # A page that is this mm's alone (or a dirty shared one) need not fault before its first write.
    upgrade = vma.flags & WRITE
    shared = bool(vma.flags & SHARED)
    changed = False
    for _, i, j in mm.page_table.leaves_in(start, end):
        change = _change_few if j - i <= FEW else _change_runs
        changed |= change(mm, i, j, base, upgrade, shared)
    if changed:
        mm.tlb()
        if was_exec and not vma.flags & EXEC:
            forget_code(mm, start, end)
        elif vma.flags & EXEC:
            _note_code(mm, vma, start, end)


def _change_few(mm: Mm, i: int, j: int, base: int, upgrade: int, shared: bool) -> bool:
    words, refs, code = mm.words, mm.frames.refs, mm.frames.code
    changed = False
    for k in range(i, j):
        entry = words[k]
        if entry & HERE:
            new = entry & ~PROTECTION_BITS | base
            if upgrade and base & P and not entry & SPECIAL:
                if entry & ANON:
                    if refs[(entry & PFN) >> 12] == 1:
                        new |= W
                elif shared and entry & D and (entry & PFN) >> 12 not in code:
                    new |= W
            words[k] = new
            changed = True
    return changed


def _change_runs(mm: Mm, i: int, j: int, base: int, upgrade: int, shared: bool) -> bool:
    """As `_change_few`, run by run."""
    words, refs = mm.words, mm.frames.refs
    changed = False
    for k, n, entry in runs(words, i, j):
        if not entry & HERE:
            continue
        new = entry & ~PROTECTION_BITS | base
        if upgrade and base & P and not entry & SPECIAL:
            pfn = (entry & PFN) >> 12
            if entry & ANON:
                if refs[pfn : pfn + n] != ONE_OWNER[:n]:
                    _change_few(mm, k, k + n, base, upgrade, shared)
                    changed = True
                    continue
                new |= W
            elif shared and entry & D:
                if not mm.frames.code.isdisjoint(range(pfn, pfn + n)):
                    _change_few(mm, k, k + n, base, upgrade, shared)
                    changed = True
                    continue
                new |= W
        fill(words, k, n, new)
        changed = True
    return changed


def _note_code(mm: Mm, vma: Vma, start: int, end: int) -> None:
    """Pages that were delivered before they became executable may be translated from now on."""
    words = mm.words
    for va, i, j in mm.page_table.leaves_in(start, end):
        for k in range(i, j):
            entry = words[k]
            if entry & P and not entry & NX:
                pfn = (entry & PFN) >> 12
                mm.frames.code.add(pfn)
                hold_writers(mm, vma, va + (k - i << 12), pfn)
