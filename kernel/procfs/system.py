"""/proc: the machine in figures: memory, processors, time (fs/proc/{meminfo,cpuinfo,stat,uptime,version,loadavg}.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.mm.mm import ANON, FILE, SHMEM
from kernel.mm.stats import table_pages
from kernel.procfs.registry import proc_file
from kernel.procfs.status import TICK_NS

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.task.system import System

NSEC = 1_000_000_000
SWAP_NAME = "/dev/vdb"  # of the simulated swap area


def address_spaces(system: System) -> list[Mm]:
    """Each once, however many tasks share it."""
    return list({id(task.mm): task.mm for task in system.tasks.values() if task.mm is not None}.values())


def memory(system: System) -> dict[str, int]:
    """/proc/meminfo, in pages."""
    frames, spaces = system.frames, address_spaces(system)
    anon, mapped = (sum(mm.counters[i] for mm in spaces) for i in (ANON, FILE))
    shared = sum(len(cache.pages) for cache in frames.caches)
    locked = sum(mm.locked_vm for mm in spaces)
    swap, tables = frames.swap, sum(map(table_pages, spaces))
    free, pool = frames.available, frames.huge
    huge = frames.commit.hugetlb_pages
    return {
        "MemTotal": frames.total, "MemFree": free, "MemAvailable": free, "Buffers": 0, "Cached": shared + mapped,
        "SwapCached": 0, "Active": anon + mapped, "Inactive": shared, "Active(anon)": anon, "Inactive(anon)": shared,
        "Active(file)": mapped, "Inactive(file)": 0, "Unevictable": locked, "Mlocked": locked, "SwapTotal": swap.pages,
        "SwapFree": swap.pages - swap.used, "Zswap": 0, "Zswapped": 0, "Dirty": 0, "Writeback": 0, "AnonPages": anon,
        "Mapped": mapped + sum(mm.counters[SHMEM] for mm in spaces), "Shmem": shared, "KReclaimable": 0, "Slab": 0,
        "SReclaimable": 0, "SUnreclaim": 0, "KernelStack": 4 * len(system.tasks), "PageTables": tables,
        "SecPageTables": 0, "NFS_Unstable": 0, "Bounce": 0, "WritebackTmp": 0, "CommitLimit": frames.commit.limit,
        "Committed_AS": frames.commit.committed, "VmallocTotal": (1 << 45) // 4096 - 1, "VmallocUsed": 0,
        "VmallocChunk": 0, "Percpu": 0, "AnonHugePages": 0, "ShmemHugePages": 0, "ShmemPmdMapped": 0,
        "FileHugePages": 0, "FilePmdMapped": 0, "Balloon": 0, "HugePages_Total": pool.total,
        "HugePages_Free": len(pool.free), "HugePages_Rsvd": pool.reserved, "HugePages_Surp": pool.surplus,
        "Hugepagesize": 512,
        "Hugetlb": huge, "DirectMap4k": 0, "DirectMap2M": frames.total,
    }  # fmt: skip


@proc_file("meminfo")
def meminfo(system: System) -> str:
    lines = []
    for name, pages in memory(system).items():
        if name.startswith("HugePages_"):
            lines.append(f"{name + ':':<16}{pages:8d}\n")
        else:
            lines.append(f"{name + ':':<16}{_kb(name, pages):8d} kB\n")
    return "".join(lines)


def _kb(name: str, pages: int) -> int:
    return 34359738367 if name == "VmallocTotal" else pages * 4


FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 sep pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx mmxext rdtscp "
    "lm constant_tsc rep_good nopl nonstop_tsc cpuid tsc_known_freq pni pclmulqdq ssse3 cx16 sse4_1 sse4_2 movbe "
    "popcnt aes lahf_lm abm sse4a 3dnowprefetch fsgsbase bmi1 bmi2 adx clflushopt clwb"
)


@proc_file("cpuinfo")
def cpuinfo(system: System) -> list[bytes]:
    """What CPUID says, in words; 1 instruction a nanosecond is 1 GHz."""
    cpus = system.config.cpus
    return [
        (
            f"processor\t: {cpu}\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel\t\t: 49\n"
            f"model name\t: heapscope x86-64-v2 processor\nstepping\t: 0\nmicrocode\t: 0x0\ncpu MHz\t\t: 1000.000\n"
            f"cache size\t: 512 KB\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\n"
            f"apicid\t\t: {cpu}\ninitial apicid\t: {cpu}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\n"
            f"wp\t\t: yes\nflags\t\t: {FLAGS}\nbugs\t\t: \nbogomips\t: 2000.00\nTLB size\t: 1024 4K pages\n"
            f"clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 48 bits physical, 48 bits virtual\n"
            f"power management:\n\n"
        ).encode()
        for cpu in range(cpus)
    ]


def _cpu_ticks(system: System) -> tuple[int, int]:
    """(user, idle) of all processors together, in clock ticks."""
    user = system.clock.cpu_ns() // TICK_NS
    return user, system.clock.monotonic_ns() // TICK_NS * system.config.cpus - user


@proc_file("stat")
def stat(system: System) -> str:
    user, idle = _cpu_ticks(system)
    cpus = system.config.cpus
    lines = [f"cpu  {user} 0 0 {idle} 0 0 0 0 0 0\n"]
    for cpu in range(cpus):
        own = user if cpu == 0 else 0
        lines.append(f"cpu{cpu} {own} 0 0 {(idle + user) // cpus - own} 0 0 0 0 0 0\n")
    booted = (system.clock.realtime_ns() - system.clock.monotonic_ns()) // NSEC
    lines.append(f"intr 0\nctxt 0\nbtime {booted}\nprocesses {system.config.pid}\nprocs_running 1\nprocs_blocked 0\n")
    lines.append("softirq 0 0 0 0 0 0 0 0 0 0 0\n")
    return "".join(lines)


@proc_file("uptime")
def uptime(system: System) -> str:
    up, idle = system.clock.monotonic_ns() // TICK_NS, _cpu_ticks(system)[1]
    return f"{up // 100}.{up % 100:02d} {idle // 100}.{idle % 100:02d}\n"


@proc_file("version")
def version(system: System) -> str:
    config = system.config
    return f"Linux version {config.release} (heapscope@heapscope) (gcc (GCC) 15.2.0) {config.version}\n"


@proc_file("loadavg")
def loadavg(system: System) -> str:
    newest = max(system.tasks, default=system.config.pid)
    return f"0.00 0.00 0.00 1/{len(system.tasks)} {newest}\n"


@proc_file("filesystems")
def filesystems(system: System) -> str:
    return "".join(f"nodev\t{name}\n" for name in ("sysfs", "tmpfs", "proc", "pipefs", "9p"))


@proc_file("swaps")
def swaps(system: System) -> str:
    """swap_show(): the one area, as a partition would be shown."""
    swap = system.frames.swap
    head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    size, used = swap.pages * 4, swap.used * 4
    gaps = ["\t" * (1 if figure >= 10**7 else 2) for figure in (size, used)]
    return head + (f"{SWAP_NAME:<40}partition\t{size}{gaps[0]}{used}{gaps[1]}-2\n" if swap.pages else "")


@proc_file("cmdline")
def cmdline(system: System) -> str:
    return "\n"
