"""Syscalls that set what a file is: mode, owner, times, length, space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.args import DirFd, Fd, Len, Mode, Off, Path, Uid
from kernel.abi.errno import (
    EBADF,
    EFBIG,
    EINVAL,
    EISDIR,
    ENODEV,
    EOPNOTSUPP,
    EPERM,
    ESPIPE,
    LinuxError,
)
from kernel.abi.fcntl import AT_FDCWD, S_IFIFO, S_ISGID, S_ISUID, UTIME_NOW, UTIME_OMIT, At, FadvChoice
from kernel.abi.fileargs import AtFlags, FallocFlags
from kernel.abi.signal import SIGXFSZ
from kernel.abi.structs import Timespec, Timeval, Utimbuf
from kernel.abi.timeargs import UtimePointer, Utimes, UtimesUs
from kernel.fs.inode import MAY_WRITE, NSEC, check_permission, owns
from kernel.fs.namei import want_write
from kernel.syscalls.file import find
from kernel.syscalls.table import syscall
from kernel.syscalls.transfer import send_to_self

if TYPE_CHECKING:
    from kernel.fs.dentry import Path as Place
    from kernel.fs.inode import Cred, Inode
    from kernel.task.task import Task



def _in_group(cred: Cred, gid: int) -> bool:
    return cred.fsgid == gid or gid in cred.groups


def _owned(task: Task, place: Place) -> Inode:
    """The inode, for its owner or root alone."""
    inode = place.inode
    inode.getattr(place.dentry)
    if not owns(task.cred, inode):
        raise LinuxError(EPERM, f"uid {task.cred.fsuid} does not own the file")
    return inode


def _chmod(task: Task, place: Place, mode: int) -> int:
    want_write(place)
    inode = _owned(task, place)
    if inode.is_link:
        raise LinuxError(EOPNOTSUPP, "a symbolic link has no mode of its own")
    mode &= 0o7777
    if mode & S_ISGID and not task.cred.privileged and not _in_group(task.cred, inode.owner_ids()[1]):
        mode &= ~S_ISGID
    inode.set_mode(place.dentry, mode)
    return 0


@syscall
def chmod(task: Task, pathname: Path, mode: Mode) -> int:
    """chmod(2)."""
    return _chmod(task, find(task, AT_FDCWD, pathname), mode)


@syscall
def fchmod(task: Task, fd: Fd, mode: Mode) -> int:
    """fchmod(2)."""
    return _chmod(task, task.files.get(fd).path, mode)


@syscall
def fchmodat(task: Task, dirfd: DirFd, pathname: Path, mode: Mode) -> int:
    """fchmodat(2), the system call: without flags."""
    return _chmod(task, find(task, dirfd, pathname), mode)


@syscall
def fchmodat2(task: Task, dirfd: DirFd, pathname: Path, mode: Mode, flags: AtFlags) -> int:
    """fchmodat2(2)."""
    if flags & ~(At.SYMLINK_NOFOLLOW | At.EMPTY_PATH):
        raise LinuxError(EINVAL, "an AT_ flag that fchmodat2 does not know")
    follow = not flags & At.SYMLINK_NOFOLLOW
    return _chmod(task, find(task, dirfd, pathname, follow=follow, empty=bool(flags & At.EMPTY_PATH)), mode)


def _chown(task: Task, place: Place, owner: int, group: int) -> int:
    """chown_common(): an owner may give a file to a group of theirs; root may do all. -1 leaves one alone."""
    want_write(place)
    inode = place.inode
    inode.getattr(place.dentry)
    uid = -1 if owner == 0xFFFFFFFF else owner
    gid = -1 if group == 0xFFFFFFFF else group
    cred = task.cred
    if not cred.privileged:
        mine = cred.fsuid == inode.owner_ids()[0]
        if uid != -1 and not (mine and uid == inode.uid):
            raise LinuxError(EPERM, "only root gives files away")
        if gid != -1 and not (mine and (gid == inode.gid or _in_group(cred, gid))):
            raise LinuxError(EPERM, f"uid {cred.fsuid} may not give the file to group {gid}")
    if not inode.is_dir:
        kill = S_ISUID | (S_ISGID if inode.mode & 0o010 or not _in_group(cred, inode.gid) else 0)
        if inode.mode & kill:
            inode.mode &= ~kill
    inode.set_owner(place.dentry, uid, gid)
    return 0


@syscall
def chown(task: Task, pathname: Path, owner: Uid, group: Uid) -> int:
    """chown(2)."""
    return _chown(task, find(task, AT_FDCWD, pathname), owner, group)


@syscall
def lchown(task: Task, pathname: Path, owner: Uid, group: Uid) -> int:
    """lchown(2)."""
    return _chown(task, find(task, AT_FDCWD, pathname, follow=False), owner, group)


@syscall
def fchown(task: Task, fd: Fd, owner: Uid, group: Uid) -> int:
    """fchown(2)."""
    return _chown(task, task.files.get(fd).path, owner, group)


@syscall
def fchownat(task: Task, dirfd: DirFd, pathname: Path, owner: Uid, group: Uid, flags: AtFlags) -> int:
    """fchownat(2)."""
    if flags & ~(At.SYMLINK_NOFOLLOW | At.EMPTY_PATH):
        raise LinuxError(EINVAL, "an AT_ flag that fchownat does not know")
    follow = not flags & At.SYMLINK_NOFOLLOW
    return _chown(task, find(task, dirfd, pathname, follow=follow, empty=bool(flags & At.EMPTY_PATH)), owner, group)


# times


def _set_times(task: Task, place: Place, times: tuple[int | None, int | None] | None) -> int:
    """`times` are (atime, mtime) in ns, None where one stays; None altogether: now, which whoever may write may set."""
    want_write(place)
    inode = place.inode
    inode.getattr(place.dentry)
    if times is None:
        if not owns(task.cred, inode):
            check_permission(task.cred, inode, MAY_WRITE)
        now = task.system.clock.realtime_ns()
        times = now, now
    elif not owns(task.cred, inode):
        raise LinuxError(EPERM, "only the owner sets times other than now")
    inode.set_times(place.dentry, *times)
    return 0


def _times_of(task: Task, va: int) -> tuple[int | None, int | None] | None:
    """utimensat's two timespecs; None where both are UTIME_NOW, or `va` is NULL."""
    if not va:
        return None
    raw = task.mm.copy_from_user(va, 2 * Timespec.SIZE)
    specs = Timespec.unpack(raw), Timespec.unpack(raw[Timespec.SIZE :])
    for spec in specs:
        if not 0 <= spec.tv_nsec < NSEC and spec.tv_nsec not in (UTIME_NOW, UTIME_OMIT):
            raise LinuxError(EINVAL, "tv_nsec is out of range")
    if all(spec.tv_nsec == UTIME_NOW for spec in specs):
        return None
    now = task.system.clock.realtime_ns()
    atime, mtime = (_one_time(spec, now) for spec in specs)
    return atime, mtime


