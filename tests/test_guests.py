"""Every guest under guest/ checks itself here: it ends as its RUN lines say, and what it SAYS is what our trace has."""

from __future__ import annotations

import re

import pytest
import toolchain
from runs import cases, elf, emulated, straced

# tests/test_native_linux.py says how each must end
DEATHS = {"task/die", "heap/misuse", "fs/sigpipe", "demo/crash", "demo/leaky"}


def self_checking(guest: toolchain.Guest) -> bool:
    return not guest.not_on_a_host and guest.name not in DEATHS and guest.name != "task/exit_code"


def said_lines(stderr: bytes) -> list[str]:
    return stderr.decode().splitlines()


def calls_in(trace: str) -> list[str]:
    """The lines of a trace without the padding before the result."""
    return [re.sub(r"\)\s+= ", ") = ", line) for line in trace.splitlines()]


def assert_in_order(wanted: list[str], lines: list[str]) -> None:
    rest = iter(lines)
    for line in wanted:
        assert line in rest, f"the trace has no line {line!r} (after the ones before it)"


@pytest.mark.parametrize(("name", "kind", "case"), cases(self_checking))
def test_a_guest_finds_everything_as_it_must_be(name: str, kind: str, case: toolchain.Case) -> None:
    run = emulated(elf(name, kind), case.argv, env=case.env, stdin=case.stdin, traced=True)
    assert run.status == 0, run.stderr.decode(errors="replace")
    assert_in_order(said_lines(run.stderr), calls_in(run.trace))


@pytest.mark.parametrize(("name", "kind", "case"), cases(lambda guest: "SAYS" in guest.source.read_text()))
def test_what_guests_say_is_what_strace_prints(name: str, kind: str, case: toolchain.Case) -> None:
    """The guests' own expectations are held against the real thing."""
    run, _ = straced(elf(name, kind), case.argv, env=case.env, stdin=case.stdin)
    assert_in_order(said_lines(run.stderr), calls_in(run.trace))


def test_every_directive_is_understood() -> None:
    known = {"RUN", "KINDS", "STDIN", "NOT COMPARED", "NOT ON A HOST"}
    for guest in toolchain.guests():
        directives = re.findall(r"^// ([A-Z][A-Z ]+):", guest.source.read_text(), re.MULTILINE)
        assert set(directives) <= known, guest.name
        assert set(guest.kinds) <= set(toolchain.KINDS), guest.name
