"""`heapscope info`, `disasm` and `syscalls`: what they print, and that hostile files get words, not tracebacks."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from runs import elf

from emu.cli import main


@pytest.fixture(scope="module")
def die() -> str:
    return str(elf("task/die"))


def test_info_names_type_segments_symbols_and_allocators(die: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", die]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{die}: static x86-64 executable")
    for line in (r"runs here +yes", r"entry +0x\w+ _start", r"LOAD +0x\w+-0x\w+ +r-x", r"stack +not executable"):
        assert re.search(line, out), line
    assert re.search(r"libc +musl", out)
    assert re.search(r"symbols +[\d,]+, [\d,]+ of them functions", out)


@pytest.mark.parametrize(("kind", "family"), [("musl", "C library: "), ("glibc", "glibc (ptmalloc): ")])
def test_info_finds_the_allocator(kind: str, family: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(elf("heap/churn", kind))]) == 0
    out = capsys.readouterr().out
    assert family in out
    assert re.search(r" malloc@0x[0-9a-f]+", out)
    assert re.search(r" free@0x[0-9a-f]+", out)


def test_info_says_what_finds_the_allocator_of_a_stripped_program(
    die: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(Path(die).read_bytes())
    content[40:48], content[58:64] = bytes(8), bytes(6)  # no section headers
    stripped = tmp_path / "stripped"
    stripped.write_bytes(content)
    stripped.chmod(0o755)
    assert main(["info", str(stripped)]) == 0
    assert "no symbols to find them by; run --heap looks for the code of libc.a\n" in capsys.readouterr().out


def test_info_says_why_a_dynamic_program_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shutil.which("ls") or "/bin/ls")
    if not path.exists():
        pytest.skip("needs a dynamic program")
    assert main(["info", str(path)]) == 0
    assert "no: a dynamically linked program (it has PT_INTERP); link it with -static" in capsys.readouterr().out


def test_info_refuses_in_the_words_of_run(die: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = Path(die).read_bytes()
    arm = content[:18] + b"\xb7\0" + content[20:]
    file = tmp_path / "program"
    for changed in (content[:3000], arm):
        file.write_bytes(changed)
        file.chmod(0o755)
        assert main(["run", str(file)]) == 2
        why = capsys.readouterr().err.strip().removeprefix(f"heapscope: {file}: ")
        assert main(["info", str(file)]) == 0
        assert f"runs here    no: {why}\n" in capsys.readouterr().out
    assert main(["disasm", str(file)]) == 2


def test_what_is_no_file_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for verb in ("info", "disasm", "run"):
        for path, said in ((fifo, "not a regular file"), (tmp_path, "a directory"), ("/dev/zero", "not a regular")):
            assert main([verb, str(path)]) == 2
            assert capsys.readouterr().err.startswith(f"heapscope: {path}: {said}")


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump (binutils)")
def test_disasm_lists_the_instructions_of_objdump(die: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disasm", die, "main"]) == 0
    ours = re.findall(r"^ *([0-9a-f]+):  ((?:[0-9a-f]{2} )+)", capsys.readouterr().out, re.MULTILINE)
    command = ["objdump", "-d", "--insn-width=16", "--disassemble=main", die]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = re.findall(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{2} )+)", printed, re.MULTILINE)
    assert len(ours) > 20
    assert [(va, raw.strip()) for va, raw in ours] == [(va, raw.strip()) for va, raw in theirs]


def test_disasm_names_the_targets_of_calls(die: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disasm", "--no-bytes", die, "main"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^[0-9a-f]{16} <main>:$", out, re.MULTILINE)
    assert re.search(r"call 0x[0-9a-f]+ <strcmp>", out)


def test_disasm_suggests_a_near_name(die: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disasm", die, "fault_agin"]) == 2
    assert capsys.readouterr().err == "heapscope: no function 'fault_agin': is it fault_again?\n"


def test_disasm_takes_an_address_within_a_function(die: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["disasm", die, "main"])
    by_name = capsys.readouterr().out
    inside = re.findall(r"^ *([0-9a-f]+):  ", by_name, re.MULTILINE)[7]
    assert main(["disasm", die, f"0x{inside}"]) == 0
    assert capsys.readouterr().out == by_name
    assert main(["disasm", die, "0x10"]) == 2
    assert main(["disasm", die, "0xzz"]) == 2


def test_syscalls_lists_the_whole_table_once(capsys: pytest.CaptureFixture[str]) -> None:
    from kernel.abi.nr import NR

    assert main(["syscalls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [name for name, _ in sorted(NR.items(), key=lambda kv: kv[1])]
    counts = [int(word) for word in re.findall(r"\d+", lines[-1])]
    assert counts[0] == len(NR) == sum(counts[1:])


def test_syscalls_filters_add_up_and_say_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    total = 0
    for option, state in (("--implemented", "yes"), ("--partly", "partly"), ("--missing", "no")):
        assert main(["syscalls", option, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert {row["state"] for row in rows} <= {state}
        assert all(row["missing"] for row in rows) or state != "partly"
        total += len(rows)
    assert main(["syscalls", "--json"]) == 0
    assert total == len(json.loads(capsys.readouterr().out))
    assert main(["syscalls", "--markdown", "mmap"]) == 0
    assert "| 9 | `mmap` |" in capsys.readouterr().out


def test_mutated_programs_never_give_a_traceback(
    die: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Path(die).read_bytes()
    shoff = struct.unpack_from("<Q", content, 40)[0]
    file = tmp_path / "mutated"
    rng = random.Random(4)
    for _ in range(300):
        mutated = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            mutated[rng.choice((0, 64, shoff)) + rng.randrange(512)] = rng.choice(
                (0, 1, 0x7F, 0xFF, rng.randrange(256))
            )
        file.write_bytes(mutated)
        assert main(["info", str(file)]) in (0, 2)
        if rng.random() < 0.3:
            assert main(["disasm", str(file), "main"]) in (0, 2)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
