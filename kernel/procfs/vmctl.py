"""/proc/sys/vm: what can be asked of memory management, and set by root (Documentation/admin-guide/sysctl/vm.rst).

A setting that this machine acts on is kept where it acts; the others (writeback, compaction …) are remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EINVAL, LinuxError
from kernel.mm.reclaim import Clock
from kernel.procfs.registry import proc_file
from kernel.procfs.setting import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.task.system import System

INT_MAX = (1 << 31) - 1
ULONG_MAX = (1 << 64) - 1


def _tunable(
    name: str, get: Callable[[System], int], put: Callable[[System, int], None], low: int = 0, high: int = INT_MAX,
    mode: int = 0o644,
) -> None:  # fmt: skip
    """Enter vm/`name`: a number in [low, high]."""

    def store(system: System, data: bytes) -> int:
        value, length = number(data)
        if not low <= value <= high:
            raise LinuxError(EINVAL, f"vm.{name} is a number from {low} to {high}")
        put(system, value)
        return length

    proc_file(f"sys/vm/{name}", mode, store)(lambda system: f"{get(system)}\n")


def _remembered(name: str, default: int, low: int = 0, high: int = INT_MAX, mode: int = 0o644) -> None:
    def put(system: System, value: int) -> None:
        system.sysctl[f"vm.{name}"] = value

    _tunable(name, lambda system: system.sysctl.get(f"vm.{name}", default), put, low, high, mode)


def _of_commit(name: str, field: str, high: int = INT_MAX) -> None:
    """A field of mm's Commit."""

    def put(system: System, value: int) -> None:
        setattr(system.frames.commit, field, value)

    _tunable(name, lambda system: int(getattr(system.frames.commit, field)), put, 0, high)


def _of_spaces(name: str, high: int) -> None:
    """Something that each address space knows, those to come too."""

    def put(system: System, value: int) -> None:
        for each in (system.frames, *system.frames.spaces):
            setattr(each, name, value)

    _tunable(name, lambda system: int(getattr(system.frames, name)), put, 0, high)


def _drop_caches(system: System, value: int) -> None:
    """1: clean pages of files that nobody maps, 2: dentries and inodes (there are none to be had), 3: both."""
    if value & 1 and isinstance(system.frames.reclaim, Clock):
        system.frames.reclaim.shrink_caches()


def _write_only(system: System) -> int:
    raise LinuxError(EACCES, "it is written, not read")


def _set_ratio(system: System, value: int) -> None:
    system.frames.commit.ratio, system.frames.commit.kbytes = value, 0


_of_commit("overcommit_memory", "mode", 2)
_of_commit("overcommit_kbytes", "kbytes", ULONG_MAX)
_tunable("overcommit_ratio", lambda system: system.frames.commit.ratio, _set_ratio, -INT_MAX - 1)
_of_commit("admin_reserve_kbytes", "admin_reserve_kbytes", ULONG_MAX)
_of_commit("user_reserve_kbytes", "user_reserve_kbytes", ULONG_MAX)
_of_spaces("max_map_count", INT_MAX)
_of_spaces("mmap_min_addr", ULONG_MAX)
_tunable("drop_caches", _write_only, _drop_caches, 1, 4, 0o200)
_tunable("compact_memory", _write_only, lambda *_: None, 1, 1, 0o200)
_remembered("swappiness", 60, 0, 200)
_remembered("page-cluster", 3, 0, 31)
_remembered("panic_on_oom", 0, 0, 2)
_remembered("oom_kill_allocating_task", 0)
_remembered("oom_dump_tasks", 1)
_remembered("legacy_va_layout", 0)
_remembered("vfs_cache_pressure", 100)
_remembered("memfd_noexec", 0, 0, 2)
_remembered("mmap_rnd_bits", 28, 28, 32, 0o600)
_remembered("unprivileged_userfaultfd", 0, 0, 1)
_remembered("dirty_ratio", 20, 0, 100)
_remembered("dirty_background_ratio", 10, 0, 100)
_remembered("dirty_bytes", 0, 0, ULONG_MAX)
_remembered("dirty_background_bytes", 0, 0, ULONG_MAX)
_remembered("dirty_expire_centisecs", 3000)
_remembered("dirty_writeback_centisecs", 500)
_remembered("min_free_kbytes", 0)
_remembered("watermark_scale_factor", 10, 1, 3000)
_remembered("watermark_boost_factor", 15000)
_remembered("zone_reclaim_mode", 0)
_remembered("stat_interval", 1)
_remembered("numa_stat", 1, 0, 1)
_remembered("hugetlb_shm_group", 0)
_remembered("hugetlb_optimize_vmemmap", 0, 0, 1)
_remembered("compaction_proactiveness", 20, 0, 100)
_remembered("compact_unevictable_allowed", 1, 0, 1)
_remembered("laptop_mode", 0)
_remembered("extfrag_threshold", 500, 0, 1000)

_remembered("defrag_mode", 0, 0, 1)
_remembered("dirtytime_expire_seconds", 43200)
_remembered("min_slab_ratio", 5, 0, 100)
_remembered("min_unmapped_ratio", 1, 0, 100)
_remembered("mmap_rnd_compat_bits", 8, 8, 16, 0o600)
_remembered("page_lock_unfairness", 5)
_remembered("vfs_cache_pressure_denom", 100, 100)


def _set_high_fraction(system: System, value: int) -> None:
    if 0 < value < 8:
        raise LinuxError(EINVAL, "vm.percpu_pagelist_high_fraction is 0, or 8 and more")
    system.sysctl["vm.percpu_pagelist_high_fraction"] = value


_tunable(
    "percpu_pagelist_high_fraction", lambda system: system.sysctl.get("vm.percpu_pagelist_high_fraction", 0),
    _set_high_fraction,
)  # fmt: skip


def _set_zonelist_order(system: System, data: bytes) -> None:
    """numa_zonelist_order_handler(): there is one order since Linux 4.14."""
    if data[:1] not in (b"d", b"D", b"n", b"N"):
        raise LinuxError(EINVAL, "vm.numa_zonelist_order is Node (or default)")


def _set_reserve_ratio(system: System, data: bytes) -> None:
    raise LinuxError(EINVAL, "zones of memory, and what they reserve for each other, are not modelled")


def _refresh(system: System, data: bytes) -> None:
    """vmstat is never stale."""


proc_file("sys/vm/numa_zonelist_order", 0o644, _set_zonelist_order)(lambda _: "Node\n")
proc_file("sys/vm/lowmem_reserve_ratio", 0o644, _set_reserve_ratio)(lambda _: "256\t256\t32\t0\t0\n")
proc_file("sys/vm/stat_refresh", 0o600, _refresh)(lambda _: "")


def _resize_pool(system: System, value: int) -> None:
    system.frames.huge.resize(value)


for _name in ("nr_hugepages", "nr_hugepages_mempolicy"):
    _tunable(_name, lambda system: system.frames.huge.total, _resize_pool, 0, ULONG_MAX)
_remembered("nr_overcommit_hugepages", 0, 0, 0)
