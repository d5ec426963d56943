"""NUMA syscalls: policies by range and by task, and where pages are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.args import Addr, Pid, Size, ULong
from kernel.abi.errno import EFAULT, EINVAL, EIO, ENODEV, ENOENT, EPERM, ESRCH, LinuxError
from kernel.abi.limits import U64
from kernel.abi.memargs import MoveNodes, MovePages, MoveStatus, NodeMask, OutNodeMask, OutPolicy, PolicyMode
from kernel.abi.mman import Mpol, MpolGet, MpolGetFlags, MpolMf, MpolMfFlags
from kernel.mm import mempolicy, numa
from kernel.mm.pte import HERE, PFN, SPECIAL, P
from kernel.mm.uaccess import clear_user
from kernel.mm.vma import READ
from kernel.syscalls.table import syscall

if TYPE_CHECKING:
    from kernel.mm.mempolicy import Policy
    from kernel.mm.mm import Mm
    from kernel.task.task import Task

MAX_NODES = 1024  # MAX_NUMNODES with CONFIG_NODES_SHIFT=10


def _online(task: Task) -> int:
    """The mask of the machine's nodes."""
    return (1 << task.system.config.nodes) - 1


def _nodes(task: Task, mask: int, maxnode: int) -> int:
    """The node mask at `mask`, of maxnode - 1 bits (get_nodes). Raises LinuxError: EINVAL, EFAULT."""
    bits = maxnode - 1 & U64
    if not bits or not mask:
        return 0
    if bits > 4096 * 8:
        raise LinuxError(EINVAL, f"maxnode {maxnode} is more than a page of bits")
    raw = task.mm.copy_from_user(mask, -(-bits // 64) * 8)
    nodes = int.from_bytes(raw, "little") & (1 << bits) - 1
    if nodes >> MAX_NODES:
        raise LinuxError(EINVAL, f"a node above {MAX_NODES - 1}")
    return nodes


@syscall
def mbind(task: Task, addr: Addr, length: Size, mode: PolicyMode, nodemask: NodeMask, maxnode: ULong,
          flags: MpolMfFlags) -> int:  # fmt: skip
    """mbind(2)."""
    word, mode_flags = mempolicy.split_mode(mode)
    nodes = _nodes(task, nodemask, maxnode)
    if flags & ~(MpolMf.STRICT | MpolMf.MOVE | MpolMf.MOVE_ALL):
        raise LinuxError(EINVAL, "unknown bits in flags")
    if flags & MpolMf.MOVE_ALL and not task.mm.privileged:
        raise LinuxError(EPERM, "MPOL_MF_MOVE_ALL needs CAP_SYS_NICE")
    end = _end(addr, length)
    if end == addr:
        return 0
    policy = mempolicy.make_policy(word, mode_flags, nodes, _online(task))
    if flags == MpolMf.STRICT and policy is not None:
        _check_strict(task.mm, addr, end, nodes)
    mempolicy.mbind(task.mm, addr, end, policy)
    if flags & (MpolMf.MOVE | MpolMf.MOVE_ALL):
        _conform(task.mm, addr, end, policy, nodes, flags)
    return 0


def _check_strict(mm: Mm, start: int, end: int, nodes: int) -> None:
    """queue_pages_range of MPOL_MF_STRICT alone: nothing is done where a page is on none of `nodes`, the mask as given.
    A hole that follows a mapping is seen before the mapping's pages. Raises LinuxError(EIO)."""
    for vma in mm.vmas.overlapping(start, end):
        if vma.start > start or (vma.end < end and vma.next.start != vma.end):
            return
        if numa.misplaced(mm, start, min(vma.end, end), nodes):
            raise LinuxError(EIO, "pages are not where the policy wants them")
        start = vma.end


def _conform(mm: Mm, start: int, end: int, policy: Policy | None, nodes: int, flags: int) -> None:
    """The pages that are there already, but not on `nodes`, the mask as given: MPOL_MF_MOVE moves those that are mapped
    once, and with MPOL_MF_STRICT it says so where it could not."""
    failed, everybody = 0, bool(flags & MpolMf.MOVE_ALL)
    for vma, va in numa.misplaced(mm, start, end, nodes):
        order = numa.wanted_nodes(mm.frames.weights, policy, vma, va)
        alone = everybody or numa.owners(mm, va) == 1
        failed += not alone or numa.migrate(mm, vma, va, order, everybody) < 0
    if failed and flags & MpolMf.STRICT and policy is not None:
        raise LinuxError(EIO, f"{failed} pages are not where the policy wants them")


def _end(addr: int, length: int) -> int:
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    end = addr + (length + 4095 & U64 & ~4095)
    if end > U64:
        raise LinuxError(EINVAL, "the range wraps around")
    return end


@syscall
def set_mempolicy(task: Task, mode: PolicyMode, nodemask: NodeMask, maxnode: ULong) -> int:
    """set_mempolicy(2)."""
    word, flags = mempolicy.split_mode(mode)
    nodes = _nodes(task, nodemask, maxnode)
    task.mm.policy = mempolicy.make_policy(word, flags, nodes, _online(task))
    return 0


@syscall
def get_mempolicy(task: Task, mode: OutPolicy, nodemask: OutNodeMask, maxnode: ULong, addr: Addr,
                  flags: MpolGetFlags) -> int:  # fmt: skip
    """get_mempolicy(2)."""
    if nodemask and maxnode < task.system.config.nodes:
        raise LinuxError(EINVAL, f"maxnode is below the machine's {task.system.config.nodes} nodes")
    value, nodes = _get(task, addr, flags)
    if mode:
        task.mm.copy_to_user(mode, value.to_bytes(4, "little"))
    if nodemask:
        _put_nodes(task, nodemask, maxnode, nodes)
    return 0


def _get(task: Task, addr: int, flags: int) -> tuple[int, int]:
    """do_get_mempolicy: (mode or node, node mask)."""
    mm = task.mm
    if flags & ~(MpolGet.NODE | MpolGet.ADDR | MpolGet.MEMS_ALLOWED):
        raise LinuxError(EINVAL, "unknown bits in flags")
    if flags & MpolGet.MEMS_ALLOWED:
        if flags & (MpolGet.NODE | MpolGet.ADDR):
            raise LinuxError(EINVAL, "MPOL_F_MEMS_ALLOWED goes with no other flag")
        return 0, _online(task)
    policy, vma = mm.policy, mm.find(addr)
    if flags & MpolGet.ADDR:
        if vma is None:
            raise LinuxError(EFAULT, f"nothing is mapped at 0x{addr:x}")
        policy = mempolicy.policy_at(vma, addr)  # the task's own is not asked
    elif addr:
        raise LinuxError(EINVAL, "addr is given without MPOL_F_ADDR")
    nodes = 0 if policy is None else policy.given or policy.nodes
    if not flags & MpolGet.NODE:
        return (0 if policy is None else policy.mode | policy.flags), nodes
    if flags & MpolGet.ADDR:
        assert vma is not None
        if not mm.page_table.entry(addr) & P and not vma.flags & READ:
            raise LinuxError(EFAULT, f"0x{addr:x} is not there, and may not be read")
        mm.copy_from_user(addr & ~4095, 1)
        return mm.frames.node_of((mm.page_table.entry(addr) & PFN) >> 12), nodes
    if policy is not None and policy.mode in (Mpol.INTERLEAVE, Mpol.WEIGHTED_INTERLEAVE):
        return (policy.nodes & -policy.nodes).bit_length() - 1, nodes
    raise LinuxError(EINVAL, "MPOL_F_NODE without MPOL_F_ADDR is for MPOL_INTERLEAVE")


def _put_nodes(task: Task, mask: int, maxnode: int, nodes: int) -> None:
    """copy_nodes_to_user."""
    size = (maxnode - 1 + 63 & U64) >> 6 << 3
    known = 8
    if size > known:
        if size > 4096:
            raise LinuxError(EINVAL, f"maxnode {maxnode} is more than a page of bits")
        clear_user(task.mm, mask + known, size - known)
    task.mm.copy_to_user(mask, (nodes & U64).to_bytes(known, "little")[: min(size, known)])


@syscall
def set_mempolicy_home_node(task: Task, addr: Addr, length: Size, home_node: ULong, flags: ULong) -> int:
    """set_mempolicy_home_node(2)."""
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    if home_node >= MAX_NODES or not _online(task) >> home_node & 1:
        raise LinuxError(EINVAL, f"node {home_node} is not online")
    end = _end(addr, length)
    if end > addr:
        mempolicy.set_home_node(task.mm, addr, end, home_node)
    return 0


def _mm_of(task: Task, pid: int) -> Mm:
    """The address space of a process by pid, 0 for one's own (find_mm_struct). Raises LinuxError(ESRCH, EPERM)."""
    if pid == 0:
        return task.mm
    other = task.system.tasks.get(pid)
    if other is None:
        raise LinuxError(ESRCH, f"there is no process {pid}")
    if other.mm is not task.mm and not task.cred.privileged and other.cred.uid != task.cred.uid:
        raise LinuxError(EPERM, f"process {pid} belongs to another user")
    return other.mm


@syscall
def migrate_pages(task: Task, pid: Pid, maxnode: ULong, old_nodes: NodeMask, new_nodes: NodeMask) -> int:
    """migrate_pages(2)."""
    old = _nodes(task, old_nodes, maxnode)
    new = _nodes(task, new_nodes, maxnode)
    _mm_of(task, pid)
    if new & ~_online(task) and not task.mm.privileged:
        raise LinuxError(EPERM, "a node that is not online needs CAP_SYS_NICE")
    if not new & _online(task):
        raise LinuxError(EINVAL, "none of the new nodes is online")
    if task.system.frames.nodes == 1 or not old & _online(task):
        return 0
    return numa.migrate_between(_mm_of(task, pid), old & _online(task), new & _online(task))


@syscall
def move_pages(task: Task, pid: Pid, count: ULong, pages: MovePages, nodes: MoveNodes, status: MoveStatus,
               flags: MpolMfFlags) -> int:  # fmt: skip
    """move_pages(2)."""
    if flags & ~(MpolMf.MOVE | MpolMf.MOVE_ALL):
        raise LinuxError(EINVAL, "flags may have MPOL_MF_MOVE and MPOL_MF_MOVE_ALL")
    if flags & MpolMf.MOVE_ALL and not task.mm.privileged:
        raise LinuxError(EPERM, "MPOL_MF_MOVE_ALL needs CAP_SYS_NICE")
    mm = _mm_of(task, pid)
    for i in range(count):
        va = int.from_bytes(task.mm.copy_from_user(pages + 8 * i, 8), "little")
        if nodes:
            node = int.from_bytes(task.mm.copy_from_user(nodes + 4 * i, 4), "little", signed=True)
            _check_node(task, node)
            vma = mm.find(va)
            found = -EFAULT if vma is None else numa.migrate(mm, vma, va, [node], bool(flags & MpolMf.MOVE_ALL))
        else:
            found = _node_of(mm, va)
        task.mm.copy_to_user(status + 4 * i, found.to_bytes(4, "little", signed=True))
    return 0


def _check_node(task: Task, node: int) -> None:
    if not 0 <= node < MAX_NODES or not _online(task) >> node & 1:
        raise LinuxError(ENODEV, f"node {node} is not online")


def _node_of(mm: Mm, va: int) -> int:
    """The node of va's page, or a negative errno (do_pages_stat_array)."""
    if mm.find(va) is None:
        return -EFAULT
    entry = mm.page_table.entry(va)
    if not entry & HERE:
        return -ENOENT
    return -EFAULT if entry & SPECIAL else mm.frames.node_of((entry & PFN) >> 12)
