"""The table: six registers in, one value out, and one line of trace."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from kernel import syscalls
from kernel.abi.args import Addr, Fd, InBuf, Int, OutBuf, Size
from kernel.abi.errno import EINVAL, ENOSYS, ERESTARTSYS, LinuxError
from kernel.abi.mman import MapFlags, ProtFlags
from kernel.abi.nr import NAME, NR
from kernel.events import SyscallExit
from kernel.probes import Probes
from kernel.syscalls import load, table
from kernel.syscalls.table import Hexadecimal, Never, Outcome, Restored, dispatch, syscall
from kernel.wait import Block, Interrupted

M64 = (1 << 64) - 1


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """An empty table for the handlers of one test."""
    empty: dict[int, Any] = {}
    monkeypatch.setattr(table, "TABLE", empty)
    return empty


class World:
    """A task with one page of memory, and what was said about its calls."""

    def __init__(self) -> None:
        self.probes = Probes()
        self.clock = SimpleNamespace(slept=0)
        self.clock.monotonic_ns = lambda: 100 + int(self.clock.slept)
        self.memory = bytearray(4096)
        self.events: list[Any] = []
        self.refused: list[tuple[str, ...]] = []
        mm = SimpleNamespace(peek=lambda va, n: bytes(self.memory[va : va + n]))
        system = SimpleNamespace(probes=self.probes, clock=self.clock, refused=lambda *what: self.refused.append(what))
        self.task: Any = SimpleNamespace(tid=7, mm=mm, system=system)

    def trace(self) -> World:
        self.probes.listen(SyscallExit, self.events.append)
        return self

    def call(self, name: str, *args: int) -> Outcome:
        raw = [arg & M64 for arg in args] + [0] * (6 - len(args))
        return dispatch(self.task, NR[name], *raw)

    @property
    def lines(self) -> list[str]:
        return [f"{event.text} = {event.shown}" for event in self.events]


@pytest.fixture
def world(entries: dict[int, Any]) -> World:
    return World()


def test_a_c_int_does_not_see_the_high_half_of_its_register(world: World) -> None:
    seen = []

    @syscall
    def close(task: Any, fd: Fd) -> int:
        seen.append(fd)
        return 0

    world.call("close", 0xFACE_FEED_FFFF_FFFE)
    assert seen == [-2]


def test_a_refusal_is_a_negative_errno_and_its_reason_is_in_the_trace(world: World) -> None:
    @syscall
    def munmap(task: Any, addr: Addr, length: Size) -> int:
        raise LinuxError(EINVAL, "addr is not page-aligned")

    assert world.call("munmap", 1, 4096) == -EINVAL
    assert world.trace().call("munmap", 1, 4096) == -EINVAL
    assert world.lines == ["munmap(0x1, 4096) = -1 EINVAL (Invalid argument)"]
    assert world.events[0].why == "addr is not page-aligned"
    assert world.events[0].errno is EINVAL


def test_an_address_as_a_value_is_shown_as_one(world: World) -> None:
    @syscall(result=Hexadecimal)
    def mmap(task: Any, addr: Addr, length: Size, prot: ProtFlags, flags: MapFlags, fd: Fd, offset: Size) -> int:
        return 0x7F00_0000_0000

    world.trace().call("mmap", 0, 4096, 3, 0x22, -1, 0)
    assert world.lines == [
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000"
    ]


def test_what_a_call_reads_is_shown_from_before_it_and_what_it_writes_from_after(world: World) -> None:
    world.memory[0x10:0x13] = b"old"

    @syscall
    def write(task: Any, fd: Fd, buf: Annotated[int, InBuf("count")], count: Size) -> int:
        world.memory[buf : buf + 3] = b"new"
        return count

    @syscall
    def read(task: Any, fd: Fd, buf: Annotated[int, OutBuf()], count: Size) -> int:
        return count

    world.trace()
    world.call("write", 1, 0x10, 3)
    world.call("read", 0, 0x10, 3)
    assert world.lines == ['write(1, "old", 3) = 3', 'read(0, "new", 3) = 3']


def test_an_exit_is_told_before_it_happens(world: World) -> None:
    @syscall(result=Never)
    def exit_group(task: Any, status: Int) -> None:
        world.events.append(SimpleNamespace(text="the end", shown=""))

    assert world.trace().call("exit_group", 3) is None
    assert world.lines == ["exit_group(3) = ?", "the end = "]


def test_a_handler_that_set_the_registers_itself_still_shows_its_value(world: World) -> None:
    @syscall
    def rt_sigreturn(task: Any) -> int:
        return Restored(-4)

    assert world.trace().call("rt_sigreturn") is None
    assert world.lines == ["rt_sigreturn() = -1 EINTR (Interrupted system call)"]


def sleeper(outcome: int | Exception) -> Any:
    """pause(2) that sleeps once, and then answers."""

    @syscall
    def pause(task: Any) -> Generator[Block, None, int]:
        yield Block(deadline=5)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return pause


def test_a_sleeping_call_is_told_when_it_wakes_with_the_time_it_slept(world: World) -> None:
    sleeper(0)
    asleep: Any = world.trace().call("pause")
    assert next(asleep) == Block(deadline=5)
    assert world.lines == []
    world.clock.slept += 50
    with pytest.raises(StopIteration) as stop:
        next(asleep)
    assert stop.value.value == 0
    assert world.lines == ["pause() = 0"]
    assert world.events[0].took == 50


def test_a_signal_that_the_sleeper_does_not_catch_is_eintr(world: World) -> None:
    sleeper(0)
    asleep: Any = world.trace().call("pause")
    next(asleep)
    with pytest.raises(StopIteration) as stop:
        asleep.throw(Interrupted())
    assert stop.value.value == -4
    assert world.lines == ["pause() = -1 EINTR (Interrupted system call)"]


def test_a_call_to_be_restarted_is_shown_as_strace_shows_it(world: World) -> None:
    sleeper(LinuxError(ERESTARTSYS, "a signal came"))
    asleep: Any = world.trace().call("pause")
    next(asleep)
    with pytest.raises(StopIteration) as stop:
        next(asleep)
    assert stop.value.value == -ERESTARTSYS
    assert world.lines == ["pause() = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"]


def test_a_call_that_never_came_back_is_unfinished(world: World) -> None:
    sleeper(0)
    asleep: Any = world.trace().call("pause")
    next(asleep)
    asleep.close()
    assert world.lines == ["pause( <unfinished ...>) = ?"]


def test_a_generator_that_need_not_sleep_answers_at_once(world: World) -> None:
    @syscall
    def read(task: Any, fd: Fd) -> Outcome:
        if fd:
            yield Block()
        return 3

    assert world.call("read", 0) == 3


def test_an_unimplemented_call_is_enosys_under_its_name(world: World) -> None:
    assert world.trace().call("bpf", 1, 2) == -ENOSYS
    assert world.lines == ["bpf(0x1, 0x2, 0, 0, 0, 0) = -1 ENOSYS (Function not implemented)"]
    assert world.events[0].why == "bpf is not implemented"


def test_a_number_that_no_call_has_is_enosys(world: World) -> None:
    assert world.trace().call("bpf", 1, 2) == -ENOSYS
    assert dispatch(world.task, 999, 0, 0, 0, 0, 0, 0) == -ENOSYS
    assert world.events[1].why == "there is no syscall 999"


@pytest.mark.parametrize("traced", [False, True])
def test_what_is_answered_enosys_is_counted_traced_or_not(
    traced: bool, world: World
) -> None:
    @syscall
    def clone(task: Any) -> int:
        raise LinuxError(ENOSYS, "not yet")

    if traced:
        world.trace()
    for nr in (NR["bpf"], NR["clone"], NR["bpf"], 999):
        assert dispatch(world.task, nr, 0, 0, 0, 0, 0, 0) == -ENOSYS
    assert world.refused == [("bpf",), ("clone", "not yet"), ("bpf",), ("syscall_0x3e7",)]


def test_a_parameter_without_a_kind_cannot_ship(entries: dict[int, Any]) -> None:
    with pytest.raises(TypeError, match="parameter fd has no argument kind"):

        @syscall
        def close(task: Any, fd: int) -> int:
            return 0


def test_a_call_is_entered_once(entries: dict[int, Any]) -> None:
    @syscall
    def getpid(task: Any) -> int:
        return 1

    with pytest.raises(TypeError, match="already in the table"):
        syscall(getpid)


def test_every_handler_of_ours_compiles_and_stands_under_its_number() -> None:
    load()
    for nr, entry in table.TABLE.items():
        entry.compile()
        assert NAME[nr] == entry.name
        assert entry.doc, f"{entry.name} has no docstring"


def test_every_module_that_enters_a_syscall_is_loaded() -> None:
    folder = Path(syscalls.__file__).parent
    entering = {path.stem for path in folder.glob("*.py") if re.search(r"^@syscall", path.read_text(), re.MULTILINE)}
    assert entering == set(syscalls.SUBSYSTEMS)


def test_nothing_is_made_for_a_trace_that_nobody_wants(world: World) -> None:
    @syscall
    def getpid(task: Any) -> int:
        return 1

    def calls() -> int:
        count = 0

        def profile(frame: Any, event: str, arg: Any) -> None:
            nonlocal count
            count += event == "call"

        world.call("getpid")
        sys.setprofile(profile)
        dispatch(world.task, NR["getpid"], 0, 0, 0, 0, 0, 0)
        sys.setprofile(None)
        return count

    assert calls() == 3  # dispatch, the decoder, the handler
