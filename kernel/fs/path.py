"""Path lookup: from a name to a Path, component by component, as fs/namei.c does it (path_resolution(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EAGAIN, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV, LinuxError
from kernel.abi.limits import MAXSYMLINKS, NAME_MAX
from kernel.fs.dentry import Dentry, Path, over, up
from kernel.fs.inode import MAY_EXEC, check_permission

if TYPE_CHECKING:
    from kernel.fs.inode import Cred

# openat2(2)
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH, IN_ROOT, CACHED = 1, 2, 4, 8, 16, 32


class FsContext:
    """Where a task stands: its root, working directory and umask."""

    __slots__ = ("cwd", "root", "umask")

    def __init__(self, root: Path, cwd: Path, umask: int = 0o022) -> None:
        self.root = root
        self.cwd = cwd
        self.umask = umask

    def fork(self) -> FsContext:
        return FsContext(self.root, self.cwd, self.umask)


class Walk:
    """One lookup under way. `at` is where it stands; `links` how many symlinks it has followed."""

    __slots__ = ("at", "cred", "links", "resolve", "root", "start")

    def __init__(self, cred: Cred, root: Path, start: Path, resolve: int = 0) -> None:
        """`start` is where a relative name begins; `resolve` are openat2(2)'s RESOLVE_ bits."""
        self.cred = cred
        self.root = start if resolve & (IN_ROOT | BENEATH) else root
        self.at = start
        self.start = start
        self.links = 0
        self.resolve = resolve

    def find(self, name: bytes, *, follow: bool = True) -> Path:
        """The Path of `name`; `follow` says whether a symlink at its end is followed."""
        last, slash = self.to_parent(name)
        while True:
            child = self.last(last)
            if child is None:
                raise LinuxError(ENOENT, f"there is no {show(last)} in its directory")
            if not (follow or slash) or not child.inode.is_link:
                self.at = child
                break
            text = self.link_text(child)
            if text is None:
                break
            last, more = self.to_parent(text)
            slash = slash or more
        if slash and not self.at.inode.is_dir:
            raise LinuxError(ENOTDIR, "the name ends in a slash and is not a directory's")
        return self.at

    def to_parent(self, name: bytes) -> tuple[bytes, bool]:
        """Stand on the directory that holds the last component; (that component, whether a slash follows it).

        The component is b"" where the name is only slashes."""
        if not name:
            raise LinuxError(ENOENT, "the path is empty")
        if name[0] == 0x2F:
            self.jump_to_root()
        pending = [part for part in name.split(b"/") if part]
        if not pending:
            return b"", True
        pending.reverse()
        while True:
            inode = self.at.dentry.inode
            if not inode.is_dir:
                raise LinuxError(ENOTDIR, f"{show(self.at.dentry.name)} is not a directory")
            check_permission(self.cred, inode, MAY_EXEC)
            part = pending.pop()
            if not pending:
                return part, name[-1] == 0x2F
            self.step(part, pending)

    def step(self, part: bytes, pending: list[bytes]) -> None:
        """Go through one component that others follow."""
        child = self.last(part)
        if child is None:
            raise LinuxError(ENOENT, f"there is no {show(part)} in its directory")
        if not child.inode.is_link:
            self.at = child
            return
        text = self.link_text(child)
        if text is None:
            return
        if text[:1] == b"/":
            self.jump_to_root()
        pending.extend(part for part in reversed(text.split(b"/")) if part)

    def last(self, part: bytes) -> Path | None:
        """What `part` names in the directory where the walk stands, with what is mounted there; None: nothing."""
        at = self.at
        if part == b"" or part == b".":
            return at
        if part == b"..":
            return self.up()
        child = lookup(at.dentry, part)
        if child is None:
            return None
        if child.mounted is None:
            return Path(at.mount, child)
        if self.resolve & NO_XDEV:
            raise LinuxError(EXDEV, "the path crosses a mount point, which RESOLVE_NO_XDEV forbids")
        return over(Path(at.mount, child))

    def up(self) -> Path:
        if self.resolve & BENEATH and self.at == self.start:
            raise LinuxError(EXDEV, "the path leaves its directory, which RESOLVE_BENEATH forbids")
        parent = up(self.at, self.root)
        if self.resolve & NO_XDEV and parent.mount is not self.at.mount:
            raise LinuxError(EXDEV, "the path crosses a mount point, which RESOLVE_NO_XDEV forbids")
        return parent

    def jump_to_root(self) -> None:
        if self.resolve & BENEATH:
            raise LinuxError(EXDEV, "an absolute path leaves its directory, which RESOLVE_BENEATH forbids")
        if self.resolve & NO_XDEV and self.root.mount is not self.at.mount:
            raise LinuxError(EXDEV, "the path crosses a mount point, which RESOLVE_NO_XDEV forbids")
        self.at = self.root

    def link_text(self, link: Path) -> bytes | None:
        """The text of a symlink that is to be followed; None: it was a magic link, and the walk stands at its end."""
        self.links += 1
        if self.links > MAXSYMLINKS:
            raise LinuxError(ELOOP, f"more than {MAXSYMLINKS} symbolic links in one path")
        if self.resolve & NO_SYMLINKS:
            raise LinuxError(ELOOP, "the path goes through a symbolic link, which RESOLVE_NO_SYMLINKS forbids")
        if self.resolve & CACHED:
            raise LinuxError(EAGAIN, "RESOLVE_CACHED: the link is not cached")
        inode = link.dentry.inode
        target = inode.follow(link.dentry)
        if target is None:
            return inode.readlink(link.dentry)
        if self.resolve & NO_MAGICLINKS:
            raise LinuxError(ELOOP, "the path goes through a magic link, which RESOLVE_NO_MAGICLINKS forbids")
        if self.resolve & (BENEATH | IN_ROOT) or (self.resolve & NO_XDEV and target.mount is not self.at.mount):
            raise LinuxError(EXDEV, "a magic link leads out of the directory that the lookup must stay in")
        self.at = target
        return None


def lookup(directory: Dentry, name: bytes) -> Dentry | None:
    """The entry `name` of `directory`, mount points the file system lacks included."""
    if len(name) > NAME_MAX:
        raise LinuxError(ENAMETOOLONG, f"a name of {len(name)} bytes; {NAME_MAX} is the most")
    if directory.pinned is not None:
        child = directory.pinned.get(name)
        if child is not None:
            return child
    return directory.inode.lookup(directory, name)


def show(name: bytes) -> str:
    """A file name for a reason in words."""
    return repr(name[:64].decode("utf-8", "replace"))
