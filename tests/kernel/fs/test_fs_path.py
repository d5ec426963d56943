"""Path lookup: symlinks, dots, mounts, limits and rights, as path_resolution(7) says."""

from __future__ import annotations

import struct

import pytest
from files import CWD, Files

from kernel.abi.errno import EACCES, EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, EXDEV
from kernel.abi.fcntl import Open


@pytest.fixture
def tree(root: Files) -> Files:
    """/tmp/d with a file f, a folder e, and links: up → .., abs → /etc, le → e."""
    root.sys("mkdir", "/tmp/d", 0o755)
    root.sys("mkdir", "/tmp/d/e", 0o755)
    root.spill("/tmp/d/f", b"f")
    for target, name in (("..", "up"), ("/etc", "abs"), ("e", "le"), ("self", "self")):
        root.sys("symlink", target, f"/tmp/d/{name}")
    return root


@pytest.mark.parametrize("name", [
    "/tmp/d/f", "/tmp//d///f", "/tmp/./d/e/../f", "/../../tmp/d/f", "/tmp/d/up/d/f",
    "/tmp/d/le/../f", "/tmp/d/abs/../tmp/d/f",
])  # fmt: skip
def test_all_these_names_are_one_file(tree: Files, name: str) -> None:
    assert tree.slurp(name) == b"f"


@pytest.mark.parametrize(("name", "errno"), [
    ("", ENOENT), ("/tmp/nope", ENOENT), ("/tmp/d/f/", ENOTDIR), ("/tmp/d/f/.", ENOTDIR), ("/tmp/d/f/x", ENOTDIR),
    ("/tmp/d/self", ELOOP), ("/tmp/d/self/x", ELOOP), ("/" + "a" * 256, ENAMETOOLONG), ("/" * 4096, ENAMETOOLONG),
    ("/" * 4095, 0), ("/" + "a" * 255, ENOENT), ("/tmp/d/e/", 0), ("/tmp/d/le/", 0),
])  # fmt: skip
def test_what_a_lookup_refuses(tree: Files, name: str, errno: int) -> None:
    assert min(0, tree.open(name)) == -errno


def test_forty_links_are_followed_and_no_more(tree: Files) -> None:
    last = "f"
    for i in range(41):
        tree.sys("symlink", last, f"/tmp/d/l{i}")
        last = f"l{i}"
    assert tree.open("/tmp/d/l39") > 0
    assert tree.open("/tmp/d/l40") == -ELOOP


def test_a_thousand_folders_deep_is_as_deep_as_any(root: Files) -> None:
    assert root.sys("chdir", "/tmp") == 0
    for _ in range(1000):
        assert root.sys("mkdir", "deeper", 0o755) == 0
        assert root.sys("chdir", "deeper") == 0
    root.spill("f", b"here")
    assert root.sys("getcwd", root.buf, 4096) == -ENAMETOOLONG
    assert root.slurp("f") == b"here"


def test_a_folder_without_x_cannot_be_searched_but_by_root(user: Files, root: Files) -> None:
    for guest, expected in ((user, -EACCES), (root, 0)):
        guest.sys("mkdir", "/tmp/d", 0o700)
        guest.spill("/tmp/d/f", b"")
        guest.sys("chmod", "/tmp/d", 0o600)
        assert min(0, guest.open("/tmp/d/f")) == expected
        assert min(0, guest.open("/tmp/d/nope")) == (expected or -ENOENT)


def test_a_mode_is_asked_of_the_first_class_that_fits(user: Files) -> None:
    user.spill("/tmp/f", b"")
    user.sys("chmod", "/tmp/f", 0o077)
    assert user.open("/tmp/f") == -EACCES  # the owner's bits count, not the better ones of others


def test_a_removed_working_folder_is_nowhere(root: Files) -> None:
    root.sys("mkdir", "/tmp/gone", 0o755)
    root.sys("chdir", "/tmp/gone")
    root.sys("rmdir", "/tmp/gone")
    assert root.sys("getcwd", root.buf, 100) == -ENOENT
    assert root.open("x", Open.CREAT | Open.RDWR) == -ENOENT
    assert root.open("..") > 0
    assert root.sys("readlink", "/proc/self/cwd", root.buf, 100) == len(text := b"/tmp/gone (deleted)")
    assert root.get(len(text), root.buf) == text


BENEATH, IN_ROOT, NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV = 8, 16, 4, 2, 1


@pytest.mark.parametrize(("name", "resolve", "errno"), [
    ("f", BENEATH, 0), ("e/../f", BENEATH, 0), ("..", BENEATH, EXDEV), ("abs", BENEATH, EXDEV), ("/f", BENEATH, EXDEV),
    ("up", BENEATH, EXDEV), ("/f", IN_ROOT, 0), ("../../f", IN_ROOT, 0), ("abs", IN_ROOT, ENOENT), ("up/f", IN_ROOT, 0),
    ("le", NO_SYMLINKS, ELOOP), ("/proc/self/exe", NO_MAGICLINKS, ELOOP), ("/proc/self/status", NO_XDEV, EXDEV),
    ("f", BENEATH | IN_ROOT, EINVAL), ("f", 0x100, EINVAL),
])  # fmt: skip
def test_openat2_resolves_as_far_as_it_may(tree: Files, name: str, resolve: int, errno: int) -> None:
    dirfd = tree.open("/tmp/d", Open.PATH)
    assert min(0, tree.sys("openat2", dirfd, name, struct.pack("<3Q", 0, 0, resolve), 24)) == -errno


def test_names_that_are_taken_or_not_there(tree: Files) -> None:
    assert tree.sys("mkdir", "/tmp/d", 0o755) == -EEXIST
    assert tree.sys("mkdir", "/", 0o755) == -EEXIST
    assert tree.sys("symlink", "x", "/tmp/d/f") == -EEXIST
    assert tree.sys("link", "/tmp/d", "/tmp/d2") == -EPERM
    assert tree.sys("link", "/tmp/d/f", "/proc/x") == -ENOENT
    assert tree.sys("linkat", CWD, "/tmp/d/f", CWD, "/tmp/d/g", 0x10) == -EINVAL
