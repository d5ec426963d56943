"""Memory of several nodes: RAM split evenly, frames by policy, pages that move (mm/mempolicy.c, mm/migrate.c).

A machine of one node has none of this: `Frames` serves it. All processors are on node 0.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EBUSY, EFAULT, ENOENT, ENOMEM
from kernel.abi.mman import Mpol
from kernel.mm.frames import BUMP, CLEAN, FREE, LIMIT, ZERO_PAGE, Frames
from kernel.mm.pte import ANON, HERE, PFN, SPECIAL
from kernel.mm.ram import LOW, PAGE_SIZE
from kernel.mm.vma import EXEC, HUGETLB, IO, PFNMAP

if TYPE_CHECKING:
    from kernel.mm.mempolicy import Policy
    from kernel.mm.mm import Mm
    from kernel.mm.ram import Ram
    from kernel.mm.vma import Vma

UNMOVABLE = IO | PFNMAP | HUGETLB
INTERLEAVED = (Mpol.INTERLEAVE, Mpol.WEIGHTED_INTERLEAVE)


class NumaFrames(Frames):
    """The frame allocator of a machine with `nodes` > 1 nodes.

    Always: node n has the frames [edges[n], edges[n + 1]); those of it that are free are in `pools[n]` (a stack, CLEAN
    as in `Frames`), never used ([bumps[n], limits[n])), or in the stack `free`, into which all that is freed falls
    until it is sorted. No native fault path takes frames here: Mm gives out no FaultTable."""

    def __init__(self, ram: Ram, overcommit: int = 0, swap_pages: int = 0, nodes: int = 2) -> None:
        total = ram.size >> 12
        self.nodes = nodes
        self.edges = [total * n // nodes for n in range(nodes + 1)]
        self.limits = self.edges[1:]
        self.bumps = [min(max(self.edges[node], LOW >> 12), self.limits[node]) for node in range(nodes)]
        self.pools = [array("I") for _ in range(nodes)]
        super().__init__(ram, overcommit, swap_pages)
        self.counters[BUMP] = self.counters[LIMIT]

    @property
    def used(self) -> int:
        return self.total - (LOW >> 12) - sum(map(self.free_on, range(self.nodes))) - self.commit.hugetlb_pages

    def node_of(self, pfn: int) -> int:
        return bisect_right(self.edges, pfn) - 1

    def free_on(self, node: int) -> int:
        """Free frames of a node."""
        self._sort()
        return len(self.pools[node]) + self.limits[node] - self.bumps[node]

    def size_of(self, node: int) -> int:
        return self.edges[node + 1] - self.edges[node]

    def alloc(self) -> int:
        """A zeroed frame: where the policy of the fault that it is for wants it, else near the processor."""
        aim, self.aim = self.aim, None
        order = range(self.nodes) if aim is None else wanted_nodes(self.weights, *aim)
        while True:
            for node in order:
                pfn = self.alloc_on(node)
                if pfn >= 0:
                    self._count(node, order[0], aim[0] if aim else None)
                    return pfn
            self._reclaim()

    def _count(self, node: int, wanted: int, policy: Policy | None) -> None:
        """zone_statistics()."""
        events = self.numa_events
        if node == wanted:
            events["numa_hit", node] += 1
            events["interleave_hit", node] += policy is not None and policy.mode in INTERLEAVED
        else:
            events["numa_miss", node] += 1
            events["numa_foreign", wanted] += 1
        events["local_node" if node == 0 else "other_node", node] += 1

    def alloc_raw(self) -> int:
        return self.alloc()

    def alloc_on(self, node: int) -> int:
        """A zeroed frame of this node, -1 if it has none."""
        if not self.pools[node]:
            self._sort()
        if self.pools[node]:
            pfn = self.pools[node].pop()
            if pfn & CLEAN:
                pfn ^= CLEAN
            else:
                self.ram.bytes[pfn << 12 : (pfn << 12) + PAGE_SIZE] = ZERO_PAGE
        elif self.bumps[node] < self.limits[node]:
            pfn = self.bumps[node]
            self.bumps[node] = pfn + 1
        else:
            return -1
        self.refs[pfn] = 1
        return pfn

    def _sort(self) -> None:
        """What was freed goes to its nodes."""
        for pfn in self.free[: self.counters[FREE]].tolist():
            self.pools[self.node_of(pfn & ~CLEAN)].append(pfn)
        self.counters[FREE] = 0

    def carve(self, pages: int) -> int:
        """See Frames: from the node that has given least."""
        node = max(range(self.nodes), key=lambda n: (self.limits[n] - self.edges[n + 1], -n))
        first = (self.limits[node] - pages) & -pages
        if first < self.bumps[node]:
            return -1
        self.pools[node].extend(pfn | CLEAN for pfn in range(first + pages, self.limits[node]))
        self.limits[node] = first
        return first


def around(nodes: int, first: int) -> list[int]:
    """All nodes in the order in which they stand in for `first` (find_next_best_node: all are equally far)."""
    return [(first + n) % nodes for n in range(nodes)]


def wanted_nodes(weights: list[int], policy: Policy | None, vma: Vma, va: int) -> list[int]:
    """The nodes to try, in order, for a page of `vma` at `va` (policy_nodemask, interleave_nid); each has a weight."""
    nodes = len(weights)
    if policy is None or policy.mode in (Mpol.DEFAULT, Mpol.LOCAL):
        return around(nodes, 0)
    members = [node for node in range(nodes) if policy.nodes >> node & 1]
    if policy.mode in INTERLEAVED:
        turns = members
        if policy.mode == Mpol.WEIGHTED_INTERLEAVE:
            turns = [node for node in members for _ in range(weights[node])]
        return around(nodes, turns[vma.page_index(va) % len(turns)])
    if policy.mode == Mpol.PREFERRED:
        return around(nodes, members[0])
    near = around(nodes, max(policy.home, 0))
    inside = [node for node in near if node in members]
    return inside if policy.mode == Mpol.BIND else inside + [node for node in near if node not in members]


def migrate(mm: Mm, vma: Vma, va: int, order: list[int], shared: bool = False) -> int:
    """Move va's page, if it is there, to the first node of `order` that has room. Where it is then, or a negative
    errno. `shared`: also one that is mapped more than once (MPOL_MF_MOVE_ALL)."""
    index = mm.page_table.lookup(va)
    entry = mm.words[index] if index >= 0 else 0
    if not entry & HERE:
        return -ENOENT
    if entry & SPECIAL or vma.flags & UNMOVABLE:
        return -EFAULT
    frames = mm.frames
    old = (entry & PFN) >> 12
    if order[0] == frames.node_of(old):
        return order[0]
    if owners(mm, va) > 1:
        return -EBUSY if shared else -EACCES
    pfn = next((pfn for node in order if (pfn := frames.alloc_on(node)) >= 0), -1)
    if pfn < 0:
        return -ENOMEM
    if not entry & ANON:
        relocate = getattr(vma.mappable, "relocate", None)
        if relocate is None:
            frames.put(pfn)
            return -EBUSY
        relocate(vma.page_index(va), pfn)
        frames.get(pfn)
        frames.release(old)
    frames.ram.bytes[pfn << 12 : pfn + 1 << 12] = frames.ram.bytes[old << 12 : old + 1 << 12]
    mm.words[index] = entry & ~PFN | pfn << 12
    frames.release(old)
    if vma.flags & EXEC:
        frames.code.add(pfn)
    mm.tlb()
    return frames.node_of(pfn)


def owners(mm: Mm, va: int) -> int:
    """How often the page at `va`, which is there, is mapped."""
    entry = mm.page_table.entry(va)
    return mm.frames.refs[(entry & PFN) >> 12] - (0 if entry & ANON else 1)


def misplaced(mm: Mm, start: int, end: int, nodes: int) -> list[tuple[Vma, int]]:
    """The pages of [start, end) that are on none of `nodes`, as (vma, va)."""
    found = []
    for vma in mm.vmas.overlapping(start, end):
        for va, i, j in mm.page_table.leaves_in(max(start, vma.start), min(end, vma.end)):
            for k, entry in enumerate(mm.words[i:j].tolist()):
                there = entry & HERE and not entry & SPECIAL
                if there and not nodes >> mm.frames.node_of((entry & PFN) >> 12) & 1:
                    found.append((vma, va + (k << 12)))
    return found


def migrate_between(mm: Mm, source: int, target: int) -> int:
    """Move all pages from the nodes `source` to those of `target`, keeping relative places; how many could not be moved
    (do_migrate_pages)."""
    left = 0
    before = [node for node in range(mm.frames.nodes) if source >> node & 1]
    after = [node for node in range(mm.frames.nodes) if target >> node & 1]
    pairs = {node: after[n % len(after)] for n, node in enumerate(before)}
    if len(before) != len(after):
        pairs = {node: to for node, to in pairs.items() if node not in after}
    for vma, va in misplaced(mm, 0, 1 << 47, ~sum(1 << node for node, to in pairs.items() if node != to)):
        pfn = (mm.page_table.entry(va) & PFN) >> 12
        to = pairs[mm.frames.node_of(pfn)]
        left += migrate(mm, vma, va, [to]) != to
    return left
