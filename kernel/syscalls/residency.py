"""Memory syscalls about what is in RAM and must stay there: mincore, msync, mlock and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.args import Addr, Size
from kernel.abi.errno import EFAULT, EINVAL, ENOMEM, EPERM, LinuxError
from kernel.abi.limits import RLIMIT_MEMLOCK, TASK_SIZE, U64
from kernel.abi.memargs import MincoreVec
from kernel.abi.mman import Mcl, MclFlags, Mlock2, Mlock2Flags, Ms, MsFlags
from kernel.mm import residency
from kernel.syscalls.table import syscall

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.task.task import Task


@syscall
def mincore(task: Task, addr: Addr, length: Size, vec: MincoreVec) -> int:
    """mincore(2). What lies before a hole is written to `vec`, then it is ENOMEM."""
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    if length > TASK_SIZE or addr > TASK_SIZE - length:
        raise LinuxError(ENOMEM, "the range ends beyond the address space")
    pages = length + 4095 >> 12
    if vec + pages > TASK_SIZE:
        raise LinuxError(EFAULT, "vec is beyond the address space")
    while pages:
        part = residency.mincore(task.mm, addr, min(pages, 4096))
        task.mm.copy_to_user(vec, part)
        pages -= len(part)
        vec += len(part)
        addr += len(part) << 12
    return 0


@syscall
def msync(task: Task, addr: Addr, length: Size, flags: MsFlags) -> int:
    """msync(2)."""
    if flags & ~(Ms.ASYNC | Ms.INVALIDATE | Ms.SYNC):
        raise LinuxError(EINVAL, "unknown bits in flags")
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    if flags & Ms.ASYNC and flags & Ms.SYNC:
        raise LinuxError(EINVAL, "MS_ASYNC and MS_SYNC together")
    end = addr + (length + 4095 & U64 & ~4095)
    if end > U64:
        raise LinuxError(ENOMEM, "the range wraps around")
    residency.msync(task.mm, addr, end, sync=bool(flags & Ms.SYNC), invalidate=bool(flags & Ms.INVALIDATE))
    return 0


def _range(addr: int, length: int) -> tuple[int, int]:
    """The pages that [addr, addr + length) touches. Raises LinuxError(EINVAL)."""
    start = addr & ~4095
    end = start + (length + (addr & 4095) + 4095 & U64 & ~4095)
    if end > U64:
        raise LinuxError(EINVAL, "the range wraps around")
    return start, end


def _may_lock(mm: Mm) -> None:
    if not mm.privileged and not mm.limits.cur[RLIMIT_MEMLOCK]:
        raise LinuxError(EPERM, "locking memory needs CAP_IPC_LOCK or a RLIMIT_MEMLOCK above 0")


def _lock(task: Task, addr: int, length: int, onfault: bool) -> int:
    _may_lock(task.mm)
    start = addr & ~4095
    size = length + (addr & 4095) + 4095 & U64 & ~4095
    residency.check_mlock_limit(task.mm, start, size)
    start, end = _range(addr, length)
    if start < end:
        residency.mlock(task.mm, start, end, onfault)
    return 0


@syscall
def mlock(task: Task, addr: Addr, length: Size) -> int:
    """mlock(2)."""
    return _lock(task, addr, length, False)


@syscall
def mlock2(task: Task, addr: Addr, length: Size, flags: Mlock2Flags) -> int:
    """mlock2(2)."""
    if flags & ~Mlock2.ONFAULT:
        raise LinuxError(EINVAL, "unknown bits in flags")
    return _lock(task, addr, length, bool(flags & Mlock2.ONFAULT))


@syscall
def munlock(task: Task, addr: Addr, length: Size) -> int:
    """munlock(2)."""
    start, end = _range(addr, length)
    residency.apply_lock(task.mm, start, end, 0)
    return 0


@syscall
def mlockall(task: Task, flags: MclFlags) -> int:
    """mlockall(2)."""
    if not flags or flags & ~(Mcl.CURRENT | Mcl.FUTURE | Mcl.ONFAULT) or flags == Mcl.ONFAULT:
        raise LinuxError(EINVAL, "flags must have MCL_CURRENT or MCL_FUTURE, and nothing unknown")
    _may_lock(task.mm)
    residency.mlockall(
        task.mm, current=bool(flags & Mcl.CURRENT), future=bool(flags & Mcl.FUTURE), onfault=bool(flags & Mcl.ONFAULT)
    )
    return 0


@syscall
def munlockall(task: Task) -> int:
    """munlockall(2)."""
    residency.munlockall(task.mm)
    return 0
