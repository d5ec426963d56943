"""Restartable sequences: the area a thread registered, and the abort of a sequence that a signal interrupts
(kernel/rseq.c). There is one CPU, so the area's cpu_id never changes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel.abi.errno import EFAULT, EINVAL, LinuxError
from kernel.abi.limits import TASK_SIZE

if TYPE_CHECKING:
    from kernel.cpu import Regs
    from kernel.task.task import Task

RSEQ_CS = 8  # offsetof(struct rseq, rseq_cs)
_CS = struct.Struct("<IIQQQ")  # version, flags, start_ip, post_commit_offset, abort_ip


def write_ids(task: Task, addr: int, cpu_id: int) -> None:
    """cpu_id_start, cpu_id, and behind rseq_cs and flags: node_id, mm_cid. Raises EFAULT."""
    task.mm.copy_to_user(addr, bytes(4) + cpu_id.to_bytes(4, "little"))
    task.mm.copy_to_user(addr + 20, bytes(8))


def fix_ip(task: Task, regs: Regs) -> None:
    """A signal is about to be delivered: a critical section under way goes on at its abort handler.

    Raises LinuxError where the descriptor is broken (Linux: SIGSEGV)."""
    at = task.rseq.addr + RSEQ_CS
    cs = int.from_bytes(task.mm.copy_from_user(at, 8), "little")
    if not cs:
        return
    if cs >= TASK_SIZE:
        raise LinuxError(EFAULT, "rseq_cs is no user address")
    version, _, start, length, abort = _CS.unpack(task.mm.copy_from_user(cs, _CS.size))
    if start >= TASK_SIZE or start + length >= TASK_SIZE or abort >= TASK_SIZE or version:
        raise LinuxError(EINVAL, "the critical section's descriptor is broken")
    if 0 <= abort - start < length:
        raise LinuxError(EINVAL, "the abort handler lies inside the critical section")
    if int.from_bytes(task.mm.copy_from_user(abort - 4, 4), "little") != task.rseq.sig:
        raise LinuxError(EINVAL, "the abort handler lacks the registered signature")
    task.mm.copy_to_user(at, bytes(8))
    if 0 <= regs.rip - start < length:
        regs.rip = abort
