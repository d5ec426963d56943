"""Syscalls on a process named by the caller: pidfd_{open,getfd}, process_vm_{readv,writev}, process_madvise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from kernel.abi.args import Fd, Int, Iov, Pid, Size, UIntHex, ULong
from kernel.abi.errno import EBADF, EFAULT, EINVAL, ENOENT, EPERM, ESRCH, LinuxError
from kernel.abi.memargs import AddrIov
from kernel.abi.mman import MadvChoice
from kernel.abi.sched import Pidfd, PidfdFlags
from kernel.events import UserCopy
from kernel.mm.advise import do_madvise
from kernel.mm.remote import pin
from kernel.mm.uaccess import copy_from_user_partial, copy_to_user_partial, tell
from kernel.syscalls.table import syscall
from kernel.syscalls.transfer import Segment, import_iovec
from kernel.task.pidfd import PidFile, pidfd_task

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.task.task import Task


def _remote(task: Task, va: int, count: int) -> list[Segment]:
    """The other side's segments: their addresses are looked at when they are used (iovec_from_user)."""
    if count > 1024:
        raise LinuxError(EINVAL, f"{count} iovecs; 1024 is the most")
    raw = task.mm.copy_from_user(va, 16 * count) if count else b""
    words = memoryview(raw).cast("Q")
    segments = list(zip(words[::2], words[1::2], strict=True))
    if any(length >= 1 << 63 for _, length in segments):
        raise LinuxError(EINVAL, "an iovec's length is negative as ssize_t")
    return segments


@syscall
def pidfd_open(task: Task, pid: Pid, flags: PidfdFlags) -> int:
    """pidfd_open(2)."""
    if flags & ~(Pidfd.NONBLOCK | Pidfd.THREAD):
        raise LinuxError(EINVAL, "an unknown PIDFD_ flag")
    if pid <= 0:
        raise LinuxError(EINVAL, "process ids are positive")
    other = task.system.tasks.get(pid)
    if other is None:
        raise LinuxError(ESRCH, f"there is no process {pid}")
    if other is not other.process.leader and not flags & Pidfd.THREAD:
        raise LinuxError(ENOENT, f"{pid} is a thread, and PIDFD_THREAD is not given")
    return task.files.install(PidFile(other, flags), cloexec=True)


@syscall
def pidfd_getfd(task: Task, pidfd: Fd, targetfd: Fd, flags: UIntHex) -> int:
    """pidfd_getfd(2)."""
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    file = task.files.get(pidfd)
    if not isinstance(file, PidFile):
        raise LinuxError(EBADF, f"fd {pidfd} is not a pidfd")
    _other(task, file.task.pid)
    return task.files.install(file.task.files.get(targetfd), cloexec=True)


def _other(task: Task, pid: int) -> Mm:
    other = task.system.tasks.get(pid)
    if other is None:
        raise LinuxError(ESRCH, f"there is no process {pid}")
    if other.mm is not task.mm and not task.cred.privileged and other.cred.uid != task.cred.uid:
        raise LinuxError(EPERM, f"process {pid} belongs to another user")
    return other.mm


def _transfer(local: Mm, here: list[Segment], remote: Mm, there: list[Segment], *, write: bool) -> int:
    """Copy between both until one side ends; bytes moved (process_vm_rw_core). The pages of a remote segment are pinned
    before any of it is copied. Raises LinuxError(EFAULT) if that is none of some."""
    room = list(_pages(here))[::-1]
    done, failed = 0, False
    for va, length in there:
        if failed or not room:
            break
        if UserCopy in remote.probes.listeners:
            tell(remote, va, length, store=write)
        wanted = list(_pages([(va, length)]))
        pinned: list[tuple[int, int]] = []
        for page, size in wanted:
            pa = pin(remote, page, write)
            if pa < 0:
                failed = True
                break
            pinned.append((pa, size))
        for pa, size in pinned:
            moved = _copy(local, room, remote, pa, size, write)
            done += moved
            if moved < size:
                failed |= bool(room)
                break
        for pa, _ in pinned:
            remote.frames.put(pa >> 12)
    if failed and not done:
        raise LinuxError(EFAULT, "not even the first byte could be copied")
    return done


def _copy(local: Mm, room: list[Segment], remote: Mm, pa: int, size: int, write: bool) -> int:
    """Copy `size` bytes at `pa` from or to `room`, a stack of what is left of the local segments; bytes moved."""
    done = 0
    while room and done < size:
        va, length = room.pop()
        n = min(length, size - done)
        memory = remote.ram.bytes[pa + done : pa + done + n]
        if write:
            data = copy_from_user_partial(local, va, n)
            memory[: len(data)] = data
            moved = len(data)
        else:
            moved = copy_to_user_partial(local, va, bytes(memory))
        done += moved
        if moved < length:
            room.append((va + moved, length - moved))
        if moved < n:
            break
    if write and pa >> 12 in remote.frames.code:
        remote.frames.invalidate((pa >> 12,))
    return done


def _pages(segments: list[Segment]) -> Iterator[Segment]:
    """The segments cut at page boundaries, empty ones left out."""
    for va, length in segments:
        while length:
            n = min(length, 4096 - (va & 4095))
            yield va, n
            va, length = va + n, length - n


@syscall
def process_vm_readv(task: Task, pid: Pid, local_iov: Annotated[int, Iov("liovcnt", out=True)], liovcnt: ULong,
                     remote_iov: Annotated[int, AddrIov("riovcnt")], riovcnt: ULong, flags: ULong) -> int:  # fmt: skip
    """process_vm_readv(2)."""
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    local = import_iovec(task, local_iov, liovcnt)
    if not sum(n for _, n in local):
        return 0
    there = _remote(task, remote_iov, riovcnt)
    return _transfer(task.mm, local, _other(task, pid), there, write=False)


@syscall
def process_vm_writev(task: Task, pid: Pid, local_iov: Annotated[int, Iov("liovcnt")], liovcnt: ULong,
                      remote_iov: Annotated[int, AddrIov("riovcnt")], riovcnt: ULong, flags: ULong) -> int:  # fmt: skip
    """process_vm_writev(2)."""
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    local = import_iovec(task, local_iov, liovcnt)
    if not sum(n for _, n in local):
        return 0
    there = _remote(task, remote_iov, riovcnt)
    return _transfer(task.mm, local, _other(task, pid), there, write=True)


@syscall
def process_madvise(task: Task, pidfd: Int, vec: Annotated[int, AddrIov("vlen")], vlen: Size, advice: MadvChoice,
                    flags: UIntHex) -> int:  # fmt: skip
    """process_madvise(2)."""
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    segments = import_iovec(task, vec, vlen)
    mm = pidfd_task(task, pidfd).mm
    done = 0
    if not any(length for _, length in segments):
        return 0  # an unknown advice for nothing is not refused
    for va, length in segments:
        try:
            do_madvise(mm, va, length, advice)
        except LinuxError:
            if done:
                return done
            raise
        done += length
    return done
