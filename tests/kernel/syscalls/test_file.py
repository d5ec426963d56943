"""open(2), stat(2), access(2), readlink(2) and what sets attributes, called as a guest calls them."""

from __future__ import annotations

import pytest
from files import BAD, CWD, Files

from kernel.abi.errno import (
    EACCES,
    EBADF,
    EEXIST,
    EFAULT,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENODATA,
    ENOENT,
    ENOTDIR,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    ETXTBSY,
)
from kernel.abi.fcntl import S_IFREG, UTIME_NOW, UTIME_OMIT, At, Open
from kernel.abi.structs import Stat, Statfs, Statx

C, W, RW = Open.CREAT, Open.WRONLY, Open.RDWR


@pytest.fixture
def guest() -> Files:
    """uid 1000 in /tmp with a file f, a folder d, and links: l → f, ld → d, dangling → nope, loop → loop."""
    made = Files(cwd="/tmp")
    made.spill("f", b"text")
    made.sys("mkdir", "d", 0o755)
    for target, name in (("f", "l"), ("d", "ld"), ("nope", "dangling"), ("loop", "loop")):
        made.sys("symlink", target, name)
    return made


@pytest.mark.parametrize(("name", "flags", "errno"), [
    ("f", 0, 0), ("f", C | Open.EXCL, EEXIST), ("f/", C, EISDIR), ("f/", 0, ENOTDIR), ("new/", C, EISDIR),
    ("d", RW, EISDIR), ("d", C, EISDIR), ("d", Open.DIRECTORY, 0), ("f", Open.DIRECTORY, ENOTDIR),
    ("d", C | Open.DIRECTORY, EINVAL), ("l", Open.NOFOLLOW, ELOOP), ("l", Open.NOFOLLOW | Open.PATH, 0),
    ("ld", Open.NOFOLLOW | Open.DIRECTORY, ENOTDIR), ("ld/", Open.NOFOLLOW | Open.DIRECTORY, 0),
    ("dangling", 0, ENOENT), ("dangling", C | Open.EXCL, EEXIST), ("dangling", C | W, 0), ("loop", 0, ELOOP),
    ("", C, ENOENT), ("/etc/new", C, EACCES), ("/etc/passwd", W, EACCES), ("/etc/passwd", Open.TRUNC, EACCES),
    ("f", 1 << 31, 0), ("d", Open.TMPFILE, EINVAL), ("f", Open.TMPFILE | RW, ENOTDIR),
    ("/etc/passwd", Open.NOATIME, EPERM), ("/proc/self/exe", RW, ETXTBSY), ("/dev/tty", RW, 6),
])  # fmt: skip
def test_open(guest: Files, name: str, flags: int, errno: int) -> None:
    if name == "/proc/self/exe":
        guest = Files(uid=0, gid=0)
    assert min(0, guest.open(name, flags)) == -errno


def test_wild_pointers_and_long_names(guest: Files) -> None:
    assert guest.call("open", BAD, 0, 0) == -EFAULT
    assert guest.sys("open", "a" * 5000, 0, 0) == -ENAMETOOLONG
    assert guest.sys("openat", 99, "f", 0, 0) == -EBADF
    assert guest.sys("openat", 99, "/tmp/f", 0, 0) == 3
    assert guest.sys("openat", 3, "f", 0, 0) == -ENOTDIR
    assert guest.sys("stat", "f", BAD) == -EFAULT
    assert guest.sys("creat", "made", 0o600) == 4


def test_a_new_file_has_the_mode_less_umask(guest: Files) -> None:
    assert guest.sys("umask", 0o7777027) == 0o022
    guest.open("new", C | RW, 0o6777)
    found = guest.stat("new")
    assert isinstance(found, Stat)
    assert found.st_mode == S_IFREG | 0o6750
    assert guest.sys("umask", 0) == 0o027


def test_truncation_happens_at_open(guest: Files) -> None:
    guest.open("f", Open.TRUNC | W)
    assert guest.slurp("f") == b""


def test_stat_and_its_kin_agree(guest: Files) -> None:
    fd = guest.open("f")
    texts = []
    for call in (("stat", "f", guest.buf), ("lstat", "f", guest.buf), ("fstat", fd, guest.buf),
                 ("newfstatat", CWD, "l", guest.buf, 0), ("newfstatat", fd, "", guest.buf, At.EMPTY_PATH)):  # fmt: skip
        assert guest.sys(*call) == 0
        texts.append(guest.get(Stat.SIZE, guest.buf))
    assert len(set(texts)) == 1
    found = Stat.unpack(texts[0])
    assert guest.sys("statx", CWD, "f", 0, 0xFFF, guest.buf) == 0
    extended = Statx.unpack(guest.get(Statx.SIZE, guest.buf))
    assert (extended.stx_ino, extended.stx_mode, extended.stx_size, extended.stx_mtime.tv_nsec) == (
        found.st_ino, found.st_mode, 4, found.st_mtime_nsec
    )  # fmt: skip
    assert extended.stx_mask & 0xFFF == 0xFFF


@pytest.mark.parametrize(("call", "errno"), [
    (("newfstatat", CWD, "", 0, 0), ENOENT), (("newfstatat", CWD, "f", 0, 0x10), EINVAL),
    (("stat", "loop/x", 0), ELOOP), (("statx", CWD, "f", 0x6000, 0, 0), EINVAL),
    (("statx", CWD, "f", 0, 1 << 31, 0), EINVAL), (("stat", "f/", 0), ENOTDIR),
    (("newfstatat", 99, "f", 0, 0), EBADF), (("newfstatat", 99, "", 0, At.EMPTY_PATH), EBADF),
])  # fmt: skip
def test_what_stat_refuses(guest: Files, call: tuple[str, int], errno: int) -> None:
    assert guest.sys(*call) == -errno


