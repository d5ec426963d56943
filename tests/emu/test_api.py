"""emu.run: what comes back, what is refused, and that one run leaves nothing behind for the next."""

from __future__ import annotations

import gc
import io
import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from runs import elf

import emu
from emu.api import Run
from emu.machine import Stopped
from emu.trace.events import PageFault, SyscallExit, TaskExit

HELLO = b"Hello from a static ELF.\n"


@pytest.fixture(scope="module")
def hello() -> Path:
    return elf("task/hello")


def test_output_status_and_counters(hello: Path) -> None:
    done = emu.run(hello)
    assert (done.exit_status, done.signal, done.returncode, done.stdout, done.stderr) == (0, None, 0, HELLO, b"")
    assert done.stopped is Stopped.EXITED
    assert (done.events, done.syscalls, done.notes, done.death) == ([], {}, [], None)
    counters = done.counters
    assert 100 < counters.instructions < 1_000_000
    assert 0 < counters.rss <= counters.peak_rss <= counters.peak_vsz
    assert counters.minor_faults >= counters.rss // 4096 // 2
    assert counters.start_brk <= counters.brk
    assert counters.mappings >= 4


def test_events_are_those_that_the_trace_expression_names(hello: Path) -> None:
    done = emu.run(hello, trace="all", page_faults=True)
    calls = [event for event in done.events if isinstance(event, SyscallExit)]
    names = [call.name for call in calls]
    assert {name: call.count for name, call in done.syscalls.items()} == {name: names.count(name) for name in names}
    assert isinstance(done.events[-1], TaskExit)
    assert sum(isinstance(event, PageFault) for event in done.events) == done.counters.minor_faults
    only = emu.run(hello, trace="write,writev")
    assert set(only.syscalls) <= {"write", "writev"}
    assert not any(isinstance(event, PageFault) for event in only.events)


def test_syscalls_are_counted_without_a_trace_and_their_errors_too(hello: Path) -> None:
    counted, traced = emu.run(hello, count_syscalls=True), emu.run(hello, trace="all")
    assert (counted.syscalls, counted.events) == (traced.syscalls, [])
    assert counted.syscalls["exit_group"].count == 1
    assert counted.syscalls["mremap"].count == 0
    assert sum(call.errors for call in emu.run(elf("mm/mremap"), count_syscalls=True).syscalls.values()) > 0
    with pytest.raises(KeyError, match="no such syscall"):
        _ = counted.syscalls["mallocate"]


