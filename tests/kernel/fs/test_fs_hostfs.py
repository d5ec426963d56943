"""Host folders: shown as they are, never left, by no path, link or race; read-only unless asked."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from files import CWD, Files

from kernel.abi.errno import EACCES, EINVAL, ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM, EROFS, ESTALE, EXDEV, LinuxError
from kernel.abi.fcntl import S_IFIFO, Open
from kernel.abi.structs import Stat
from kernel.config import Mount

Maker = Callable[..., Files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host folder `shown`, beside a `secret` that is not."""
    shown = tmp_path / "shown"
    (shown / "sub").mkdir(parents=True)
    (shown / "f").write_bytes(b"content\n")
    (shown / "sub" / "g").write_bytes(b"g")
    (tmp_path / "secret").write_bytes(b"secret")
    os.utime(shown / "f", (1_000_000_000, 1_000_000_000))
    return shown


@pytest.fixture
def mounted(folder: Path) -> Maker:
    """Guests that have it at /m, read-only or (`rw`) not."""

    def make(rw: bool = False, **config: object) -> Files:
        return Files(mounts=(Mount(str(folder), "/m", writable=rw),), **{"uid": 0, "gid": 0, **config})

    return make


def test_a_file_is_shown_with_the_hosts_attributes(mounted: Maker, folder: Path) -> None:
    guest = mounted()
    found, host = guest.stat("/m/f"), os.stat(folder / "f")
    assert isinstance(found, Stat)
    assert (found.st_mode, found.st_size, found.st_nlink, found.st_uid) == (
        host.st_mode, host.st_size, host.st_nlink, host.st_uid
    )  # fmt: skip
    assert (found.st_mtime, found.st_blocks) == (1_000_000_000, host.st_blocks)
    assert guest.slurp("/m/f") == b"content\n"


def test_inode_numbers_repeat_from_run_to_run(mounted: Maker) -> None:
    def numbers() -> list[int]:
        guest = mounted()
        guest.names("/m")
        return [found.st_ino for name in ("f", "sub", "sub/g") if isinstance(found := guest.stat(f"/m/{name}"), Stat)]

    assert numbers() == numbers() == [2, 3, 4]


def test_names_are_sorted_and_those_of_mount_points_among_them(mounted: Maker, folder: Path) -> None:
    (folder / "a").write_bytes(b"")
    (folder / b"\xff".decode("utf-8", "surrogateescape")).write_bytes(b"")
    guest = mounted()
    assert guest.names("/m") == ["a", "f", "sub", "\udcff"]
    assert guest.slurp("/m/\udcff") == b""


@pytest.mark.parametrize("name", [
    "/m/../secret", "/m/out", "/m/sub/../../secret", "/m/loop/../../secret", "/m/up/secret", "/m/etc/hostname",
    "/m/sub/up2/secret",
])  # fmt: skip
def test_nothing_outside_is_reached(mounted: Maker, folder: Path, name: str) -> None:
    (folder / "out").symlink_to(folder.parent / "secret")
    (folder / "loop").symlink_to(".")
    (folder / "up").symlink_to("..")
    (folder / "etc").symlink_to("/etc")
    (folder / "sub" / "up2").symlink_to("../..")
    guest = mounted(hostname="the-guest")
    if name == "/m/etc/hostname":
        assert guest.slurp(name) == b"the-guest\n"  # an absolute link leads to the guest's own root
    else:
        assert guest.open(name) in (-ENOENT, -ENOTDIR)


def test_a_folder_exchanged_for_a_link_is_not_followed(mounted: Maker, folder: Path) -> None:
    """What was a folder when it was looked up is a link to the outside when its file is opened."""
    guest = mounted()
    path = guest.kernel.system.vfs.find(b"/m/sub/g")
    cwd = guest.sys("chdir", "/m/sub")
    assert cwd == 0
    os.rename(folder / "sub", folder / "moved")
    (folder.parent / "g").write_bytes(b"outside")
    (folder / "sub").symlink_to("..")
    with pytest.raises(LinuxError) as refused:
        path.inode.open(path, 0)
    assert refused.value.errno in (ENOTDIR, ELOOP)
    assert guest.open("g") in (-ENOTDIR, -ELOOP, -ESTALE)
    assert guest.open(".") in (-ENOTDIR, -ELOOP, -ESTALE)


