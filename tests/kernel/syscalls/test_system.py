"""System syscalls: names, limits, use, randomness, prctl."""

from __future__ import annotations

import struct

import pytest
from fakes import DATA, Spin, Touch, World

from kernel.abi.errno import EFAULT, EINVAL, EPERM, ESRCH
from kernel.abi.sched import Pr

BAD = 8
INFINITY = (1 << 64) - 1


@pytest.fixture
def world() -> World:
    return World()


def test_uname_is_the_configs() -> None:
    world = World(hostname="somewhere", release="6.18.0")
    world.call("uname", DATA)
    fields = [world.get(65, DATA + 65 * i).split(b"\0")[0] for i in range(6)]
    assert fields[:3] == [b"Linux", b"somewhere", b"6.18.0"]
    assert fields[4:] == [b"x86_64", b"(none)"]
    assert world.call("uname", BAD) == -EFAULT


def test_the_hostname_is_roots_to_set(world: World) -> None:
    assert world.call("sethostname", DATA, 1) == -EPERM
    root = World(uid=0)
    root.put(b"here")
    assert root.call("sethostname", DATA, 65) == -EINVAL
    assert root.call("sethostname", DATA, 4) == 0
    assert root.kernel.system.hostname == "here"


def test_sysinfo_counts_our_memory(world: World) -> None:
    assert world.call("sysinfo", DATA) == 0
    uptime, _, _, _, total, free = struct.unpack("<q5Q", world.get(48))
    assert uptime == 1000
    assert total == 64 << 20
    assert total - free == world.kernel.system.frames.used * 4096


def test_random_bytes_follow_from_the_seed() -> None:
    def draw(seed: int) -> bytes:
        world = World(seed=seed)
        assert world.call("getrandom", DATA, 16, 0) == 16
        return world.get(16)

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize(
    ("args", "value"),
    [((DATA, 16, 8), -EINVAL), ((DATA, 16, 6), -EINVAL), ((BAD, 16, 0), -EFAULT), ((BAD, 0, 0), 0),
     ((INFINITY - 7, 16, 0), -EFAULT), ((DATA + 0x1FF0, 100, 0), 16)],
)  # fmt: skip
def test_getrandom_checks(world: World, args: tuple[int, ...], value: int) -> None:
    assert world.call("getrandom", *args) == value


def limit(world: World, soft: int, hard: int) -> int:
    return world.put(struct.pack("<QQ", soft, hard))


def test_limits_go_down_and_not_up_again(world: World) -> None:
    assert world.call("setrlimit", 7, limit(world, 512, 600)) == 0
    assert world.call("prlimit64", 0, 7, 0, DATA) == 0
    assert struct.unpack("<QQ", world.get(16)) == (512, 600)
    assert world.call("setrlimit", 7, limit(world, 512, 601)) == -EPERM
    assert world.call("setrlimit", 7, limit(world, 5, 4)) == -EINVAL
    assert World(uid=0).call("setrlimit", 7, DATA) == 0


@pytest.mark.parametrize(
    ("args", "value"),
    [((0, 99, 0, 0), -EINVAL), ((4242, 7, 0, 0), -ESRCH), ((0, 99, BAD, 0), -EFAULT), ((0, 7, 0, BAD), -EFAULT),
     ((1000, 7, 0, 0), 0)],
)  # fmt: skip
def test_prlimit_checks(world: World, args: tuple[int, ...], value: int) -> None:
    assert world.call("prlimit64", *args) == value


def test_rusage_counts_instructions_and_faults(world: World) -> None:
    world.play(Spin(3_000_000), Touch(DATA + 0x1000))
    assert world.call("getrusage", 0, DATA) == 0
    fields = struct.unpack("<16q", world.get(128))
    assert (fields[0], fields[1]) == (0, world.cpu.insns // 1000)
    assert fields[4] >= 2 * 4
    assert fields[8] > 0
    assert world.call("getrusage", -1, DATA) == 0
    assert world.get(128) == bytes(128)
    assert world.call("getrusage", 2, DATA) == -EINVAL
    assert world.call("getrusage", -2, DATA) == -EINVAL


def test_priorities(world: World) -> None:
    assert world.call("getpriority", 0, 0) == 20
    assert world.call("setpriority", 0, 0, 100) == 0
    assert world.call("getpriority", 0, 0) == 1
    assert world.call("setpriority", 0, 0, 0) == -13
    assert world.call("getpriority", 3, 0) == -EINVAL
    assert world.call("getpriority", 0, 4242) == -ESRCH


def test_the_name_of_a_thread(world: World) -> None:
    world.put(b"abcdefghijklmnopqrst\0")
    assert world.call("prctl", Pr.SET_NAME, DATA) == 0
    assert world.task.comm == "abcdefghijklmno"
    assert world.call("prctl", Pr.GET_NAME, DATA) == 0
    assert world.get(16) == b"abcdefghijklmno\0"
    assert world.call("prctl", Pr.SET_NAME, BAD) == -EFAULT


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ((Pr.GET_DUMPABLE,), 1),
        ((Pr.SET_DUMPABLE, 2), -EINVAL),
        ((Pr.SET_PDEATHSIG, 65), -EINVAL),
        ((Pr.GET_NO_NEW_PRIVS, 1), -EINVAL),
        ((Pr.SET_NO_NEW_PRIVS, 2), -EINVAL),
        ((Pr.GET_TIMERSLACK,), 50_000),
        ((Pr.CAPBSET_READ, 40), 1),
        ((Pr.CAPBSET_READ, 41), -EINVAL),
        ((Pr.SET_THP_DISABLE, 1, 2), 0),
        ((Pr.SET_THP_DISABLE, 1, 1), -EINVAL),
        ((Pr.SET_VMA, 0, DATA, 4096, 0), -EINVAL),
        ((9999,), -EINVAL),
    ],
)
def test_prctl(world: World, args: tuple[int, ...], value: int) -> None:
    assert world.call("prctl", *args) == value


def test_personality_is_kept(world: World) -> None:
    assert world.call("personality", 0xFFFFFFFF) == 0
    assert world.call("personality", 0x0040000) == 0
    assert world.call("personality", 0xFFFFFFFF) == 0x0040000