def test_access_goes_by_the_mode_even_for_root(guest: Files) -> None:
    root = Files(uid=0, gid=0, cwd="/tmp")
    for each in (guest, root):
        each.spill("plain", b"")
        each.sys("chmod", "plain", 0o004)
    assert guest.sys("access", "plain", 4) == -EACCES
    assert root.sys("access", "plain", 6) == 0
    assert root.sys("access", "plain", 1) == -EACCES  # nobody may execute it
    assert guest.sys("access", "f", 8) == -EINVAL
    assert guest.sys("access", "", 0) == -ENOENT
    assert guest.sys("faccessat2", CWD, "dangling", 0, At.SYMLINK_NOFOLLOW) == 0
    assert guest.sys("faccessat2", CWD, "f", 0, 0x4000) == -EINVAL


def test_readlink(guest: Files) -> None:
    assert guest.sys("readlink", "l", guest.buf, 100) == 1
    assert guest.sys("readlink", "dangling", guest.buf, 2) == 2
    assert guest.get(2, guest.buf) == b"no"
    for args, errno in ((("f", guest.buf, 9), EINVAL), (("l", guest.buf, 0), EINVAL), (("l", BAD, 9), EFAULT),
                        (("", guest.buf, 9), ENOENT)):  # fmt: skip
        assert guest.sys("readlink", *args) == -errno
    fd = guest.open("l", Open.PATH | Open.NOFOLLOW)
    assert guest.sys("readlinkat", fd, "", guest.buf, 9) == 1


def test_the_working_folder(guest: Files) -> None:
    assert guest.sys("chdir", "ld") == 0
    assert guest.sys("getcwd", guest.buf, 100) == 7
    assert guest.get(7, guest.buf) == b"/tmp/d\0"
    assert guest.sys("getcwd", guest.buf, 6) == -ERANGE
    assert guest.sys("getcwd", BAD, 100) == -EFAULT
    assert guest.sys("chdir", "../f") == -ENOTDIR
    assert guest.sys("fchdir", guest.open("../f")) == -ENOTDIR


def test_owners_and_modes(guest: Files) -> None:
    assert guest.sys("chmod", "/etc/passwd", 0o666) == -EPERM
    assert guest.sys("chown", "f", 0, -1) == -EPERM
    assert guest.sys("chown", "f", 1000, 1000) == guest.sys("chown", "/etc/passwd", -1, -1) == 0
    assert guest.sys("chmod", "loop", 0) == -ELOOP
    assert guest.sys("fchmodat2", CWD, "l", 0, At.SYMLINK_NOFOLLOW) == -EOPNOTSUPP
    root = Files(uid=0, gid=0, cwd="/tmp")
    root.spill("s", b"", 0o6755)
    assert root.sys("chown", "s", 5, 6) == 0
    found = root.stat("s")
    assert isinstance(found, Stat)
    assert (found.st_uid, found.st_gid, found.st_mode) == (5, 6, S_IFREG | 0o755)


def timespecs(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


@pytest.mark.parametrize(("dirfd", "path", "times", "flags", "errno"), [
    (CWD, "f", timespecs(1, 2, 3, 4), 0, 0), (CWD, "f", timespecs(1, 10**9, 3, 4), 0, EINVAL), (CWD, "f", 0, 0, 0),
    (CWD, "nope", timespecs(0, UTIME_OMIT, 0, UTIME_OMIT), 0x999, 0), (CWD, "/etc/passwd", 0, 0, EACCES),
    (CWD, "/etc/passwd", timespecs(1, 2, 3, 4), 0, EPERM), (CWD, "f", BAD, 0, EFAULT), (CWD, "f", 0, 0x10000, EINVAL),
    (CWD, "/etc/passwd", timespecs(0, UTIME_NOW, 0, UTIME_NOW), 0, EACCES), (99, 0, 0, 0, EBADF),
    (CWD, 0, 0, 0, EFAULT),
])  # fmt: skip
def test_utimensat(guest: Files, dirfd: int, path: str | int, times: bytes | int, flags: int, errno: int) -> None:
    assert guest.sys("utimensat", dirfd, path, times, flags) == -errno


def test_extended_attributes(guest: Files) -> None:
    assert guest.sys("setxattr", "f", "user.a", b"value", 5, 0) == 0
    assert guest.sys("getxattr", "f", "user.a", guest.buf, 100) == 5
    assert guest.sys("listxattr", "f", guest.buf, 100) == 7
    for name, args, errno in (
        ("setxattr", ("f", "user.a", b"x", 1, 1), EEXIST), ("setxattr", ("f", "user.b", b"x", 1, 2), ENODATA),
        ("getxattr", ("f", "user.a", guest.buf, 2), ERANGE), ("getxattr", ("f", "none", guest.buf, 2), EOPNOTSUPP),
        ("setxattr", ("f", "trusted.a", b"x", 1, 0), EPERM), ("lsetxattr", ("l", "user.a", b"x", 1, 0), EPERM),
        ("removexattr", ("f", "user.b"), ENODATA),
    ):  # fmt: skip
        assert guest.sys(name, *args) == -errno


def test_statfs_says_tmpfs(guest: Files) -> None:
    assert guest.sys("statfs", "/tmp", guest.buf) == 0
    found = Statfs.unpack(guest.get(Statfs.SIZE, guest.buf))
    assert (found.f_type, found.f_bsize, found.f_namelen) == (0x01021994, 4096, 255)
    assert found.f_blocks == guest.config.ram_bytes // 8192
