"""Which calls a class of `-e trace=` holds: strace itself is asked, by injecting another error into the class."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emu.trace.filter import CLASSES, PERCENT, Filter
from kernel.abi.nr import NR

NEWEST = 450  # the last call of which strace 6.1 knows the class
SOURCE = Path(__file__).with_name("classes.c")


@pytest.fixture(scope="module")
def every_call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or shutil.which("strace") is None:
        pytest.skip("no compiler, or no strace, on this machine")
    if "version 6.1\n" not in subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("strace here is not 6.1")
    program = tmp_path_factory.mktemp("classes") / "every_call"
    subprocess.run([compiler, "-O1", "-static", "-nostdlib", "-o", program, SOURCE], check=True, timeout=60)
    return program


@pytest.mark.parametrize("name", [*sorted(set(CLASSES) - {"all", "none"}), *sorted(PERCENT)])
def test_a_class_holds_what_strace_puts_into_it(name: str, every_call: Path) -> None:
    trace = every_call.with_name("trace")
    subprocess.run(
        ["strace", "-o", trace, "-e", "inject=all:error=ENOSYS", "-e", f"inject={name}:error=EXDEV", every_call],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    lines = trace.read_text().splitlines()
    theirs = {line.partition("(")[0] for line in lines if re.search("EXDEV.*INJECTED", line)}
    asked = {call for call, nr in NR.items() if nr <= NEWEST} - {"execve"}  # which starts it, and is not injected
    assert Filter.parse(name).names & asked == theirs & asked
