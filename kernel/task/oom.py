"""What the OOM killer says (mm/oom_kill.c, __oom_kill_process)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.mm.mm import ANON, FILE, SHMEM

if TYPE_CHECKING:
    from kernel.task.task import Task


OOM_SCORE_ADJ_MIN = -1000  # never killed


def panic_message(task: Task) -> str:
    """Why the machine does not live on, "" if somebody may be killed (out_of_memory)."""
    if task.system.sysctl.get("vm.panic_on_oom"):
        return "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"
    if task.process.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return "Kernel panic - not syncing: System is deadlocked on memory"
    return ""


def kill_message(task: Task) -> str:
    """`Out of memory: Killed process 1000 (prog) total-vm:8kB, …`."""
    mm, process = task.mm, task.process
    counters = mm.counters
    return (
        f"Out of memory: Killed process {process.pid} ({process.comm}) total-vm:{mm.total_vm * 4}kB, "
        f"anon-rss:{counters[ANON] * 4}kB, file-rss:{counters[FILE] * 4}kB, shmem-rss:{counters[SHMEM] * 4}kB, "
        f"UID:{process.cred.uid} oom_score_adj:{process.oom_score_adj}"
    )
