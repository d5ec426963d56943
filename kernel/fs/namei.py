"""Namei: what is done to names: open, create, remove, rename, link. Checks in the order of fs/namei.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import (
    EBUSY,
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    EMLINK,
    ENOENT,
    ENOTDIR,
    ENOTEMPTY,
    ENXIO,
    EPERM,
    EROFS,
    EXDEV,
    LinuxError,
)
from kernel.abi.fcntl import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, S_ISVTX, Open
from kernel.fs.dentry import Path, over
from kernel.fs.file import PathFile
from kernel.fs.inode import MAY_EXEC, MAY_READ, MAY_WRITE, check_permission, owns
from kernel.fs.path import show

if TYPE_CHECKING:
    from kernel.fs.dentry import Dentry
    from kernel.fs.file import File
    from kernel.fs.inode import Cred
    from kernel.fs.path import Walk

TMPFILE = 0o20000000  # __O_TMPFILE
MODE_BITS = 0o7777


def want_write(path: Path) -> None:
    """mnt_want_write(): EROFS on a read-only mount."""
    if path.mount.readonly:
        raise LinuxError(EROFS, f"{path.mount.source} is mounted read-only")


def open_file(walk: Walk, name: bytes, flags: int, mode: int, umask: int) -> File:
    """open(2): `flags` and `mode` were checked (build_open_flags). Returns a File with no reference yet."""
    if flags & TMPFILE:
        return _open_tmpfile(walk, name, flags, mode & ~umask)
    if flags & Open.PATH:
        path = walk.find(name, follow=not flags & Open.NOFOLLOW)
        _check_directory(path, flags)
        return PathFile(path, flags)
    path, created = _open_last(walk, name, flags, mode & ~umask)
    if not created:
        _may_open(walk.cred, path, flags)
    file = path.inode.open(path, flags)
    if flags & Open.TRUNC and path.inode.is_regular and not created:
        path.inode.truncate(path.dentry, 0)
    return file


def _check_directory(path: Path, flags: int) -> None:
    if flags & Open.DIRECTORY and not path.inode.is_dir:
        raise LinuxError(ENOTDIR, "O_DIRECTORY, and it is not a directory")


def _open_last(walk: Walk, name: bytes, flags: int, mode: int) -> tuple[Path, bool]:
    """The last component, followed or created as `flags` say; (its Path, was it made now?)."""
    creating = flags & Open.CREAT
    exclusive = creating and flags & Open.EXCL
    last, slash = walk.to_parent(name)
    while True:
        if last in (b"", b".", b".."):
            path = walk.last(last)
            assert path is not None
            if creating:
                raise LinuxError(EISDIR, "O_CREAT of a directory")
            return path, False
        if creating and slash:
            raise LinuxError(EISDIR, "O_CREAT, and the name ends in a slash")
        found = walk.last(last)
        if found is None:
            if not creating:
                raise LinuxError(ENOENT, f"there is no {show(last)} in its directory")
            return _create(walk, last, S_IFREG | mode & MODE_BITS), True
        if exclusive:
            raise LinuxError(EEXIST, "O_CREAT|O_EXCL, and the name is taken")
        if not found.inode.is_link:
            if slash and not found.inode.is_dir:
                raise LinuxError(ENOTDIR, "the name ends in a slash and is not a directory's")
            if creating and found.inode.is_dir:
                raise LinuxError(EISDIR, "O_CREAT, and it is a directory")
            return found, False
        if flags & Open.NOFOLLOW and not slash:
            return found, False
        text = walk.link_text(found)
        if text is None:
            return walk.at, False
        last, more = walk.to_parent(text)
        slash = slash or more


def _create(walk: Walk, name: bytes, mode: int) -> Path:
    directory = walk.at
    want_write(directory)
    may_create(walk.cred, directory)
    child = directory.inode.create(directory.dentry, name, mode, walk.cred)
    return Path(directory.mount, child)


def _may_open(cred: Cred, path: Path, flags: int) -> None:
    """may_open(): kind first, then permission, then O_NOATIME."""
    inode = path.inode
    kind = inode.mode & S_IFMT
    _check_directory(path, flags)
    mask = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)[flags & Open.ACCMODE]
    if flags & Open.TRUNC:
        mask |= MAY_WRITE
    if kind == S_IFLNK:
        raise LinuxError(ELOOP, "O_NOFOLLOW, and it is a symbolic link")
    if kind == S_IFDIR and mask & MAY_WRITE:
        raise LinuxError(EISDIR, "a directory is not opened for writing")
    if kind == S_IFSOCK:
        raise LinuxError(ENXIO, "a socket is connected to, not opened")
    if mask & MAY_WRITE and kind in (S_IFREG, S_IFDIR):
        want_write(path)
    check_permission(cred, inode, mask)
    if flags & Open.NOATIME and not owns(cred, inode):
        raise LinuxError(EPERM, "O_NOATIME is for the file's owner")


def _open_tmpfile(walk: Walk, name: bytes, flags: int, mode: int) -> File:
    """O_TMPFILE: a regular file without a name in the directory `name`."""
    from kernel.abi.errno import EOPNOTSUPP
    from kernel.fs.dentry import Dentry
    from kernel.fs.ramfile import RamFile
    from kernel.fs.ramfs import RamDir

    directory = walk.find(name)
    if not directory.inode.is_dir:
        raise LinuxError(ENOTDIR, "O_TMPFILE takes a directory")
    want_write(directory)
    check_permission(walk.cred, directory.inode, MAY_WRITE | MAY_EXEC)
    parent = directory.inode
    if not isinstance(parent, RamDir):
        raise LinuxError(EOPNOTSUPP, "O_TMPFILE works in memory only")
    mode, uid, gid = parent.owner_of_new(S_IFREG | mode & MODE_BITS, walk.cred)
    parent.room()
    inode = RamFile(parent.fs, mode, uid, gid)
    inode.nlink = 0
    inode.linkable = not flags & Open.EXCL
    dentry = Dentry(b"#%d" % inode.ino, directory.dentry, inode)
    dentry.unlinked = True
    path = Path(directory.mount, dentry)
    return inode.open(path, flags & ~(TMPFILE | Open.DIRECTORY))


def may_create(cred: Cred, directory: Path) -> None:
    """may_create(): the directory lives, and may be written and searched."""
    if directory.dentry.unlinked:
        raise LinuxError(ENOENT, "the directory was removed")
    check_permission(cred, directory.inode, MAY_WRITE | MAY_EXEC)


def may_delete(cred: Cred, directory: Path, victim: Dentry, as_dir: bool) -> None:
    """may_delete(): write and search, the sticky bit, and the kind that the call removes."""
    inode, parent = victim.inode, directory.inode
    check_permission(cred, parent, MAY_WRITE | MAY_EXEC)
    mine = cred.privileged or cred.fsuid in (inode.owner_ids()[0], parent.owner_ids()[0])
    if parent.mode & S_ISVTX and not mine:
        raise LinuxError(EPERM, "the directory is sticky, and neither it nor the file is yours")
    if as_dir and not inode.is_dir:
        raise LinuxError(ENOTDIR, "not a directory")
    if not as_dir and inode.is_dir:
        raise LinuxError(EISDIR, "it is a directory: rmdir removes those")
    if as_dir and (victim.mounted is not None or victim.parent is victim):
        raise LinuxError(EBUSY, "something is mounted there")


def _new_name(walk: Walk, name: bytes, *, directory: bool = False) -> bytes:
    """filename_create(): stand on the parent; the new last component. EEXIST when it is taken."""
    last, slash = walk.to_parent(name)
    if last in (b"", b".", b".."):
        raise LinuxError(EEXIST, "the name is a directory's that exists")
    readonly = walk.at.mount.readonly
    if walk.last(last) is not None:
        raise LinuxError(EEXIST, f"{show(last)} exists")
    if slash and not directory:
        raise LinuxError(ENOENT, "the name ends in a slash and is no directory's")
    if readonly:
        want_write(walk.at)
    return last


def mknod(walk: Walk, name: bytes, mode: int, umask: int) -> None:
    """mkdir(2) and mknod(2), by `mode`'s type (a directory, fifo, socket or regular file)."""
    is_dir = mode & S_IFMT == S_IFDIR
    last = _new_name(walk, name, directory=is_dir)
    directory = walk.at
    may_create(walk.cred, directory)
    if is_dir and directory.inode.nlink >= 65000 and directory.inode.fs.type != "tmpfs":
        raise LinuxError(EMLINK, "the directory has too many subdirectories")
    allowed = 0o1777 if is_dir else MODE_BITS
    directory.inode.create(directory.dentry, last, mode & S_IFMT | mode & allowed & ~umask, walk.cred)


