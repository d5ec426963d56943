"""What the OOM killer says (mm/oom_kill.c, __oom_kill_process)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.mm.mm import ANON, FILE, SHMEM

if TYPE_CHECKING:
    from kernel.task.task import Task


def kill_message(task: Task) -> str:
    """`Out of memory: Killed process 1000 (prog) total-vm:8kB, …`."""
    mm, process = task.mm, task.process
    counters = mm.counters
    return (
        f"Out of memory: Killed process {process.pid} ({process.comm}) total-vm:{mm.total_vm * 4}kB, "
        f"anon-rss:{counters[ANON] * 4}kB, file-rss:{counters[FILE] * 4}kB, shmem-rss:{counters[SHMEM] * 4}kB, "
        f"UID:{process.cred.uid} oom_score_adj:{process.oom_score_adj}"
    )
