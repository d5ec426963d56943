"""Vfs: the guest's whole file tree, built from the config: the root in memory, devices, mounts, standard streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import ENOTDIR, LinuxError
from kernel.abi.fcntl import S_IFDIR, S_IFREG, Open
from kernel.fs.chardev import CharDev, FullFile, NullFile, RandomFile, ZeroFile, no_tty
from kernel.fs.dentry import Dentry, Mount, Path, full_name
from kernel.fs.hugememfd import HugeFs
from kernel.fs.inode import FileSystem
from kernel.fs.path import FsContext, Walk, lookup
from kernel.fs.ramfile import RamFile
from kernel.fs.ramfs import RamDir, RamFs, RamLink, make_at
from kernel.fs.stdio import ACCESS, StdFile, StdInode

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.config import KernelConfig
    from kernel.fs.fdtable import FdTable
    from kernel.fs.file import File
    from kernel.fs.inode import Inode
    from kernel.fs.stream import Stream
    from kernel.mm.frames import Frames
    from kernel.mm.ram import Ram

Streams = tuple["Stream", "Stream", "Stream"]

# Minor numbers of the anonymous devices, fixed so that st_dev repeats
SHM, PIPEFS, HUGETLBFS, SYSFS, PROC, ROOT, HOST = 1, 14, 17, 20, 21, 25, 40


class PipeFs(FileSystem):
    """Where pipes and streams have their inodes."""

    type = "pipefs"
    magic = 0x50495045


class Root:
    """The rights by which the machine itself looks things up."""

    fsuid = fsgid = 0
    groups: tuple[int, ...] = ()
    privileged = True


class Vfs:
    """The mount tree, in `mounts` from the root on, and the file systems that no path reaches."""

    def __init__(
        self,
        config: KernelConfig,
        ram: Ram,
        frames: Frames,
        now: Callable[[], int],
        random: Callable[[int], bytes],
        streams: Streams,
    ) -> None:
        """`now` gives CLOCK_REALTIME in ns, `random` bytes for /dev/urandom, `streams` are stdin, stdout, stderr."""
        self.config = config
        self.now = now
        self.random = random
        capacity = config.ram_bytes // 4096 // 2  # as a tmpfs without size=
        self.tmpfs = RamFs(ROOT, now, ram, frames, capacity)
        self.shm = RamFs(SHM, now, ram, frames, None)
        self.pipes = PipeFs(PIPEFS, now)
        self.mounts = [Mount(1, self.tmpfs, self.tmpfs.root, None, "tmpfs")]
        self.root = Path(self.mounts[0], self.tmpfs.root)
        self.shm_mount = self._internal(self.shm)
        self.pipe_mount = self._internal(self.pipes)
        self.huge_mount = self._internal(HugeFs(HUGETLBFS, now))
        self._furnish(config)
        self.std = [self._std(stream) for stream in streams]
        try:
            for number, mount in enumerate(config.mounts):
                self._mount_host(mount.host, mount.guest, mount.writable, mount.noexec, number)
        except LinuxError:
            self.close()
            raise

    def _internal(self, fs: FileSystem) -> Mount:
        root = Dentry(b"/", None, RamDir(self.tmpfs, S_IFDIR | 0o755))
        mount = Mount(0, fs, root, None, fs.type)
        mount.internal = True
        return mount

    # building
    def _furnish(self, config: KernelConfig) -> None:
        """/dev, /etc, /tmp and the mount points, the same in every run."""
        for name in (b"dev", b"etc", b"proc", b"root", b"sys"):
            self.make_dirs(b"/" + name)
        self.make_dirs(b"/tmp", 0o1777)
        self.make_dirs(b"/dev/shm", 0o1777)
        dev = self.find(b"/dev").dentry
        fs = self.tmpfs
        for name, minor, driver in ((b"null", 3, NullFile), (b"zero", 5, ZeroFile), (b"full", 7, FullFile)):
            make_at(dev, name, CharDev(fs, 0o666, 1, minor, driver))
        for name, minor in ((b"random", 8), (b"urandom", 9)):
            make_at(dev, name, CharDev(fs, 0o666, 1, minor, self._random_file))
        make_at(dev, b"tty", CharDev(fs, 0o666, 5, 0, self._tty))
        make_at(dev, b"fd", RamLink(fs, b"/proc/self/fd"))
        for fd, name in enumerate((b"stdin", b"stdout", b"stderr")):
            make_at(dev, name, RamLink(fs, b"/proc/self/fd/%d" % fd))
        user = f"user:x:{config.uid}:{config.gid}:user:/tmp:/bin/sh\n" if config.uid else ""
        self.write_file(b"/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n" + user.encode())
        group = f"user:x:{config.gid}:\n" if config.gid else ""
        self.write_file(b"/etc/group", b"root:x:0:\n" + group.encode())
        self.write_file(b"/etc/hostname", config.hostname.encode() + b"\n")

    def _random_file(self, path: Path, flags: int) -> File:
        return RandomFile(path, flags, self.random)

    def _tty(self, path: Path, flags: int) -> File:
        """/dev/tty: the terminal, where standard input is one."""
        terminal = next((std for std in self.std if std.terminal), None)
        if terminal is None:
            return no_tty(path, flags)
        return StdFile(Path(self.pipe_mount, Dentry(b"/dev/tty", None, terminal)), flags)

    def _std(self, stream: Stream) -> StdInode:
        terminal = self.config.interactive and stream.isatty()
        return StdInode(self.pipes, stream, self.config.uid, self.config.gid, terminal)

    def _mount_host(self, host: str, guest: str, writable: bool, noexec: bool, number: int) -> None:
        from kernel.fs.hostfs import mount_host

        mount_host(self, host, guest.encode("utf-8", "surrogateescape"), writable, noexec, HOST + number)

    def find(self, name: bytes) -> Path:
        """The Path of an absolute name, with the machine's own rights. Raises LinuxError."""
        return Walk(Root(), self.root, self.root).find(name)

    def make_dirs(self, name: bytes, mode: int = 0o755) -> Path:
        """mkdir -p in memory, for the machine's builders; existing directories stay as they are."""
        path = self.root
        for part in [part for part in name.split(b"/") if part]:
            child = lookup(path.dentry, part)
            if child is None:
                child = self._make_dir(path.dentry, part, mode)
            path = Walk(Root(), self.root, path).find(part)
        return path

    def _make_dir(self, directory: Dentry, name: bytes, mode: int) -> Dentry:
        inode = RamDir(self.tmpfs, S_IFDIR | mode)
        if isinstance(directory.inode, RamDir):
            return make_at(directory, name, inode)
        child = Dentry(name, directory, inode)  # inside a host mount, which is not touched: a name of our own
        child.children = {}
        directory.pinned = {**(directory.pinned or {}), name: child}
        return child

    def write_file(self, name: bytes, content: bytes, mode: int = 0o644) -> Path:
        """A file in memory, root's, whose content comes into frames as it is used; its directories are made."""
        directory, _, last = name.rpartition(b"/")
        parent = self.make_dirs(directory)
        inode = RamFile(self.tmpfs, S_IFREG | mode)
        inode.pages.source = memoryview(content)
        inode.pages.size = inode.size = len(content)
        child = make_at(parent.dentry, last, inode)
        return Path(parent.mount, child)

    def place_file(self, name: bytes) -> None:
        """Something to mount a single file on."""
        try:
            self.find(name)
        except LinuxError:
            self.write_file(name, b"")

    def mount(self, fs: FileSystem, root: Dentry, at: bytes, source: str, *, readonly: bool = False,
              noexec: bool = False) -> Mount:  # fmt: skip
        """Mount `fs` at `at`: a directory, which is made where it is missing, or for a single file a file."""
        place = self.make_dirs(at) if root.inode.is_dir else self.find(at)
        mount = Mount(len(self.mounts) + 1, fs, root, place, source)
        mount.readonly = readonly
        mount.noexec = noexec
        place.dentry.mounted = mount
        self.mounts.append(mount)
        return mount

    # for tasks
    def context(self, cwd: str = "") -> FsContext:
        """A first task's root and working directory. Raises LinuxError where the config's cwd is not there."""
        name = cwd or self.config.cwd
        try:
            path = self.find(name.encode("utf-8", "surrogateescape"))
        except LinuxError as error:
            why = f"the working directory {name}: {error.why}; only mounts show the host's files"
            raise LinuxError(error.errno, why) from None
        if not path.dentry.inode.is_dir:
            raise LinuxError(ENOTDIR, f"the working directory {name}: not a directory")
        return FsContext(self.root, path)

    def install_std(self, files: FdTable) -> None:
        """Give a first task its 0, 1 and 2."""
        for fd, inode in enumerate(self.std):
            files.install(self.std_file(fd, inode))

    def std_file(self, fd: int, inode: StdInode) -> File:
        name = b"/dev/pts/0" if inode.terminal else b"pipe:[%d]" % inode.ino
        path = Path(self.pipe_mount, Dentry(name, None, inode))
        return StdFile(path, Open.RDWR if inode.terminal else ACCESS[fd])

    def name_of(self, path: Path) -> str:
        """The absolute guest name, undecodable bytes as surrogates."""
        return full_name(path, self.root).decode("utf-8", "surrogateescape")

    def anonymous(self, fs_mount: Mount, name: bytes, inode: Inode) -> Path:
        """The Path of something without a place in the tree."""
        return Path(fs_mount, Dentry(name, None, inode))



    def close(self) -> None:
        """Nobody will look up a name any more."""
        for mount in self.mounts:
            mount.fs.close()

    def sync(self) -> None:
        """sync(2): everything dirty goes to the host."""
        for mount in self.mounts:
            mount.fs.sync()
