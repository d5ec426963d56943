"""pidfd: a process as a file (pidfd_open(2), fs/pidfs.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EBADF, ESPIPE, LinuxError
from kernel.abi.fcntl import Open, Poll
from kernel.abi.sched import Pidfd
from kernel.fs.dentry import Dentry, Path
from kernel.fs.file import File
from kernel.fs.inode import Inode

if TYPE_CHECKING:
    from kernel.task.task import Task

S_IRWXU = 0o700
PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP = -10000, -10001


class PidFile(File):
    """An open one. It can be read when its process has ended."""

    __slots__ = ("task",)
    seekable = positioned = False

    def __init__(self, task: Task, flags: int) -> None:
        """`flags` as pidfd_open has them."""
        vfs = task.system.vfs
        inode = Inode(vfs.pipes, S_IRWXU)
        super().__init__(Path(vfs.pipe_mount, Dentry(b"anon_inode:[pidfd]", None, inode)), Open.RDWR)
        self.flags |= flags  # PIDFD_THREAD is O_EXCL, which F_GETFL shows of no other file
        self.task = task

    def lseek(self, offset: int, whence: int) -> int:
        raise LinuxError(ESPIPE, "a pidfd has no position")

    def poll(self) -> int:
        return Poll.IN | Poll.RDNORM if self.task.process.exit_status is not None else 0

    def fdinfo(self) -> str:
        return f"Pid:\t{self.task.pid}\nNSpid:\t{self.task.pid}\n"


def pidfd_task(task: Task, fd: int) -> Task:
    """Whom a pidfd of `task` stands for (pidfd_get_task). Raises LinuxError(EBADF)."""
    if fd in (PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP):
        return task
    file = task.files.get(fd)
    if not isinstance(file, PidFile):
        raise LinuxError(EBADF, f"fd {fd} is not a pidfd")
    return file.task


def of_thread(task: Task, fd: int) -> bool:
    """Does this pidfd stand for one thread (PIDFD_THREAD), not for its process?"""
    return fd == PIDFD_SELF_THREAD or (fd != PIDFD_SELF_THREAD_GROUP and bool(task.files.get(fd).flags & Pidfd.THREAD))
