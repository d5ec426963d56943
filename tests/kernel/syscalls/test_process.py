"""Process syscalls: identity, rights, exec, exit."""

from __future__ import annotations

import struct

import pytest
from fakes import CODE, DATA, Syscall, World, elf, phdr

from kernel.abi.errno import (
    E2BIG,
    EACCES,
    EBADF,
    ECHILD,
    EFAULT,
    EINVAL,
    ELOOP,
    ENOENT,
    ENOEXEC,
    EPERM,
    ESRCH,
)  # fmt: skip
from kernel.abi.nr import NR
from kernel.abi.signal import SIG_IGN, SIGHUP, SIGUSR1
from kernel.events import SyscallExit, TaskExit
from kernel.kernel import Outcome

BAD = 8
KEEP = 0xFFFFFFFF
M64 = (1 << 64) - 1


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def root() -> World:
    return World(uid=0, gid=0)


def ids(world: World, which: str) -> tuple[int, ...]:
    assert world.call(f"getres{which}", DATA, DATA + 4, DATA + 8) == 0
    return struct.unpack("<III", world.get(12))


def test_who_it_is_follows_from_the_config() -> None:
    world = World(pid=77, ppid=7, uid=5, gid=6)
    names = ("getpid", "gettid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid")
    assert [world.call(name) for name in names] == [77, 77, 7, 77, 5, 5, 6, 6]


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("getpgid", (4242,), -ESRCH),
        ("getsid", (4242,), -ESRCH),
        ("getsid", (0,), 999),
        ("setpgid", (0, -1), -EINVAL),
        ("setpgid", (4242, 0), -ESRCH),
        ("setpgid", (0, 4242), -EPERM),
        ("setpgid", (0, 0), 0),
        ("setsid", (), -EPERM),
        ("wait4", (-1, 0, 0, 0), -ECHILD),
        ("wait4", (-1, 0, 0x100, 0), -EINVAL),
        ("wait4", (-(1 << 31), 0, 0, 0), -ESRCH),
        ("waitid", (0, 0, 0, 4, 0), -ECHILD),
        ("waitid", (0, 0, 0, 0, 0), -EINVAL),
        ("waitid", (9, 0, 0, 4, 0), -EINVAL),
        ("waitid", (1, 0, 0, 4, 0), -EINVAL),
        ("waitid", (3, 99, 0, 4, 0), -EBADF),
        ("getgroups", (-1, 0), -EINVAL),
        ("setgroups", (0, 0), -EPERM),
        ("setuid", (0,), -EPERM),
        ("setuid", (KEEP,), -EINVAL),
        ("setuid", (1000,), 0),
        ("setresuid", (0, KEEP, KEEP), -EPERM),
        ("setreuid", (1000, 1000), 0),
        ("ptrace", (0, 0, 0, 0), -EPERM),
        ("capget", (BAD, DATA), -EFAULT),
    ],
)
def test_an_unprivileged_process_gets(world: World, name: str, args: tuple[int, ...], value: int) -> None:
    assert world.call(name, *args) == value


def test_root_gives_itself_away_in_steps(root: World) -> None:
    assert root.call("setresuid", KEEP, 1000, KEEP) == 0
    assert ids(root, "uid") == (0, 1000, 0)
    assert root.call("setuid", 7) == -EPERM
    assert root.call("setuid", 0) == 0
    assert ids(root, "uid") == (0, 0, 0)
    assert root.call("setreuid", 1000, 1000) == 0
    assert ids(root, "uid") == (1000, 1000, 1000)
    assert root.call("setuid", 0) == -EPERM
    assert not root.task.mm.privileged


def test_setfsuid_tells_the_old_one_only(root: World) -> None:
    assert root.call("setfsuid", 5) == 0
    assert root.call("setfsuid", KEEP) == 5


def test_groups_are_set_and_read(root: World) -> None:
    root.put(struct.pack("<II", 7, 8))
    assert root.call("setgroups", 2, DATA) == 0
    assert root.call("getgroups", 0, 0) == 2
    assert root.call("getgroups", 1, DATA) == -EINVAL
    assert root.call("getgroups", 2, DATA + 8) == 2
    assert root.get(8, DATA + 8) == struct.pack("<II", 7, 8)
    assert root.call("setgroups", 1 << 20, DATA) == -EINVAL


def test_capabilities_are_roots(root: World, world: World) -> None:
    for each, caps in ((root, 0x1FF_FFFF_FFFF), (world, 0)):
        each.put(struct.pack("<Ii", 0x20080522, 0))
        assert each.call("capget", DATA, DATA + 8) == 0
        words = struct.unpack("<6I", each.get(24, DATA + 8))
        assert words[0] | words[3] << 32 == caps
    world.put(struct.pack("<Ii", 1, 0))
    assert world.call("capget", DATA, DATA + 8) == -EINVAL
    assert world.get(4) == struct.pack("<I", 0x20080522)


# exec


