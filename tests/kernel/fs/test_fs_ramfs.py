"""Files in memory: what tmpfs does, compared with the real one call by call when this was written."""

from __future__ import annotations

import pytest
from files import CWD, Files
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.abi.errno import EBUSY, EFBIG, EINVAL, EISDIR, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, ENXIO, EPERM, EXDEV
from kernel.abi.fcntl import S_IFDIR, S_IFIFO, S_IFREG, Open
from kernel.abi.structs import Stat

NOREPLACE, EXCHANGE = 1, 2


def seen(guest: Files, path: str) -> Stat:
    found = guest.stat(path, follow=False)
    assert isinstance(found, Stat), found
    return found


def test_a_new_folder_is_as_tmpfs_makes_it(root: Files) -> None:
    root.sys("mkdir", "/tmp/d", 0o777)
    folder = seen(root, "/tmp/d")
    assert (folder.st_mode, folder.st_nlink, folder.st_size) == (S_IFDIR | 0o755, 2, 40)
    root.sys("mkdir", "/tmp/d/e", 0o777)
    folder = seen(root, "/tmp/d")
    assert (folder.st_nlink, folder.st_size) == (3, 60)


def test_the_newest_name_comes_first_and_a_rename_makes_it_new(root: Files) -> None:
    for name in "abc":
        root.spill(f"/tmp/{name}", b"")
    root.sys("rename", "/tmp/a", "/tmp/z")
    assert root.names("/tmp") == ["z", "c", "b"]
    root.sys("renameat2", CWD, "/tmp/b", CWD, "/tmp/z", EXCHANGE)
    assert root.names("/tmp") == ["z", "b", "c"]


def test_a_listing_goes_on_where_it_was_when_names_come_and_go(root: Files) -> None:
    for i in range(300):
        root.spill(f"/tmp/n{i}", b"")
    fd = root.open("/tmp", Open.DIRECTORY)
    while names := root.next_names(fd, 300):
        for name in names:
            if name[0] == "n":
                assert root.sys("unlink", f"/tmp/{name}") == 0
    assert root.names("/tmp") == []


def test_a_getdents_that_faults_passes_nothing_over(root: Files) -> None:
    root.spill("/tmp/a", b"")
    fd = root.open("/tmp", Open.DIRECTORY)
    assert root.sys("getdents64", fd, 8, 1000) == -14
    assert root.sys("getdents64", fd, root.buf, 10) == -EINVAL
    assert root.sys("getdents64", fd, root.buf, 1000) == 72


@pytest.mark.parametrize(("old", "new", "flags", "errno"), [
    ("f", "g", 0, 0), ("f", "g", NOREPLACE, 17), ("f", "d", 0, EISDIR), ("d", "f", 0, ENOTDIR),
    ("d", "full", 0, ENOTEMPTY), ("full", "d", 0, 0), ("full", "full/sub/x", 0, EINVAL),
    ("full/sub", "full", 0, ENOTEMPTY), ("nope", "x", 0, ENOENT), ("f", "x/", 0, ENOTDIR), ("d", "x/", 0, 0),
    ("f", "d", EXCHANGE, 0), ("f", "nope", EXCHANGE, ENOENT), ("f", "g", 3, EINVAL), ("f", "g", 8, EINVAL),
    ("f", "/proc/x", 0, EXDEV), (".", "x", 0, EBUSY), ("d", "..", 0, EBUSY),
])  # fmt: skip
def test_rename(root: Files, old: str, new: str, flags: int, errno: int) -> None:
    root.sys("chdir", "/tmp")
    for name in ("d", "full", "full/sub"):
        root.sys("mkdir", name, 0o755)
    for name in ("f", "g"):
        root.spill(name, name.encode())
    assert root.sys("renameat2", CWD, old, CWD, new, flags) == -errno


def test_a_file_lives_as_long_as_somebody_holds_it(root: Files) -> None:
    frames = root.kernel.system.frames
    root.spill("/tmp/warm", bytes(100_000))
    root.slurp("/tmp/warm")
    root.sys("unlink", "/tmp/warm")
    before = frames.used
    fd = root.open("/tmp/f", Open.CREAT | Open.RDWR)
    assert root.write(fd, bytes(100_000)) == 100_000
    assert root.sys("unlink", "/tmp/f") == 0
    assert root.stat("/tmp/f") == -ENOENT
    assert root.pread(fd, 10, 99_995) == bytes(5)
    assert frames.used >= before + 25
    root.sys("close", fd)
    assert frames.used == before


def test_a_sparse_gigabyte_costs_nothing(root: Files) -> None:
    fd = root.open("/tmp/f", Open.CREAT | Open.RDWR)
    before = root.kernel.system.frames.used
    assert root.sys("ftruncate", fd, 1 << 50) == 0
    assert root.sys("pwrite64", fd, b"abc", 3, 1 << 40) == 3
    assert root.kernel.system.frames.used == before + 1
    assert seen(root, "/tmp/f").st_blocks == 8
    assert root.sys("lseek", fd, 0, 3) == 1 << 40  # SEEK_DATA
    assert root.sys("lseek", fd, 1 << 40, 4) == (1 << 40) + 4096  # SEEK_HOLE
    assert root.sys("lseek", fd, (1 << 40) + 5000, 3) == -ENXIO
    assert root.pread(fd, 8, (1 << 40) - 2) == b"\0\0abc\0\0\0"


def test_the_file_system_is_half_of_ram_and_says_so(root: Files) -> None:
    fd = root.open("/tmp/f", Open.CREAT | Open.RDWR)
    half = root.config.ram_bytes // 2
    assert root.sys("fallocate", fd, 0, 0, half + 4096) == -ENOSPC
    written = 0
    while (n := root.sys("write", fd, root.buf, 1 << 20)) > 0:
        written += n
    assert n == -ENOSPC
    assert half - (1 << 20) < written <= half
    assert root.sys("ftruncate", fd, 0) == 0
    assert root.sys("write", fd, root.buf, 1 << 20) == 1 << 20


