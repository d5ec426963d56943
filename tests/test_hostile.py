"""Bad input: programs that are none, machines that run out, writers without readers.

Never a traceback, a hang, or more of the host's memory than was granted.
"""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from runs import elf, fresh_folder

import emu
from emu.machine import Stopped

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
PHDR = 64  # where the program header table is in `tiny`, right behind the ELF header

# mov edi, 42; mov eax, 231 (exit_group); syscall
EXIT_42 = b"\xbf\x2a\x00\x00\x00\xb8\xe7\x00\x00\x00\x0f\x05"


def phdr(
    kind: int = 1, flags: int = 5, offset: int = 0, va: int = 0x400000, filesz: int = 0x1000, memsz: int = 0x1000
) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, va, va, filesz, memsz, 0x1000)


def tiny(*phdrs: bytes, size: int = 0x1000, **fields: int) -> bytes:
    """A whole ELF of one page: header, program headers, EXIT_42 at 0x800. `fields` replace header fields."""
    phdrs = phdrs or (phdr(),)
    header = {
        "magic": 0x464C457F,
        "class_": 2,
        "data": 1,
        "type": 2,
        "machine": 62,
        "entry": 0x400800,
        "phoff": PHDR,
        "phentsize": 56,
        "phnum": len(phdrs),
    } | fields
    magic, class_, data, kind, machine, entry, phoff, phentsize, phnum = header.values()
    ident = struct.pack("<IBBBB8x", magic, class_, data, 1, 0)
    rest = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, phoff, 0, 0, 64, phentsize, phnum, 64, 0, 0)
    body = (ident + rest + b"".join(phdrs)).ljust(0x800, b"\0") + EXIT_42
    return body.ljust(size, b"\0")[:size]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    """A function that makes an executable file of bytes."""

    return partial(executable, tmp_path)


def executable(folder: Path, content: bytes) -> Path:
    path = folder / "program"
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def heapscope(*arguments: str, **how: Any) -> subprocess.CompletedProcess[bytes]:
    """The command, in a process of its own."""
    if how.get("capture_output", True):
        how["capture_output"] = True
    how = {"stdin": subprocess.DEVNULL} | how
    run: Any = subprocess.run  # its overloads cannot see into **how
    done: subprocess.CompletedProcess[bytes]
    done = run([sys.executable, "-m", "emu", *arguments], cwd=ROOT, timeout=120, **how)
    return done


def test_the_smallest_program_runs(file: Callable[[bytes], Path]) -> None:
    assert emu.run(file(tiny())).exit_status == 42


