"""Descriptors: the lowest is given, limits hold, references are counted."""

from __future__ import annotations

from files import Files
from hypothesis import given
from hypothesis import strategies as st

from kernel.abi.errno import EBADF, EINVAL, EMFILE
from kernel.abi.fcntl import FcntlCmd, Open
from kernel.fs.chardev import NullFile
from kernel.fs.dentry import Path
from kernel.fs.fdtable import FdTable


def null_path() -> Path:
    return Files().kernel.system.vfs.find(b"/dev/null")


PATH = null_path()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_the_lowest_free_number_is_given(steps: list[tuple[bool, int]]) -> None:
    table, oracle = FdTable(lambda: 100), set()
    for opening, n in steps:
        if opening:
            fd = table.install(NullFile(PATH, 0), lowest=n)
            expected = next(i for i in range(n, 200) if i not in oracle)
            assert fd == expected
            oracle.add(fd)
        elif n in oracle:
            table.close(n)
            oracle.remove(n)
    assert table.fds() == sorted(oracle)


def test_a_file_is_released_with_its_last_descriptor() -> None:
    released = []

    class Seen(NullFile):
        __slots__ = ()

        def release(self) -> None:
            released.append(self)

    table, file = FdTable(lambda: 100), Seen(PATH, 0)
    table.install(file)
    table.install(file)
    child = table.fork()
    table.close_all()
    child.close(0)
    assert not released
    child.close(1)
    assert released == [file]


def test_dup_and_its_limits(user: Files) -> None:
    limit = user.task.rlimits.soft("NOFILE")
    fd = user.open("/tmp/f", Open.CREAT | Open.RDWR)
    assert user.sys("dup2", fd, fd) == fd
    assert user.sys("dup2", 99, 99) == -EBADF
    assert user.sys("dup2", fd, limit) == -EBADF
    assert user.sys("dup2", fd, limit - 1) == limit - 1
    assert user.sys("dup3", fd, fd, 0) == -EINVAL
    assert user.sys("dup3", fd, 20, 1) == -EINVAL
    assert user.sys("dup3", fd, 20, Open.CLOEXEC) == 20
    assert user.sys("fcntl", 20, FcntlCmd.GETFD) == 1
    assert user.sys("fcntl", fd, FcntlCmd.DUPFD, 20) == 21
    assert user.sys("fcntl", fd, FcntlCmd.DUPFD, limit) == -EINVAL
    assert user.sys("fcntl", fd, FcntlCmd.DUPFD_CLOEXEC, 0) == 4


def test_the_limit_is_emfile_and_nothing_is_made(user: Files) -> None:
    user.task.rlimits.set("NOFILE", 4, 4)
    fd = user.open("/tmp/f", Open.CREAT | Open.RDWR)
    assert fd == 3
    assert user.open("/tmp/g", Open.CREAT | Open.RDWR) == -EMFILE
    assert user.names("/tmp") == ["f"] if user.sys("close", fd) == 0 else True
    assert user.open("/tmp/f") == 3
    assert user.sys("dup", 3) == -EMFILE
    assert user.sys("pipe", user.buf) == -EMFILE


def test_ranges_are_closed_or_marked(user: Files) -> None:
    for _ in range(5):
        user.open("/dev/null")
    assert user.sys("close_range", 5, 3, 0) == -EINVAL
    assert user.sys("close_range", 3, 4, 8) == -EINVAL
    assert user.sys("close_range", 6, 0xFFFFFFFF, 4) == 0
    assert user.task.files.cloexec == {6, 7}
    assert user.sys("close_range", 3, 5, 0) == 0
    assert user.task.files.fds() == [0, 1, 2, 6, 7]


def test_an_o_path_descriptor_is_a_place_and_no_more(user: Files) -> None:
    fd = user.open("/tmp", Open.PATH)
    for call, *rest in (("read", user.buf, 1), ("lseek", 0, 0), ("ioctl", 0x5401, user.buf), ("fchmod", 0o755)):
        assert user.sys(call, fd, *rest) == -EBADF
    assert user.sys("fstat", fd, user.buf) == 0
    assert user.sys("fchdir", fd) == 0
    assert user.sys("fcntl", fd, FcntlCmd.GETFL) == Open.PATH


