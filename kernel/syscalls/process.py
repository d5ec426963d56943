"""Process syscalls: who a process is, another program, its end, its children."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import U32, Addr, Bits, DirFd, Int, Path, Pid, ULong
from kernel.abi.errno import (
    E2BIG,
    EBADF,
    ECHILD,
    EINVAL,
    ENAMETOOLONG,
    ENOENT,
    EPERM,
    ESRCH,
    LinuxError,
)
from kernel.abi.fcntl import AT_FDCWD, At
from kernel.abi.limits import MAX_ARG_STRLEN
from kernel.abi.taskargs import (
    Argv,
    Envp,
    IdType,
    IdTypeChoice,
    OutRusage,
    WaitOptions,
    WaitStatus,
)
from kernel.abi.words import OutSiginfo
from kernel.fs.dentry import Path as Place
from kernel.syscalls.file import getname, walk_from
from kernel.syscalls.table import Never, Restored, syscall
from kernel.task import exec, exit
from kernel.task.stack import STACK_LIMIT
from kernel.task.task import Process, Task

WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x01000000
WAIT_KINDS = 0xE0000000  # __WNOTHREAD, __WALL, __WCLONE
NO_CHILDREN = "the caller has no children"

# who it is


@syscall
def getpid(task: Task) -> int:
    """getpid(2)."""
    return task.process.pid


@syscall
def getppid(task: Task) -> int:
    """getppid(2)."""
    return task.process.ppid


def find_process(task: Task, pid: int) -> Process:
    """The process `pid`, the caller's for 0. Raises ESRCH."""
    found = task.system.processes.get(pid) if pid else task.process
    if found is None:
        raise LinuxError(ESRCH, f"there is no process {pid}")
    return found


@syscall
def getpgid(task: Task, pid: Pid) -> int:
    """getpgid(2)."""
    return find_process(task, pid).pgid


@syscall
def getpgrp(task: Task) -> int:
    """getpgrp(2)."""
    return task.process.pgid


@syscall
def setpgid(task: Task, pid: Pid, pgid: Pid) -> int:
    """setpgid(2)."""
    if pgid < 0:
        raise LinuxError(EINVAL, "pgid is negative")
    process = find_process(task, pid)
    if process.sid == process.pid:
        raise LinuxError(EPERM, "a session leader keeps its process group")
    pgid = pgid or process.pid
    if pgid != process.pid and all(
        each.pgid != pgid or each.sid != process.sid for each in task.system.processes.values()
    ):
        raise LinuxError(EPERM, f"there is no process group {pgid} in the session")
    process.pgid = pgid
    return 0


@syscall
def getsid(task: Task, pid: Pid) -> int:
    """getsid(2)."""
    return find_process(task, pid).sid


@syscall
def setsid(task: Task) -> int:
    """setsid(2)."""
    process = task.process
    if any(each.pgid == process.pid for each in task.system.processes.values()):
        raise LinuxError(EPERM, "the caller leads a process group")
    process.sid = process.pgid = process.pid
    return process.sid


# another program, the end


@syscall
def execve(task: Task, pathname: Path, argv: Argv, envp: Envp) -> int:
    """execve(2)."""
    return _exec(task, AT_FDCWD, pathname, argv, envp, 0)


@syscall
def execveat(
    task: Task, dirfd: DirFd, pathname: Path, argv: Argv, envp: Envp, flags: Annotated[int, Bits(At, U32)]
) -> int:
    """execveat(2)."""
    return _exec(task, dirfd, pathname, argv, envp, flags)


def _exec(task: Task, dirfd: int, pathname: int, argv: int, envp: int, flags: int) -> int:
    if flags & ~(At.EMPTY_PATH | At.SYMLINK_NOFOLLOW):
        raise LinuxError(EINVAL, "unknown flags")
    name = getname(task, pathname)
    place, execfn = _program(task, dirfd, name, flags)
    arguments, environment = _strings(task, argv), _strings(task, envp)

    def find(name: bytes) -> Place:
        return walk_from(task, AT_FDCWD, name).find(name)

    exec.execve(task, place, execfn, arguments, environment, find)
    return Restored(0)


