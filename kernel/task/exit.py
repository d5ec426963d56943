"""The end of a process: exit_group(2), or death by a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.events import TaskExit
from kernel.task.signal import CORE
from kernel.task.task import ExitStatus

if TYPE_CHECKING:
    from kernel.task.siginfo import SigInfo
    from kernel.task.task import Process, Task

MIN_CORE = 4096  # a smaller RLIMIT_CORE makes no dump (fs/binfmt_elf.c, min_coredump)


def exit_group(task: Task, code: int) -> None:
    """The process ends with the low byte of `code`."""
    _end(task, ExitStatus(code & 0xFF))


def kill(task: Task, info: SigInfo) -> None:
    """The process dies of a signal. Its memory and the CPU's registers stay, for whoever explains the death."""
    process = task.process
    process.fatal = info
    dumps = CORE >> info.sig - 1 & 1 and process.dumpable == 1 and process.rlimits.soft("CORE") >= MIN_CORE
    _end(task, ExitStatus(sig=info.sig, core=bool(dumps)))


def _end(task: Task, status: ExitStatus) -> None:
    process, system = task.process, task.system
    process.exit_status = status
    for each in process.tasks:
        each.ended = True
        system.tasks.pop(each.tid, None)
    task.files.close_all()
    if system.probes.wants(TaskExit):
        now = system.clock.monotonic_ns()
        system.probes.emit(TaskExit(now, task.tid, status.code, status.sig, status.core))


def release(process: Process) -> None:
    """Nobody wants to look at the dead process any more: its memory goes back."""
    for task in process.tasks:
        if task.mm:  # else its first execve was refused
            task.mm.destroy()
    process.tasks[0].system.processes.pop(process.pid, None)
