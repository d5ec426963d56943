"""Merging and splitting VMAs, as Linux does it and /proc/self/maps shows it (mm/vma.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, ENOMEM, LinuxError
from kernel.mm.vma import HUGETLB, SPECIAL, STICKY, Vma

if TYPE_CHECKING:
    from kernel.mm.mappable import Mappable
    from kernel.mm.mempolicy import Policy
    from kernel.mm.mm import Mm


def _alike(vma: Vma, flags: int, file: object, policy: Policy | None) -> bool:
    """is_mergeable_vma."""
    return not (vma.flags ^ flags) & ~STICKY and vma.file is file and vma.policy == policy


def _families(target: Vma, anon_vma: int, forked: bool) -> bool:
    """is_mergeable_anon_vma: may pages of family `anon_vma` (`forked`: it has ancestors) live in `target`?"""
    if not target.anon_vma:
        return not (anon_vma and forked)
    if not anon_vma:
        return not target.forked
    return target.anon_vma == anon_vma


def _related(prev: Vma, after: Vma) -> bool:
    return not prev.anon_vma or not after.anon_vma or prev.anon_vma == after.anon_vma


def merge_new(
    mm: Mm, start: int, end: int, flags: int, file: object, pgoff: int, policy: Policy | None,
    anon_vma: int = 0, forked: bool = False, just_expand: bool = False,
) -> Vma | None:  # fmt: skip
    """Let the neighbours of the free range [start, end) take it in (vma_merge_new_range); None if neither can.

    `just_expand`: only the one below may (brk)."""
    if flags & SPECIAL:
        return None
    after = mm.vmas.above(start)
    prev = after.prev
    left = (
        prev.end == start
        and _alike(prev, flags, file, policy)
        and prev.pgoff + (prev.end - prev.start >> 12) == pgoff
        and _families(prev, anon_vma, forked)
    )
    right = (
        after.start == end
        and not just_expand
        and _alike(after, flags, file, policy)
        and after.pgoff == pgoff + (end - start >> 12)
        and _families(after, anon_vma, forked)
    )
    if left:
        if right and _related(prev, after):
            _adopt(prev, after.anon_vma, after.forked)
            mm.drop(after)
            end = after.end
            flags |= after.flags & STICKY
        _adopt(prev, anon_vma, forked)
        _stick(mm, prev, flags)
        mm.vmas.resize(prev, prev.start, end)
        return prev
    if right:
        _adopt(after, anon_vma, forked)
        _stick(mm, after, flags)
        after.pgoff = pgoff
        mm.vmas.resize(after, start, after.end)
        return after
    return None


def _stick(mm: Mm, vma: Vma, flags: int) -> None:
    """What `vma` takes in brings its sticky flags along."""
    if flags & ~vma.flags & STICKY:
        mm.vmas.reflag(vma, vma.flags | flags & STICKY)


def _adopt(vma: Vma, anon_vma: int, forked: bool) -> None:
    """dup_anon_vma."""
    if anon_vma and not vma.anon_vma:
        vma.anon_vma = anon_vma
        vma.forked = forked


def modify(mm: Mm, vma: Vma, start: int, end: int, flags: int, policy: Policy | None) -> Vma:
    """Give [start, end), a part of `vma`, new flags or a new policy: merge it with what is beside it, or split it off
    (vma_modify). Returns the VMA that now holds the range (it may reach further). Raises LinuxError(ENOMEM)."""
    merged = _merge_existing(mm, vma, start, end, flags, policy)
    if merged is not None:
        return merged
    if vma.start < start:
        vma = split(mm, vma, start)
    if vma.end > end:
        split(mm, vma, end)
    vma.policy = policy
    mm.vmas.reflag(vma, flags)
    return vma


def _merge_existing(mm: Mm, vma: Vma, start: int, end: int, flags: int, policy: Policy | None) -> Vma | None:
    """vma_merge_existing_range: the range goes to prev, to next, or all three become one."""
    left_side, right_side = start == vma.start, end == vma.end
    if flags & SPECIAL or not (left_side or right_side):
        return None
    pgoff = vma.page_index(start)
    prev, after = vma.prev, vma.next
    left = (
        left_side
        and prev.end == start
        and _alike(prev, flags, vma.file, policy)
        and prev.pgoff + prev.pages == pgoff
        and _families(prev, vma.anon_vma, vma.forked)
    )
    right = (
        right_side
        and after.start == end
        and _alike(after, flags, vma.file, policy)
        and after.pgoff == pgoff + (end - start >> 12)
        and _families(after, vma.anon_vma, vma.forked)
    )
    if left:
        both = right and _related(prev, after)
        if both:
            _adopt(prev, after.anon_vma, after.forked)
            flags |= after.flags & STICKY
        _adopt(prev, vma.anon_vma, vma.forked)
        _stick(mm, prev, flags)
        if right_side:
            mm.drop(vma)
            if both:
                mm.drop(after)
                end = after.end
        else:
            vma.pgoff = vma.page_index(end)
            mm.vmas.resize(vma, end, vma.end)
        mm.vmas.resize(prev, prev.start, end)
        return prev
    if right:
        _adopt(after, vma.anon_vma, vma.forked)
        _stick(mm, after, flags)
        if left_side:
            mm.drop(vma)
        else:
            mm.vmas.resize(vma, vma.start, start)
        after.pgoff = pgoff
        mm.vmas.resize(after, start, after.end)
        return after
    return None


def split(mm: Mm, vma: Vma, at: int) -> Vma:
    """Cut `vma` in two at `at`; returns the upper part (split_vma). Raises LinuxError(ENOMEM)."""
    if mm.map_count >= mm.max_map_count:
        raise LinuxError(ENOMEM, f"vm.max_map_count: there are {mm.map_count} mappings")
    return split_unchecked(mm, vma, at)


def split_unchecked(mm: Mm, vma: Vma, at: int) -> Vma:
    """As `split`, one over the limit too: munmap may (__split_vma)."""
    if vma.flags & HUGETLB and at & 0x1FFFFF:
        raise LinuxError(EINVAL, f"0x{at:x} is inside a huge page")
    upper = clone(vma, at, vma.end, vma.page_index(at))
    mm.vmas.resize(vma, vma.start, at)
    mm.add(upper)
    return upper


def clone(vma: Vma, start: int, end: int, pgoff: int, mappable: Mappable | None = None) -> Vma:
    """A VMA with all properties of `vma` at another place."""
    new = Vma(start, end, vma.flags, vma.mappable, pgoff, vma.anon_vma, vma.policy, vma.file)
    new.forked = vma.forked
    new.name = vma.name
    return new
