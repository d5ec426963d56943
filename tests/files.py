"""A tiny guest for file tests: syscalls by name with Python values, on a ScriptedCpu."""

from __future__ import annotations

import struct
from typing import Any

from fakes import World

from kernel.abi.structs import Stat
from kernel.fs.stream import BytesStream

SIZE = 4 << 20
PATHS = 1 << 20  # of it, for arguments
ANON, RW = 0x22, 3
BAD = 8  # an address where nothing is
CWD = -100


class Files(World):
    """A World whose guest has `buf`, a large buffer, and standard streams in memory (`stdin`, `stdout`, `stderr`)."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.stdin, self.stdout, self.stderr = streams = BytesStream(), BytesStream(), BytesStream()
        for std, stream in zip(self.kernel.system.vfs.std, streams, strict=True):
            std.stream = stream
        self.scratch = self.call("mmap", 0, SIZE, RW, ANON, -1, 0)
        self.buf = self.scratch + PATHS
        self.used = 0

    def sys(self, name: str, *args: int | str | bytes) -> int:
        """rax of one syscall. A str is passed as a C string, bytes as a pointer to them."""
        self.used = 0
        return self.call(name, *(arg if isinstance(arg, int) else self._place(arg) for arg in args))

    def _place(self, arg: str | bytes) -> int:
        data = arg.encode("utf-8", "surrogateescape") + b"\0" if isinstance(arg, str) else arg
        at = self.scratch + self.used
        self.used += -(-len(data) // 16) * 16
        assert self.used <= PATHS
        self.task.mm.copy_to_user(at, data)
        return at

    def open(self, path: str, flags: int = 0, mode: int = 0o644) -> int:
        return self.sys("open", path, flags, mode)

    def write(self, fd: int, data: bytes) -> int:
        return self.sys("write", fd, data, len(data))

    def read(self, fd: int, n: int = 65536) -> bytes:
        """What a read gives; it must not fail."""
        done = self.sys("read", fd, self.buf, n)
        assert done >= 0, done
        return self.get(done, self.buf)

    def pread(self, fd: int, n: int, pos: int) -> bytes:
        done = self.sys("pread64", fd, self.buf, n, pos)
        assert done >= 0, done
        return self.get(done, self.buf)

    def slurp(self, path: str) -> bytes:
        """A whole file."""
        fd = self.open(path)
        assert fd >= 0, (path, fd)
        out = b""
        while piece := self.read(fd):
            out += piece
        self.sys("close", fd)
        return out

    def spill(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Make a file of this content."""
        fd = self.open(path, 0o1101, mode)
        assert fd >= 0, (path, fd)
        assert self.write(fd, data) == len(data)
        self.sys("close", fd)

    def stat(self, path: str, *, follow: bool = True) -> Stat | int:
        """struct stat, or the negative errno."""
        done = self.sys("stat" if follow else "lstat", path, self.buf)
        return done if done < 0 else Stat.unpack(self.get(Stat.SIZE, self.buf))

    def next_names(self, fd: int, room: int = 4096) -> list[str]:
        """The names of one getdents64, which must not fail; [] at the end."""
        n = self.sys("getdents64", fd, self.buf, room)
        assert n >= 0, n
        raw, at, out = self.get(n, self.buf), 0, []
        while at < n:
            (size,) = struct.unpack_from("<H", raw, at + 16)
            out.append(raw[at + 19 : at + size].split(b"\0")[0].decode("utf-8", "surrogateescape"))
            at += size
        return out

    def names(self, path: str) -> list[str]:
        """A directory's entries in its order, without . and .."""
        fd = self.open(path, 0o200000)
        assert fd >= 0, (path, fd)
        out: list[str] = []
        while found := self.next_names(fd):
            out += found
        self.sys("close", fd)
        return [name for name in out if name not in (".", "..")]

    def map(self, fd: int, length: int, flags: int = 1, prot: int = RW, offset: int = 0) -> int:
        """mmap of a file, MAP_SHARED unless said otherwise."""
        at = self.call("mmap", 0, length, prot, flags, fd, offset)
        assert at > 0, at
        return at

    def ints(self, count: int, at: int | None = None) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.get(4 * count, self.buf if at is None else at))

    def pipe(self, flags: int = 0) -> tuple[int, int]:
        assert self.sys("pipe2", self.buf, flags) == 0
        reader, writer = self.ints(2)
        return reader, writer