def test_a_file_ends_at_rlimit_fsize(root: Files) -> None:
    limits = root.task.rlimits
    limits.set("FSIZE", 1000, 1 << 63)
    root.sys("rt_sigprocmask", 0, (1 << 24).to_bytes(8, "little"), 0, 8)  # SIGXFSZ
    fd = root.open("/tmp/f", Open.CREAT | Open.RDWR)
    assert root.sys("write", fd, root.buf, 2000) == 1000
    assert root.sys("write", fd, root.buf, 1) == -EFBIG
    assert root.sys("ftruncate", fd, 1001) == -EFBIG
    assert root.task.pending.bits == 1 << 24


def test_a_write_by_a_user_takes_the_setuid_bit_and_by_root_does_not(user: Files, root: Files) -> None:
    for guest, left in ((user, 0o777), (root, 0o6777)):
        fd = guest.open("/tmp/f", Open.CREAT | Open.RDWR)
        guest.sys("fchmod", fd, 0o6777)
        guest.write(fd, b"x")
        assert seen(guest, "/tmp/f").st_mode == S_IFREG | left


def test_a_setgid_folder_hands_its_group_down(root: Files) -> None:
    root.sys("mkdir", "/tmp/d", 0o755)
    root.sys("chown", "/tmp/d", -1, 7)
    root.sys("chmod", "/tmp/d", 0o2755)
    root.sys("mkdir", "/tmp/d/e", 0o755)
    root.spill("/tmp/d/f", b"")
    assert (seen(root, "/tmp/d/e").st_gid, seen(root, "/tmp/d/e").st_mode) == (7, S_IFDIR | 0o2755)
    assert (seen(root, "/tmp/d/f").st_gid, seen(root, "/tmp/d/f").st_mode) == (7, S_IFREG | 0o644)


def test_in_a_sticky_folder_only_owners_remove(user: Files) -> None:
    vfs = user.kernel.system.vfs
    vfs.write_file(b"/tmp/theirs", b"")
    assert user.sys("unlink", "/tmp/theirs") == -EPERM
    assert user.sys("rename", "/tmp/theirs", "/tmp/mine") == -EPERM


def test_times_move_with_virtual_time(root: Files) -> None:
    epoch = root.config.epoch_ns
    root.spill("/tmp/f", b"x")
    made = seen(root, "/tmp/f")
    assert abs(made.st_mtime * 10**9 + made.st_mtime_nsec - epoch) < 10**6
    root.sys("utimensat", CWD, "/tmp/f", (5).to_bytes(8, "little") * 4, 0)
    assert (seen(root, "/tmp/f").st_atime, seen(root, "/tmp/f").st_mtime) == (5, 5)


def test_a_fifo_is_opened_by_two_ends(root: Files) -> None:
    assert root.sys("mknod", "/tmp/p", S_IFIFO | 0o644, 0) == 0
    assert root.open("/tmp/p", Open.WRONLY | Open.NONBLOCK) == -ENXIO
    reader = root.open("/tmp/p", Open.RDONLY | Open.NONBLOCK)
    writer = root.open("/tmp/p", Open.WRONLY)
    assert root.write(writer, b"through") == 7
    assert root.read(reader) == b"through"
    root.sys("close", reader)
    root.sys("close", writer)
    assert root.sys("mknod", "/tmp/dev", 0o020644, 0) == -EPERM


def test_no_handler_of_a_removed_name_brings_it_back(root: Files) -> None:
    fd = root.open("/tmp", Open.TMPFILE | Open.RDWR, 0o600)
    root.write(fd, b"now named")
    assert root.sys("linkat", fd, "", CWD, "/tmp/named", 0x1000) == 0
    assert root.slurp("/tmp/named") == b"now named"
    root.sys("unlink", "/tmp/named")
    assert root.sys("linkat", root.open("/etc/passwd"), "", CWD, "/tmp/p", 0x1000) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("wtrpfz"), st.integers(0, 20_000), st.integers(0, 9_000)), max_size=25))
def test_a_file_is_its_bytes(steps: list[tuple[str, int, int]]) -> None:
    """Random writes, truncations, holes and allocations against a bytearray."""
    guest = _shared_guest()
    fd = guest.open("/tmp/oracle", Open.CREAT | Open.RDWR | Open.TRUNC)
    oracle = bytearray()
    for i, (step, at, n) in enumerate(steps):
        data = bytes([i + 1]) * n
        if step == "w":
            guest.sys("pwrite64", fd, data, n, at)
            if n:
                oracle += bytes(max(0, at + n - len(oracle)))
                oracle[at : at + n] = data
        elif step == "t":
            guest.sys("ftruncate", fd, at)
            oracle = oracle[:at] + bytes(max(0, at - len(oracle)))
        elif step == "p" and n:
            guest.sys("fallocate", fd, 3, at, n)
            end = min(len(oracle), at + n)
            oracle[at:end] = bytes(max(0, end - at))
        elif step == "f" and n:
            guest.sys("fallocate", fd, 0, at, n)
            oracle += bytes(max(0, at + n - len(oracle)))
        assert guest.pread(fd, n, at) == oracle[at : at + n]
    assert guest.pread(fd, 50_000, 0) == oracle
    guest.sys("close", fd)


_guests: list[Files] = []


def _shared_guest() -> Files:
    """One machine for all examples: each truncates its file first."""
    if not _guests:
        _guests.append(Files(uid=0, gid=0))
    return _guests[0]
