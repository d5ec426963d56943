"""Pipes and readiness: pipe, poll, select. Whoever sleeps here yields a Block."""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import TYPE_CHECKING

from kernel.abi.args import In, Int, Sigset, Size, UInt
from kernel.abi.errno import EBADF, EINVAL, ERESTARTNOHAND, LinuxError
from kernel.abi.fcntl import Open, Poll
from kernel.abi.fileargs import PipeFds, StatusFlags
from kernel.abi.limits import RLIMIT_NOFILE
from kernel.abi.pollargs import FdSet, PollFds, PollResult, SelectResult, SigsetArg
from kernel.abi.structs import Timespec, Timeval
from kernel.fs.inode import NSEC
from kernel.fs.pipe import make_pipe
from kernel.syscalls.table import Outcome, syscall
from kernel.task.signal import set_blocked
from kernel.wait import Block, Interrupted

if TYPE_CHECKING:
    from kernel.task.task import Task

Sleeping = Generator[Block, None, int]
ALWAYS = Poll.ERR | Poll.HUP
POLLFD = struct.Struct("<iHH")
FOREVER = -1


def _pipe(task: Task, va: int, flags: int) -> int:
    if flags & ~(Open.CLOEXEC | Open.NONBLOCK | Open.DIRECT):
        raise LinuxError(EINVAL, "a flag other than O_CLOEXEC, O_NONBLOCK and O_DIRECT")
    files = task.files
    cloexec = bool(flags & Open.CLOEXEC)
    reader, writer = make_pipe(task.system.vfs, task.cred, flags & (Open.NONBLOCK | Open.DIRECT))
    first = files.install(reader, cloexec=cloexec)
    try:
        second = files.install(writer, cloexec=cloexec)
    except LinuxError:
        files.close(first)
        writer.release()
        raise
    try:
        task.mm.copy_to_user(va, struct.pack("<ii", first, second))
    except LinuxError:
        files.close(first)
        files.close(second)
        raise
    return 0


@syscall
def pipe(task: Task, pipefd: PipeFds) -> int:
    """pipe(2)."""
    return _pipe(task, pipefd, 0)


@syscall
def pipe2(task: Task, pipefd: PipeFds, flags: StatusFlags) -> int:
    """pipe2(2)."""
    return _pipe(task, pipefd, flags)


# poll


class _Polled:
    """The pollfds of one call."""

    def __init__(self, task: Task, va: int, count: int) -> None:
        if count > task.rlimits.cur[RLIMIT_NOFILE]:
            raise LinuxError(EINVAL, "more pollfds than RLIMIT_NOFILE")
        self.task = task
        self.va = va
        raw = task.mm.copy_from_user(va, 8 * count) if count else b""
        self.wanted = [(fd, events) for fd, events, _ in POLLFD.iter_unpack(raw)]
        self.found: list[int] = []

    def look(self) -> bool:
        """What holds now, kept in `found`; is there anything?"""
        self.found = [self._one(fd, events) for fd, events in self.wanted]
        return any(self.found)

    def _one(self, fd: int, events: int) -> int:
        if fd < 0:
            return 0
        file = self.task.files.find(fd)
        if file is None or file.flags & Open.PATH:
            return Poll.NVAL
        return file.poll() & (events | ALWAYS)

    def store(self) -> int:
        for i, revents in enumerate(self.found):
            self.task.mm.copy_to_user(self.va + 8 * i + 6, revents.to_bytes(2, "little"))
        return sum(1 for revents in self.found if revents)


def _poll(task: Task, va: int, count: int, timeout: int) -> int | Sleeping:
    """`timeout` in ns, FOREVER, or 0."""
    polled = _Polled(task, va, count)
    if polled.look() or not timeout:
        return polled.store()
    return _poll_sleep(task, polled, timeout)


