"""Character devices: null, zero, full, random, urandom, tty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import ENODEV, ENOSPC, ENXIO, LinuxError
from kernel.abi.fcntl import S_IFCHR
from kernel.fs.dentry import full_name
from kernel.fs.file import File
from kernel.fs.ramfs import RamNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.fs.dentry import Path
    from kernel.fs.ramfs import RamFs
    from kernel.mm.mappable import Mappable


def makedev(major: int, minor: int) -> int:
    """dev_t as the kernel gives it to user space (new_encode_dev)."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


class CharDev(RamNode):
    """A device node whose opening gives a file of `driver`."""

    __slots__ = ("driver",)

    def __init__(self, fs: RamFs, mode: int, major: int, minor: int, driver: Callable[[Path, int], File]) -> None:
        super().__init__(fs, S_IFCHR | mode, rdev=makedev(major, minor))
        self.driver = driver

    def open(self, path: Path, flags: int) -> File:
        return self.driver(path, flags)


class NullFile(File):
    """/dev/null: nothing to read, everything taken."""

    __slots__ = ()

    def pread(self, n: int, pos: int) -> bytes:
        return b""

    def pwrite(self, data: bytes, pos: int) -> int:
        return len(data)

    def swallow(self, total: int) -> int | None:
        return total

    def lseek(self, offset: int, whence: int) -> int:
        """null_lseek(): the position is and stays 0."""
        self.pos = 0
        return 0


class ZeroFile(NullFile):
    """/dev/zero: endless zeros; a private mapping of it is anonymous memory, which bears the file's name."""

    __slots__ = ()

    def pread(self, n: int, pos: int) -> bytes:
        return bytes(n)

    @property
    def name(self) -> str:
        return full_name(self.path).decode("utf-8", "surrogateescape")

    @property
    def identity(self) -> tuple[int, int, int]:
        """As a Mappable has it."""
        return 0, self.inode.fs.dev, self.inode.ino

    def mappable(self) -> Mappable | None:
        return None


class FullFile(ZeroFile):
    """/dev/full: like zero, but a write finds no space."""

    __slots__ = ()

    def pwrite(self, data: bytes, pos: int) -> int:
        raise LinuxError(ENOSPC, "/dev/full is full")

    def swallow(self, total: int) -> int | None:
        raise LinuxError(ENOSPC, "/dev/full is full")

    def mappable(self) -> Mappable | None:
        raise LinuxError(ENODEV, "/dev/full cannot be mapped")


class RandomFile(File):
    """/dev/random and /dev/urandom: the machine's seeded stream."""

    __slots__ = ("draw",)

    def __init__(self, path: Path, flags: int, draw: Callable[[int], bytes]) -> None:
        super().__init__(path, flags)
        self.draw = draw

    def pread(self, n: int, pos: int) -> bytes:
        return self.draw(n)

    def pwrite(self, data: bytes, pos: int) -> int:
        return len(data)

    def lseek(self, offset: int, whence: int) -> int:
        self.pos = 0
        return 0


def no_tty(path: Path, flags: int) -> File:
    """/dev/tty without a controlling terminal."""
    raise LinuxError(ENXIO, "the process has no controlling terminal (see --interactive)")


