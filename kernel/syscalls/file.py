"""File syscalls: opening, and asking what a file is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kernel.abi.args import Call, CString, DirFd, Fd, Int, Mode, Out, OutBuf, Path, Size, pointer
from kernel.abi.errno import EACCES, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, ERANGE, ERESTARTSYS, EROFS, LinuxError
from kernel.abi.fcntl import AT_FDCWD, At, Open, StatxMaskFlags
from kernel.abi.fileargs import AccessAtFlags, AccessMode, AtFlags, OpenFlags, OpenMode, StatxFlags
from kernel.abi.limits import PATH_MAX
from kernel.abi.structs import Stat, Statx, StatxTimestamp
from kernel.abi.taskargs import OctalResult
from kernel.fs.dentry import full_name
from kernel.fs.inode import MAY_EXEC, NSEC, permits
from kernel.fs.namei import TMPFILE, open_file
from kernel.fs.path import IN_ROOT, Walk
from kernel.syscalls.table import Outcome, syscall
from kernel.wait import Block, Interrupted

if TYPE_CHECKING:
    from collections.abc import Generator

    from kernel.fs.dentry import Path as Place
    from kernel.fs.file import File
    from kernel.fs.inode import Cred
    from kernel.task.task import Task

VALID_OPEN = (
    Open.ACCMODE | Open.CREAT | Open.EXCL | Open.NOCTTY | Open.TRUNC | Open.APPEND | Open.NONBLOCK | Open.SYNC
    | Open.DIRECT | Open.LARGEFILE | Open.NOFOLLOW | Open.NOATIME | Open.CLOEXEC | Open.PATH | Open.TMPFILE
    | Open.DIRECTORY | Open.FASYNC
)  # fmt: skip


def getname(task: Task, va: int) -> bytes:
    """The path at `va`: EFAULT, ENAMETOOLONG; an empty one is the caller's to judge."""
    return task.mm.strncpy_from_user(va, PATH_MAX)


def walk_from(task: Task, dirfd: int, name: bytes, resolve: int = 0, cred: Cred | None = None) -> Walk:
    """A walk that starts where `name` begins: the root, the working directory, or `dirfd`."""
    fs = task.fs
    if dirfd == AT_FDCWD or (name[:1] == b"/" and not resolve & IN_ROOT):
        start = fs.cwd
    else:
        start = task.files.get_raw(dirfd).path
        if name and not start.inode.is_dir:
            raise LinuxError(ENOTDIR, f"fd {dirfd} is not a directory")
    return Walk(cred or task.cred, fs.root, start, resolve)


def find(task: Task, dirfd: int, path: int, *, follow: bool = True, empty: bool = False) -> Place:
    """The Path that (dirfd, path) name; with `empty` (AT_EMPTY_PATH) an empty path means dirfd itself."""
    name = b"" if empty and not path else getname(task, path)
    if not name:
        if not empty:
            raise LinuxError(ENOENT, "the path is empty")
        return task.fs.cwd if dirfd == AT_FDCWD else task.files.get_raw(dirfd).path
    return walk_from(task, dirfd, name).find(name, follow=follow)


def open_at(task: Task, dirfd: int, name: bytes, flags: int, mode: int, resolve: int = 0) -> Outcome:
    """open(2) past its flags: a new descriptor."""
    if not name:
        raise LinuxError(ENOENT, "the path is empty")
    if flags & Open.PATH:
        flags &= Open.PATH | Open.DIRECTORY | Open.NOFOLLOW | Open.CLOEXEC
    files = task.files
    files.lowest()
    file = open_file(walk_from(task, dirfd, name, resolve), name, flags, mode, task.fs.umask)
    if file.awaits_peer:
        return _open_fifo(task, file, bool(flags & Open.CLOEXEC))
    return files.install(file, cloexec=bool(flags & Open.CLOEXEC))


def _open_fifo(task: Task, file: File, cloexec: bool) -> Generator[Block, None, int]:
    """fifo(7): without O_NONBLOCK an end is open when the other is."""
    try:
        yield Block(ready=lambda: not file.awaits_peer, why="for somebody to open the fifo's other end")
    except Interrupted:
        file.release()
        raise LinuxError(ERESTARTSYS, "a signal arrived before the fifo's other end was opened") from None
    return task.files.install(file, cloexec=cloexec)


def _open_flags(flags: int) -> int:
    """build_open_flags() for open(2) and openat(2), where unknown bits are dropped."""
    flags &= VALID_OPEN
    if flags & TMPFILE:
        if flags & Open.TMPFILE != Open.TMPFILE or flags & Open.CREAT:
            raise LinuxError(EINVAL, "O_TMPFILE comes with O_DIRECTORY, without O_CREAT")
        if flags & Open.ACCMODE == Open.RDONLY:
            raise LinuxError(EINVAL, "O_TMPFILE needs write access")
    if flags & Open.CREAT and flags & Open.DIRECTORY:
        raise LinuxError(EINVAL, "O_CREAT does not make directories (O_CREAT|O_DIRECTORY)")
    return flags | Open.LARGEFILE


