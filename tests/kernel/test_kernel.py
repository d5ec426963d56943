"""kernel/kernel.py: boot, the hot ways in, sleeping, and how a run ends. On a scripted CPU."""

from __future__ import annotations

import struct
from collections.abc import Generator

import pytest
from fakes import CODE, DATA, Spin, Syscall, Touch, World, elf

from kernel.abi.errno import LinuxError
from kernel.abi.nr import NR
from kernel.abi.signal import SIGINT, SIGKILL
from kernel.cpu import Access
from kernel.events import Note, SyscallExit, TaskExit
from kernel.kernel import Outcome
from kernel.syscalls import table
from kernel.task.task import Task
from kernel.wait import Block


def test_boot_puts_the_program_where_it_was_asked_to() -> None:
    world = World()
    system = world.kernel.system
    assert system.vfs.name_of(world.task.process.exe) == "/prog"  # type: ignore[arg-type]
    assert world.task.comm == "prog"
    assert (world.cpu.regs.rip, world.cpu.cr3) == (CODE, world.task.mm.cr3)
    assert world.task.files.fds() == [0, 1, 2]


def test_a_fault_is_answered_by_a_pte_and_a_syscall_by_a_value() -> None:
    world = World()
    world.play(Touch(DATA + 0x1000, Access.WRITE), Syscall(NR["getpid"]), Touch(CODE, Access.FETCH))
    assert world.kernel.running
    assert world.cpu.results == [1000]


def test_an_unknown_syscall_is_enosys_and_counted() -> None:
    world = World()
    world.play(Syscall(9999))
    assert world.cpu.results == [-38]
    assert world.kernel.system.not_modelled == {("syscall_0x270f", ""): 1}


def test_memory_that_ends_kills_the_guest_and_says_so_as_linux_does() -> None:
    world = World(ram_bytes=4 << 20)
    seen = world.watch(Note, TaskExit)
    base = world.call("mmap", 0, 64 << 20, 3, 0x4022, -1, 0)
    assert base > 0
    for page in range(1024):
        world.play(Touch(base + 4096 * page, Access.WRITE))
        if not world.kernel.running:
            break
    assert world.kernel.outcome is Outcome.KILLED
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGKILL
    assert seen[0].text.startswith("Out of memory: Killed process 1000 (prog) total-vm:")


def test_memory_that_ends_inside_a_syscall_kills_too() -> None:
    world = World(ram_bytes=4 << 20)
    base = world.call("mmap", 0, 64 << 20, 3, 0x4022, -1, 0)
    world.play(Syscall(NR["getrandom"], (base, 32 << 20, 0)))
    assert world.kernel.outcome is Outcome.KILLED


def test_ctrl_c_is_a_signal_from_outside() -> None:
    world = World()
    world.kernel.interrupt(SIGINT)
    world.play(Spin(1))
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGINT


@pytest.fixture
def sleeper() -> Generator[dict[str, bool]]:
    """An unused number stands for a call that sleeps until `state["ready"]` or its deadline in ns."""
    state = {"ready": False}

    def create_module(task: Task, deadline: table.Outcome) -> table.Outcome:
        clock = task.system.clock
        end = clock.boot_ns + deadline if deadline else None  # type: ignore[operator]
        while not state["ready"]:
            if end is not None and clock.monotonic_ns() >= end:
                return -110
            yield Block(lambda: state["ready"], end, "for the test")
        return 5

    create_module.__annotations__["deadline"] = "ULong"
    create_module.__globals__["ULong"] = __import__("kernel.abi.args", fromlist=["ULong"]).ULong
    table.syscall(create_module)
    yield state
    del table.TABLE[NR["create_module"]]


def test_a_sleeper_wakes_when_it_is_ready(sleeper: dict[str, bool]) -> None:
    world = World()
    sleeper["ready"] = True
    assert world.call("create_module", 0) == 5


def test_with_nobody_to_run_time_jumps_to_the_deadline(sleeper: dict[str, bool]) -> None:
    world = World()
    seen = world.watch(SyscallExit)
    assert world.call("create_module", 10**12) == -110
    clock = world.kernel.system.clock
    assert clock.monotonic_ns() - clock.boot_ns in range(10**12, 10**12 + 10)
    assert seen[0].took >= 10**12 - 10


def test_a_sleeper_without_hope_is_a_deadlock(sleeper: dict[str, bool]) -> None:
    world = World()
    seen = world.watch(Note)
    world.call("create_module", 0)
    assert world.kernel.outcome is Outcome.DEADLOCK
    assert world.kernel.exit_status is None
    assert world.kernel.why == "deadlock: task 1000 waits for the test, and nothing is left to wake it"
    assert seen[-1].text == world.kernel.why


def test_two_runs_are_the_same() -> None:
    def run() -> list[object]:
        world = World()
        world.watch(SyscallExit, TaskExit)
        world.call("getrandom", DATA, 8, 0)
        world.call("clock_gettime", 1, DATA)
        world.put(struct.pack("<qq", 1, 0))
        world.call("nanosleep", DATA, 0)
        world.call("exit", 3)
        return world.seen

    assert run() == run()


def test_a_program_in_the_tree_already_is_run_itself() -> None:
    world = World()
    vfs = world.kernel.system.vfs
    vfs.write_file(b"/there", elf(entry=CODE + 8), 0o755)
    world.kernel.boot(b"not looked at", b"/there", [b"there"], [])
    assert world.cpu.regs.rip == CODE + 8


def test_a_program_larger_than_ram_runs_as_long_as_what_it_touches_fits() -> None:
    assert World(elf() + bytes(3 << 20), ram_bytes=2 << 20).kernel.running


def test_a_program_that_does_not_fit_into_ram_is_refused() -> None:
    with pytest.raises(LinuxError, match="fit"):
        World(ram_bytes=(1 << 20) + 6 * 4096)
