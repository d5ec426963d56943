"""/sys/devices/system/node/nodeN and /sys/kernel/mm/mempolicy: memory, node by node (drivers/base/node.c)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, ENODEV, LinuxError
from kernel.mm.pte import ANON, HERE, PFN, SPECIAL
from kernel.procfs.registry import SystemFile, sys_file
from kernel.procfs.setting import number
from kernel.procfs.status import span
from kernel.procfs.system import address_spaces, memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.procfs.registry import SystemStore
    from kernel.task.system import System

NODE, WEIGHTS = "devices/system/node", "kernel/mm/mempolicy/weighted_interleave"
HUGE = "hugepages/hugepages-2048kB"
MEMINFO = (
    "MemTotal", "MemFree", "MemUsed", "SwapCached", "Active", "Inactive", "Active(anon)", "Inactive(anon)",
    "Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "Dirty", "Writeback", "FilePages", "Mapped",
    "AnonPages", "Shmem", "KernelStack", "PageTables", "SecPageTables", "NFS_Unstable", "Bounce", "WritebackTmp",
    "KReclaimable", "Slab", "SReclaimable", "SUnreclaim", "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped",
    "FileHugePages", "FilePmdMapped",
)  # fmt: skip
NUMASTAT = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")


def node_files(nodes: int) -> dict[str, SystemFile]:
    """The files of nodes that a machine with so many has, by path in /sys."""
    files: dict[str, SystemFile] = {}
    for node in range(nodes):
        for name, make in TEXTS.items():
            files[f"{NODE}/node{node}/{name}"] = SystemFile(_of(make, node), 0o444, None)
        files[f"{WEIGHTS}/node{node}"] = SystemFile(_of(_weight, node), 0o644, _weight_store(node))
    return files


def _of(make: Callable[[System, int], str], node: int) -> Callable[[System], str]:
    return lambda system: make(system, node)


def _cpus(system: System, node: int) -> int:
    """All processors are on node 0."""
    return system.config.cpus if node == 0 else 0


def cpulist(system: System, node: int) -> str:
    cpus = _cpus(system, node)
    return f"{span(cpus) if cpus else ''}\n"


def cpumap(system: System, node: int) -> str:
    return f"{(1 << _cpus(system, node)) - 1:x}\n"


def distance(system: System, node: int) -> str:
    return " ".join("10" if other == node else "20" for other in range(system.config.nodes)) + "\n"


def _pages(system: System, node: int) -> dict[str, int]:
    """What memory() of the whole machine says, of this node alone."""
    frames = system.frames
    free = frames.free_on(node)
    known = memory(system)
    if frames.nodes > 1:
        there = Counter(_uses(system, node))
        shared = sum(frames.node_of(pfn) == node for cache in frames.caches for pfn in cache.pages.values())
        anon, mapped = there["AnonPages"], there["Mapped"]
        own = {
            "Active": anon, "Inactive": shared, "Active(anon)": anon, "Inactive(anon)": shared,
            "Active(file)": 0, "AnonPages": anon, "Mapped": mapped, "Shmem": shared, "Cached": shared,
            "PageTables": there["PageTables"],
        }  # fmt: skip
        known = dict.fromkeys(known, 0) | own | ({"KernelStack": known["KernelStack"]} if not node else {})
    total = frames.size_of(node)
    return known | {"MemTotal": total, "MemFree": free, "MemUsed": total - free, "FilePages": known["Cached"]}


def _uses(system: System, node: int) -> list[str]:
    """What each frame of this node that address spaces use is used for."""
    frames = system.frames
    uses: list[str] = []
    for mm in address_spaces(system):
        table = mm.page_table
        tables = [place >> 9 for each in (table.leaves, table.mids, table.tops) for place in each.values()]
        uses += ["PageTables" for pfn in tables if frames.node_of(pfn) == node]
        for leaf in table.leaves.values():
            for entry in mm.words[leaf : leaf + 512].tolist():
                if entry & HERE and not entry & SPECIAL and frames.node_of((entry & PFN) >> 12) == node:
                    uses.append("AnonPages" if entry & ANON else "Mapped")
    return uses


def _huge(system: System, node: int) -> tuple[int, int]:
    """(all, free) huge pages of a node."""
    pool, node_of = system.frames.huge, system.frames.node_of
    return sum(node_of(first) == node for first in pool.all), sum(node_of(first) == node for first in pool.free)


def meminfo(system: System, node: int) -> str:
    """node_read_meminfo()."""
    pages = _pages(system, node)
    lines = [f"Node {node} {name + ':':<15}{pages[name] * 4:8d} kB\n" for name in MEMINFO]
    total, free = _huge(system, node)
    lines += [f"Node {node} {name + ':':<16}{count:5d}\n" for name, count in (
        ("HugePages_Total", total), ("HugePages_Free", free), ("HugePages_Surp", 0))]  # fmt: skip
    return "".join(lines)


def numastat(system: System, node: int) -> str:
    """node_read_numastat(). On a machine of one node nothing is counted, as with vm.numa_stat=0."""
    counts = system.frames.numa_events
    return "".join(f"{name} {counts[name, node]}\n" for name in NUMASTAT)


def vmstat(system: System, node: int) -> str:
    """node_read_vmstat(): those counters of Linux's that this machine keeps."""
    pages, counts = _pages(system, node), system.frames.numa_events
    figures = {"nr_free_pages": pages["MemFree"], "nr_mlock": pages["Mlocked"]}
    renamed = {"interleave_hit": "numa_interleave", "local_node": "numa_local", "other_node": "numa_other"}
    figures |= {renamed.get(name, name): counts[name, node] for name in NUMASTAT}
    figures |= {
        "nr_anon_pages": pages["AnonPages"], "nr_mapped": pages["Mapped"], "nr_file_pages": pages["FilePages"],
        "nr_dirty": 0, "nr_writeback": 0, "nr_shmem": pages["Shmem"], "nr_page_table_pages": pages["PageTables"],
        "nr_hugetlb": _huge(system, node)[0] * 512,
    }  # fmt: skip
    return "".join(f"{name} {value}\n" for name, value in figures.items())