def symlink(walk: Walk, target: bytes, name: bytes) -> None:
    last = _new_name(walk, name)
    may_create(walk.cred, walk.at)
    walk.at.inode.symlink(walk.at.dentry, last, target, walk.cred)


def link(walk: Walk, old: Path, name: bytes) -> None:
    """link(2) of the inode at `old`."""
    last = _new_name(walk, name)
    directory = walk.at
    if old.mount is not directory.mount:
        raise LinuxError(EXDEV, "a hard link cannot lead to another mount")
    may_create(walk.cred, directory)
    if old.inode.is_dir:
        raise LinuxError(EPERM, "a directory has one name only")
    if not old.inode.nlink and not old.inode.linkable:
        raise LinuxError(ENOENT, "the file has no name any more")
    directory.inode.link(old.dentry, directory.dentry, last)


def _victim(walk: Walk, name: bytes) -> tuple[Path, bytes, bool]:
    """The parent (where the walk stands), the last component, and whether a slash follows."""
    last, slash = walk.to_parent(name)
    return walk.at, last, slash


def unlink(walk: Walk, name: bytes) -> None:
    directory, last, slash = _victim(walk, name)
    if last in (b"", b".", b".."):
        raise LinuxError(EISDIR, "unlink of a directory")
    want_write(directory)
    found = walk.last(last)
    if found is None:
        raise LinuxError(ENOENT, f"there is no {show(last)} in its directory")
    if slash:
        raise LinuxError(EISDIR if found.inode.is_dir else ENOTDIR, "the name ends in a slash")
    victim = found.dentry
    if found.mount is not directory.mount:
        at = found.mount.at
        assert at is not None
        victim = at.dentry
        may_delete(walk.cred, directory, victim, as_dir=found.inode.is_dir and False)
        raise LinuxError(EBUSY, "something is mounted there")
    may_delete(walk.cred, directory, victim, as_dir=False)
    directory.inode.unlink(victim)


