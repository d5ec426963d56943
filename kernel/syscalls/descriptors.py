"""Syscalls on descriptors themselves: fcntl, ioctl, locks, ranges of them, and files that begin as one (memfd)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from kernel.abi.args import Fd, Text, UInt
from kernel.abi.errno import (
    EAGAIN,
    EBADF,
    EFAULT,
    EINVAL,
    ENAMETOOLONG,
    ENODEV,
    ENOTTY,
    EOVERFLOW,
    EPERM,
    ERESTARTSYS,
    LinuxError,
)
from kernel.abi.fcntl import FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD, FcntlCmd, FlockFlags, Lock, Open, Seek
from kernel.abi.fcntl import Flock as FlockOp
from kernel.abi.fcntlargs import FcntlArg, FcntlCommand, FcntlResult
from kernel.abi.fileargs import CloseRangeFlags
from kernel.abi.ioctlargs import IoctlArg, IoctlCommand
from kernel.abi.mman import MAP_HUGE_MASK, MAP_HUGE_SHIFT, MfdFlags
from kernel.abi.structs import Flock, FOwnerEx
from kernel.fs import memfd
from kernel.fs.file import STATUS
from kernel.fs.inode import owns
from kernel.fs.locks import END, Locks
from kernel.fs.pipe import PipeFile
from kernel.syscalls.hugepages import HUGE_SIZES
from kernel.syscalls.table import Outcome, syscall
from kernel.wait import Block, Interrupted

if TYPE_CHECKING:
    from kernel.fs.file import File
    from kernel.task.task import Task

ON_PATH = {FcntlCmd.DUPFD, FcntlCmd.DUPFD_CLOEXEC, FcntlCmd.GETFD, FcntlCmd.SETFD, FcntlCmd.GETFL}
POSIX_LOCKS = {FcntlCmd.GETLK, FcntlCmd.SETLK, FcntlCmd.SETLKW}
OFD_LOCKS = {FcntlCmd.OFD_GETLK, FcntlCmd.OFD_SETLK, FcntlCmd.OFD_SETLKW}
PIPE_SIZES = {FcntlCmd.SETPIPE_SZ, FcntlCmd.GETPIPE_SZ}
KEPT = Open.CREAT | Open.EXCL | Open.NOCTTY | Open.TRUNC  # what F_GETFL never shows


def _status(file: File) -> int:
    return file.flags & ~(KEPT | Open.CLOEXEC)


def _int(arg: int) -> int:
    return (arg & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


@syscall(result=FcntlResult, partly="no leases, notification or owners")
def fcntl(task: Task, fd: Fd, cmd: FcntlCommand, arg: FcntlArg) -> Outcome:
    """fcntl(2)."""
    files = task.files
    file = files.get_raw(fd) if cmd in ON_PATH else files.get(fd)
    if cmd in (FcntlCmd.DUPFD, FcntlCmd.DUPFD_CLOEXEC):
        return files.dup_above(file, _int(arg), cloexec=cmd == FcntlCmd.DUPFD_CLOEXEC)
    if cmd == FcntlCmd.GETFD:
        return int(fd in files.cloexec)
    if cmd == FcntlCmd.SETFD:
        (files.cloexec.add if arg & 1 else files.cloexec.discard)(fd)
        return 0
    if cmd == FcntlCmd.GETFL:
        return _status(file)
    if cmd == FcntlCmd.SETFL:
        return _set_status(task, file, arg)
    if cmd in POSIX_LOCKS or cmd in OFD_LOCKS:
        return _record_lock(task, file, cmd, arg)
    if cmd in PIPE_SIZES:
        return _pipe_size(task, file, cmd, arg & 0xFFFFFFFF)
    if cmd == FcntlCmd.ADD_SEALS:
        memfd.add_seals(file, arg & 0xFFFFFFFF)
        return 0
    if cmd == FcntlCmd.GET_SEALS:
        return memfd.get_seals(file)
    if cmd in (FcntlCmd.GETOWN, FcntlCmd.GETSIG):
        return 0  # nobody is told of anything
    if cmd == FcntlCmd.GETOWN_EX:
        task.mm.copy_to_user(arg, FOwnerEx(0, 0).pack())
        return 0
    if cmd == FcntlCmd.GETLEASE:
        return Lock.UNLCK
    raise LinuxError(EINVAL, "this fcntl command is unknown or not modelled")


def _set_status(task: Task, file: File, arg: int) -> int:
    """setfl()."""
    changed = (file.flags ^ arg) & STATUS
    if changed & Open.NOATIME and arg & Open.NOATIME and not owns(task.cred, file.inode):
        raise LinuxError(EPERM, "O_NOATIME is for the file's owner")
    if arg & Open.DIRECT and not isinstance(file, PipeFile):
        raise LinuxError(EINVAL, "this file does not take O_DIRECT")
    if arg & Open.FASYNC:
        raise LinuxError(EINVAL, "signal-driven I/O (O_ASYNC) is not modelled")
    file.flags = file.flags & ~STATUS | arg & STATUS
    return 0


def _pipe_size(task: Task, file: File, cmd: int, size: int) -> int:
    if not isinstance(file, PipeFile):
        raise LinuxError(EBADF, "not a pipe of the guest's own")
    if cmd == FcntlCmd.GETPIPE_SZ:
        return file.pipe.slots * 4096
    return file.pipe.resize(size, task.cred)


# locks


def _range(file: File, lock: Flock) -> tuple[int, int]:
    """flock64_to_posix_lock(): first and last byte."""
    base = {Seek.SET: 0, Seek.CUR: file.pos, Seek.END: file.inode.size}.get(lock.l_whence)
    if base is None:
        raise LinuxError(EINVAL, "l_whence is not SEEK_SET, SEEK_CUR or SEEK_END")
    start = base + lock.l_start
    if start > END:
        raise LinuxError(EOVERFLOW, "the range ends past 2^63")
    if start < 0:
        raise LinuxError(EINVAL, "the range begins before the file")
    if lock.l_len > 0:
        last = start + lock.l_len - 1
        if last > END:
            raise LinuxError(EOVERFLOW, "the range ends past 2^63")
        return start, last
    if lock.l_len < 0:
        if start + lock.l_len < 0:
            raise LinuxError(EINVAL, "the range begins before the file")
        return start + lock.l_len, start - 1
    return start, END


def _locks(file: File) -> Locks:
    inode = file.inode
    if inode.locks is None:
        inode.locks = Locks()
    return inode.locks


def _record_lock(task: Task, file: File, cmd: int, va: int) -> Outcome:
    lock = Flock.unpack(task.mm.copy_from_user(va, Flock.SIZE))
    ofd = cmd in OFD_LOCKS
    getting = cmd in (FcntlCmd.GETLK, FcntlCmd.OFD_GETLK)
    if getting and lock.l_type not in (Lock.RDLCK, Lock.WRLCK) and not ofd:
        raise LinuxError(EINVAL, "l_type is not F_RDLCK or F_WRLCK")
    start, last = _range(file, lock)
    if lock.l_type not in (Lock.RDLCK, Lock.WRLCK, Lock.UNLCK):
        raise LinuxError(EINVAL, "l_type is not F_RDLCK, F_WRLCK or F_UNLCK")
    if ofd and lock.l_pid:
        raise LinuxError(EINVAL, "l_pid must be 0 for an open file description's lock")
    owner: object = file if ofd else task.files
    locks = _locks(file)
    if getting:
        return _get_lock(task, locks, lock, va, (start, last), owner)
    if lock.l_type == Lock.UNLCK:
        locks.release(start, last, owner)
        return 0
    if not (file.writable if lock.l_type == Lock.WRLCK else file.readable):
        raise LinuxError(EBADF, "a read lock needs reading, a write lock writing")
    exclusive = lock.l_type == Lock.WRLCK
    if locks.conflict(start, last, exclusive, owner) is None:
        locks.acquire(start, last, exclusive, owner, -1 if ofd else task.pid)
        return 0
    if cmd in (FcntlCmd.SETLK, FcntlCmd.OFD_SETLK):
        raise LinuxError(EAGAIN, "somebody else holds a lock there")
    return _wait_for_lock(task, locks, (start, last), exclusive, owner, ofd)


def _get_lock(task: Task, locks: Locks, lock: Flock, va: int, span: tuple[int, int], owner: object) -> int:
    held = locks.conflict(*span, lock.l_type == Lock.WRLCK, owner)
    if held is None:
        found = Flock(Lock.UNLCK, lock.l_whence, lock.l_start, lock.l_len, lock.l_pid)
    else:
        length = 0 if held.last == END else held.last - held.start + 1
        found = Flock(Lock.WRLCK if held.exclusive else Lock.RDLCK, Seek.SET, held.start, length, held.pid)
    task.mm.copy_to_user(va, found.pack())
    return 0


def _wait_for_lock(
    task: Task, locks: Locks, span: tuple[int, int], exclusive: bool, owner: object, ofd: bool
) -> Generator[Block, None, int]:
    while locks.conflict(*span, exclusive, owner) is not None:
        try:
            yield Block(ready=lambda: locks.conflict(*span, exclusive, owner) is None, why="for a record lock")
        except Interrupted:
            raise LinuxError(ERESTARTSYS, "a signal arrived before the lock was free") from None
    locks.acquire(*span, exclusive, owner, -1 if ofd else task.pid)
    return 0


@syscall
def flock(task: Task, fd: Fd, operation: FlockFlags) -> Outcome:
    """flock(2): the lock belongs to the open file description."""
    how = operation & ~FlockOp.NB
    if how not in (FlockOp.SH, FlockOp.EX, FlockOp.UN):
        raise LinuxError(EINVAL, "not one of LOCK_SH, LOCK_EX and LOCK_UN")
    file = task.files.get(fd)
    if how != FlockOp.UN and not (file.readable or file.writable):
        raise LinuxError(EBADF, "open for neither reading nor writing")
    locks = _locks(file)
    if how == FlockOp.UN:
        locks.whole.pop(file, None)
        return 0
    exclusive = how == FlockOp.EX
    if not locks.flock_conflict(file, exclusive):
        locks.whole[file] = exclusive
        return 0
    locks.whole.pop(file, None)  # a conversion gives up the old lock first
    if operation & FlockOp.NB:
        raise LinuxError(EAGAIN, "somebody else holds the lock")
    return _wait_for_flock(locks, file, exclusive)


def _wait_for_flock(locks: Locks, file: File, exclusive: bool) -> Generator[Block, None, int]:
    while locks.flock_conflict(file, exclusive):
        try:
            yield Block(ready=lambda: not locks.flock_conflict(file, exclusive), why="for a flock")
        except Interrupted:
            raise LinuxError(ERESTARTSYS, "a signal arrived before the lock was free") from None
    locks.whole[file] = exclusive
    return 0


# ioctl


@syscall(partly="terminals answer TCGETS, TCSETS and its kin, TIOCGWINSZ, TIOCGPGRP and TIOCSPGRP only")
def ioctl(task: Task, fd: Fd, cmd: IoctlCommand, arg: IoctlArg) -> int:
    """ioctl(2): what every file knows; the rest is the file's own, ENOTTY by default."""
    file = task.files.get(fd)
    if cmd == FIOCLEX:
        task.files.cloexec.add(fd)
        return 0
    if cmd == FIONCLEX:
        task.files.cloexec.discard(fd)
        return 0
    if cmd == FIONBIO:
        on = int.from_bytes(task.mm.copy_from_user(arg, 4), "little")
        file.flags = file.flags | Open.NONBLOCK if on else file.flags & ~Open.NONBLOCK
        return 0
    if cmd == FIOASYNC:
        on = int.from_bytes(task.mm.copy_from_user(arg, 4), "little")
        if bool(on) != bool(file.flags & Open.FASYNC):
            raise LinuxError(ENOTTY, "signal-driven I/O is not modelled")
        return 0
    if cmd == FIONREAD and file.inode.is_regular:
        left = max(-(1 << 31), min(file.inode.size - file.pos, (1 << 31) - 1))
        task.mm.copy_to_user(arg, left.to_bytes(4, "little", signed=True))
        return 0
    return file.ioctl(task, cmd, arg)