def _poll_sleep(task: Task, polled: _Polled, timeout: int) -> Sleeping:
    deadline = None if timeout == FOREVER else task.system.clock.monotonic_ns() + timeout
    while True:
        yield Block(ready=polled.look, deadline=deadline, why="in poll")
        if polled.look() or (deadline is not None and task.system.clock.monotonic_ns() >= deadline):
            return polled.store()


@syscall(result=PollResult)
def poll(task: Task, fds: PollFds, nfds: UInt, timeout: Int) -> Outcome:
    """poll(2)."""
    return _poll(task, fds, nfds, FOREVER if timeout < 0 else timeout * 1_000_000)


def _timeout_of(task: Task, va: int) -> int:
    """A struct timespec as ns; NULL is FOREVER. Raises EFAULT, EINVAL."""
    if not va:
        return FOREVER
    spec = Timespec.unpack(task.mm.copy_from_user(va, Timespec.SIZE))
    if spec.tv_sec < 0 or not 0 <= spec.tv_nsec < NSEC:
        raise LinuxError(EINVAL, "the timeout is negative or its nanoseconds are out of range")
    return spec.tv_sec * NSEC + spec.tv_nsec


def _swap_mask(task: Task, va: int, size: int) -> bool:
    """Put the caller's signal mask in place of the task's until the call ends (set_user_sigmask)."""
    if not va:
        return False
    if size != 8:
        raise LinuxError(EINVAL, "a sigset has 8 bytes")
    mask = int.from_bytes(task.mm.copy_from_user(va, 8), "little")
    task.saved_blocked = task.blocked
    set_blocked(task, mask)
    return True


def _restored(task: Task, outcome: int | Sleeping, masked: bool, left: tuple[int, int, bool] | None) -> Outcome:
    """Run a call under its own signal mask to the end: the mask goes back, unless a signal is to be taken under it;
    `left` (address, deadline, timeval?) gets the time that remains."""
    if isinstance(outcome, int):
        _finish(task, masked, left)
        return outcome
    return _restored_later(task, outcome, masked, left)


def _restored_later(task: Task, sleeping: Sleeping, masked: bool, left: tuple[int, int, bool] | None) -> Sleeping:
    try:
        value = yield from sleeping
    except Interrupted:
        _store_left(task, left)
        raise LinuxError(ERESTARTNOHAND, "a signal arrived before anything was ready") from None
    _finish(task, masked, left)
    return value


def _finish(task: Task, masked: bool, left: tuple[int, int, bool] | None) -> None:
    if masked and task.saved_blocked is not None:
        saved, task.saved_blocked = task.saved_blocked, None
        set_blocked(task, saved)
    _store_left(task, left)