TEXTS: dict[str, Callable[[System, int], str]] = {
    "cpulist": cpulist, "cpumap": cpumap, "distance": distance, "meminfo": meminfo, "numastat": numastat,
    "vmstat": vmstat,
    f"{HUGE}/nr_hugepages": lambda system, node: f"{_huge(system, node)[0]}\n",
    f"{HUGE}/free_hugepages": lambda system, node: f"{_huge(system, node)[1]}\n",
    f"{HUGE}/surplus_hugepages": lambda *_: "0\n",
}  # fmt: skip


def _weight(system: System, node: int) -> str:
    return f"{system.frames.weights[node]}\n"


def _weight_store(node: int) -> SystemStore:
    """node_store(): 1 to 255. A weight that was set ends automatic ones."""

    def store(system: System, data: bytes) -> None:
        text = data.removesuffix(b"\n")
        weight, taken = number(text)
        if taken < len(text) or not 0 < weight < 256:
            raise LinuxError(EINVAL, "a weight is a number from 1 to 255")
        system.frames.weights[node] = weight
        system.frames.auto_weights = False

    return store


def _set_auto(system: System, data: bytes) -> None:
    """weighted_interleave_auto_store()."""
    word = data.strip().lower()
    if word[:1] in (b"y", b"t", b"1") or word[:2] == b"on":
        raise LinuxError(ENODEV, "no firmware has said how fast nodes are")
    if word[:1] not in (b"n", b"f", b"0") and word[:2] != b"of":
        raise LinuxError(EINVAL, "not a truth value")
    system.frames.auto_weights = False


@sys_file(f"{WEIGHTS}/auto", 0o664, _set_auto)
def auto(system: System) -> str:
    """Has nobody set a weight?"""
    return "true\n" if system.frames.auto_weights else "false\n"