def _one_time(spec: Timespec, now: int) -> int | None:
    if spec.tv_nsec == UTIME_OMIT:
        return None
    return now if spec.tv_nsec == UTIME_NOW else spec.tv_sec * NSEC + spec.tv_nsec


@syscall
def utimensat(task: Task, dirfd: DirFd, pathname: Path, times: Utimes, flags: AtFlags) -> int:
    """utimensat(2); with a NULL path it is futimens(3)."""
    wanted = _times_of(task, times)
    if wanted == (None, None):
        return 0  # both UTIME_OMIT: nothing is looked at
    if not pathname and dirfd != AT_FDCWD:
        if flags:
            raise LinuxError(EINVAL, "flags go with a path")
        return _set_times(task, task.files.get(dirfd).path, wanted)
    if flags & ~(At.SYMLINK_NOFOLLOW | At.EMPTY_PATH):
        raise LinuxError(EINVAL, "an AT_ flag that utimensat does not know")
    follow = not flags & At.SYMLINK_NOFOLLOW
    place = find(task, dirfd, pathname, follow=follow, empty=bool(flags & At.EMPTY_PATH))
    return _set_times(task, place, wanted)


def _timevals(task: Task, va: int) -> tuple[int, int] | None:
    if not va:
        return None
    raw = task.mm.copy_from_user(va, 2 * Timeval.SIZE)
    values = Timeval.unpack(raw), Timeval.unpack(raw[Timeval.SIZE :])
    if any(not 0 <= value.tv_usec < 1_000_000 for value in values):
        raise LinuxError(EINVAL, "tv_usec is out of range")
    atime, mtime = (value.tv_sec * NSEC + value.tv_usec * 1000 for value in values)
    return atime, mtime


@syscall
def utimes(task: Task, filename: Path, times: UtimesUs) -> int:
    """utimes(2)."""
    wanted = _timevals(task, times)
    return _set_times(task, find(task, AT_FDCWD, filename), wanted)


@syscall
def futimesat(task: Task, dirfd: DirFd, pathname: Path, times: UtimesUs) -> int:
    """futimesat(2); with a NULL path it is futimes(3)."""
    wanted = _timevals(task, times)
    if not pathname and dirfd != AT_FDCWD:
        return _set_times(task, task.files.get(dirfd).path, wanted)
    return _set_times(task, find(task, dirfd, pathname), wanted)


