"""NUMA memory policies: what mbind and set_mempolicy keep, by range and by task (mm/mempolicy.c).

Which node a page then comes from is said in numa.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.abi.errno import EFAULT, EINVAL, ENOENT, EOPNOTSUPP, LinuxError
from kernel.abi.mman import Mpol, MpolMode
from kernel.mm.merge import modify

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma

# With any of these, the mask as given is kept and shown (mpol_store_user_nodemask).
MODE_FLAGS = MpolMode.STATIC_NODES | MpolMode.RELATIVE_NODES | MpolMode.NUMA_BALANCING
FLAG_NAMES = (
    (MpolMode.STATIC_NODES, "static"), (MpolMode.RELATIVE_NODES, "relative"), (MpolMode.NUMA_BALANCING, "balancing"),
)  # fmt: skip
USER_NODES = MpolMode.STATIC_NODES | MpolMode.RELATIVE_NODES


class Policy(NamedTuple):
    """One policy, as it is in force: equal policies merge VMAs. `nodes` is a bit mask of node numbers; `given` is the
    mask as it was given where its flags ask to remember it, else 0. `home` is -1 without one."""

    mode: int
    flags: int
    nodes: int
    given: int = 0
    home: int = -1


class SharedPolicy:
    """The policies of memory that mappings share, by page index (mpol_shared_policy). An object that can have them
    (memfd, tmpfs, shared anonymous memory) has a field `policies`: None until a mapping of it is given one. `ranges`:
    (start, end, policy), ascending, disjoint."""

    __slots__ = ("ranges",)

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int, Policy]] = []

    def lookup(self, index: int) -> Policy | None:
        """Of one page."""
        return next((policy for start, end, policy in self.ranges if start <= index < end), None)

    def replace(self, start: int, end: int, policy: Policy | None) -> None:
        """Of pages [start, end)."""
        kept = [(s, min(e, start), p) for s, e, p in self.ranges if s < start]
        kept += [(max(s, end), e, p) for s, e, p in self.ranges if e > end]
        if policy is not None:
            kept.append((start, end, policy))
        self.ranges = sorted(kept)


def policy_at(vma: Vma, va: int) -> Policy | None:
    """The policy of a page of `vma`, its shared object's where there is one (__get_vma_policy); None: the task's."""
    if not vma.shmem:
        return vma.policy
    shared: SharedPolicy | None = getattr(vma.mappable, "policies", None)
    return None if shared is None else shared.lookup(vma.page_index(va))


def _replace(mm: Mm, vma: Vma, start: int, end: int, policy: Policy | None) -> None:
    """mbind_range: the part [start, end) of `vma` gets a policy; so do the pages of a shared object behind it."""
    vma = modify(mm, vma, start, end, vma.flags, policy)
    if vma.shmem:
        shared: SharedPolicy | None = getattr(vma.mappable, "policies", None)
        if shared is None:
            shared = SharedPolicy()
            setattr(vma.mappable, "policies", shared)  # noqa: B010 - of a Mappable only some have it
        shared.replace(vma.pgoff, vma.pgoff + vma.pages, policy)


MODE_NAMES = ("default", "prefer", "bind", "interleave", "local", "prefer (many)", "weighted interleave")


def node_list(mask: int) -> str:
    """`0-1,3`: as %*pbl prints a node mask."""
    runs, node = [], 0
    while mask >> node:
        if mask >> node & 1:
            first = node
            while mask >> node + 1 & 1:
                node += 1
            runs.append(f"{first}" if first == node else f"{first}-{node}")
        node += 1
    return ",".join(runs)


def policy_text(policy: Policy | None) -> str:
    """As /proc/[pid]/numa_maps shows it (mpol_to_str)."""
    if policy is None:
        return "default"
    text = MODE_NAMES[policy.mode]
    words = [word for bit, word in FLAG_NAMES if policy.flags & bit]
    if words:
        text += "=" + "|".join(words)
    return f"{text}:{node_list(policy.nodes)}" if policy.nodes else text


def split_mode(word: int) -> tuple[int, int]:
    """(mode, flags) of a mode argument (sanitize_mpol_flags). Raises LinuxError(EINVAL)."""
    mode, flags = word & ~MODE_FLAGS, word & MODE_FLAGS
    if mode > Mpol.WEIGHTED_INTERLEAVE:
        raise LinuxError(EINVAL, f"policy {mode} is unknown")
    if flags & USER_NODES == USER_NODES:
        raise LinuxError(EINVAL, "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES together")
    if flags & MpolMode.NUMA_BALANCING and mode not in (Mpol.BIND, Mpol.PREFERRED_MANY):
        raise LinuxError(EINVAL, "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY")
    return mode, flags


def make_policy(mode: int, flags: int, given: int, online: int) -> Policy | None:
    """The policy that these words ask for on a machine with the nodes `online`; None for the default one (mpol_new,
    mpol_set_nodemask). Raises LinuxError(EINVAL)."""
    fixed = flags & USER_NODES
    if mode == Mpol.DEFAULT:
        if given:
            raise LinuxError(EINVAL, "MPOL_DEFAULT takes no nodes")
        return None
    if mode == Mpol.PREFERRED and not given:
        if fixed:
            raise LinuxError(EINVAL, "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes")
        mode = Mpol.LOCAL
    elif mode == Mpol.LOCAL:
        if given or fixed:
            raise LinuxError(EINVAL, "MPOL_LOCAL takes no nodes")
    elif not given:
        raise LinuxError(EINVAL, "this policy needs nodes")
    if mode == Mpol.LOCAL:
        return Policy(mode, flags, 0)
    nodes = _relative(given, online) if flags & MpolMode.RELATIVE_NODES else given & online
    if not nodes:
        raise LinuxError(EINVAL, f"none of the nodes is online (mask of those that are: 0x{online:x})")
    if mode == Mpol.PREFERRED:
        nodes &= -nodes
    return Policy(mode, flags, nodes, given if flags & MODE_FLAGS else 0)


def _relative(given: int, online: int) -> int:
    """mpol_relative_nodemask: the n-th bit means the n-th node that is online, folded over how many there are."""
    members = [node for node in range(online.bit_length()) if online >> node & 1]
    bits = {node % len(members) for node in range(given.bit_length()) if given >> node & 1}
    return sum(1 << members[bit] for bit in bits)


def mbind(mm: Mm, start: int, end: int, policy: Policy | None) -> None:
    """Give [start, end) a policy. Raises LinuxError: EFAULT at a hole, with no effect (the default policy, None, may
    be given across holes, if anything is mapped); ENOMEM."""
    vmas = mm.vmas.overlapping(start, end)
    at = start
    for vma in vmas:
        if vma.start > at and policy is not None:
            break
        at = vma.end
    if at < end and (policy is not None or not vmas):
        raise LinuxError(EFAULT, f"nothing is mapped at 0x{at:x}")
    at = start
    while at < end:
        found = mm.vmas.above(at)
        at = max(at, found.start)
        stop = min(found.end, end)
        if at < stop and found.policy != policy:
            _replace(mm, found, at, stop, policy)
        at = stop


def set_home_node(mm: Mm, start: int, end: int, node: int) -> None:
    """set_mempolicy_home_node(2). Raises LinuxError: ENOENT (no policy there), EOPNOTSUPP (one without a home)."""
    done = False
    at = start
    for vma in mm.vmas.overlapping(start, end):
        at, stop = max(vma.start, start), min(vma.end, end)
        old = vma.policy
        if old is None:
            continue
        if old.mode not in (Mpol.BIND, Mpol.PREFERRED_MANY):
            raise LinuxError(EOPNOTSUPP, "a home node is for MPOL_BIND and MPOL_PREFERRED_MANY")
        found = mm.vmas.above(at)
        _replace(mm, found, at, stop, old._replace(home=node))
        done = True
    if not done:
        raise LinuxError(ENOENT, "no mapping in the range has a policy")