@syscall
def open(task: Task, pathname: Path, flags: OpenFlags, mode: OpenMode) -> Outcome:
    """open(2)."""
    flags = _open_flags(flags)
    return open_at(task, AT_FDCWD, getname(task, pathname), flags, mode & 0o7777)


@syscall
def openat(task: Task, dirfd: DirFd, pathname: Path, flags: OpenFlags, mode: OpenMode) -> Outcome:
    """openat(2)."""
    flags = _open_flags(flags)
    return open_at(task, dirfd, getname(task, pathname), flags, mode & 0o7777)


@syscall
def creat(task: Task, pathname: Path, mode: Mode) -> Outcome:
    """creat(2)."""
    flags = Open.CREAT | Open.WRONLY | Open.TRUNC | Open.LARGEFILE
    return open_at(task, AT_FDCWD, getname(task, pathname), flags, mode & 0o7777)


def stat_of(place: Place) -> bytes:
    """struct stat of what is there."""
    inode = place.inode
    inode.getattr(place.dentry)
    atime, mtime, ctime = divmod(inode.atime, NSEC), divmod(inode.mtime, NSEC), divmod(inode.ctime, NSEC)
    return Stat(
        inode.fs.dev, inode.ino, inode.nlink, inode.mode, inode.uid, inode.gid, 0, inode.rdev, inode.size,
        inode.blksize, inode.blocks, *atime, *mtime, *ctime, b"",
    ).pack()  # fmt: skip


@syscall
def stat(task: Task, pathname: Path, statbuf: Out[Stat]) -> int:
    """stat(2)."""
    task.mm.copy_to_user(statbuf, stat_of(find(task, AT_FDCWD, pathname)))
    return 0


@syscall
def lstat(task: Task, pathname: Path, statbuf: Out[Stat]) -> int:
    """lstat(2)."""
    task.mm.copy_to_user(statbuf, stat_of(find(task, AT_FDCWD, pathname, follow=False)))
    return 0


@syscall
def fstat(task: Task, fd: Fd, statbuf: Out[Stat]) -> int:
    """fstat(2)."""
    task.mm.copy_to_user(statbuf, stat_of(task.files.get_raw(fd).path))
    return 0


@syscall
def newfstatat(task: Task, dirfd: DirFd, pathname: Path, statbuf: Out[Stat], flags: AtFlags) -> int:
    """fstatat(2)."""
    if flags & ~(At.SYMLINK_NOFOLLOW | At.NO_AUTOMOUNT | At.EMPTY_PATH | 0x6000):
        raise LinuxError(EINVAL, "an AT_ flag that fstatat does not know")
    place = find(
        task, dirfd, pathname, follow=not flags & At.SYMLINK_NOFOLLOW, empty=bool(flags & At.EMPTY_PATH)
    )
    task.mm.copy_to_user(statbuf, stat_of(place))
    return 0


@syscall
def statx(task: Task, dirfd: DirFd, pathname: Path, flags: StatxFlags, mask: StatxMaskFlags,
          statxbuf: Out[Statx]) -> int:  # fmt: skip
    """statx(2)."""
    if mask & 1 << 31:
        raise LinuxError(EINVAL, "STATX__RESERVED is set")
    if flags & 0x6000 == 0x6000 or flags & ~(At.SYMLINK_NOFOLLOW | At.NO_AUTOMOUNT | At.EMPTY_PATH | 0x6000):
        raise LinuxError(EINVAL, "an AT_ flag that statx does not know, or both of the AT_STATX_SYNC_ kinds")
    place = find(
        task, dirfd, pathname, follow=not flags & At.SYMLINK_NOFOLLOW, empty=bool(flags & At.EMPTY_PATH)
    )
    task.mm.copy_to_user(statxbuf, _statx_of(place, mask))
    return 0


MOUNT_ROOT = 0x2000
BTIME, MNT_ID = 0x800, 0x1000


def _statx_of(place: Place, mask: int) -> bytes:
    inode = place.inode
    inode.getattr(place.dentry)

    def stamp(ns: int) -> StatxTimestamp:
        return StatxTimestamp(*divmod(ns, NSEC), 0)

    rdev = inode.rdev
    got = 0x7FF | (mask & BTIME) | MNT_ID
    root = MOUNT_ROOT if place.dentry is place.mount.root and not place.mount.internal else 0
    return Statx(
        got, inode.blksize, root, inode.nlink, inode.uid, inode.gid, inode.mode, 0, inode.ino, inode.size,
        inode.blocks, MOUNT_ROOT | 0x203000, stamp(inode.atime), stamp(inode.btime if mask & BTIME else 0),
        stamp(inode.ctime), stamp(inode.mtime), rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & ~0xFF, 0, inode.fs.dev,
        place.mount.id, 0, 0, (0,) * 12,
    ).pack()  # fmt: skip


class _RealCred:
    """access(2) asks by the real ids."""

    def __init__(self, cred: Cred, uid: int, gid: int) -> None:
        self.fsuid = uid
        self.fsgid = gid
        self.groups = cred.groups
        self.privileged = uid == 0


