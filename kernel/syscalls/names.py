"""Syscalls on names: listing, making, removing, renaming and linking them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel.abi.args import DirFd, Fd, Mode, Path, UInt
from kernel.abi.errno import EFAULT, EINVAL, ENOENT, ENOTDIR, EPERM, LinuxError
from kernel.abi.fcntl import (
    AT_FDCWD,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    At,
    Rename,
    RenameFlags,
)
from kernel.abi.fileargs import AtFlags, Dev, Dirents, MknodMode, UnlinkFlags
from kernel.fs import namei
from kernel.mm.uaccess import copy_to_user_partial
from kernel.syscalls.file import find, getname, walk_from
from kernel.syscalls.table import syscall

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.fs.file import DirEntry
    from kernel.task.task import Task

HEAD = struct.Struct("<QqHB")
OLD_HEAD = struct.Struct("<QqH")


def _pack64(entry: DirEntry) -> bytes:
    size = 19 + len(entry.name) + 1 + 7 & ~7
    return (HEAD.pack(entry.ino, entry.after, size, entry.kind) + entry.name).ljust(size, b"\0")


def _pack_old(entry: DirEntry) -> bytes:
    """struct linux_dirent: the type is the last byte."""
    size = 18 + len(entry.name) + 2 + 7 & ~7
    raw = OLD_HEAD.pack(entry.ino, entry.after, size) + entry.name
    return raw.ljust(size - 1, b"\0") + bytes([entry.kind])


def _getdents(task: Task, fd: int, va: int, count: int, pack: Callable[[DirEntry], bytes], extra: int) -> int:
    """The next entries into the buffer; those that its memory does not take are not passed over."""
    file = task.files.get(fd)
    if not file.inode.is_dir:
        raise LinuxError(ENOTDIR, f"fd {fd} is not a directory")
    before = file.pos
    entries = file.getdents(count, extra)
    packed = [pack(entry) for entry in entries]
    raw = b"".join(packed)
    done = copy_to_user_partial(task.mm, va, raw)
    if done == len(raw):
        return done
    whole, file.pos = 0, before
    for entry, piece in zip(entries, packed, strict=True):
        if whole + len(piece) > done:
            break
        whole += len(piece)
        file.pos = entry.after
    if not whole:
        raise LinuxError(EFAULT, "the buffer cannot be written")
    return whole


@syscall
def getdents64(task: Task, fd: Fd, dirp: Dirents, count: UInt) -> int:
    """getdents64(2)."""
    return _getdents(task, fd, dirp, count, _pack64, 0)


@syscall
def getdents(task: Task, fd: Fd, dirp: Dirents, count: UInt) -> int:
    """getdents(2), the old one: its entries take one byte more."""
    return _getdents(task, fd, dirp, count, _pack_old, 1)


def _mknod(task: Task, dirfd: int, path: int, mode: int) -> int:
    name = getname(task, path)
    namei.mknod(walk_from(task, dirfd, name), name, mode, task.fs.umask)
    return 0


@syscall
def mkdir(task: Task, pathname: Path, mode: Mode) -> int:
    """mkdir(2)."""
    return _mknod(task, AT_FDCWD, pathname, S_IFDIR | mode & 0o7777)


@syscall
def mkdirat(task: Task, dirfd: DirFd, pathname: Path, mode: Mode) -> int:
    """mkdirat(2)."""
    return _mknod(task, dirfd, pathname, S_IFDIR | mode & 0o7777)


def _mknod_checked(task: Task, dirfd: int, path: int, mode: int) -> int:
    """may_mknod(): what kinds there are; devices are root's, and there are none to make here."""
    kind = mode & S_IFMT
    if kind == S_IFDIR:
        raise LinuxError(EPERM, "mkdir makes directories")
    if kind not in (0, S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        raise LinuxError(EINVAL, "the mode has no type that can be made")
    if kind in (S_IFCHR, S_IFBLK):
        raise LinuxError(EPERM, "device nodes cannot be made on this machine")
    return _mknod(task, dirfd, path, (kind or S_IFREG) | mode & 0o7777)


@syscall(partly="no device nodes")
def mknod(task: Task, pathname: Path, mode: MknodMode, dev: Dev) -> int:
    """mknod(2)."""
    return _mknod_checked(task, AT_FDCWD, pathname, mode)


@syscall(partly="no device nodes")
def mknodat(task: Task, dirfd: DirFd, pathname: Path, mode: MknodMode, dev: Dev) -> int:
    """mknodat(2)."""
    return _mknod_checked(task, dirfd, pathname, mode)


@syscall
def unlink(task: Task, pathname: Path) -> int:
    """unlink(2)."""
    name = getname(task, pathname)
    namei.unlink(walk_from(task, AT_FDCWD, name), name)
    return 0


@syscall
def rmdir(task: Task, pathname: Path) -> int:
    """rmdir(2)."""
    name = getname(task, pathname)
    namei.rmdir(walk_from(task, AT_FDCWD, name), name)
    return 0


@syscall
def unlinkat(task: Task, dirfd: DirFd, pathname: Path, flags: UnlinkFlags) -> int:
    """unlinkat(2)."""
    if flags & ~At.REMOVEDIR:
        raise LinuxError(EINVAL, "a flag other than AT_REMOVEDIR")
    name = getname(task, pathname)
    (namei.rmdir if flags else namei.unlink)(walk_from(task, dirfd, name), name)
    return 0


def _rename(task: Task, olddirfd: int, oldpath: int, newdirfd: int, newpath: int, flags: int) -> int:
    if flags & ~(Rename.NOREPLACE | Rename.EXCHANGE | Rename.WHITEOUT):
        raise LinuxError(EINVAL, "an unknown RENAME_ flag")
    if flags & Rename.EXCHANGE and flags & (Rename.NOREPLACE | Rename.WHITEOUT):
        raise LinuxError(EINVAL, "RENAME_EXCHANGE excludes the other RENAME_ flags")
    if flags & Rename.WHITEOUT:
        raise LinuxError(EPERM if not task.cred.privileged else EINVAL, "whiteouts are not made on this machine")
    old, new = getname(task, oldpath), getname(task, newpath)
    namei.rename(
        walk_from(task, olddirfd, old), old, walk_from(task, newdirfd, new), new,
        bool(flags & Rename.NOREPLACE), bool(flags & Rename.EXCHANGE),
    )  # fmt: skip
    return 0


@syscall
def rename(task: Task, oldpath: Path, newpath: Path) -> int:
    """rename(2)."""
    return _rename(task, AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)


@syscall
def renameat(task: Task, olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path) -> int:
    """renameat(2)."""
    return _rename(task, olddirfd, oldpath, newdirfd, newpath, 0)


@syscall(partly="no RENAME_WHITEOUT")
def renameat2(
    task: Task, olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: RenameFlags
) -> int:
    """renameat2(2)."""
    return _rename(task, olddirfd, oldpath, newdirfd, newpath, flags & 0xFFFFFFFF)


def _link(task: Task, olddirfd: int, oldpath: int, newdirfd: int, newpath: int, flags: int) -> int:
    if flags & ~(At.SYMLINK_FOLLOW | At.EMPTY_PATH):
        raise LinuxError(EINVAL, "an AT_ flag that linkat does not know")
    old = find(task, olddirfd, oldpath, follow=bool(flags & At.SYMLINK_FOLLOW), empty=bool(flags & At.EMPTY_PATH))
    name = getname(task, newpath)
    namei.link(walk_from(task, newdirfd, name), old, name)
    return 0


@syscall
def link(task: Task, oldpath: Path, newpath: Path) -> int:
    """link(2)."""
    return _link(task, AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)


@syscall
def linkat(task: Task, olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: AtFlags) -> int:
    """linkat(2)."""
    return _link(task, olddirfd, oldpath, newdirfd, newpath, flags)


def _symlink(task: Task, target: int, dirfd: int, path: int) -> int:
    text = getname(task, target)
    name = getname(task, path)
    if not text:
        raise LinuxError(ENOENT, "the link's text is empty")
    namei.symlink(walk_from(task, dirfd, name), text, name)
    return 0


@syscall
def symlink(task: Task, target: Path, linkpath: Path) -> int:
    """symlink(2)."""
    return _symlink(task, target, AT_FDCWD, linkpath)


@syscall
def symlinkat(task: Task, target: Path, newdirfd: DirFd, linkpath: Path) -> int:
    """symlinkat(2)."""
    return _symlink(task, target, newdirfd, linkpath)