def rmdir(walk: Walk, name: bytes) -> None:
    directory, last, _ = _victim(walk, name)
    if last == b"..":
        raise LinuxError(ENOTEMPTY, "the name ends in ..")
    if last == b".":
        raise LinuxError(EINVAL, "the name ends in .")
    if last == b"":
        raise LinuxError(EBUSY, "the root directory stays")
    want_write(directory)
    found = walk.last(last)
    if found is None:
        raise LinuxError(ENOENT, f"there is no {show(last)} in its directory")
    victim = found.dentry
    if found.mount is not directory.mount:
        check_permission(walk.cred, directory.inode, MAY_WRITE | MAY_EXEC)
        raise LinuxError(EBUSY, "something is mounted there")
    may_delete(walk.cred, directory, victim, as_dir=True)
    directory.inode.rmdir(victim)


def rename(old_walk: Walk, old: bytes, new_walk: Walk, new: bytes, noreplace: bool, exchange: bool) -> None:
    """renameat2(2), its flags checked (fs/namei.c, do_renameat2 and vfs_rename)."""
    source_dir, old_last, old_slash = _victim(old_walk, old)
    target_dir, new_last, new_slash = _victim(new_walk, new)
    if source_dir.mount is not target_dir.mount:
        raise LinuxError(EXDEV, "a rename stays within one mount")
    if old_last in (b"", b".", b".."):
        raise LinuxError(EBUSY, "the old name ends in . or ..")
    if new_last in (b"", b".", b".."):
        raise LinuxError(EEXIST if noreplace else EBUSY, "the new name ends in . or ..")
    want_write(source_dir)
    found, over_found = old_walk.last(old_last), new_walk.last(new_last)
    if found is None:
        raise LinuxError(ENOENT, f"there is no {show(old_last)} in its directory")
    if over_found is not None and noreplace:
        raise LinuxError(EEXIST, "RENAME_NOREPLACE, and the new name is taken")
    if over_found is None and exchange:
        raise LinuxError(ENOENT, "RENAME_EXCHANGE, and the new name is not there")
    _check_slashes(found, over_found, old_slash, new_slash, exchange)
    source, target = _under(found, source_dir), _under(over_found, target_dir) if over_found else None
    if target_dir.dentry.is_below(source):
        raise LinuxError(EINVAL, "a directory cannot be moved into itself")
    if target is not None and source_dir.dentry.is_below(target):
        raise LinuxError(EINVAL if exchange else ENOTEMPTY, "the new name is a directory above the old")
    _move(old_walk.cred, source_dir, source, target_dir, new_last, target, exchange)


def _check_slashes(found: Path, target: Path | None, old_slash: bool, new_slash: bool, exchange: bool) -> None:
    if exchange and new_slash and target is not None and not target.inode.is_dir:
        raise LinuxError(ENOTDIR, "the new name ends in a slash and is not a directory's")
    if found.inode.is_dir:
        return
    if old_slash or (new_slash and not exchange):
        raise LinuxError(ENOTDIR, "a name ends in a slash, and the file is not a directory")


def _under(found: Path, directory: Path) -> Dentry:
    """The directory's own entry, also where something is mounted on it."""
    at = found.mount.at
    return found.dentry if found.mount is directory.mount or at is None else at.dentry


def _move(cred: Cred, source_dir: Path, source: Dentry, target_dir: Path, name: bytes, target: Dentry | None,
          exchange: bool) -> None:  # fmt: skip
    """vfs_rename(): permissions, then the file system's own work."""
    if target is not None and target.inode is source.inode:
        return  # two names of one file: nothing happens (rename(2))
    is_dir = source.inode.is_dir
    may_delete(cred, source_dir, source, is_dir)
    if target is None:
        may_create(cred, target_dir)
    else:
        may_delete(cred, target_dir, target, target.inode.is_dir if exchange else is_dir)
    moved_dirs = [source.inode] if is_dir else []
    if exchange and target is not None and target.inode.is_dir:
        moved_dirs.append(target.inode)
    if source_dir.dentry is not target_dir.dentry:
        for inode in moved_dirs:
            check_permission(cred, inode, MAY_WRITE)  # its ".." changes
    if source.mounted is not None or (target is not None and target.mounted is not None):
        raise LinuxError(EBUSY, "something is mounted there")
    source_dir.inode.rename(source, target_dir.dentry, name, target, exchange)


def open_inode(path: Path, flags: int) -> File:
    """A File of an inode that was already found, without permission checks (the kernel's own use)."""
    return over(path).inode.open(path, flags)


