"""I/O syscalls: what is done with an open descriptor's bytes and position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kernel.abi.args import Fd, InBuf, Iov, Off, OutBuf, Size, ULong, Unshown
from kernel.abi.errno import EBADF, EINVAL, EOPNOTSUPP, ESPIPE, LinuxError
from kernel.abi.fcntl import Open, Poll, SeekChoice
from kernel.abi.fileargs import RwfFlags, StatusFlags
from kernel.abi.limits import MAX_RW_COUNT
from kernel.syscalls.table import Outcome, syscall
from kernel.syscalls.transfer import (
    Segment,
    appending,
    blocking,
    bounded,
    check_area,
    check_position,
    import_iovec,
    read_to,
    readable_file,
    writable_file,
    write_all,
    write_from,
)

if TYPE_CHECKING:
    from kernel.fs.file import File
    from kernel.task.task import Task

READY = Poll.IN | Poll.HUP | Poll.ERR
RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, RWF_NOAPPEND, RWF_ATOMIC, RWF_DONTCACHE = (
    1 << bit for bit in range(8)
)


def _read(task: Task, file: File, segments: list[Segment]) -> Outcome:
    if file.seekable:
        check_position(file, file.pos, segments)
    done = read_to(task, file, segments, None)
    return done if done is not None else blocking(file, lambda: read_to(task, file, segments, None), READY)


def _write(task: Task, file: File, segments: list[Segment]) -> Outcome:
    inode = file.inode
    if file.seekable:
        check_position(file, file.pos, segments)
    if inode.is_regular:
        if file.seekable:
            segments = bounded(task, file, segments, inode.size if appending(file) else file.pos)
        if inode.mode & 0o6000 and not task.cred.privileged:
            inode.drop_privileges()
    return write_all(task, file, segments)


@syscall
def read(task: Task, fd: Fd, buf: Annotated[int, OutBuf()], count: Size) -> Outcome:
    """read(2)."""
    file = readable_file(task, fd)
    check_area(buf, count)
    if count >= 1 << 63:
        raise LinuxError(EINVAL, "count is negative as ssize_t")
    return _read(task, file, [(buf, min(count, MAX_RW_COUNT))])


@syscall
def write(task: Task, fd: Fd, buf: Annotated[int, InBuf("count")], count: Size) -> Outcome:
    """write(2)."""
    file = writable_file(task, fd)
    check_area(buf, count)
    if count >= 1 << 63:
        raise LinuxError(EINVAL, "count is negative as ssize_t")
    return _write(task, file, [(buf, min(count, MAX_RW_COUNT))])


@syscall
def readv(task: Task, fd: Fd, iov: Annotated[int, Iov("iovcnt", out=True)], iovcnt: ULong) -> Outcome:
    """readv(2)."""
    file = readable_file(task, fd)
    return _read(task, file, import_iovec(task, iov, iovcnt))


@syscall
def writev(task: Task, fd: Fd, iov: Annotated[int, Iov("iovcnt")], iovcnt: ULong) -> Outcome:
    """writev(2)."""
    file = writable_file(task, fd)
    return _write(task, file, import_iovec(task, iov, iovcnt))


def _positioned(task: Task, fd: int, offset: int, *, writing: bool) -> File:
    """The file of a pread or pwrite: EINVAL for the offset, EBADF, ESPIPE, EBADF for the mode, in this order."""
    if offset < 0:
        raise LinuxError(EINVAL, "the offset is negative")
    file = task.files.get(fd)
    if not file.positioned:
        raise LinuxError(ESPIPE, f"fd {fd} has no positions")
    if not (file.writable if writing else file.readable):
        raise LinuxError(EBADF, f"fd {fd} is not open for {'writing' if writing else 'reading'}")
    return file


def _pread(task: Task, file: File, segments: list[Segment], offset: int) -> int:
    check_position(file, offset, segments)
    return read_to(task, file, segments, offset) or 0


def _pwrite(task: Task, file: File, segments: list[Segment], offset: int) -> int:
    check_position(file, offset, segments)
    inode = file.inode
    if inode.is_regular:
        offset = inode.size if appending(file) else offset  # pwrite(2), BUGS: O_APPEND wins
        segments = bounded(task, file, segments, offset)
        if inode.mode & 0o6000 and not task.cred.privileged:
            inode.drop_privileges()
    return write_from(task, file, segments, offset)


@syscall
def pread64(task: Task, fd: Fd, buf: Annotated[int, OutBuf()], count: Size, offset: Off) -> int:
    """pread(2)."""
    file = _positioned(task, fd, offset, writing=False)
    check_area(buf, count)
    return _pread(task, file, [(buf, min(count, MAX_RW_COUNT))], offset)


@syscall
def pwrite64(task: Task, fd: Fd, buf: Annotated[int, InBuf("count")], count: Size, offset: Off) -> int:
    """pwrite(2)."""
    file = _positioned(task, fd, offset, writing=True)
    check_area(buf, count)
    return _pwrite(task, file, [(buf, min(count, MAX_RW_COUNT))], offset)


@syscall
def preadv(task: Task, fd: Fd, iov: Annotated[int, Iov("iovcnt", out=True)], iovcnt: ULong, pos_l: Off,
           pos_h: Unshown) -> int:  # fmt: skip
    """preadv(2): on a 64-bit machine pos_h is not looked at."""
    file = _positioned(task, fd, pos_l, writing=False)
    return _pread(task, file, import_iovec(task, iov, iovcnt), pos_l)


@syscall
def pwritev(task: Task, fd: Fd, iov: Annotated[int, Iov("iovcnt")], iovcnt: ULong, pos_l: Off, pos_h: Unshown) -> int:
    """pwritev(2)."""
    file = _positioned(task, fd, pos_l, writing=True)
    return _pwrite(task, file, import_iovec(task, iov, iovcnt), pos_l)


def _check_rwf(flags: int, *, writing: bool) -> None:
    """kiocb_set_rw_flags(): what is known of RWF_, and what a file in memory does."""
    known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND
    if flags & ~known:
        raise LinuxError(EOPNOTSUPP, f"RWF flags {flags & ~known:#x} are unknown or not supported by this file")
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise LinuxError(EINVAL, "RWF_APPEND and RWF_NOAPPEND exclude each other")


@syscall
def preadv2(task: Task, fd: Fd, iov: Annotated[int, Iov("iovcnt", out=True)], iovcnt: ULong, pos_l: Off, pos_h: Unshown,
            flags: RwfFlags) -> Outcome:  # fmt: skip
    """preadv2(2): offset -1 means where the file stands."""
    if pos_l == -1:
        file = readable_file(task, fd)
    else:
        file = _positioned(task, fd, pos_l, writing=False)
    segments = import_iovec(task, iov, iovcnt)
    _check_rwf(flags, writing=False)
    return _read(task, file, segments) if pos_l == -1 else _pread(task, file, segments, pos_l)


@syscall
def pwritev2(task: Task, fd: Fd, iov: Annotated[int, Iov("iovcnt")], iovcnt: ULong, pos_l: Off, pos_h: Unshown,
             flags: RwfFlags) -> Outcome:  # fmt: skip
    """pwritev2(2)."""
    if pos_l == -1:
        file = writable_file(task, fd)
    else:
        file = _positioned(task, fd, pos_l, writing=True)
    segments = import_iovec(task, iov, iovcnt)
    _check_rwf(flags, writing=True)
    appended = file.flags
    try:
        if flags & RWF_APPEND:
            file.flags |= Open.APPEND
        if flags & RWF_NOAPPEND:
            file.flags &= ~Open.APPEND
        return _write(task, file, segments) if pos_l == -1 else _pwrite(task, file, segments, pos_l)
    finally:
        file.flags = appended


@syscall
def lseek(task: Task, fd: Fd, offset: Off, whence: SeekChoice) -> int:
    """lseek(2)."""
    file = task.files.get(fd)
    if not 0 <= whence <= 4:
        raise LinuxError(EINVAL, f"whence {whence} is unknown")
    return file.lseek(offset, whence)


@syscall
def close(task: Task, fd: Fd) -> int:
    """close(2)."""
    task.files.close(fd)
    return 0


@syscall
def dup(task: Task, oldfd: Fd) -> int:
    """dup(2)."""
    return task.files.install(task.files.get_raw(oldfd))


@syscall
def dup2(task: Task, oldfd: Fd, newfd: Fd) -> int:
    """dup2(2)."""
    file = task.files.get_raw(oldfd)
    return newfd if oldfd == newfd else task.files.dup_to(file, newfd)


@syscall
def dup3(task: Task, oldfd: Fd, newfd: Fd, flags: StatusFlags) -> int:
    """dup3(2)."""
    if flags & ~Open.CLOEXEC:
        raise LinuxError(EINVAL, "a flag other than O_CLOEXEC")
    if oldfd == newfd:
        raise LinuxError(EINVAL, "dup3 of a descriptor to itself")
    return task.files.dup_to(task.files.get_raw(oldfd), newfd, cloexec=bool(flags))


@syscall
def sync(task: Task) -> int:
    """sync(2)."""
    task.system.vfs.sync()
    return 0


@syscall
def fsync(task: Task, fd: Fd) -> int:
    """fsync(2)."""
    return _fsync(task, fd)


@syscall
def fdatasync(task: Task, fd: Fd) -> int:
    """fdatasync(2)."""
    return _fsync(task, fd)


def _fsync(task: Task, fd: int) -> int:
    file = task.files.get(fd)
    if not (file.inode.is_regular or file.inode.is_dir):
        raise LinuxError(EINVAL, "this kind of file is not written back")
    file.sync()
    return 0


@syscall
def syncfs(task: Task, fd: Fd) -> int:
    """syncfs(2)."""
    task.files.get(fd)
    task.system.vfs.sync()
    return 0