@syscall
def utime(task: Task, filename: Path, times: UtimePointer) -> int:
    """utime(2)."""
    wanted = None
    if times:
        spec = Utimbuf.unpack(task.mm.copy_from_user(times, Utimbuf.SIZE))
        wanted = spec.actime * NSEC, spec.modtime * NSEC
    return _set_times(task, find(task, AT_FDCWD, filename), wanted)


# length and space


def _check_length(task: Task, length: int, inode: Inode) -> None:
    """inode_newsize_ok()."""
    limit = task.rlimits.soft("FSIZE")
    if length > inode.size and length > limit:
        send_to_self(task, SIGXFSZ)
        raise LinuxError(EFBIG, f"the length is above RLIMIT_FSIZE ({limit})")
    if length > inode.fs.max_size:
        raise LinuxError(EFBIG, "the length is above the file system's most")


@syscall
def truncate(task: Task, path: Path, length: Len) -> int:
    """truncate(2)."""
    if length < 0:
        raise LinuxError(EINVAL, "the length is negative")
    place = find(task, AT_FDCWD, path)
    inode = place.inode
    if inode.is_dir:
        raise LinuxError(EISDIR, "it is a directory")
    if not inode.is_regular:
        raise LinuxError(EINVAL, "only a regular file has a length to set")
    want_write(place)
    check_permission(task.cred, inode, MAY_WRITE)
    inode.getattr(place.dentry)
    inode.get_write_access()
    try:
        _check_length(task, length, inode)
        if not task.cred.privileged:
            inode.drop_privileges()
        inode.truncate(place.dentry, length)
    finally:
        inode.writers -= 1
    return 0


@syscall
def ftruncate(task: Task, fd: Fd, length: Len) -> int:
    """ftruncate(2)."""
    if length < 0:
        raise LinuxError(EINVAL, "the length is negative")
    file = task.files.get(fd)
    if not file.inode.is_regular or not file.writable:
        raise LinuxError(EINVAL, "not a regular file that is open for writing")
    file.inode.getattr(file.path.dentry)
    file.may_resize(length)
    _check_length(task, length, file.inode)
    if not task.cred.privileged:
        file.inode.drop_privileges()
    file.resize(length)
    return 0


KEEP_SIZE, PUNCH_HOLE = 1, 2


@syscall(partly="FALLOC_FL_ KEEP_SIZE and PUNCH_HOLE, as tmpfs")
def fallocate(task: Task, fd: Fd, mode: FallocFlags, offset: Off, len_: Off) -> int:
    """fallocate(2)."""
    file = task.files.get(fd)
    if offset < 0 or len_ <= 0:
        raise LinuxError(EINVAL, "the offset is negative, or the length not positive")
    if mode & ~0x7F or (mode & PUNCH_HOLE and mode & ~(KEEP_SIZE | PUNCH_HOLE)):
        raise LinuxError(EOPNOTSUPP, "an unknown mode, or two that exclude each other")
    if mode & PUNCH_HOLE and not mode & KEEP_SIZE:
        raise LinuxError(EOPNOTSUPP, "FALLOC_FL_PUNCH_HOLE comes with FALLOC_FL_KEEP_SIZE")
    if not file.writable:
        raise LinuxError(EBADF, f"fd {fd} is not open for writing")
    inode = file.inode
    if inode.mode & 0o170000 == S_IFIFO:
        raise LinuxError(ESPIPE, "a pipe has no space to allocate")
    if inode.is_dir:
        raise LinuxError(EISDIR, "it is a directory")
    if not inode.is_regular:
        raise LinuxError(ENODEV, "neither a regular file nor a directory")
    if offset + len_ > inode.fs.max_size:
        raise LinuxError(EFBIG, "the end is above the file system's most")
    if not mode & KEEP_SIZE:
        _check_length(task, offset + len_, inode)
    file.allocate(mode, offset, len_)
    return 0


@syscall
def fadvise64(task: Task, fd: Fd, offset: Off, len_: Len, advice: FadvChoice) -> int:
    """posix_fadvise(2): hints, all of which this machine is free to ignore."""
    file = task.files.get(fd)
    if file.inode.mode & 0o170000 == S_IFIFO:
        raise LinuxError(ESPIPE, "a pipe is not advised about")
    if len_ < 0:
        raise LinuxError(EINVAL, "the length is negative")
    if not 0 <= advice <= 5:
        raise LinuxError(EINVAL, f"advice {advice} is unknown")
    return 0