def _access(task: Task, dirfd: int, path: int, mode: int, flags: int) -> int:
    if mode & ~7:
        raise LinuxError(EINVAL, "a mode beyond R_OK, W_OK and X_OK")
    if flags & ~(At.EACCESS | At.SYMLINK_NOFOLLOW | At.EMPTY_PATH):
        raise LinuxError(EINVAL, "an AT_ flag that faccessat2 does not know")
    cred: Cred = task.cred
    if not flags & At.EACCESS:
        cred = _RealCred(cred, task.cred.uid, task.cred.gid)
    name = b"" if flags & At.EMPTY_PATH and not path else getname(task, path)
    if name:
        place = walk_from(task, dirfd, name, cred=cred).find(name, follow=not flags & At.SYMLINK_NOFOLLOW)
    else:
        place = find(task, dirfd, path, empty=bool(flags & At.EMPTY_PATH))
    inode = place.inode
    if mode & MAY_EXEC and inode.is_regular and place.mount.noexec:
        raise LinuxError(EACCES, "the mount is noexec")
    if mode and not permits(cred, inode, mode):
        raise LinuxError(EACCES, f"the mode {inode.mode & 0o7777:04o} of {inode.uid}:{inode.gid} does not allow it")
    if mode & 2 and place.mount.readonly and inode.kind in (0o100000, 0o040000, 0o120000):
        raise LinuxError(EROFS, f"{place.mount.source} is mounted read-only")
    return 0


@syscall
def access(task: Task, pathname: Path, mode: AccessMode) -> int:
    """access(2)."""
    return _access(task, AT_FDCWD, pathname, mode, 0)


@syscall
def faccessat(task: Task, dirfd: DirFd, pathname: Path, mode: AccessMode) -> int:
    """faccessat(2), the system call: without flags."""
    return _access(task, dirfd, pathname, mode, 0)


@syscall
def faccessat2(task: Task, dirfd: DirFd, pathname: Path, mode: AccessMode, flags: AccessAtFlags) -> int:
    """faccessat2(2)."""
    return _access(task, dirfd, pathname, mode, flags)


def _readlink(task: Task, dirfd: int, path: int, buf: int, size: int) -> int:
    if size <= 0:
        raise LinuxError(EINVAL, "the buffer has no room")
    name = getname(task, path)
    if not name and dirfd == AT_FDCWD:
        raise LinuxError(ENOENT, "the path is empty")
    place = find(task, dirfd, path, follow=False, empty=True)
    inode = place.inode
    if not inode.is_link:
        raise LinuxError(EINVAL if name else ENOENT, "not a symbolic link")
    text = inode.readlink(place.dentry)[:size]
    task.mm.copy_to_user(buf, text)
    return len(text)


@syscall
def readlink(task: Task, pathname: Path, buf: Annotated[int, OutBuf()], bufsiz: Int) -> int:
    """readlink(2)."""
    return _readlink(task, AT_FDCWD, pathname, buf, bufsiz)


@syscall
def readlinkat(task: Task, dirfd: DirFd, pathname: Path, buf: Annotated[int, OutBuf()], bufsiz: Int) -> int:
    """readlinkat(2)."""
    return _readlink(task, dirfd, pathname, buf, bufsiz)


class _OutPath(CString):
    """A path that the call wrote; the address when it failed."""

    after = True

    def show(self, call: Call, value: int) -> str:
        return pointer(value) if call.failed else super().show(call, value)


@syscall
def getcwd(task: Task, buf: Annotated[int, _OutPath(PATH_MAX)], size: Size) -> int:
    """getcwd(2), the system call: the length with its terminator."""
    cwd = task.fs.cwd
    if cwd.dentry.unlinked:
        raise LinuxError(ENOENT, "the working directory was removed")
    text = full_name(cwd, task.fs.root) + b"\0"
    if len(text) > PATH_MAX:
        raise LinuxError(ENAMETOOLONG, "the name of the working directory is longer than PATH_MAX")
    if len(text) > size:
        raise LinuxError(ERANGE, f"the name needs {len(text)} bytes")
    task.mm.copy_to_user(buf, text)
    return len(text)


@syscall
def chdir(task: Task, path: Path) -> int:
    """chdir(2)."""
    return _chdir(task, find(task, AT_FDCWD, path))


@syscall
def fchdir(task: Task, fd: Fd) -> int:
    """fchdir(2)."""
    return _chdir(task, task.files.get_raw(fd).path)


def _chdir(task: Task, place: Place) -> int:
    from kernel.fs.inode import check_permission

    if not place.inode.is_dir:
        raise LinuxError(ENOTDIR, "not a directory")
    check_permission(task.cred, place.inode, MAY_EXEC)
    task.fs.cwd = place
    return 0


@syscall(result=OctalResult)
def umask(task: Task, mask: Mode) -> int:
    """umask(2)."""
    old = task.fs.umask
    task.fs.umask = mask & 0o777
    return old