def put_strings(world: World, at: int, *texts: bytes) -> int:
    """A NULL-terminated array at `at`, its strings behind it."""
    text_at = at + 8 * (len(texts) + 1)
    pointers = []
    for text in texts:
        world.put(text + b"\0", text_at)
        pointers.append(text_at)
        text_at += len(text) + 1
    world.put(struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0), at)
    return at


def run(world: World, path: bytes, *argv: bytes) -> int:
    world.put(path + b"\0", DATA + 0x800)
    before = len(world.cpu.results)
    world.play(Syscall(NR["execve"], (DATA + 0x800, put_strings(world, DATA, *argv), 0)))
    return world.cpu.results[-1] if len(world.cpu.results) > before else 0


def first_strings(world: World) -> list[bytes]:
    argc = world.u64(world.cpu.regs.rsp)
    return [
        world.task.mm.strncpy_from_user(world.u64(world.cpu.regs.rsp + 8 + 8 * i), 4096) for i in range(argc)
    ]


def test_execve_starts_another_program_and_forgets_the_old(world: World) -> None:
    vfs = world.kernel.system.vfs
    vfs.write_file(b"/other", elf(phdr(vaddr=0x500000), entry=0x500123), 0o755)
    old = world.kernel.system.frames.used
    world.put(struct.pack("<QQQQ", 0x401100, 0x04000000, 0x401200, 0))
    world.call("rt_sigaction", SIGUSR1, DATA, 0, 8)
    world.put(struct.pack("<QQQQ", SIG_IGN, 0, 0, 0))
    world.call("rt_sigaction", SIGHUP, DATA, 0, 8)
    world.call("arch_prctl", 0x1002, 0x1234)
    seen = world.watch(SyscallExit)
    assert run(world, b"/other", b"one", b"two") == 0
    assert world.cpu.regs.rip == 0x500123
    assert first_strings(world) == [b"one", b"two"]
    assert world.task.comm == "other"
    assert world.task.process.actions == {SIGHUP: world.task.process.actions[SIGHUP]}
    assert world.cpu.fs_base == 0
    assert world.task.mm.find(0x400000) is None
    assert world.kernel.system.frames.used <= old + 2
    assert seen[0].shown == "0"


@pytest.mark.parametrize(
    ("path", "content", "mode", "value"),
    [
        (b"/nothing", None, 0, -ENOENT),
        (b"/tmp", None, 0, -EACCES),
        (b"/plain", elf(), 0o644, -EACCES),
        (b"/text", b"hello\n", 0o755, -ENOEXEC),
        (b"/script", b"#!/nothing\n", 0o755, -ENOENT),
        (b"/script", b"#!\n", 0o755, -ENOEXEC),
        (b"/script", b"#!/script\n", 0o755, -ELOOP),
        (b"", None, 0, -ENOENT),
    ],
)
def test_what_execve_refuses_leaves_the_program_as_it_was(
    world: World, path: bytes, content: bytes | None, mode: int, value: int
) -> None:
    if content is not None:
        world.kernel.system.vfs.write_file(path, content, mode)
    assert run(world, path, b"x") == value
    assert world.get(1, CODE) == b"\x90"


def test_a_script_runs_its_interpreter_with_one_argument(world: World) -> None:
    vfs = world.kernel.system.vfs
    vfs.write_file(b"/interpreter", elf(), 0o755)
    vfs.write_file(b"/script", b"#! /interpreter  -a -b \nrest", 0o755)
    assert run(world, b"/script", b"zero", b"one") == 0
    assert first_strings(world) == [b"/interpreter", b"-a -b", b"/script", b"one"]


def test_an_empty_argv_becomes_one_empty_string(world: World) -> None:
    assert run(world, b"/prog") == 0
    assert first_strings(world) == [b""]


def test_wild_argument_arrays_are_refused(world: World) -> None:
    world.put(b"/prog\0", DATA + 0x800)
    assert world.call("execve", DATA + 0x800, BAD, 0) == -EFAULT
    world.put(struct.pack("<QQ", BAD, 0))
    assert world.call("execve", DATA + 0x800, DATA, 0) == -EFAULT
    assert world.call("execve", BAD, DATA, 0) == -EFAULT
    world.put(struct.pack("<Q", DATA + 0x800) * 0x100)
    assert world.call("execve", DATA + 0x800, DATA, 0) in (-EFAULT, -E2BIG)


# the end


def test_exit_ends_the_process_with_the_low_byte(world: World) -> None:
    seen = world.watch(TaskExit, SyscallExit)
    world.call("exit_group", 0x1FF)
    assert world.kernel.outcome is Outcome.EXITED
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.wait_status == 0xFF00
    assert [type(event).__name__ for event in seen] == ["SyscallExit", "TaskExit"]
    assert seen[0].text == "exit_group(511)"


def test_memory_stays_to_be_looked_at_until_close(world: World) -> None:
    world.call("exit", 0)
    assert world.get(1, CODE) == b"\x90"
    used = world.kernel.system.frames.used
    world.kernel.close()
    assert world.kernel.system.frames.used < used
