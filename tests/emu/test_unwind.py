"""Backtraces and reports of each way to die, in each libc: function, line, and main at the outer end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runs import elf, program

import emu
from emu.outcome import Death

KINDS = ["musl", "musl-gcc", "glibc", "glibc-pie"]


def died(path: Path, *argv: str) -> Death:
    death = emu.run(path, argv).death
    assert death is not None
    return death


def functions(death: Death) -> list[str]:
    return [call.place.partition("+")[0].partition(" ")[0].partition(".")[0] for call in death.backtrace]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how", ["null-read", "null-write", "divide", "ud2", "hlt", "non-canonical", "read-only", "int3"]
)
def test_a_fault_in_main_is_told_with_its_line(kind: str, how: str) -> None:
    path = elf("task/die", kind)
    death = died(path, how)
    assert functions(death)[0] == "main"
    assert re.search(r"^main\+0x[0-9a-f]+ \(.*die\.c:\d+\)$", death.place)
    line = int(death.place.rpartition(":")[2].rstrip(")"))
    source = (Path(__file__).resolve().parents[2] / "guest/task/die.c").read_text().splitlines()
    assert f'"{how}"' in source[line - 1]
    assert functions(death)[-1] == "_start"


@pytest.mark.parametrize("kind", KINDS)
def test_abort_shows_main(kind: str) -> None:
    death = died(elf("task/die", kind), "abort")
    assert death.name == "SIGABRT"
    names = functions(death)
    assert {"abort", "main", "_start"} <= set(names), names
    assert names.index("abort") < names.index("main") < names.index("_start")


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_through_a_null_pointer_shows_the_caller(kind: str) -> None:
    death = died(elf("task/die", kind), "null-call")
    assert (death.pc, death.instruction, death.addr) == (0, "", 0)
    assert functions(death)[1] == "main"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_a_handler_shows_what_it_interrupted(kind: str) -> None:
    death = died(elf("task/die", kind), "fault-in-handler")
    names = functions(death)
    assert names[0] == "fault_again"
    interrupted = [call.how for call in death.backtrace].index("signal")
    assert names[interrupted] == "main"


@pytest.mark.parametrize("kind", KINDS)
def test_endless_recursion_ends_at_the_limit_of_the_report(kind: str) -> None:
    death = died(elf("task/die", kind), "stack-overflow")
    assert set(functions(death)) <= {"overflow", "main"}
    assert 10 <= len(death.backtrace) <= 64
    assert "stack" in death.where


def test_a_stripped_program_still_has_a_backtrace(tmp_path: Path) -> None:
    import subprocess

    stripped = tmp_path / "die"
    subprocess.run([program("strip", "binutils"), "-s", "-o", stripped, elf("task/die", "glibc")], check=True)
    whole, bare = died(elf("task/die", "glibc"), "null-read"), died(stripped, "null-read")
    assert [call.pc for call in bare.backtrace] == [call.pc for call in whole.backtrace]
    assert all(call.place in ("", "?") for call in bare.backtrace)
