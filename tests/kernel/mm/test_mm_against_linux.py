"""The same random scripts of memory operations on the host's kernel and on ours: results, faults, maps and counts."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))

import mm_replay as replay  # noqa: E402
import mm_scripts as scripts  # noqa: E402

COMPILER = shutil.which("musl-gcc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the oracle is an x86-64 Linux kernel")
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if release < (6, 17):
        pytest.skip(f"Linux {platform.release()} is older than 6.17, whose mremap we follow")
    if COMPILER is None or shutil.which("setarch") is None:
        pytest.skip("needs musl-gcc or gcc, and setarch")
    program = tmp_path_factory.mktemp("oracle") / "oracle"
    built = subprocess.run([COMPILER, "-static", "-O1", "-o", str(program), str(HERE / "oracle.c")], check=False)
    if built.returncode:
        pytest.skip(f"{COMPILER} cannot build static programs")
    return program


def play(oracle: Path, tmp_path: Path, lines: list[str]) -> str:
    """What Linux says of a script; skips where the process has not the rights the scripts take for granted."""
    path = tmp_path / "script"
    path.write_text("\n".join(lines) + "\n")
    run = subprocess.run(["setarch", "-R", oracle, path], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode:
        pytest.skip(f"the oracle ended with {run.returncode} (no memory, or a script that unmapped its player)")
    return run.stdout


@pytest.mark.parametrize("block", range(8))
def test_random_scripts(oracle: Path, tmp_path: Path, block: int) -> None:
    import os

    if os.geteuid():
        pytest.skip("the scripts begin as root")
    for seed in range(block * 25, block * 25 + 25):
        lines = scripts.script(seed)
        difference = replay.compare(lines, play(oracle, tmp_path, lines))
        assert not difference, f"seed {seed}, {difference}"


@pytest.mark.parametrize("path", sorted((HERE / "found").glob("*.txt")), ids=lambda path: path.stem)
def test_what_once_differed(oracle: Path, tmp_path: Path, path: Path) -> None:
    """Minimal scripts of differences that were found, kept for good; lines that begin with # say what it was."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert not replay.compare(lines, play(oracle, tmp_path, lines))
