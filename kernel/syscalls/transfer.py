"""Moving bytes between files and the guest's memory: partial counts, blocking, and the signals of a failed write."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from kernel.abi.errno import EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EPIPE, ERESTARTSYS, LinuxError
from kernel.abi.fcntl import Open, Poll
from kernel.abi.limits import MAX_RW_COUNT, PAGE_SIZE, TASK_SIZE, UIO_MAXIOV
from kernel.abi.signal import SIGPIPE, SIGXFSZ, Si
from kernel.abi.structs import Iovec
from kernel.mm.uaccess import copy_from_user_partial, copy_to_user_partial
from kernel.task.siginfo import sent
from kernel.task.signal import send
from kernel.wait import Block, Interrupted

if TYPE_CHECKING:
    from kernel.fs.file import File
    from kernel.task.task import Task

CHUNK = 1 << 20  # bytes held outside guest RAM at once
Segment = tuple[int, int]  # va, length
Blocking = Generator[Block, None, int]


def check_area(va: int, n: int) -> None:
    """access_ok(): the range ends below TASK_SIZE. Raises EFAULT."""
    if n > TASK_SIZE or va > TASK_SIZE - n:
        raise LinuxError(EFAULT, f"{va:#x}+{n} reaches past the end of user space")


def import_iovec(task: Task, va: int, count: int) -> list[Segment]:
    """The segments of an iovec array, clipped to MAX_RW_COUNT in all (lib/iov_iter.c, __import_iovec)."""
    if count > UIO_MAXIOV:
        raise LinuxError(EINVAL, f"{count} iovecs; {UIO_MAXIOV} is the most")
    raw = task.mm.copy_from_user(va, count * Iovec.SIZE) if count else b""
    words = memoryview(raw).cast("Q")
    segments: list[Segment] = []
    total = 0
    for base, length in zip(words[::2], words[1::2], strict=True):
        if length >= 1 << 63:
            raise LinuxError(EINVAL, f"an iovec's length {length} is negative as ssize_t")
        check_area(base, length)
        length = min(length, MAX_RW_COUNT - total)
        total += length
        segments.append((base, length))
    return segments


def read_to(task: Task, file: File, segments: list[Segment], pos: int | None) -> int | None:
    """Read into the segments, at `pos` or where the file stands; None: it would block, nothing was read."""
    done = 0
    for va, length in segments:
        if not length:
            continue
        try:
            part = _read_segment(task, file, va, length, None if pos is None else pos + done)
        except LinuxError:
            if done:
                return done
            raise
        if part is None:
            return done or None
        done += part
        if part < length:
            break
    return done


def _read_segment(task: Task, file: File, va: int, length: int, pos: int | None) -> int | None:
    done = 0
    while done < length:
        want = min(length - done, CHUNK)
        data = file.read(want) if pos is None else file.pread(want, pos + done)
        if data is None:
            return done or None
        if not data:
            break
        copied = copy_to_user_partial(task.mm, va + done, data)
        done += copied
        if copied < len(data):
            if pos is None:
                file.unread(data[copied:])
            if not done:
                raise LinuxError(EFAULT, f"the buffer at {va:#x} cannot be written")
            break
        if len(data) < want or not file.seekable:
            break
    return done


def write_from(task: Task, file: File, segments: list[Segment], pos: int | None) -> int:
    """Write from the segments as far as it goes at once; 0 also where it would block."""
    done = 0
    for va, length in segments:
        if not length:
            continue
        try:
            part = _write_segment(task, file, va, length, None if pos is None else pos + done)
        except LinuxError as error:
            if error.errno == EPIPE:
                send_to_self(task, SIGPIPE)
            if done:
                return done
            raise
        done += part
        if part < length:
            break
    return done


def _write_segment(task: Task, file: File, va: int, length: int, pos: int | None) -> int:
    done = 0
    while done < length:
        want = min(length - done, CHUNK)
        data = copy_from_user_partial(task.mm, va + done, want)
        if len(data) < want and not file.seekable:
            data = data[: len(data) // PAGE_SIZE * PAGE_SIZE]  # a pipe takes whole pages or nothing (fs/pipe.c)
        if not data:
            if not done:
                raise LinuxError(EFAULT, f"the buffer at {va:#x} cannot be read")
            break
        try:
            took = file.write(data) if pos is None else file.pwrite(data, pos + done)
        except LinuxError:
            if not done:
                raise
            break
        done += took
        if took < want:
            break
    return done


def write_all(task: Task, file: File, segments: list[Segment]) -> int | Blocking:
    """Write where the file stands; a pipe without O_NONBLOCK takes everything, however long it sleeps."""
    done = write_from(task, file, segments, None)
    total = sum(length for _, length in segments)
    if done == total or file.seekable:
        return done
    if file.nonblocking:
        if not done:
            raise LinuxError(EAGAIN, "the pipe is full, and the file has O_NONBLOCK")
        return done
    return _write_rest(task, file, segments, done, total)


def _write_rest(task: Task, file: File, segments: list[Segment], done: int, total: int) -> Blocking:
    while done < total:
        try:
            yield Block(ready=lambda: bool(file.poll() & (Poll.OUT | Poll.ERR)), why="for room in a pipe")
            done += write_from(task, file, _skip(segments, done), None)
        except LinuxError:
            if not done:
                raise
            break
        except Interrupted:
            if not done:
                raise LinuxError(ERESTARTSYS, "a signal arrived before there was room") from None
            break
    return done


def _skip(segments: list[Segment], done: int) -> list[Segment]:
    """The segments without their first `done` bytes."""
    rest: list[Segment] = []
    for va, length in segments:
        passed = min(done, length)
        done -= passed
        rest.append((va + passed, length - passed))
    return rest


def send_to_self(task: Task, sig: int) -> None:
    """send_sig(sig, current, 0)."""
    send(task.process, sent(sig, Si.USER, task.pid, task.cred.uid), task)


def bounded(task: Task, file: File, segments: list[Segment], pos: int) -> list[Segment]:
    """generic_write_checks(): a regular file ends at RLIMIT_FSIZE (SIGXFSZ, EFBIG) and at the largest size."""
    limit = min(task.rlimits.cur[1], file.inode.fs.max_size)
    total = sum(length for _, length in segments)
    if pos + total <= limit or not total:
        return segments
    if pos >= limit:
        if limit < file.inode.fs.max_size:
            send_to_self(task, SIGXFSZ)
        raise LinuxError(EFBIG, f"the file would grow past {limit} bytes (RLIMIT_FSIZE, or the file system's most)")
    room = limit - pos
    cut: list[Segment] = []
    for va, length in segments:
        cut.append((va, min(length, room)))
        room -= cut[-1][1]
    return cut


def blocking(file: File, attempt: Callable[[], int | None], mask: int) -> int | Blocking:
    """The answer of `attempt`; where that would block, EAGAIN or a generator that sleeps until `mask` is polled."""
    done = attempt()
    if done is not None:
        return done
    if file.nonblocking:
        raise LinuxError(EAGAIN, "it would block, and the file has O_NONBLOCK")
    return _wait(file, attempt, mask)


def _wait(file: File, attempt: Callable[[], int | None], mask: int) -> Blocking:
    while True:
        try:
            yield Block(ready=lambda: bool(file.poll() & mask), why="for data in a pipe")
        except Interrupted:
            raise LinuxError(ERESTARTSYS, "a signal arrived before any data") from None
        done = attempt()
        if done is not None:
            return done


def readable_file(task: Task, fd: int) -> File:
    file = task.files.get(fd)
    if not file.readable:
        raise LinuxError(EBADF, f"fd {fd} is not open for reading")
    return file


def writable_file(task: Task, fd: int) -> File:
    file = task.files.get(fd)
    if not file.writable:
        raise LinuxError(EBADF, f"fd {fd} is not open for writing")
    return file


def appending(file: File) -> bool:
    return bool(file.flags & Open.APPEND)