REFUSED = {
    "empty": b"",
    "one byte": b"\x7f",
    "not an ELF": b"#!/bin/sh\necho hello\n",
    "text": b"hello " * 1000,
    "truncated in the header": tiny(size=40),
    "truncated in the program headers": tiny(size=80),
    "32-bit": tiny(class_=1),
    "big-endian": tiny(data=2),
    "another machine": tiny(machine=183),
    "x32-like class": tiny(class_=0),
    "a relocatable object": tiny(type=1),
    "a core file": tiny(type=4),
    "dynamic": tiny(phdr(), phdr(kind=3, offset=0x900, va=0x400900, filesz=28, memsz=28)),
    "no program headers": tiny(phnum=0),
    "no segment to load": tiny(phdr(kind=4)),
    "program headers past the end": tiny(phoff=0x10000),
    "program headers at the end of 64 bits": tiny(phoff=0xFFFFFFFFFFFFFFF0),
    "too many program headers": tiny(phnum=0xFFFF),
    "odd program header size": tiny(phentsize=57),
    "file part larger than memory part": tiny(phdr(filesz=0x1000, memsz=0x800)),
    "segment past the end of the file": tiny(phdr(offset=0x100000)),
    "huge segment": tiny(phdr(), phdr(va=0x10000000, filesz=0, memsz=1 << 62)),
    "segment in the kernel's half": tiny(phdr(va=0xFFFF800000000000), entry=0xFFFF800000000800),
    "segment that wraps": tiny(phdr(va=0xFFFFFFFFFFFFF000, memsz=0x3000), entry=0xFFFFFFFFFFFFF800),
    "segment across the end of user space": tiny(phdr(), phdr(va=0x7FFFFFFFE000, filesz=0, memsz=0x10000)),
    "misaligned offset": tiny(phdr(offset=0x10)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_program_for_us_is_refused_in_one_line(what: str, file: Callable[[bytes], Path]) -> None:
    path = file(REFUSED[what])
    with pytest.raises(emu.ProgramError) as refused:
        emu.run(path, max_instructions=1000)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_refusals_say_what_is_wrong(file: Callable[[bytes], Path]) -> None:
    words = {
        "dynamic": "dynamic",
        "32-bit": "32-bit",
        "another machine": "machine",
        "not an ELF": "ELF",
        "truncated in the header": "truncated",
    }
    for what, word in words.items():
        with pytest.raises(emu.ProgramError, match=f"(?i){word}|AArch64"):
            emu.run(file(REFUSED[what]))


def test_overlapping_segments_are_refused_or_overlaid_as_linux_does(file: Callable[[bytes], Path]) -> None:
    """Linux maps segments one after the other, the later one on top; a program like that is at worst a dead one."""
    for second in (
        phdr(va=0x400000),
        phdr(va=0x3FF000, filesz=0x1000, memsz=0x2000),
        phdr(va=0x400000, flags=6, memsz=0x5000),
    ):
        try:
            run = emu.run(file(tiny(phdr(), second)), max_instructions=10_000)
        except emu.ProgramError:
            continue
        assert run.exit_status == 42 or run.signal is not None


def test_an_entry_outside_of_all_segments_is_a_sigsegv(file: Callable[[bytes], Path]) -> None:
    assert emu.run(file(tiny(entry=0x900000))).signal_name == "SIGSEGV"


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda folder: folder / "missing", "No such file"),
        (lambda folder: folder, "directory"),
        (lambda _: Path("/dev/null"), "regular"),
    ],
    ids=["missing", "a directory", "a device"],
)
def test_files_that_cannot_be_programs(make: Callable[[Path], Path], word: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    done = heapscope("run", str(path))
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert word.encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_file_that_is_not_executable_is_refused(file: Callable[[bytes], Path]) -> None:
    path = file(tiny())
    path.chmod(0o644)
    done = heapscope("run", str(path))
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"not executable" in done.stderr


def test_the_command_refuses_with_status_2_and_one_line(file: Callable[[bytes], Path]) -> None:
    for content in (b"", b"text", REFUSED["32-bit"], REFUSED["dynamic"], REFUSED["huge segment"]):
        done = heapscope("run", str(file(content)))
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1), done.stderr


# mutated headers


