"""/sys: what allocators and C libraries ask of it: huge pages, processors, memory nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, LinuxError
from kernel.procfs.registry import sys_file
from kernel.procfs.status import span

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.procfs.registry import SystemStore
    from kernel.task.system import System

THP = "kernel/mm/transparent_hugepage"
HUGE = "kernel/mm/hugepages/hugepages-2048kB"
CPU, NODE = "devices/system/cpu", "devices/system/node"


def _entry(
    path: str, text: Callable[[System], object], mode: int = 0o444, store: SystemStore | None = None
) -> None:
    sys_file(path, mode, store)(lambda system: f"{text(system)}\n")


def resize_pool(system: System, data: bytes) -> None:
    """nr_hugepages is written."""
    if not data.strip().isdigit():
        raise LinuxError(EINVAL, "not a number")
    system.frames.huge.resize(int(data))


def _constant(path: str, text: str, mode: int = 0o444) -> None:
    _entry(path, lambda _: text, mode)


_constant(f"{THP}/enabled", "always madvise [never]", 0o644)
_constant(f"{THP}/defrag", "always defer defer+madvise [madvise] never", 0o644)
_constant(f"{THP}/shmem_enabled", "always within_size advise [never] deny force", 0o644)
_constant(f"{THP}/hpage_pmd_size", "2097152")
_constant(f"{THP}/use_zero_page", "1", 0o644)
for _name in ("nr_hugepages", "nr_hugepages_mempolicy"):
    _entry(f"{HUGE}/{_name}", lambda system: system.frames.huge.total, 0o644, resize_pool)
_entry(f"{HUGE}/free_hugepages", lambda system: len(system.frames.huge.free))
_entry(f"{HUGE}/resv_hugepages", lambda system: system.frames.huge.reserved)
_entry(f"{HUGE}/surplus_hugepages", lambda system: system.frames.huge.surplus)
_constant(f"{HUGE}/nr_overcommit_hugepages", "0", 0o644)

for _name in ("online", "possible", "present"):
    _entry(f"{CPU}/{_name}", lambda system: span(system.config.cpus))
_constant(f"{CPU}/offline", "")
_constant(f"{CPU}/isolated", "")
_constant(f"{CPU}/kernel_max", "255")
for _name in ("online", "possible", "has_memory", "has_normal_memory"):
    _entry(f"{NODE}/{_name}", lambda system: span(system.config.nodes))
_constant(f"{NODE}/has_cpu", "0")
