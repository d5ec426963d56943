"""`heapscope run --heap --record` and `heapscope summary`: what a user sees of a trace folder, whole or cut."""

from __future__ import annotations

import filecmp
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import elf

from emu.sinks.folder import EventStream

ROOT = Path(__file__).resolve().parents[3]
STREAMS = ("events", "sites", "stacks", "symbols", "misuse", "violations", "totals", "timeline", "space", "blocks")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "emu", *words]


def heapscope(*words: str, **knobs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=120, **knobs)  # type: ignore[call-overload,no-any-return]


def record(folder: Path, *words: str, **knobs: object) -> subprocess.CompletedProcess[str]:
    return heapscope("run", "-q", "--heap", "--record", str(folder), *words, **knobs)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("heap/churn", "musl", ("20000",)),
        ("heap/churn", "glibc", ("20000",)),
        ("heap/churn", "jemalloc", ("3000",)),
        ("heap/misuses", "musl", ("double-free",)),
        ("heap/misuses", "glibc", ("interior-of-freed",)),
        ("heap/exceptions", "musl", ()),
        ("task/hello", "musl", ()),
    ],
)
def test_a_summary_prints_what_the_run_printed_at_its_end(
    name: str, kind: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    run = record(tmp_path / "trace", "--stack", "6", str(elf(name, kind)), *words)
    summary = heapscope("summary", str(tmp_path / "trace"))
    told = run.stderr[run.stderr.index("=== heap") :]
    assert (summary.returncode, summary.stdout, summary.stderr) == (0, told, "")


@pytest.mark.parametrize(
    ("checks", "name", "fault"),
    [
        (("--memcheck",), "heap/accesses", "often"),
        (("--strict", "--alloc-file", str(ROOT / "guest/heap/broken.toml")), "heap/broken", "overlap"),
        (("--strict", "--memcheck"), "heap/misuses", "double-free"),
    ],
)
def test_what_checks_found_is_in_the_folder_too(checks: tuple[str, ...], name: str, fault: str, tmp_path: Path) -> None:
    run = record(tmp_path / "trace", *checks, str(elf(name)), fault)
    summary = heapscope("summary", str(tmp_path / "trace"))
    assert summary.stdout == run.stderr[run.stderr.index("=== heap") :]
    assert "misuse           1" in summary.stdout or "1 broken" in summary.stdout


def test_the_python_twin_records_what_the_c_hooks_do(tmp_path: Path) -> None:
    program = str(elf("heap/churn"))
    native = record(tmp_path / "native", program, "2000")
    twin = record(tmp_path / "twin", "--no-native", program, "2000")
    assert native.stderr == twin.stderr == heapscope("summary", str(tmp_path / "twin")).stdout
    for name in set(STREAMS) - {"totals"}:  # of what the hooks add up, the order of a table is their own
        assert filecmp.cmp(tmp_path / "native" / f"{name}.arrow", tmp_path / "twin" / f"{name}.arrow", shallow=False)


def test_two_runs_record_equal_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        record(tmp_path / name, "--stack", "4", str(elf("heap/misuses", "glibc")), "double-free", env=env)
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == sorted([*(f"{name}.arrow" for name in STREAMS), "meta.json"])
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", names, shallow=False) == (names, [], [])


def test_the_meta_file_says_what_was_run_and_how_it_ended(tmp_path: Path) -> None:
    program = str(elf("heap/misuses"))
    done = record(tmp_path / "t", "--seed", "7", "--stack", "3", program, "leak")
    meta = json.loads((tmp_path / "t" / "meta.json").read_text())
    assert meta["argv"] == [program, "leak"]
    assert (meta["options"]["seed"], meta["heap"]["stack"], meta["schema"]) == (7, 3, 3)
    assert "malloc" in [function["name"] for function in meta["functions"]]
    assert (meta["end"]["exit_status"], meta["end"]["stopped"]) == (done.returncode, "EXITED")


def test_a_limit_leaves_a_whole_folder(tmp_path: Path) -> None:
    done = record(tmp_path / "t", "--max-instructions", "900000", str(elf("heap/churn")), "50000")
    assert done.returncode == 124
    summary = heapscope("summary", str(tmp_path / "t"))
    assert (summary.returncode, summary.stderr) == (0, "")
    assert summary.stdout in done.stderr


def until_it_writes(folder: Path, size: int, *words: str) -> subprocess.Popen[str]:
    """A run that has written so many bytes of events."""
    process = subprocess.Popen(
        command("run", "-q", "--heap", "--record", str(folder), *words),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    events = folder / "events.arrow"
    while not events.exists() or events.stat().st_size < size:
        assert process.poll() is None
        time.sleep(0.02)
    return process


def test_an_interrupted_run_leaves_a_whole_folder(tmp_path: Path) -> None:
    process = until_it_writes(tmp_path / "t", 100_000, str(elf("heap/churn")), "100000000")
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=120)[1]
    summary = heapscope("summary", str(tmp_path / "t"))
    assert (summary.returncode, summary.stdout, summary.stderr) == (0, told[told.index("=== heap") :], "")


def test_a_killed_run_can_be_read_as_far_as_it_goes(tmp_path: Path) -> None:
    process = until_it_writes(tmp_path / "t", 1_000_000, str(elf("heap/churn")), "100000000")
    process.kill()
    process.communicate(timeout=120)
    summary = heapscope("summary", str(tmp_path / "t"))
    assert summary.returncode == 0
    assert "the run has no end (killed, or its disk was full); " in summary.stderr
    assert summary.stderr.count("\n") == 1
    assert int(summary.stderr.split("; ")[1].split()[0].replace(",", "")) >= 1 << 16
    assert "largest sites\n" in summary.stdout
    assert "heap/churn.c:" in summary.stdout


def test_a_killed_run_leaves_what_was_found_until_then(tmp_path: Path) -> None:
    """It is written as it is found, before the events that it is of."""
    rules = ("--alloc", "pool_take=malloc:rdi", "--alloc", "pool_give=free:rdi")
    words = command("run", "-q", "--heap", "--record", str(tmp_path / "t"), "--strict", "--memcheck", *rules)
    with subprocess.Popen([*words, str(elf("heap/lingers"))], cwd=ROOT, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        process.kill()
    summary = heapscope("summary", str(tmp_path / "t"))
    assert summary.returncode == 0
    for told in ("misuse           2\n", "promises         1 broken\n", "misaligned: pool_take", "lingers.c:19"):
        assert told in summary.stdout
    for found in ("use-after-free: read of 1 byte", "double-free: pool_give("):
        assert summary.stdout.count(found) == 1
    assert "3 events can be read; how often each bad access happened would be told at the end" in summary.stderr


def test_what_came_before_a_line_of_output_is_on_the_disk_when_somebody_reads_it(tmp_path: Path) -> None:
    words = command("run", "-q", "--heap", "--record", str(tmp_path / "t"), str(elf("heap/stuck")))
    with subprocess.Popen(words, cwd=ROOT, stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"worked\n"
        os.kill(process.pid, signal.SIGKILL)
    assert EventStream(str(tmp_path / "t")).events >= 1000
    summary = heapscope("summary", str(tmp_path / "t"))
    assert summary.returncode == 0
    assert "live at the end  " in summary.stdout
    assert "stuck.c:" in summary.stdout


@pytest.mark.parametrize("how", [(), ("spin",)], ids=["waits", "spins"])
def test_a_run_that_is_stuck_and_killed_has_lost_no_event(how: tuple[str, ...], tmp_path: Path) -> None:
    """It catches up before it waits for input, and after so many instructions."""
    folder, limit = str(tmp_path / "t"), ("--timeout", "100")
    words = command("run", "-q", "--heap", "--record", folder, *limit, str(elf("heap/stuck")), *how)
    with subprocess.Popen(words, cwd=ROOT, stdin=-1, stdout=subprocess.DEVNULL) as process:
        while EventStream(folder).events < 2000:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    summary = heapscope("summary", folder)
    assert "  allocations      1,000 of " in summary.stdout
    assert "  live at the end  " in summary.stdout
    assert "2,000 events can be read" in summary.stderr


def test_a_full_disk_ends_the_record_and_not_the_run(tmp_path: Path) -> None:
    def at_most() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = record(tmp_path / "t", str(elf("heap/churn")), "150000", preexec_fn=at_most)
    assert done.returncode == 2
    assert f"heapscope: the trace is incomplete: {tmp_path}/t/events.arrow: File too large\n" in done.stderr
    assert "150000 operations" in done.stdout
    assert "=== heap" in done.stderr
    summary = heapscope("summary", str(tmp_path / "t"))
    assert summary.returncode == 0
    assert "the run has no end" in summary.stderr
    assert "peak live" in summary.stdout


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("")
    done = record(tmp_path, str(elf("heap/misuses")))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"heapscope: --record {tmp_path}: not empty; a trace gets a folder of its own\n"
    (tmp_path / "empty").mkdir()
    assert record(tmp_path / "empty", str(elf("heap/misuses"))).returncode == 0
    for folder, why in ((tmp_path / "something", "Not a directory"), (Path("/proc/nothing"), "No such file")):
        done = record(folder, str(elf("heap/misuses")))
        assert done.returncode == 2
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
    assert heapscope("run", "--heap", "--record", "", str(elf("heap/misuses"))).stderr.endswith("'': which folder?\n")
    assert "--record needs --heap" in heapscope("run", "--record", "x", str(elf("heap/misuses"))).stderr


def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    record(trace, str(elf("heap/misuses")))
    shutil.copytree(trace, tmp_path / "newer")
    meta = (trace / "meta.json").read_text()
    (tmp_path / "newer" / "meta.json").write_text(meta.replace('"schema": 3', '"schema": 9'))
    shutil.copytree(trace, tmp_path / "cut")
    (tmp_path / "cut" / "meta.json").write_text(meta[:100])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "meta.json").write_text('{"name": "another tool"}')
    (tmp_path / "empty").mkdir()
    refused = {
        "nowhere": "no such folder",
        "empty": "not a trace: it has no meta.json",
        "newer": "a trace of schema 9; this heapscope reads schema 3",
        "cut": "not a trace: ",
        "other": "the meta.json of something else, not of a trace",
        "trace/meta.json": "not a trace: a file, and a trace is a folder",
    }
    for name, why in refused.items():
        done = heapscope("summary", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
