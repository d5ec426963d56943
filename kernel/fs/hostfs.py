"""HostFs: a host folder (or file) shown to the guest, and nothing outside it.

Every host path is walked again from the mount's own descriptor, one component at a time, by names that came from the
guest's resolved dentries: no "..", no symlink is ever given to the host (O_NOFOLLOW, dir_fd). Symlinks are read and
resolved by the guest kernel, in the guest's tree. A file is opened through an O_PATH descriptor that was looked at
first, so nothing can be exchanged in between; devices, fifos and sockets of the host are never opened.
Host errors (OSError) become LinuxErrors here and in hostfile.py.
"""

from __future__ import annotations

import os
import stat as st
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from kernel.abi.errno import EINVAL, ENOENT, ENOTDIR, ENXIO, EPERM, ESTALE, LinuxError
from kernel.abi.fcntl import S_IFDIR, S_IFMT, S_IFREG, S_ISGID, S_ISUID, Open
from kernel.fs.dentry import Dentry
from kernel.fs.inode import Cred, FileSystem, Inode
from kernel.fs.stdio import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.fs.dentry import Path
    from kernel.fs.file import File
    from kernel.fs.hostfile import HostPages
    from kernel.fs.vfs import Vfs
    from kernel.mm.frames import Frames
    from kernel.mm.ram import Ram

Key = tuple[int, int]  # the host's (st_dev, st_ino)
O_PATH = getattr(os, "O_PATH", os.O_RDONLY)
HANDLE = O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = HANDLE | os.O_DIRECTORY


@contextmanager
def translating() -> Iterator[None]:
    """An OSError inside becomes a LinuxError of the same errno."""
    try:
        yield
    except OSError as error:
        raise translated(error) from None