def mutated(rng: random.Random, original: bytes) -> bytes:
    """The original with 1 to 8 bytes, or a whole field, of its headers changed."""
    content = bytearray(original)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(PHDR + 56 * 2)
        if rng.random() < 0.5:
            content[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        else:
            value = rng.choice(
                [
                    0,
                    1,
                    0xFFF,
                    0x1000,
                    0x7FFFFFFF,
                    1 << 32,
                    1 << 47,
                    (1 << 63) - 1,
                    1 << 63,
                    (1 << 64) - 1,
                    rng.getrandbits(64),
                ]
            )
            at &= ~7
            content[at : at + 8] = struct.pack("<Q", value)
    if rng.random() < 0.1:
        del content[rng.randrange(len(content)) :]
    return bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_10_000_mutated_headers_are_refused_or_run(quarter: int) -> None:
    rng = random.Random(quarter)
    original = tiny(phdr(), phdr(flags=6, va=0x500000, offset=0, filesz=0x100, memsz=0x3000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    several_lines, longest, outcomes = 0, 0.0, dict.fromkeys(("refused", "ended", "limit"), 0)
    with fresh_folder() as folder:
        path = executable(folder, b"")
        for _ in range(2500):
            path.write_bytes(mutated(rng, original))
            started = time.process_time()
            try:
                run = emu.run(path, memory=16 * MIB, max_instructions=2000)
            except emu.ProgramError as refused:
                outcomes["refused"] += 1
                several_lines += "\n" in str(refused)
            else:
                outcomes["ended" if run.stopped is Stopped.EXITED else "limit"] += 1
            longest = max(longest, time.process_time() - started)
    assert several_lines == 0
    assert outcomes["refused"] > 250
    assert outcomes["ended"] > 250
    assert longest < 5  # CPU seconds, of one
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 256 * MIB


# wild guests


@pytest.mark.parametrize("seed", range(0, 40, 10))
def test_random_syscalls_end_in_a_result_or_a_signal(seed: int) -> None:
    """1,500 random calls of each of ten seeds: whatever the guest gets, we get no exception and no hang."""
    for each in range(seed, seed + 10):
        run = emu.run(
            elf("task/wild"), [str(each), "1500"], cwd="/tmp", trace="all", memory="64M", max_instructions=10**8
        )
        assert run.exit_status in (0, 2) or run.signal or run.stopped in (Stopped.DEADLOCK, Stopped.PANIC)


@pytest.mark.parametrize("seed", range(0, 400, 200))
def test_random_code_ends_in_a_signal_or_at_its_limit(seed: int) -> None:
    interesting = [0x0F, 0x48, 0x66, 0xF3, 0xF2, 0xCD, 0xCC, 0xF1, 0xC4, 0xC5, 0x62, 0xD8, 0xDF, 0x9B, 0xEC, 0xCF, 0x8E]
    with fresh_folder() as folder:
        path = executable(folder, b"")
        for each in range(seed, seed + 200):
            rng = random.Random(each)
            code = rng.randbytes(0x800) if each % 2 else bytes(rng.choices([*interesting, rng.randrange(256)], k=0x800))
            path.write_bytes(tiny(phdr(flags=7))[:0x800] + code)
            run = emu.run(path, memory="16M", max_instructions=20_000)
            assert run.signal or run.exit_status is not None or run.stopped is Stopped.INSTRUCTIONS
            assert run.death is None or run.death.name.startswith("SIG")


# running out


def test_a_guest_that_takes_all_memory_is_killed_and_we_are_not() -> None:
    path = str(elf("mm/exhaust"))
    done = heapscope("run", "-q", "--memory", "64M", path)
    assert done.returncode == 128 + 9
    assert b"out of memory" in done.stderr.lower()
    assert b"Traceback" not in done.stderr
    run = emu.run(path, memory="64M")
    assert run.signal_name == "SIGKILL"
    assert any("memory" in note.lower() for note in run.notes)
    assert emu.run(elf("task/hello"), memory="64M").exit_status == 0  # and the next one has all of it again


def test_a_machine_whose_memory_is_gone_and_whose_process_may_not_be_killed_panics() -> None:
    for setting in ("oom_score_adj", "panic_on_oom"):
        run = emu.run(elf("mm/exhaust"), [setting], memory="64M", uid=0)
        assert run.stopped is Stopped.PANIC
        assert run.returncode == 124
        assert any("Kernel panic - not syncing: " in note for note in run.notes)


def test_a_cap_of_memory_is_a_cap_of_the_hosts_memory() -> None:
    # started by a small process: Linux counts what the one that forks holds into its child's ru_maxrss
    small = (
        "import os, sys; pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ);"
        " _, status, usage = os.wait4(pid, 0); print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)"
    )
    command = ["-m", "emu", "run", "-q", "--memory", "256M", str(elf("mm/exhaust"))]
    done = subprocess.run([sys.executable, "-c", small, *command], cwd=ROOT, capture_output=True, check=True)
    code, peak_kib = map(int, done.stdout.split()[-2:])
    assert code == 128 + 9
    assert peak_kib * 1024 < 256 * MIB + 160 * MIB


def test_an_endless_loop_ends_at_its_limit(file: Callable[[bytes], Path]) -> None:
    loop = bytearray(tiny())
    loop[0x800:0x802] = b"\xeb\xfe"
    path = str(file(bytes(loop)))
    run = emu.run(path, max_instructions=123_457)
    assert (run.stopped, run.counters.instructions) == (Stopped.INSTRUCTIONS, 123_457)
    assert heapscope("run", "-q", "--max-instructions", "100000", path).returncode == 124
    assert heapscope("run", "-q", "--timeout", "0.3", path).returncode == 124


# nobody reads


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_trace_to_a_full_disk_ends_cleanly() -> None:
    done = heapscope("run", "-o", "/dev/full", str(elf("task/hello")))
    assert done.stdout == b"Hello from a static ELF.\n"
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_guest_that_writes_to_a_full_disk_gets_enospc() -> None:
    with open("/dev/full", "wb") as full:
        done = heapscope("run", str(elf("task/hello")), capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert b"ENOSPC (No space left on device)" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("options", [(), ("-q",), ("-c",)], ids=" ".join)
def test_a_reader_that_goes_away_ends_it_cleanly(options: tuple[str, ...]) -> None:
    """As in `heapscope run ... 2>&1 | head -1`."""
    command = [sys.executable, "-m", "emu", "run", *options, str(elf("bench/mmap_loop")), "3000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) in (0, 128 + 13)
    assert b"Traceback" not in first


def test_a_guest_whose_output_nobody_reads_dies_of_sigpipe_or_gets_epipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = heapscope("run", str(elf("task/hello")), capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert b"EPIPE (Broken pipe)" in done.stderr
    assert b"SIGPIPE" in done.stderr
    assert done.returncode == 128 + 13
