"""Instructions of each allocator function, held against what valgrind's callgrind counts on the host's CPU.

glibc picks other code by CPUID, so the binary is musl's. Two lengths of one run are compared by their difference: the
first malloc looks for AT_RANDOM in the auxiliary vector, which is not the same one under valgrind.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from runs import elf, program

import emu
from emu.calls import HeapOptions


class Sums:
    """A heap sink: instructions and calls by function number."""

    def __init__(self) -> None:
        self.by_function: dict[int, int] = {}

    def batch(self, events: Any) -> None:
        for number, cost in zip(events["function"].tolist(), events["cost"].tolist(), strict=True):
            self.by_function[number] = self.by_function.get(number, 0) + cost


def ours(path: Path, rounds: str) -> dict[str, int]:
    sums = Sums()
    run = emu.run(path, (rounds,), heap=HeapOptions(sinks=(sums,)), timeout=120)
    assert run.heap is not None
    return {run.heap.functions[number]: cost for number, cost in sums.by_function.items()}


def callgrind(path: Path, rounds: str, out: Path) -> dict[str, int]:
    """Inclusive cost of all calls of each function: the line after each `calls=` has it. musl's `free` is a jump to
    `__libc_free`, which is one call to us."""
    command = [program("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}", str(path), rounds]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    names: dict[str, str] = {}
    totals: dict[str, int] = {}
    caller = called = ""
    costs = False
    for line in out.read_text().splitlines():
        if costs:
            if (caller, called) != ("free", "__libc_free"):
                totals[called] = totals.get(called, 0) + int(line.split()[-1])
            costs = False
        elif found := re.match(r"c?fn=(\(\d+\))(?: (.*))?$", line):
            name = names.setdefault(found[1], found[2] or "")
            caller, called = (caller, name) if line.startswith("cfn=") else (name, called)
        else:
            costs = line.startswith("calls=")
    return totals


def test_each_function_costs_what_callgrind_counts(tmp_path: Path) -> None:
    path = elf("heap/logged", "musl")
    short, long = ours(path, "100"), ours(path, "400")
    there = [callgrind(path, rounds, tmp_path / rounds) for rounds in ("100", "400")]
    functions = [name for name in long if name in there[1]]
    assert {"malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign"} <= set(functions)
    grown = {name: long[name] - short.get(name, 0) for name in functions}
    assert grown == {name: there[1][name] - there[0].get(name, 0) for name in functions}
    assert min(grown.values()) > 1000
