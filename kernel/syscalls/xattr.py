"""Extended attributes: user., trusted. and security. ones, as tmpfs keeps them (xattr(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kernel.abi.args import CString, Fd, InBuf, OutBuf, Path, Size
from kernel.abi.errno import (
    E2BIG,
    EEXIST,
    EFAULT,
    EINVAL,
    ENODATA,
    ENOSPC,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    LinuxError,
)
from kernel.abi.fcntl import AT_FDCWD
from kernel.abi.fileargs import XattrFlags
from kernel.fs.inode import MAY_READ, MAY_WRITE, check_permission, owns
from kernel.fs.namei import want_write
from kernel.syscalls.file import find
from kernel.syscalls.table import syscall

if TYPE_CHECKING:
    from kernel.fs.dentry import Path as Place
    from kernel.fs.inode import Inode
    from kernel.task.task import Task

ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_LIST_MAX = 255, 65536, 65536
XATTR_CREATE, XATTR_REPLACE = 1, 2
XattrName = Annotated[int, CString(XATTR_NAME_MAX)]


def _xattr_name(task: Task, va: int) -> bytes:
    try:
        name = task.mm.strncpy_from_user(va, XATTR_NAME_MAX + 1)
    except LinuxError as error:
        if error.errno == EFAULT:
            raise
        raise LinuxError(ERANGE, f"the name is longer than {XATTR_NAME_MAX} bytes") from None
    if not name:
        raise LinuxError(ERANGE, "the name is empty")
    return name


def _xattr_table(task: Task, place: Place, name: bytes, mask: int) -> dict[bytes, bytes]:
    """xattr_permission(), and what tmpfs keeps: user., trusted. and security. attributes."""
    inode = place.inode
    if mask == MAY_WRITE:
        want_write(place)
    if name.startswith(b"trusted."):
        if not task.cred.privileged:
            raise LinuxError(EPERM if mask == MAY_WRITE else ENODATA, "trusted. attributes are root's")
    elif name.startswith(b"user."):
        _user_xattr(task, inode, mask)
    elif not name.startswith((b"security.", b"system.")):
        raise LinuxError(EOPNOTSUPP, "no such kind of attribute: user., trusted. and security. exist")
    if name.startswith(b"system."):
        if name not in ACLS:
            raise LinuxError(EOPNOTSUPP, "no such system. attribute")
        if mask == MAY_WRITE:
            raise LinuxError(EOPNOTSUPP, "ACLs are not kept")
    if name in (b"user.", b"trusted.", b"security."):
        raise LinuxError(EINVAL, "the name ends with its prefix")
    if name.startswith(b"security.") and mask == MAY_WRITE and not task.cred.privileged:
        raise LinuxError(EPERM, "security. attributes are set by root")
    return inode.xattr_table(name)


def _user_xattr(task: Task, inode: Inode, mask: int) -> None:
    if not (inode.is_regular or inode.is_dir):
        raise LinuxError(EPERM if mask == MAY_WRITE else ENODATA, "user. attributes are for files and directories")
    if inode.is_dir and inode.mode & 0o1000 and mask == MAY_WRITE and not owns(task.cred, inode):
        raise LinuxError(EPERM, "the directory is sticky and not yours")
    check_permission(task.cred, inode, mask)


def _set(task: Task, place: Place, name_va: int, value_va: int, size: int, flags: int) -> int:
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        raise LinuxError(EINVAL, "an unknown XATTR_ flag")
    name = _xattr_name(task, name_va)
    if size > XATTR_SIZE_MAX:
        raise LinuxError(E2BIG, f"the value is longer than {XATTR_SIZE_MAX} bytes")
    value = task.mm.copy_from_user(value_va, size) if size else b""
    table = _xattr_table(task, place, name, MAY_WRITE)
    if flags & XATTR_CREATE and name in table:
        raise LinuxError(EEXIST, "XATTR_CREATE, and the attribute is there")
    if flags & XATTR_REPLACE and name not in table:
        raise LinuxError(ENODATA, "XATTR_REPLACE, and there is no such attribute")
    if sum(map(len, table.values())) + size > XATTR_SIZE_MAX * 4:
        raise LinuxError(ENOSPC, "the file's attributes take too much")
    table[name] = value
    place.inode.changed()
    return 0


def _get(task: Task, place: Place, name_va: int, value_va: int, size: int) -> int:
    name = _xattr_name(task, name_va)
    value = _xattr_table(task, place, name, MAY_READ).get(name)
    if value is None:
        raise LinuxError(ENODATA, "there is no such attribute")
    if size:
        if len(value) > size:
            raise LinuxError(ERANGE, f"the value has {len(value)} bytes")
        task.mm.copy_to_user(value_va, value)
    return len(value)


def _list(task: Task, place: Place, va: int, size: int) -> int:
    hidden = () if task.cred.privileged else (b"trusted.",)
    names = [name for name in place.inode.xattrs or {} if not name.startswith(tuple(hidden) or (b"\0",))]
    raw = b"".join(name + b"\0" for name in names)
    if size:
        if len(raw) > size:
            raise LinuxError(ERANGE, f"the list has {len(raw)} bytes")
        task.mm.copy_to_user(va, raw)
    return len(raw)


def _remove(task: Task, place: Place, name_va: int) -> int:
    name = _xattr_name(task, name_va)
    if _xattr_table(task, place, name, MAY_WRITE).pop(name, None) is None:
        raise LinuxError(ENODATA, "there is no such attribute")
    place.inode.changed()
    return 0


Value = Annotated[int, InBuf("size")]
OutValue = Annotated[int, OutBuf()]


@syscall
def setxattr(task: Task, pathname: Path, name: XattrName, value: Value, size: Size, flags: XattrFlags) -> int:
    """setxattr(2)."""
    return _set(task, find(task, AT_FDCWD, pathname), name, value, size, flags)


@syscall
def lsetxattr(task: Task, pathname: Path, name: XattrName, value: Value, size: Size, flags: XattrFlags) -> int:
    """lsetxattr(2)."""
    return _set(task, find(task, AT_FDCWD, pathname, follow=False), name, value, size, flags)


@syscall
def fsetxattr(task: Task, fd: Fd, name: XattrName, value: Value, size: Size, flags: XattrFlags) -> int:
    """fsetxattr(2)."""
    return _set(task, task.files.get(fd).path, name, value, size, flags)


@syscall
def getxattr(task: Task, pathname: Path, name: XattrName, value: OutValue, size: Size) -> int:
    """getxattr(2)."""
    return _get(task, find(task, AT_FDCWD, pathname), name, value, size)


@syscall
def lgetxattr(task: Task, pathname: Path, name: XattrName, value: OutValue, size: Size) -> int:
    """lgetxattr(2)."""
    return _get(task, find(task, AT_FDCWD, pathname, follow=False), name, value, size)


@syscall
def fgetxattr(task: Task, fd: Fd, name: XattrName, value: OutValue, size: Size) -> int:
    """fgetxattr(2)."""
    return _get(task, task.files.get(fd).path, name, value, size)


@syscall
def listxattr(task: Task, pathname: Path, list_: OutValue, size: Size) -> int:
    """listxattr(2)."""
    return _list(task, find(task, AT_FDCWD, pathname), list_, size)


@syscall
def llistxattr(task: Task, pathname: Path, list_: OutValue, size: Size) -> int:
    """llistxattr(2)."""
    return _list(task, find(task, AT_FDCWD, pathname, follow=False), list_, size)


@syscall
def flistxattr(task: Task, fd: Fd, list_: OutValue, size: Size) -> int:
    """flistxattr(2)."""
    return _list(task, task.files.get(fd).path, list_, size)


@syscall
def removexattr(task: Task, pathname: Path, name: XattrName) -> int:
    """removexattr(2)."""
    return _remove(task, find(task, AT_FDCWD, pathname), name)


@syscall
def lremovexattr(task: Task, pathname: Path, name: XattrName) -> int:
    """lremovexattr(2)."""
    return _remove(task, find(task, AT_FDCWD, pathname, follow=False), name)


@syscall
def fremovexattr(task: Task, fd: Fd, name: XattrName) -> int:
    """fremovexattr(2)."""
    return _remove(task, task.files.get(fd).path, name)