def test_argv0_makes_a_run_independent_of_where_the_program_lies(hello: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a" / "deeper" / "folder" / hello.name
    elsewhere.parent.mkdir(parents=True)
    shutil.copy(hello, elsewhere)
    runs = [emu.run(path, argv0="hello", trace="all") for path in (hello, elsewhere)]
    assert runs[0].events == runs[1].events
    assert runs[0].counters == runs[1].counters
    assert runs[0].instructions == runs[0].counters.instructions
    assert runs[0].rss_peak == runs[0].counters.peak_rss


def test_standard_input_may_be_bytes_a_file_or_a_descriptor() -> None:
    program = elf("fs/stdin")
    given = emu.run(program, stdin=b"one\ntwo\n")
    assert emu.run(program, stdin=io.BytesIO(b"one\ntwo\n")).stdout == given.stdout
    reader, writer = os.pipe()
    os.write(writer, b"one\ntwo\n")
    os.close(writer)
    assert emu.run(program, stdin=reader).stdout == given.stdout
    os.close(reader)
    assert emu.run(program, stdin=None).stdout == emu.run(program).stdout


def test_output_may_go_to_files_and_descriptors(hello: Path, tmp_path: Path) -> None:
    target = io.BytesIO()
    assert emu.run(hello, stdout=target).stdout == b""
    assert target.getvalue() == HELLO
    with open(tmp_path / "out", "wb") as file:
        emu.run(hello, stdout=file.fileno())
    assert (tmp_path / "out").read_bytes() == HELLO


def test_a_signal_is_told_from_a_status() -> None:
    done = emu.run(elf("task/die"), ["raise-term"])
    assert (done.exit_status, done.signal, done.signal_name, done.returncode) == (None, 15, "SIGTERM", 143)
    assert done.death is None
    assert emu.run(elf("task/die"), ["abort"]).death is not None


def test_limits_end_a_run_exactly_and_say_which(hello: Path) -> None:
    whole = emu.run(hello).counters.instructions
    for limit in (1, 2, 777, whole - 1):
        done = emu.run(hello, max_instructions=limit)
        assert (done.stopped, done.counters.instructions) == (Stopped.INSTRUCTIONS, limit)
        assert (done.exit_status, done.signal, done.returncode) == (None, None, 124)
    assert emu.run(hello, max_instructions=whole + 1).exit_status == 0


def test_equal_knobs_give_equal_runs(hello: Path) -> None:
    def one(**knobs: int) -> Run:
        return emu.run(hello, trace="all", page_faults=True, **knobs)  # type: ignore[arg-type]

    assert one() == one()
    assert one(seed=1, aslr=5) == one(seed=1, aslr=5)
    assert one(aslr=5) != one(aslr=6)


def test_a_refused_program_is_a_program_error_of_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"\x7fELFnonsense")
    script.chmod(0o755)
    for path in (tmp_path / "absent", tmp_path, script, "\0", "/dev/null"):
        with pytest.raises(emu.ProgramError) as refused:
            emu.run(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(emu.ConfigError):
        emu.run(script, memory="tiny")


def test_after_a_refusal_the_next_run_works(hello: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(hello.read_bytes()[:200])
    bad.chmod(0o755)
    with pytest.raises(emu.ProgramError):
        emu.run(bad)
    assert emu.run(hello).stdout == HELLO


def test_one_guest_at_a_time(hello: Path) -> None:
    class Nested:
        def write(self, _event: object, /) -> None:
            with pytest.raises(RuntimeError, match="one guest at a time"):
                emu.run(hello)
            self.asked = True

        def close(self) -> None:
            pass

    nested = Nested()
    assert emu.run(hello, trace="all", sinks=[nested]).exit_status == 0
    assert nested.asked


def test_a_sink_that_fails_is_dropped_and_the_guest_goes_on(hello: Path) -> None:
    class Full:
        written = 0

        def write(self, _event: object, /) -> None:
            self.written += 1
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise AssertionError("it was dropped")

    full = Full()
    done = emu.run(hello, trace="all", sinks=[full])
    assert (done.exit_status, full.written) == (0, 1)
    assert [failure.error.errno for failure in done.failures] == [28]
    assert len(done.events) > 1


def _host_rss() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm and /proc/self/fd")
def test_a_hundred_runs_leak_neither_memory_nor_descriptors(hello: Path) -> None:
    files, sizes = 0, []
    for _ in range(4):
        for _ in range(25):
            assert emu.run(hello, memory="64M").exit_status == 0
        gc.collect()
        files = files or len(os.listdir("/proc/self/fd"))
        sizes.append(_host_rss())
    assert len(os.listdir("/proc/self/fd")) == files
    # a leak grows in each round; what the process only gets used to (arenas, caches) does not
    assert min(after - before for before, after in pairwise(sizes)) < 1 << 20


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc/self/fd")
def test_no_descriptor_of_the_host_stays_open_whatever_the_end(hello: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(hello.read_bytes()[:200])
    bad.chmod(0o755)
    inside = tmp_path / "hello"
    inside.write_bytes(hello.read_bytes())
    inside.chmod(0o755)
    emu.run(hello)
    before = len(os.listdir("/proc/self/fd"))
    mount = f"{tmp_path}:/m"
    emu.run(inside, mounts=[mount])
    emu.run(inside, mounts=[mount], max_instructions=100)
    with pytest.raises(emu.ProgramError):
        emu.run(bad, mounts=[mount])
    with pytest.raises(emu.ConfigError):
        emu.run(hello, mounts=[mount, f"{inside}:/m/hello/below"])
    assert len(os.listdir("/proc/self/fd")) == before
