"""/sys/kernel/mm/ksm: same-page merging, which is off (run is 0) and cannot be switched on: pages are never merged.

Its settings are remembered; its counters are 0 (mm/ksm.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, LinuxError
from kernel.procfs.registry import sys_file

if TYPE_CHECKING:
    from kernel.task.system import System

UINT_MAX, ULONG_MAX = (1 << 32) - 1, (1 << 64) - 1
COUNTERS = (
    "full_scans", "general_profit", "ksm_zero_pages", "pages_scanned", "pages_shared", "pages_sharing",
    "pages_skipped", "pages_unshared", "pages_volatile", "stable_node_chains", "stable_node_dups",
)  # fmt: skip
SETTINGS = {  # name: (default, lowest, highest)
    "advisor_max_cpu": (70, 0, UINT_MAX), "advisor_max_pages_to_scan": (30000, 0, ULONG_MAX),
    "advisor_min_pages_to_scan": (500, 0, ULONG_MAX), "advisor_target_scan_time": (200, 1, ULONG_MAX),
    "max_page_sharing": (256, 2, (1 << 31) - 1), "merge_across_nodes": (1, 0, 1), "pages_to_scan": (100, 0, UINT_MAX),
    "sleep_millisecs": (20, 0, UINT_MAX), "smart_scan": (1, 0, 1),
    "stable_node_chains_prune_millisecs": (2000, 0, UINT_MAX), "use_zero_pages": (0, 0, 1),
}  # fmt: skip


def parsed(data: bytes, low: int, high: int) -> int:
    """kstrtoul() in base 10. Raises LinuxError(EINVAL)."""
    match = re.fullmatch(rb"\+?(\d+)\n?", data)
    if match is None or not low <= int(match[1]) <= high:
        raise LinuxError(EINVAL, f"not a number from {low} to {high}")
    return int(match[1])


def _counter(name: str) -> None:
    sys_file(f"kernel/mm/ksm/{name}")(lambda _: "0\n")


def _setting(name: str, default: int, low: int, high: int) -> None:
    def store(system: System, data: bytes) -> None:
        system.sysctl[f"ksm.{name}"] = parsed(data, low, high)

    sys_file(f"kernel/mm/ksm/{name}", 0o644, store)(lambda system: f"{system.sysctl.get(f'ksm.{name}', default)}\n")


def _run(system: System, data: bytes) -> None:
    """0 stops ksmd, 2 stops it and separates merged pages: neither runs, nor are there any."""
    if parsed(data, 0, 2) == 1:
        raise LinuxError(EINVAL, "same-page merging is not modelled")


def _advise(system: System, data: bytes) -> None:
    if data.strip() != b"none":
        raise LinuxError(EINVAL, "same-page merging, and so an adviser of it, is not modelled")


for _name in COUNTERS:
    _counter(_name)
for _name, (_default, _low, _high) in SETTINGS.items():
    _setting(_name, _default, _low, _high)
sys_file("kernel/mm/ksm/run", 0o644, _run)(lambda _: "0\n")
sys_file("kernel/mm/ksm/advisor_mode", 0o644, _advise)(lambda _: "[none] scan-time\n")