def _program(task: Task, dirfd: int, name: bytes, flags: int) -> tuple[Place, bytes]:
    """The program's Path, and the name that AT_EXECFN shows (fs/exec.c, alloc_bprm)."""
    if not name:
        if not flags & At.EMPTY_PATH:
            raise LinuxError(ENOENT, "the path is empty")
        place = task.fs.cwd if dirfd == AT_FDCWD else task.files.get_raw(dirfd).path
        return place, b"/dev/fd/%d" % dirfd
    place = walk_from(task, dirfd, name).find(name, follow=not flags & At.SYMLINK_NOFOLLOW)
    absolute = dirfd == AT_FDCWD or name[:1] == b"/"
    return place, name if absolute else b"/dev/fd/%d/%s" % (dirfd, name)


def _strings(task: Task, va: int) -> list[bytes]:
    """The NULL-terminated array of C strings at `va`; NULL is an empty one. Raises EFAULT, E2BIG."""
    found: list[bytes] = []
    size = 0
    while va:
        pointer = int.from_bytes(task.mm.copy_from_user(va + 8 * len(found), 8), "little")
        if not pointer:
            break
        try:
            found.append(task.mm.strncpy_from_user(pointer, MAX_ARG_STRLEN))
        except LinuxError as error:
            if error.errno != ENAMETOOLONG:
                raise
            raise LinuxError(E2BIG, f"a string is longer than {MAX_ARG_STRLEN} bytes") from None
        size += len(found[-1]) + 9
        if size > STACK_LIMIT:
            raise LinuxError(E2BIG, "arguments and environment are larger than any stack allows")
    return found


@syscall(result=Never)
def exit_(task: Task, status: Int) -> None:
    """exit(2): of the only thread, and so of the process."""
    exit.exit_group(task, status)


@syscall(result=Never)
def exit_group(task: Task, status: Int) -> None:
    """exit_group(2)."""
    exit.exit_group(task, status)


# children


@syscall(partly="there are no children yet")
def wait4(task: Task, pid: Pid, wstatus: WaitStatus, options: WaitOptions, rusage: OutRusage) -> int:
    """wait4(2)."""
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WAIT_KINDS):
        raise LinuxError(EINVAL, "unknown options")
    if pid == -(1 << 31):
        raise LinuxError(ESRCH, "there is no such process group")
    raise LinuxError(ECHILD, NO_CHILDREN)


@syscall(partly="there are no children yet")
def waitid(task: Task, which: IdTypeChoice, upid: Pid, infop: OutSiginfo, options: WaitOptions, ru: OutRusage) -> int:
    """waitid(2)."""
    if options & ~(WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WAIT_KINDS):
        raise LinuxError(EINVAL, "unknown options")
    if not options & (WEXITED | WUNTRACED | WCONTINUED):
        raise LinuxError(EINVAL, "it must say what it waits for: WEXITED, WSTOPPED, WCONTINUED")
    if which not in (IdType.ALL, IdType.PID, IdType.PGID, IdType.PIDFD):
        raise LinuxError(EINVAL, "unknown id type")
    if (which == IdType.PID and upid <= 0) or (which != IdType.ALL and upid < 0):
        raise LinuxError(EINVAL, "no such id can be")
    if which == IdType.PIDFD:
        task.files.get(upid)
        raise LinuxError(EBADF, f"fd {upid} is no pidfd")
    raise LinuxError(ECHILD, NO_CHILDREN)


@syscall(partly="always refused: tracing other processes is not modelled")
def ptrace(task: Task, request: ULong, pid: Pid, addr: Addr, data: Addr) -> int:
    """ptrace(2)."""
    raise LinuxError(EPERM, "tracing is not modelled: the run itself is the trace")