# ranges, and memfd


@syscall(partly="CLOSE_RANGE_UNSHARE has nothing to unshare yet")
def close_range(task: Task, first: UInt, last: UInt, flags: CloseRangeFlags) -> int:
    """close_range(2)."""
    if flags & ~6:
        raise LinuxError(EINVAL, "an unknown CLOSE_RANGE_ flag")
    if first > last:
        raise LinuxError(EINVAL, "first is above last")
    files = task.files
    if flags & 4:
        files.cloexec.update(fd for fd in files.fds() if first <= fd <= last)
    else:
        files.close_range(first, last)
    return 0


MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC = 1, 2, 4, 8, 16
MFD_NAME_MAX = 249


@syscall
def memfd_create(task: Task, name: Text, flags: MfdFlags) -> int:
    """memfd_create(2)."""
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC
    huge = bool(flags & MFD_HUGETLB)
    if huge:
        known |= MFD_HUGETLB | MAP_HUGE_MASK << MAP_HUGE_SHIFT
    if flags & ~known:
        raise LinuxError(EINVAL, "an unknown MFD_ flag")
    if flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL:
        raise LinuxError(EINVAL, "MFD_EXEC and MFD_NOEXEC_SEAL exclude each other")
    try:
        text = task.mm.strncpy_from_user(name, MFD_NAME_MAX + 1)
    except LinuxError as error:
        if error.errno == ENAMETOOLONG:
            raise LinuxError(EINVAL, f"the name is longer than {MFD_NAME_MAX} bytes") from None
        raise LinuxError(EFAULT, "the name cannot be read") from None
    log2 = HUGE_SIZES.get(flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK, 0)
    if huge and not log2:
        raise LinuxError(ENODEV, f"there are no huge pages of 2^{flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK} bytes")
    file = memfd.make_memfd(
        task.system.vfs, task.cred, text,
        sealable=bool(flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL)), executable=not flags & MFD_NOEXEC_SEAL,
        pool=task.system.frames.huge if huge else None, log2=log2,
    )  # fmt: skip
    return task.files.install(file, cloexec=bool(flags & MFD_CLOEXEC))