def test_a_file_exchanged_for_another_is_not_opened(mounted: Maker, folder: Path) -> None:
    guest = mounted()
    path = guest.kernel.system.vfs.find(b"/m/f")
    os.rename(folder / "f", folder / "kept")
    (folder / "f").symlink_to("../secret")
    with pytest.raises(LinuxError):
        path.inode.open(path, 0)
    os.unlink(folder / "f")
    os.mkfifo(folder / "f")  # opening it would wait for ever
    with pytest.raises(LinuxError):
        path.inode.open(path, 0)


def test_fifos_sockets_and_devices_are_seen_and_not_opened(
    mounted: Maker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(folder)  # a socket's name is short
        server.bind("sock")
        guest = mounted()
        for name, kind in (("fifo", stat.S_ISFIFO), ("sock", stat.S_ISSOCK)):
            found = guest.stat(f"/m/{name}")
            assert isinstance(found, Stat)
            assert kind(found.st_mode)
            assert guest.open(f"/m/{name}", Open.RDWR | Open.NONBLOCK) in (-ENXIO, -EROFS)
            assert guest.open(f"/m/{name}", Open.RDONLY) == -ENXIO


@pytest.mark.parametrize(("name", "args"), [
    ("mkdir", ("/m/new", 0o755)), ("unlink", ("/m/f",)), ("rmdir", ("/m/sub",)), ("symlink", ("x", "/m/new")),
    ("link", ("/m/f", "/m/new")), ("rename", ("/m/f", "/m/new")), ("chmod", ("/m/f", 0o600)), ("truncate", ("/m/f", 0)),
    ("chown", ("/m/f", 0, 0)), ("utimensat", (CWD, "/m/f", 0, 0)), ("open", ("/m/f", Open.RDWR)),
    ("open", ("/m/new", Open.CREAT)), ("open", ("/m/f", Open.TRUNC)), ("access", ("/m/f", 2)),
])  # fmt: skip
def test_a_read_only_mount_refuses_every_change(
    mounted: Maker, folder: Path, name: str, args: tuple[int | str, ...]
) -> None:
    guest = mounted()
    assert guest.sys(name, *args, *([0o644] if name == "open" else [])) == -EROFS
    assert sorted(os.listdir(folder)) == ["f", "sub"]
    assert (folder / "f").read_bytes() == b"content\n"


def test_what_a_guest_writes_is_on_the_host(mounted: Maker, folder: Path) -> None:
    guest = mounted(rw=True)
    guest.sys("umask", 0)
    guest.spill("/m/new", b"written", 0o666)
    assert (folder / "new").read_bytes() == b"written"
    assert os.stat(folder / "new").st_mode & 0o777 == 0o666  # the host's umask has no say
    assert guest.sys("mkdir", "/m/d", 0o751) == 0
    assert os.stat(folder / "d").st_mode & 0o777 == 0o751
    assert guest.sys("symlink", "new", "/m/d/l") == 0
    assert os.readlink(folder / "d" / "l") == "new"
    assert guest.sys("link", "/m/new", "/m/d/h") == 0
    assert guest.sys("rename", "/m/d/h", "/m/moved") == 0
    assert guest.sys("truncate", "/m/moved", 3) == 0
    assert (folder / "moved").read_bytes() == (folder / "new").read_bytes() == b"wri"
    assert guest.sys("chmod", "/m/new", 0o600) == 0
    assert os.stat(folder / "new").st_mode & 0o777 == 0o600
    assert [guest.sys("unlink", f"/m/{name}") for name in ("new", "moved", "d/l")] == [0, 0, 0]
    assert guest.sys("rmdir", "/m/d") == 0
    assert sorted(os.listdir(folder)) == ["f", "sub"]


def test_times_of_what_a_guest_changed_are_virtual(mounted: Maker) -> None:
    guest = mounted(rw=True)
    guest.spill("/m/new", b"x")
    found = guest.stat("/m/new")
    assert isinstance(found, Stat)
    assert abs(found.st_mtime - guest.config.epoch_ns // 10**9) <= 1


def test_nothing_dangerous_is_made_on_the_host(mounted: Maker, folder: Path) -> None:
    guest = mounted(rw=True)
    assert guest.sys("chmod", "/m/f", 0o4755) == -EPERM
    assert guest.open("/m/new", Open.CREAT | Open.RDWR, 0o4755) == -EPERM
    assert guest.sys("mknod", "/m/p", S_IFIFO | 0o644, 0) == -EPERM
    assert guest.sys("link", "/etc/passwd", "/m/passwd") == -EXDEV
    assert guest.sys("rename", "/etc/passwd", "/m/passwd") == -EXDEV


def test_mode_bits_hold_for_the_guests_user(mounted: Maker, folder: Path) -> None:
    """What belongs to the user who runs us is the guest's user's; what does not is not, whatever the host allows."""
    os.chmod(folder / "f", 0o400)
    (folder / "other").write_bytes(b"")
    os.chmod(folder / "other", 0o000)
    guest = mounted(uid=1000, gid=1000)
    assert guest.slurp("/m/f") == b"content\n"
    assert guest.open("/m/other") == -EACCES


def test_a_shared_mapping_reaches_the_host_and_reads_agree(mounted: Maker, folder: Path) -> None:
    (folder / "f").write_bytes(bytes(10_000))
    guest = mounted(rw=True)
    fd = guest.open("/m/f", Open.RDWR)
    at = guest.map(fd, 12288)
    guest.put(b"stored", at + 4090)
    assert guest.pread(fd, 6, 4090) == b"stored"
    guest.sys("pwrite64", fd, b"written", 7, 8000)
    assert guest.get(7, at + 8000) == b"written"
    assert guest.sys("msync", at, 12288, 4) == 0
    assert (folder / "f").read_bytes()[4090:4096] == b"stored"
    guest.put(b"again", at + 4090)
    guest.sys("munmap", at, 12288)
    assert (folder / "f").read_bytes()[4090:4096] == b"againd"
    assert os.stat(folder / "f").st_size == 10_000


def test_a_private_mapping_leaves_the_host_alone(mounted: Maker, folder: Path) -> None:
    guest = mounted()
    fd = guest.open("/m/f")
    at = guest.map(fd, 4096, 2)
    guest.put(b"mine", at)
    assert guest.get(8, at) == b"mineent\n"
    assert guest.pread(fd, 8, 0) == b"content\n"
    assert guest.sys("mmap", 0, 4096, 3, 1, fd, 0) == -EACCES


def test_no_host_descriptor_is_left_behind(mounted: Maker, folder: Path) -> None:
    guest = mounted(rw=True)
    before = len(os.listdir("/proc/self/fd"))
    for i in range(20):
        fd = guest.open("/m/f", Open.RDWR)
        at = guest.map(fd, 4096)
        guest.put(b"x", at)
        guest.sys("close", fd)
        guest.names("/m")
        guest.stat("/m/sub/g")
        guest.open(f"/m/nope{i}")
        guest.sys("munmap", at, 4096)
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_file_can_be_mounted_too(folder: Path) -> None:
    guest = Files(mounts=(Mount(str(folder / "f"), "/data/here"),))
    assert guest.slurp("/data/here") == b"content\n"
    assert guest.names("/data") == ["here"]
    assert guest.sys("unlink", "/data/here") == -EACCES


def test_mounts_nest_whether_the_place_is_there_or_not(folder: Path) -> None:
    mounts = (Mount(str(folder), "/m"), Mount(str(folder / "sub"), "/m/not/there"), Mount(str(folder), "/m/sub"))
    guest = Files(mounts=mounts)
    assert guest.slurp("/m/not/there/g") == b"g"
    assert guest.slurp("/m/sub/sub/../f") == b"content\n"
    assert guest.names("/m") == ["f", "sub", "not"]
    assert not (folder / "not").exists()
    assert guest.sys("chdir", "/m/not/there") == 0
    assert guest.slurp("../../f") == b"content\n"


def test_a_mount_that_cannot_be_is_an_error_not_a_surprise(folder: Path) -> None:
    with pytest.raises(LinuxError) as refused:
        Files(mounts=(Mount(str(folder / "nope"), "/m"),))
    assert refused.value.errno == ENOENT
    with pytest.raises(LinuxError) as refused:
        Files(mounts=(Mount(str(folder), "/"),))
    assert refused.value.errno == EINVAL