class HostFs(FileSystem):
    """One `--mount`. Inode numbers are given in the order of first sight, so that they repeat from run to run."""

    type = "9p"
    magic = 0x01021997  # V9FS_MAGIC: what a folder served by a host is

    def __init__(self, minor: int, now: Callable[[], int], ram: Ram, frames: Frames, host: str, uid: int,
                 gid: int) -> None:  # fmt: skip
        """`uid` and `gid` are the guest's user's: for permissions, what is the host user's own is theirs."""
        super().__init__(minor, now)
        self.ram = ram
        self.frames = frames
        self.user = uid, gid
        with translating():
            self.root_fd = os.open(host, O_PATH | os.O_CLOEXEC)
            first = os.fstat(self.root_fd)
        self.numbers: dict[Key, int] = {}
        self.times: dict[Key, tuple[int, int]] = {}  # (atime, mtime) of what this guest changed, by virtual time
        self.inodes: WeakValueDictionary[Key, HostInode] = WeakValueDictionary()
        self.root = Dentry(b"/", None, self.inode_of(first))
        self.root.children = WeakValueDictionary()

    def number(self, key: Key) -> int:
        ino = self.numbers.get(key)
        if ino is None:
            ino = self.numbers[key] = self.new_ino()
        return ino

    def inode_of(self, found: os.stat_result) -> HostInode:
        """The inode of what a host stat found, its attributes brought up to date."""
        key = found.st_dev, found.st_ino
        inode = self.inodes.get(key)
        if inode is None or inode.mode & S_IFMT != found.st_mode & S_IFMT:
            inode = self.inodes[key] = HostInode(self, key, found)
        inode.refresh(found)
        return inode

    def usage(self) -> tuple[int, int, int, int]:
        with translating():
            found = os.statvfs(self.root_fd)
        return (found.f_blocks * found.f_frsize // 4096, found.f_bavail * found.f_frsize // 4096,
                found.f_files, found.f_favail)  # fmt: skip

    def options(self) -> str:
        return "trans=heapscope"

    def sync(self) -> None:
        for inode in list(self.inodes.values()):
            if inode.pages is not None:
                inode.pages.write_back()

    def close(self) -> None:
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1

    @contextmanager
    def handle(self, dentry: Dentry, flags: int = HANDLE) -> Iterator[int]:
        """A host descriptor of what `dentry` names, by default one that only stands for it (O_PATH)."""
        with translating():
            fd = self._walk(dentry, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _walk(self, dentry: Dentry, flags: int) -> int:
        names = []
        while dentry.parent is not dentry:
            if dentry.unlinked:
                raise LinuxError(ENOENT, "the name was removed")
            names.append(dentry.name)
            dentry = dentry.parent
        if not names:
            return os.dup(self.root_fd) if flags == HANDLE else os.open(f"/proc/self/fd/{self.root_fd}", flags)
        fd = self.root_fd
        try:
            while len(names) > 1:
                below = os.open(names.pop(), DIRECTORY, dir_fd=fd)
                if fd != self.root_fd:
                    os.close(fd)
                fd = below
            return os.open(names[0], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            if fd != self.root_fd:
                os.close(fd)

    @contextmanager
    def directory(self, dentry: Dentry) -> Iterator[int]:
        """A descriptor of a directory for the *at calls of the host, whose errors are translated."""
        with self.handle(dentry, DIRECTORY if dentry.parent is not dentry else HANDLE) as fd, translating():
            yield fd


class HostInode(Inode):
    """A file of the host. Type, mode, owner, size, links and mtime are the host's; atime and ctime equal mtime.

    `fds` are the host descriptors of its open files, the latest last."""

    __slots__ = ("blocks_held", "fds", "key", "pages")
    fs: HostFs

    def __init__(self, fs: HostFs, key: Key, found: os.stat_result) -> None:
        super().__init__(fs, found.st_mode, ino=fs.number(key))
        self.key = key
        self.fds: list[int] = []
        self.pages: HostPages | None = None

    @property
    def blocks(self) -> int:
        return self.blocks_held

    def refresh(self, found: os.stat_result) -> None:
        self.mode = found.st_mode
        self.uid, self.gid = found.st_uid, found.st_gid
        self.nlink, self.size, self.rdev = found.st_nlink, found.st_size, found.st_rdev
        self.blocks_held = found.st_blocks
        atime, mtime = self.fs.times.get(self.key, (found.st_mtime_ns, found.st_mtime_ns))
        self.atime, self.mtime, self.ctime, self.btime = atime, mtime, mtime, mtime
        if self.pages is not None:
            self.pages.size = self.size

    def getattr(self, dentry: Dentry) -> None:
        if self.fds:
            with translating():
                self.refresh(os.fstat(self.fds[-1]))
            return
        with self.fs.handle(dentry) as fd:
            found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != self.key:
            raise LinuxError(ESTALE, "another file has taken the name on the host")
        self.refresh(found)

    def owner_ids(self) -> tuple[int, int]:
        uid, gid = self.fs.user
        return (uid if self.uid == os.geteuid() else self.uid, gid if self.gid == os.getegid() else self.gid)

    def touch(self) -> None:
        now = self.fs.now()
        self.atime = self.mtime = self.ctime = now
        self.fs.times[self.key] = now, now

    def changed(self) -> None:
        """ctime is not kept apart."""

    def accessed(self) -> None:
        """Reading leaves no trace on the host."""

    # attributes
    def set_mode(self, dentry: Dentry, mode: int) -> None:
        if mode & (S_ISUID | S_ISGID):
            raise LinuxError(EPERM, "setuid and setgid bits are not put on the host's files")
        if self.is_link:
            raise LinuxError(EINVAL, "a symbolic link has no mode of its own")
        with self.fs.handle(dentry) as fd, translating():
            os.chmod(f"/proc/self/fd/{fd}", mode)

    def set_owner(self, dentry: Dentry, uid: int, gid: int) -> None:
        with self.fs.directory(dentry.parent) as fd:
            os.chown(dentry.name, uid, gid, dir_fd=fd, follow_symlinks=False)

    def set_times(self, dentry: Dentry, atime: int | None, mtime: int | None) -> None:
        self.getattr(dentry)
        times = (self.atime if atime is None else atime, self.mtime if mtime is None else mtime)
        with self.fs.directory(dentry.parent) as fd:
            os.utime(dentry.name, ns=times, dir_fd=fd, follow_symlinks=False)
        self.fs.times[self.key] = times

    def drop_privileges(self) -> None:
        """The host takes setuid bits away itself."""

    # content
    def open(self, path: Path, flags: int) -> File:
        from kernel.fs.hostfile import HostDirFile, HostOpen

        kind = self.mode & S_IFMT
        if kind not in (S_IFREG, S_IFDIR):
            raise LinuxError(ENXIO, "devices, fifos and sockets of the host are not opened")
        access = os.O_RDONLY if kind == S_IFDIR else flags & Open.ACCMODE
        with self.fs.handle(path.dentry) as fd, translating():
            found = os.fstat(fd)
            if found.st_mode & S_IFMT != kind or (found.st_dev, found.st_ino) != self.key:
                raise LinuxError(ESTALE, "another file has taken the name on the host")
            host_fd = os.open(f"/proc/self/fd/{fd}", access | os.O_CLOEXEC)
        return HostDirFile(path, flags, host_fd) if kind == S_IFDIR else HostOpen(path, flags, host_fd)

    def truncate(self, dentry: Dentry, size: int) -> None:
        if not self.is_regular:
            super().truncate(dentry, size)
        with self.fs.handle(dentry) as fd, translating():
            if not st.S_ISREG(os.fstat(fd).st_mode):
                raise LinuxError(ESTALE, "another file has taken the name on the host")
            os.truncate(f"/proc/self/fd/{fd}", size)
        self.resized(size)

    def resized(self, size: int) -> None:
        """The host file has a new length."""
        if self.pages is not None:
            self.pages.truncate(size)
        self.size = size
        self.touch()

    def readlink(self, dentry: Dentry) -> bytes:
        with self.fs.directory(dentry.parent) as fd:
            return os.readlink(dentry.name, dir_fd=fd)

    # directory
    def lookup(self, directory: Dentry, name: bytes) -> Dentry | None:
        with self.fs.directory(directory) as fd:
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                return None
        return self.child(directory, name, found)

    def child(self, directory: Dentry, name: bytes, found: os.stat_result) -> Dentry:
        inode = self.fs.inode_of(found)
        assert directory.children is not None
        dentry = directory.children.get(name)
        if dentry is None or dentry.inode is not inode:
            dentry = Dentry(name, directory, inode)
            if inode.is_dir:
                dentry.children = WeakValueDictionary()
            directory.children[name] = dentry
        return dentry

    def _made(self, directory: Dentry, name: bytes, fd: int) -> Dentry:
        """The dentry of what was just made in the host directory `fd`."""
        dentry = self.child(directory, name, os.stat(name, dir_fd=fd, follow_symlinks=False))
        dentry.inode.touch()
        self.touch()
        return dentry

    def create(self, directory: Dentry, name: bytes, mode: int, cred: Cred) -> Dentry:
        kind, bits = mode & S_IFMT, mode & 0o7777
        if bits & (S_ISUID | S_ISGID):
            raise LinuxError(EPERM, "setuid and setgid bits are not put on the host's files")
        if kind not in (S_IFREG, S_IFDIR):
            raise LinuxError(EPERM, "devices, fifos and sockets are not made on the host")
        with self.fs.directory(directory) as fd:
            if kind == S_IFDIR:
                os.mkdir(name, bits, dir_fd=fd)
                made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            else:
                made = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, bits,
                               dir_fd=fd)  # fmt: skip
            try:
                os.fchmod(made, bits)  # the host's own umask has no say
            finally:
                os.close(made)
            return self._made(directory, name, fd)

    def symlink(self, directory: Dentry, name: bytes, target: bytes, cred: Cred) -> Dentry:
        with self.fs.directory(directory) as fd:
            os.symlink(target, name, dir_fd=fd)
            return self._made(directory, name, fd)

    def link(self, old: Dentry, directory: Dentry, name: bytes) -> Dentry:
        with self.fs.directory(old.parent) as source, self.fs.directory(directory) as goal:
            os.link(old.name, name, src_dir_fd=source, dst_dir_fd=goal, follow_symlinks=False)
            return self._made(directory, name, goal)

    def unlink(self, victim: Dentry) -> None:
        with self.fs.directory(victim.parent) as fd:
            os.unlink(victim.name, dir_fd=fd)
        self._forget(victim)

    def rmdir(self, victim: Dentry) -> None:
        with self.fs.directory(victim.parent) as fd:
            os.rmdir(victim.name, dir_fd=fd)
        self._forget(victim)

    def _forget(self, victim: Dentry) -> None:
        children = victim.parent.children
        assert children is not None
        children.pop(victim.name, None)
        victim.unlinked = True
        self.touch()

    def rename(self, old: Dentry, directory: Dentry, name: bytes, target: Dentry | None, exchange: bool) -> None:
        if exchange:
            raise LinuxError(EINVAL, "RENAME_EXCHANGE is not done on the host's files")
        with self.fs.directory(old.parent) as source, self.fs.directory(directory) as goal:
            os.rename(old.name, name, src_dir_fd=source, dst_dir_fd=goal)
        if target is not None:
            directory.inode._forget(target)  # type: ignore[attr-defined]
        assert old.parent.children is not None
        assert directory.children is not None
        old.parent.children.pop(old.name, None)
        old.parent.inode.touch()
        old.name, old.parent = name, directory
        directory.children[name] = old
        directory.inode.touch()


def mount_host(vfs: Vfs, host: str, guest: bytes, writable: bool, noexec: bool, minor: int) -> None:
    """Show `host` at `guest`. Raises LinuxError where the host refuses, or has no such thing."""
    if guest.strip(b"/") == b"":
        raise LinuxError(EINVAL, "a host folder is mounted below the root, not over it")
    user = vfs.config.uid, vfs.config.gid
    fs = HostFs(minor, vfs.now, vfs.tmpfs.ram, vfs.tmpfs.frames, host, *user)
    try:
        _attach(vfs, fs, host, guest, writable, noexec)
    except LinuxError:
        fs.close()
        raise


def _attach(vfs: Vfs, fs: HostFs, host: str, guest: bytes, writable: bool, noexec: bool) -> None:
    if not fs.root.inode.is_dir:
        if not fs.root.inode.is_regular:
            raise LinuxError(ENOTDIR, f"{host} is neither a folder nor a regular file")
        vfs.place_file(guest)
    mount = vfs.mount(fs, fs.root, guest, host.rsplit("/", 1)[-1] or "host", readonly=not writable, noexec=noexec)
    fs.readonly = mount.readonly
