"""Syscalls that ask a file system, or move bytes between files: statfs, openat2, sendfile, copy_file_range, xattrs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.args import DirFd, Fd, In, Out, Path, Size, UInt
from kernel.abi.errno import (
    E2BIG,
    EAGAIN,
    EBADF,
    EFBIG,
    EINVAL,
    EISDIR,
    EOVERFLOW,
    ESPIPE,
    EXDEV,
    LinuxError,
)
from kernel.abi.fcntl import AT_FDCWD, Open, Poll
from kernel.abi.fileargs import OffPointer
from kernel.abi.limits import MAX_RW_COUNT, U64
from kernel.abi.structs import OpenHow, Statfs
from kernel.abi.words import InLong
from kernel.fs.namei import TMPFILE
from kernel.fs.path import BENEATH, CACHED, IN_ROOT, NO_MAGICLINKS, NO_SYMLINKS, NO_XDEV
from kernel.fs.pipe import PipeFile
from kernel.syscalls.file import VALID_OPEN, find, getname, open_at
from kernel.syscalls.table import Outcome, syscall
from kernel.syscalls.transfer import CHUNK, Blocking, readable_file, writable_file
from kernel.wait import Block

if TYPE_CHECKING:
    from kernel.fs.dentry import Mount
    from kernel.fs.file import File
    from kernel.task.task import Task

ST_RDONLY, ST_NOEXEC, ST_VALID, ST_RELATIME = 1, 8, 0x20, 0x1000


def _statfs_of(mount: Mount) -> bytes:
    fs = mount.fs
    blocks, free, inodes, free_inodes = fs.usage()
    flags = ST_VALID | (0 if mount.internal else ST_RELATIME)
    flags |= (ST_RDONLY if mount.readonly else 0) | (ST_NOEXEC if mount.noexec else 0)
    return Statfs(
        fs.magic, 4096, blocks, free, free, inodes, free_inodes, (fs.dev, 0), 255, 4096, flags, (0, 0, 0, 0)
    ).pack()


@syscall
def statfs(task: Task, path: Path, buf: Out[Statfs]) -> int:
    """statfs(2)."""
    task.mm.copy_to_user(buf, _statfs_of(find(task, AT_FDCWD, path).mount))
    return 0


@syscall
def fstatfs(task: Task, fd: Fd, buf: Out[Statfs]) -> int:
    """fstatfs(2)."""
    task.mm.copy_to_user(buf, _statfs_of(task.files.get_raw(fd).path.mount))
    return 0


RESOLVE = NO_XDEV | NO_MAGICLINKS | NO_SYMLINKS | BENEATH | IN_ROOT | CACHED


@syscall
def openat2(task: Task, dirfd: DirFd, pathname: Path, how: In[OpenHow], size: Size) -> Outcome:
    """openat2(2): unlike openat, unknown flags are refused."""
    if size < OpenHow.SIZE:
        raise LinuxError(EINVAL, f"struct open_how has {OpenHow.SIZE} bytes at least")
    if size > 4096:
        raise LinuxError(E2BIG, "struct open_how of more than a page")
    raw = task.mm.copy_from_user(how, size)
    if any(raw[OpenHow.SIZE :]):
        raise LinuxError(E2BIG, "struct open_how has fields that this kernel does not know")
    wanted = OpenHow.unpack(raw)
    flags = _check_how(wanted)
    return open_at(task, dirfd, getname(task, pathname), flags, wanted.mode, wanted.resolve)


def _check_how(how: OpenHow) -> int:
    """build_open_flags(), the strict way."""
    flags = how.flags
    if flags & ~VALID_OPEN:
        raise LinuxError(EINVAL, f"open flags {flags & ~VALID_OPEN:#x} are unknown")
    if how.resolve & ~RESOLVE:
        raise LinuxError(EINVAL, "an unknown RESOLVE_ flag")
    if how.resolve & BENEATH and how.resolve & IN_ROOT:
        raise LinuxError(EINVAL, "RESOLVE_BENEATH and RESOLVE_IN_ROOT exclude each other")
    making = flags & (Open.CREAT | TMPFILE)
    if how.mode & ~(0o7777 if making else 0):
        raise LinuxError(EINVAL, "a mode that is not used, or has unknown bits")
    if flags & Open.CREAT and flags & Open.DIRECTORY:
        raise LinuxError(EINVAL, "O_CREAT does not make directories")
    if flags & TMPFILE and (flags & Open.TMPFILE != Open.TMPFILE or not flags & Open.ACCMODE):
        raise LinuxError(EINVAL, "O_TMPFILE comes with O_DIRECTORY and write access")
    if flags & Open.PATH and flags & ~(Open.PATH | Open.DIRECTORY | Open.NOFOLLOW | Open.CLOEXEC):
        raise LinuxError(EINVAL, "O_PATH goes with O_DIRECTORY, O_NOFOLLOW and O_CLOEXEC alone")
    if how.resolve & CACHED and flags & (Open.TRUNC | Open.CREAT | TMPFILE):
        raise LinuxError(EAGAIN, "RESOLVE_CACHED, and the open would change something")
    return flags


# from file to file


@syscall
def sendfile(task: Task, out_fd: Fd, in_fd: Fd, offset: OffPointer, count: Size) -> Outcome:
    """sendfile(2): from a file with positions to anything."""
    start: int | None = None
    if offset:
        start = int.from_bytes(task.mm.copy_from_user(offset, 8), "little", signed=True)
    source = readable_file(task, in_fd)
    if not source.positioned:
        raise LinuxError(ESPIPE if offset else EINVAL, "the source has no positions: splice moves pipes")
    if source.inode.is_dir or (start is not None and start < 0):
        raise LinuxError(EINVAL, "the source is a directory, or the offset negative")
    goal = writable_file(task, out_fd)
    if goal.flags & Open.APPEND:
        raise LinuxError(EINVAL, "the target has O_APPEND")
    sender = _Sender(task, source, goal, offset, start, min(count, MAX_RW_COUNT))
    if not sender.send() or goal.seekable or goal.nonblocking:
        return sender.finish()
    return sender.rest()


class _Sender:
    """One sendfile: `pos` in the source, `left` bytes to go."""

    def __init__(self, task: Task, source: File, goal: File, va: int, start: int | None, count: int) -> None:
        self.task = task
        self.source = source
        self.goal = goal
        self.va = va
        self.pos = source.pos if start is None else start
        self.left = count
        self.done = 0

    def send(self) -> bool:
        """As far as it goes at once; True: the target is full and there is more."""
        if isinstance(self.goal, PipeFile):
            return self.splice(self.goal)
        while self.left:
            data = self.source.pread(min(self.left, CHUNK), self.pos)
            if not data:
                self.left = 0
                break
            try:
                took = self.goal.write(data)
            except LinuxError:
                if not self.done:
                    raise
                self.left = 0
                break
            self.pos += took
            self.done += took
            self.left -= took
            if took < len(data):
                return self.left > 0
        return False

    def splice(self, goal: PipeFile) -> bool:
        """Into a pipe what there is room for, which is all that one call does (splice_file_to_pipe)."""
        goal.check_readers()
        room = goal.pipe.room(self.pos)
        if not room:
            return self.left > 0
        data = self.source.pread(min(self.left, room), self.pos)
        goal.pipe.splice(data, self.pos)
        self.pos += len(data)
        self.done, self.left = len(data), 0
        return False

    def finish(self) -> int:
        if not self.done and self.left:
            raise LinuxError(EAGAIN, "the target is full, and has O_NONBLOCK")
        if self.va:
            self.task.mm.copy_to_user(self.va, self.pos.to_bytes(8, "little", signed=True))
        else:
            self.source.pos = self.pos
        return self.done

    def rest(self) -> Blocking:
        while self.left:
            yield Block(ready=lambda: bool(self.goal.poll() & (Poll.OUT | Poll.ERR)), why="for room in a pipe")
            self.send()
        return self.finish()


def _offset_at(task: Task, va: int, file: File) -> int:
    if not va:
        return file.pos
    return int.from_bytes(task.mm.copy_from_user(va, 8), "little", signed=True)


@syscall
def copy_file_range(
    task: Task, fd_in: Fd, off_in: InLong, fd_out: Fd, off_out: InLong, size: Size, flags: UInt
) -> int:
    """copy_file_range(2): between regular files."""
    source, goal = task.files.get(fd_in), task.files.get(fd_out)
    pos_in = _offset_at(task, off_in, source)
    pos_out = _offset_at(task, off_out, goal)
    if flags:
        raise LinuxError(EINVAL, "copy_file_range has no flags")
    _check_copy(source, goal, pos_in, pos_out, size)
    count = min(size, MAX_RW_COUNT, max(0, source.inode.size - pos_in))
    if source.inode is goal.inode and pos_in < pos_out + count and pos_out < pos_in + count:
        raise LinuxError(EINVAL, "the ranges overlap in one file")
    done = 0
    while done < count:
        data = source.pread(min(count - done, CHUNK), pos_in + done)
        if not data:
            break
        done += goal.pwrite(data, pos_out + done)
    for va, file, pos in ((off_in, source, pos_in), (off_out, goal, pos_out)):
        if va:
            task.mm.copy_to_user(va, (pos + done).to_bytes(8, "little", signed=True))
        else:
            file.pos = pos + done
    return done


def _check_copy(source: File, goal: File, pos_in: int, pos_out: int, size: int) -> None:
    """generic_copy_file_checks(), generic_file_rw_checks()."""
    for file in (source, goal):
        if file.inode.is_dir:
            raise LinuxError(EISDIR, "a directory is not copied")
        if not file.inode.is_regular:
            raise LinuxError(EINVAL, "both must be regular files")
    if not source.readable or not goal.writable or goal.flags & Open.APPEND:
        raise LinuxError(EBADF, "the source must be readable, the target writable without O_APPEND")
    if source.inode.fs.type != goal.inode.fs.type:
        raise LinuxError(EXDEV, "the files are on file systems of two kinds")
    if any((pos & U64) + size > U64 for pos in (pos_in, pos_out)):
        raise LinuxError(EOVERFLOW, "an offset and the length wrap around")
    if pos_in < 0 or pos_out < 0:
        raise LinuxError(EINVAL, "an offset is negative")
    if pos_out >= goal.inode.fs.max_size:
        raise LinuxError(EFBIG, "the target's offset is past the largest file")
