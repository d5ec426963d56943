"""FdTable: the file descriptors of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EBADF, EINVAL, EMFILE, LinuxError
from kernel.abi.fcntl import Open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel.fs.file import File


class FdTable:
    """fd → File. Every fd below `_free` is taken; each entry holds one reference of its File."""

    __slots__ = ("_files", "_free", "_limit", "cloexec", "refs")

    def __init__(self, limit: Callable[[], int]) -> None:
        """`limit` gives the soft RLIMIT_NOFILE of the moment."""
        self._files: dict[int, File] = {}
        self._free = 0
        self._limit = limit
        self.cloexec: set[int] = set()
        self.refs = 1  # tasks that share the table

    def get(self, fd: int) -> File:
        """The File, for reading, writing and the like. Raises EBADF, also for O_PATH."""
        file = self._files.get(fd)
        if file is None:
            raise LinuxError(EBADF, f"fd {fd} is not open")
        if file.flags & Open.PATH:
            raise LinuxError(EBADF, f"fd {fd} was opened with O_PATH")
        return file

    def get_raw(self, fd: int) -> File:
        """The File, O_PATH or not. Raises EBADF."""
        file = self._files.get(fd)
        if file is None:
            raise LinuxError(EBADF, f"fd {fd} is not open")
        return file

    def find(self, fd: int) -> File | None:
        return self._files.get(fd)

    def lowest(self, start: int = 0) -> int:
        """The lowest free fd from `start` on. Raises EMFILE at RLIMIT_NOFILE."""
        fd = max(start, self._free)
        files = self._files
        while fd in files:
            fd += 1
        if fd >= self._limit():
            raise LinuxError(EMFILE, f"RLIMIT_NOFILE ({self._limit()}) descriptors are open")
        return fd

    def install(self, file: File, *, cloexec: bool = False, lowest: int = 0) -> int:
        """Give `file` the lowest free fd from `lowest` on."""
        fd = self.lowest(lowest)
        self._put(fd, file, cloexec)
        return fd

    def _put(self, fd: int, file: File, cloexec: bool) -> None:
        file.refs += 1
        self._files[fd] = file
        if cloexec:
            self.cloexec.add(fd)
        if fd == self._free:
            self._free = fd + 1

    def dup_to(self, file: File, fd: int, *, cloexec: bool = False) -> int:
        """dup2(2)'s half: `fd` becomes `file`, whatever it was."""
        if not 0 <= fd < self._limit():
            raise LinuxError(EBADF, f"fd {fd} is outside RLIMIT_NOFILE ({self._limit()})")
        old = self._files.get(fd)
        self.cloexec.discard(fd)
        self._put(fd, file, cloexec)
        if old is not None:
            old.flush()
            old.put()
        return fd

    def dup_above(self, file: File, lowest: int, *, cloexec: bool = False) -> int:
        """fcntl(F_DUPFD)."""
        if not 0 <= lowest < self._limit():
            raise LinuxError(EINVAL, f"{lowest} is outside RLIMIT_NOFILE ({self._limit()})")
        return self.install(file, cloexec=cloexec, lowest=lowest)

    def close(self, fd: int) -> None:
        """Raises EBADF; or what the file's flush says, the descriptor being closed all the same."""
        file = self._files.pop(fd, None)
        if file is None:
            raise LinuxError(EBADF, f"fd {fd} is not open")
        self.cloexec.discard(fd)
        self._free = min(self._free, fd)
        if file.inode.locks is not None:
            file.inode.locks.forget(self)  # fcntl(2): any close of the file drops all the process's record locks
        try:
            file.flush()
        finally:
            file.put()

    def fds(self) -> list[int]:
        """The open descriptors, ascending."""
        return sorted(self._files)

    def items(self) -> Iterator[tuple[int, File]]:
        return iter(sorted(self._files.items()))

    def close_range(self, first: int, last: int) -> None:
        for fd in [fd for fd in self.fds() if first <= fd <= last]:
            self._close_quietly(fd)

    def close_on_exec(self) -> None:
        """execve(2) closes those that asked for it."""
        for fd in sorted(self.cloexec):
            self._close_quietly(fd)

    def close_all(self) -> None:
        """The last task that used it is gone."""
        self.close_range(0, 1 << 31)

    def _close_quietly(self, fd: int) -> None:
        try:
            self.close(fd)
        except LinuxError:
            return  # nobody is there to hear it

    def fork(self) -> FdTable:
        """A copy whose entries share the Files (clone(2) without CLONE_FILES)."""
        child = FdTable(self._limit)
        child._files = dict(self._files)
        child.cloexec = set(self.cloexec)
        child._free = self._free
        for file in child._files.values():
            file.refs += 1
        return child