def _store_left(task: Task, left: tuple[int, int, bool] | None) -> None:
    """poll_select_finish(): a timeout that cannot be written is no error."""
    if left is None:
        return
    va, deadline, micro = left
    rest = max(0, deadline - task.system.clock.monotonic_ns())
    raw = (Timeval(rest // NSEC, rest % NSEC // 1000) if micro else Timespec(rest // NSEC, rest % NSEC)).pack()
    try:
        task.mm.copy_to_user(va, raw)
    except LinuxError:
        return


@syscall(result=PollResult)
def ppoll(task: Task, fds: PollFds, nfds: UInt, tmo: In[Timespec], sigmask: Sigset, sigsetsize: Size) -> Outcome:
    """ppoll(2)."""
    timeout = _timeout_of(task, tmo)
    left = (int(tmo), task.system.clock.monotonic_ns() + timeout, False) if tmo else None
    masked = _swap_mask(task, sigmask, sigsetsize)
    try:
        outcome = _poll(task, fds, nfds, timeout)
    except LinuxError:
        _finish(task, masked, None)
        raise
    return _restored(task, outcome, masked, left)


# select

IN_SET = Poll.RDNORM | Poll.RDBAND | Poll.IN | Poll.HUP | Poll.ERR
OUT_SET = Poll.WRBAND | Poll.WRNORM | Poll.OUT | Poll.ERR
EX_SET = Poll.PRI


class _Selected:
    """The three sets of one select."""

    def __init__(self, task: Task, count: int, sets: tuple[int, int, int]) -> None:
        if count < 0:
            raise LinuxError(EINVAL, "nfds is negative")
        self.task = task
        self.sets = sets
        count = min(count, max(task.files.fds(), default=-1) // 64 * 64 + 64)
        self.size = -(-count // 64) * 8
        raw = [int.from_bytes(task.mm.copy_from_user(va, self.size), "little") if va else 0 for va in sets]
        mask = (1 << count) - 1
        self.wanted = [bits & mask for bits in raw]
        for fd in self._members():
            if task.files.find(fd) is None or task.files.get_raw(fd).flags & Open.PATH:
                raise LinuxError(EBADF, f"fd {fd} is in a set and is not open")
        self.found = [0, 0, 0]

    def _members(self) -> list[int]:
        every = self.wanted[0] | self.wanted[1] | self.wanted[2]
        return [fd for fd in range(every.bit_length()) if every >> fd & 1]

    def look(self) -> bool:
        self.found = [0, 0, 0]
        for fd in self._members():
            file = self.task.files.find(fd)
            events = file.poll() if file is not None else 0
            for i, mask in enumerate((IN_SET, OUT_SET, EX_SET)):
                if events & mask and self.wanted[i] >> fd & 1:
                    self.found[i] |= 1 << fd
        return any(self.found)

    def store(self) -> int:
        for va, bits in zip(self.sets, self.found, strict=True):
            if va:
                self.task.mm.copy_to_user(va, bits.to_bytes(self.size, "little"))
        return sum(bits.bit_count() for bits in self.found)


def _select(task: Task, count: int, sets: tuple[int, int, int], timeout: int) -> int | Sleeping:
    selected = _Selected(task, count, sets)
    if selected.look() or not timeout:
        return selected.store()
    return _select_sleep(task, selected, timeout)


def _select_sleep(task: Task, selected: _Selected, timeout: int) -> Sleeping:
    deadline = None if timeout == FOREVER else task.system.clock.monotonic_ns() + timeout
    while True:
        yield Block(ready=selected.look, deadline=deadline, why="in select")
        if selected.look() or (deadline is not None and task.system.clock.monotonic_ns() >= deadline):
            return selected.store()


@syscall(result=SelectResult)
def select(
    task: Task, nfds: Int, readfds: FdSet, writefds: FdSet, exceptfds: FdSet, timeout: In[Timeval]
) -> Outcome:
    """select(2)."""
    wait = FOREVER
    if timeout:
        value = Timeval.unpack(task.mm.copy_from_user(timeout, Timeval.SIZE))
        seconds, micro = value.tv_sec + value.tv_usec // 1_000_000, value.tv_usec % 1_000_000
        if seconds < 0:
            raise LinuxError(EINVAL, "the timeout is negative")
        wait = seconds * NSEC + micro * 1000
    left = (int(timeout), task.system.clock.monotonic_ns() + wait, True) if timeout else None
    return _restored(task, _select(task, nfds, (readfds, writefds, exceptfds), wait), False, left)


@syscall(result=SelectResult)
def pselect6(task: Task, nfds: Int, readfds: FdSet, writefds: FdSet, exceptfds: FdSet, timeout: In[Timespec],
             sig: SigsetArg) -> Outcome:  # fmt: skip
    """pselect6(2): the sixth argument points to a sigset's address and size."""
    mask, size = struct.unpack("<QQ", task.mm.copy_from_user(sig, 16)) if sig else (0, 0)
    wait = _timeout_of(task, timeout)
    left = (int(timeout), task.system.clock.monotonic_ns() + wait, False) if timeout else None
    masked = _swap_mask(task, mask, size)
    try:
        outcome = _select(task, nfds, (readfds, writefds, exceptfds), wait)
    except LinuxError:
        _finish(task, masked, None)
        raise
    return _restored(task, outcome, masked, left)


