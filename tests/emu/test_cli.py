"""The command line as a process: exit codes, one line for each refusal, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import elf, program

import emu.cli
from emu.cli import main

ROOT = Path(__file__).resolve().parents[2]


def heapscope(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "emu", *words],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120, **options},
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "no command"),
        (("--nosuch",), "no option"),
        (("run",), "which program"),
        (("run", "--"), "which program"),
        (("run", "--nosuch", "x"), "--nosuch"),
        (("run", "/does/not/exist"), "No such file"),
        (("run", "/"), "a directory"),
        (("run", "/dev/null"), "not a regular file"),
        (("run", "README.md"), "not executable"),
        (("run", "--memory", "lots", "x"), "as in 64M"),
        (("run", "--memory", "1K", "x"), "memory"),
        (("run", "--mount", "/", "x"), "HOST:GUEST"),
        (("run", "--mount", "/does/not/exist:/m", "x"), "the host has no"),
        (("run", "--mount", "/tmp:/proc", "x"), "/proc is the guest kernel's own"),
        (("run", "--mount", "/tmp:/tmp/../sys/x", "x"), "/sys is the guest kernel's own"),
        (("run", ""), "'': No such file"),
        (("run", "--env", "HEAPSCOPE_NO_SUCH", "x"), "NAME=VALUE"),
        (("run", "--timeout", "-1", "x"), "timeout"),
        (("run", "--timeout", "soon", "x"), "as 2 or 2.5"),
        (("run", "--epoch", "today", "x"), "as 2 or 2.5"),
        (("run", "--seed", "abc", "x"), "as 7, 1_000 or 0x7"),
        (("run", "-q", "-e", "trace=memroy", "x"), "memroy"),
        (("run", "--max-instructions", "0", "x"), "max-instructions"),
        (("run", "--max-instructions", "many", "x"), "number"),
        (("run", "--uid", "-1", "x"), "uid"),
        (("run", "--cwd", "tmp", "x"), "absolute"),
        (("run", "-e", "trace=memroy", "x"), "memroy"),
        (("run", "-e", "signal=all", "x"), "only trace"),
        (("run", "-o", "/does/not/exist/trace", "x"), "No such file"),
        (("info",), "PROGRAM"),
        (("info", "README.md"), "not an ELF"),
        (("disasm", "/does/not/exist"), "No such file"),
        (("syscalls", "--partly", "--missing"), "not allowed"),
    ],
)
def test_a_refusal_is_code_2_and_one_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("heapscope: ")
    assert said in err


def test_help_tells_every_verb_and_each_verb_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in emu.cli.COMMANDS)
    for verb in emu.cli.COMMANDS:
        assert main([verb, "--help"]) == 0
        assert f"heapscope {verb}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"heapscope {emu.cli.VERSION}\n"
    assert main([]) == 2


def test_the_version_is_the_projects() -> None:
    assert f'version = "{emu.cli.VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_options_after_the_program_are_the_programs() -> None:
    done = heapscope("run", "-q", "--", elf("task/args"), "--stats", "-q", "--")
    assert done.returncode == 0, done.stderr
    for word in ("--stats", "-q", "--"):
        assert word in done.stdout.split() or f"[{word}]" in done.stdout or f'"{word}"' in done.stdout
    assert done.stderr == ""


def test_an_internal_error_is_code_70_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: list[str]) -> int:
        raise AssertionError("two\nlines")

    monkeypatch.setattr(emu.cli, "_dispatch", broken)
    monkeypatch.delenv("HEAPSCOPE_DEBUG", raising=False)
    assert main(["run"]) == 70
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "internal error: AssertionError: two;" in err
    monkeypatch.setenv("HEAPSCOPE_DEBUG", "1")
    assert main(["run"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("syscalls",), ("--help",), ("info", "{elf}"), ("disasm", "{elf}")])
def test_a_reader_that_goes_away_is_no_error_to_shout_about(words: tuple[str, ...]) -> None:
    program = str(elf("task/hello"))
    reader, writer = os.pipe()
    os.close(reader)
    done = heapscope(*(word.format(elf=program) for word in words), capture_output=False, stdout=writer, stderr=-1)
    os.close(writer)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_listing_to_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = heapscope("syscalls", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == "heapscope: cannot write the output: No space left on device\n"


def test_closed_standard_streams_are_no_traceback() -> None:
    script = f"exec {sys.executable} -m emu run {elf('task/hello')} <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, timeout=60)
    assert done.returncode in (0, 1, 2)


@pytest.mark.parametrize(("closed", "fd"), [("<&-", 0), (">&-", 1)])
def test_a_closed_standard_stream_is_ebadf_in_the_guest(closed: str, fd: int, tmp_path: Path) -> None:
    source, output = tmp_path / "probe.c", tmp_path / "probe"
    source.write_text(
        "#include <errno.h>\n#include <unistd.h>\n"
        f"int main(void) {{ char c; return {'read' if fd == 0 else 'write'}({fd}, &c, 1) < 0 ? errno : 77; }}\n"
    )
    subprocess.run([program("musl-gcc", "musl-tools"), "-static", source, "-o", output], check=True)
    script = f"exec {sys.executable} -m emu run -o {tmp_path}/trace {output} {closed}"
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, timeout=60)
    assert done.returncode == 9  # EBADF, as without us
    assert subprocess.run(["sh", "-c", f"exec {output} {closed}"], timeout=60).returncode == 9


@pytest.mark.parametrize(("cwd", "why"), [("/nosuch", "there is no 'nosuch'"), ("/etc/passwd", "not a directory")])
def test_a_working_directory_that_cannot_be_is_named(
    cwd: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--cwd", cwd, str(elf("task/hello"))]) == 2
    assert capsys.readouterr().err.startswith(f"heapscope: the working directory {cwd}: {why}")


def test_scripts_and_empty_files_are_called_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script"
    for content, said in (
        (b"", "the file is empty"),
        (b"#!/bin/nosuch -x\n", "a script, not an ELF file; its interpreter '/bin/nosuch -x' cannot run in the guest"),
    ):
        script.write_bytes(content)
        script.chmod(0o755)
        assert main(["run", str(script)]) == 2
        assert capsys.readouterr().err.startswith(f"heapscope: {script}: {said}")
