"""Moving bytes between files and the guest's memory: partial counts, blocking, and the signals of a failed write."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from kernel.abi.errno import EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EOVERFLOW, EPIPE, ERESTARTSYS, LinuxError
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

    Transfer = Callable[[Task, File, int, int, int | None], int]  # of one segment: how many bytes

CHUNK = 1 << 20  # bytes held outside guest RAM at once
Segment = tuple[int, int]  # va, length
Blocking = Generator[Block, None, int]


def check_area(va: int, n: int) -> None:
    """access_ok(): the range ends below TASK_SIZE. Raises EFAULT."""
    if n > TASK_SIZE or va > TASK_SIZE - n:
        raise LinuxError(EFAULT, f"{va:#x}+{n} reaches past the end of user space")


def import_iovec(task: Task, va: int, count: int) -> list[Segment]:
    """The segments of an iovec array, clipped to MAX_RW_COUNT in all (lib/iov_iter.c, __import_iovec)."""
    if not 0 <= count <= UIO_MAXIOV:
        raise LinuxError(EINVAL, f"{count} iovecs; {UIO_MAXIOV} is the most")
    raw = task.mm.copy_from_user(va, count * Iovec.SIZE) if count else b""
    words = memoryview(raw).cast("Q").tolist()
    given = list(zip(words[::2], words[1::2], strict=True))
    if any(length >= 1 << 63 for _, length in given):
        raise LinuxError(EINVAL, "an iovec's length is negative as ssize_t")
    segments: list[Segment] = []
    left = MAX_RW_COUNT
    for base, length in given:
        check_area(base, length if count > 1 else min(length, left))
        segments.append((base, min(length, left)))
        left -= segments[-1][1]
    return segments


def check_position(file: File, pos: int, segments: list[Segment]) -> None:
    """rw_verify_area(): the position and its end are offsets; of a file whose positions are addresses they are one of
    the address space."""
    total = segments[0][1] if len(segments) == 1 else sum(length for _, length in segments)
    if pos >= 0 and pos + total < 1 << 63:
        return
    if not file.unsigned:
        raise LinuxError(EINVAL, "the position, or the end of the transfer, is past the largest offset")
    if pos < 0 <= pos + total:
        raise LinuxError(EOVERFLOW, "the transfer would go on at address 0")


def read_to(task: Task, file: File, segments: list[Segment], pos: int | None) -> int | None:
    """Read into the segments, at `pos` or where the file stands; None: it would block, nothing was read."""
    if not file.seekable:
        return _read_stream(task, file, segments)
    return _each(_read_segment, task, file, segments, pos)


def _each(one: Transfer, task: Task, file: File, segments: list[Segment], pos: int | None) -> int:
    """As far as it goes; an error counts where nothing went before it."""
    done = 0
    for va, length in segments:
        try:
            part = one(task, file, va, length, None if pos is None else pos + done)
        except LinuxError:
            if done:
                return done
            raise
        done += part
        if part < length:
            break
    return done


def _read_segment(task: Task, file: File, va: int, length: int, pos: int | None) -> int:
    done = 0
    while done < length:
        want = min(length - done, CHUNK)
        data = file.read(want) if pos is None else file.pread(want, pos + done)
        if not data:
            break
        copied = copy_to_user_partial(task.mm, va + done, data)
        if copied < len(data):
            done += file.unread(data, copied) if pos is None else copied
            if not done:
                raise LinuxError(EFAULT, f"the buffer at {va:#x} cannot be written")
            break
        done += copied
        if copied < want:
            break
    return done


def _read_stream(task: Task, file: File, segments: list[Segment]) -> int | None:
    """One read of what is there, spread over the segments."""
    total = sum(length for _, length in segments)
    data = file.read(min(total, CHUNK))
    if not data:
        return None if data is None else 0
    done = 0
    for va, length in segments:
        piece = data[done : done + length]
        copied = copy_to_user_partial(task.mm, va, piece)
        done += copied
        if copied < len(piece):
            taken = file.unread(data, done)
            if not taken:
                raise LinuxError(EFAULT, f"the buffer at {va:#x} cannot be written")
            return taken
    return done


def write_from(task: Task, file: File, segments: list[Segment], pos: int | None) -> int:
    """Write from the segments as far as it goes at once; 0 also where it would block."""
    if not file.seekable:
        return _write_stream(task, file, segments)
    swallowed = file.swallow(sum(length for _, length in segments))
    if swallowed is not None:
        return swallowed
    return _each(_write_segment, task, file, segments, pos)


def _write_segment(task: Task, file: File, va: int, length: int, pos: int | None) -> int:
    done = 0
    while done < length:
        want = min(length - done, CHUNK)
        data = copy_from_user_partial(task.mm, va + done, want)
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


def _write_stream(task: Task, file: File, segments: list[Segment]) -> int:
    """What a pipe takes at once, all segments together; a broken one is EPIPE and SIGPIPE, whatever the buffer."""
    total = sum(length for _, length in segments)
    if not total:
        return 0
    want = total if total <= CHUNK else total % PAGE_SIZE + CHUNK - PAGE_SIZE
    data = _gather(task, segments, want)
    if len(data) < want:
        data = data[: file.acceptable(len(data), total)]
    try:
        done = file.write(data)
    except LinuxError as error:
        if error.errno == EPIPE:
            send_to_self(task, SIGPIPE)
        raise
    if not data:
        raise LinuxError(EFAULT, "the buffer cannot be read")
    return done


def _gather(task: Task, segments: list[Segment], want: int) -> bytes:
    """The first `want` bytes of the segments, fewer where memory cannot be read."""
    if len(segments) == 1:
        return copy_from_user_partial(task.mm, segments[0][0], want)
    parts: list[bytes] = []
    for va, length in segments:
        length = min(length, want)
        part = copy_from_user_partial(task.mm, va, length)
        parts.append(part)
        want -= length
        if len(part) < length or not want:
            break
    return b"".join(parts)


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
    if pos + total <= limit or not total or file.unsigned:
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


