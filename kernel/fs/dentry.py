"""Dentry: a name in the tree. Mount: one file system's place in it. Path: the two together, and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from kernel.fs.inode import FileSystem, Inode


class Dentry:
    """One name of one inode. The root of a file system is its own parent. `children` is the directory itself on a
    ramfs, a cache elsewhere. `unlinked`: the name is gone, only open files know it."""

    __slots__ = ("__weakref__", "children", "cookie", "inode", "mounted", "name", "parent", "pinned", "unlinked")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode) -> None:
        self.name = name
        self.parent = parent if parent is not None else self
        self.inode = inode
        self.children: MutableMapping[bytes, Dentry] | None = None
        self.pinned: dict[bytes, Dentry] | None = None  # mount points that the file system itself need not have
        self.mounted: Mount | None = None
        self.cookie = 0  # its place in the directory's order
        self.unlinked = False

    def is_below(self, other: Dentry) -> bool:
        """Is it `other`, or somewhere under it?"""
        at = self
        while at is not other:
            if at.parent is at:
                return False
            at = at.parent
        return True


class Mount:
    """A file system at a place. `at` is None for the root, and for an `internal` one (pipes, memfd), which no path
    reaches and whose dentries carry their whole name."""

    __slots__ = ("at", "flags", "fs", "id", "internal", "noexec", "readonly", "root", "source")

    def __init__(self, number: int, fs: FileSystem, root: Dentry, at: Path | None, source: str) -> None:
        self.id = number
        self.fs = fs
        self.root = root
        self.at = at
        self.source = source
        self.readonly = False
        self.noexec = False
        self.internal = False
        self.flags: tuple[str, ...] = ("relatime",)  # beside rw or ro, as /proc/mounts prints them


class Path(NamedTuple):
    mount: Mount
    dentry: Dentry

    @property
    def inode(self) -> Inode:
        return self.dentry.inode


def up(path: Path, root: Path) -> Path:
    """`..`: the parent, out of a mount where need be, never above `root`."""
    mount, dentry = path
    while True:
        if mount is root.mount and dentry is root.dentry:
            return Path(mount, dentry)
        if dentry is not mount.root:
            return over(Path(mount, dentry.parent))
        if mount.at is None:
            return Path(mount, dentry)
        mount, dentry = mount.at


def over(path: Path) -> Path:
    """What is mounted there, or the path itself."""
    mount, dentry = path
    while dentry.mounted is not None:
        mount = dentry.mounted
        dentry = mount.root
    return Path(mount, dentry)


def full_name(path: Path, root: Path | None = None) -> bytes:
    """The absolute name, as d_path() of Linux gives it; " (deleted)" where the last name is gone."""
    mount, dentry = path
    if mount.internal:  # "pipe:[3]", "/memfd:x (deleted)"
        return dentry.name
    tail = b" (deleted)" if dentry.unlinked else b""
    parts: list[bytes] = []
    while not (root is not None and mount is root.mount and dentry is root.dentry):
        if dentry is not mount.root:
            parts.append(dentry.name)
            dentry = dentry.parent
        elif mount.at is not None:
            mount, dentry = mount.at
        else:
            break
    return b"/" + b"/".join(reversed(parts)) + tail
