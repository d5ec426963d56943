"""Two runs give equal bytes: output, trace, statistics less wall time; whatever the host's clock or hash seed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import elf, emulated

ROOT = Path(__file__).resolve().parent.parent


def heapscope(folder: Path, *arguments: str, hash_seed: str = "0") -> tuple[int, bytes, bytes, str]:
    """(status, stdout, stderr less the wall time, trace) of the command, run in `folder`."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "emu", "run", "--stats", "-o", str(folder / "trace"), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed, "PATH": os.environ["PATH"]},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    trace = (folder / "trace").read_text(errors="surrogateescape")
    return done.returncode, done.stdout, re.sub(rb"(?m)^wall time .*$", b"wall time", done.stderr), trace


@pytest.mark.parametrize(
    "guest", ["task/auxv", "task/random", "task/time", "task/die null-read", "mm/maps", "heap/churn 5000", "fs/dirs"]
)
@pytest.mark.parametrize("kind", ["musl", "glibc"])
def test_two_runs_give_equal_bytes(guest: str, kind: str, tmp_path: Path) -> None:
    name, *argv = guest.split()
    path = str(elf(name, kind))
    first = heapscope(tmp_path / "a", "--cwd", "/tmp", path, *argv)
    second = heapscope(tmp_path / "another-folder", "--cwd", "/tmp", path, *argv, hash_seed="12345")
    assert first == second
    assert first[3].count("\n") > 3


def test_a_run_after_other_runs_is_equal_too() -> None:
    """In one process: nothing of one guest is left for the next."""
    path = elf("task/random")
    first = emulated(path, traced=True)
    for name in ("mm/mremap", "task/sig_registers", "heap/blocks"):
        emulated(elf(name))
    assert emulated(path, traced=True) == first


def test_the_seed_decides_the_random_bytes() -> None:
    path = elf("task/random")
    zero, again, one = (emulated(path, traced=True, seed=seed).trace for seed in (0, 0, 1))
    assert zero == again != one


def test_an_aslr_seed_decides_the_layout() -> None:
    path = elf("task/hello", "glibc-pie")
    off, seven, again, eight = (emulated(path, traced=True, aslr=seed).trace for seed in (None, 7, 7, 8))
    assert seven == again
    assert len({off, seven, eight}) == 3


def test_the_c_hooks_and_their_python_twins_give_equal_runs() -> None:
    for name, argv in (("task/sig_repair", ()), ("heap/churn", ("3000",)), ("task/time", ())):
        path = elf(name)
        native, twin = (emulated(path, argv, traced=True, native=choice) for choice in (None, False))
        assert native == twin


def test_a_timer_fires_at_its_instruction_however_long_a_slice_is(tmp_path: Path) -> None:
    """Armed by a syscall, and again after a sleep: no other reason to stop the CPU comes near."""
    source = tmp_path / "tick.c"
    source.write_text(
        "#include <signal.h>\n#include <stdlib.h>\n#include <sys/time.h>\n#include <time.h>\n"
        "static volatile long n;\nstatic void ring(int sig) { (void)sig; _Exit(n > 200 && n < 1100 ? 0 : 1); }\n"
        "int main(int argc, char **argv) {\n    (void)argv;\n"
        "    struct itimerval t = {{0, 0}, {0, argc > 1 ? 5000 : 1000}};\n    struct timespec s = {0, 4000000};\n"
        "    signal(SIGALRM, ring);\n    setitimer(ITIMER_REAL, &t, NULL);\n    if (argc > 1) nanosleep(&s, NULL);\n"
        "    for (n = 0; n < 100000; n++)\n"
        "        for (int i = 0; i < 500; i++) __asm__ volatile(\"dec %%eax\" ::: \"rax\");\n"
        "    return 2;\n}\n"
    )
    program = tmp_path / "tick"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-O1"]
    subprocess.run([*compiler, "-o", program, source], check=True)
    for argv in ((), ("sleep",)):
        native, twin = (emulated(str(program), argv, traced=True, native=choice) for choice in (None, False))
        assert native == twin
        assert native.status == 0, argv
