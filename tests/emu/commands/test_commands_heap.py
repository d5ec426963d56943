"""`heapscope run --heap`: what a user sees, and the exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import elf

from emu.uprobes import FORMS

ROOT = Path(__file__).resolve().parents[3]


def heapscope(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emu", "run", "-q", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_report_tells_counts_misuse_leaks_sites_and_costs() -> None:
    done = heapscope("--heap", "--stack", "8", str(elf("heap/misuses")), "double-free")
    text = done.stderr[done.stderr.index("=== heap") :]
    assert "  allocations      3 of 120 bytes\n" in text
    assert "  frees            2 calls; 1 block given back in all\n" in text
    assert "  misuse           1\n" in text
    assert "\ndouble-free: free(0x" in text
    assert "  freed by free, instruction " in text
    assert "\nnever freed: 80 bytes in 2 blocks, from 2 places\n" in text
    assert "\nlargest sites\n" in text
    assert "\n  33-64      3 " in text


def test_calls_of_realloc_and_those_that_never_return_are_said() -> None:
    died_in_it = heapscope("--heap", str(elf("heap/misuses")), "realloc-of-freed").stderr
    assert "  allocations      3 of 120 bytes, 1 call of realloc\n" in died_in_it
    assert "  not returned     1 call: the run ended inside, or longjmp or an exception left it\n" in died_in_it


def test_strict_fails_the_run_of_a_broken_allocator() -> None:
    options = ("--heap", "--strict", "--alloc-file", "guest/heap/broken.toml")
    program = str(elf("heap/broken"))
    clean, broken = heapscope(*options, program), heapscope(*options, program, "not-zero")
    assert (clean.returncode, broken.returncode) == (0, 99)
    assert "  promises         all kept\n" in clean.stderr
    assert "  promises         1 broken\n" in broken.stderr
    assert "\nnot-zero: b_calloc of 9,000 bytes = 0x" in broken.stderr
    assert "\n  in b_calloc, instruction " in broken.stderr
    assert heapscope(*options, "--error-exitcode", "7", program, "overlap").returncode == 7


def test_error_exitcode_is_for_misuse_and_leaks_alone() -> None:
    program = str(elf("heap/misuses"))
    assert heapscope("--heap", program).returncode == 0
    assert heapscope("--heap", "--error-exitcode", "99", program).returncode == 0
    assert heapscope("--heap", "--error-exitcode", "99", program, "leak").returncode == 99
    assert heapscope("--heap", "--error-exitcode", "7", program, "wrong-size").returncode == 7
    assert heapscope("--error-exitcode", "--heap", program, "leak").returncode == 99


def test_what_is_suppressed_is_counted_and_no_error(tmp_path: Path) -> None:
    program, known = str(elf("heap/misuses")), tmp_path / "known.supp"
    known.write_text("# made on purpose\nleak:_ZL4make?\nwrong-size:misuses.cc\ndouble-free:nowhere\n")
    options = ("--heap", "--error-exitcode=99", "--suppressions", str(known), "--why")
    leaking = heapscope(*options, program, "leak")
    assert leaking.returncode == 0
    assert "\nsuppressed: 1,120 bytes in 4 blocks never freed\n" in leaking.stderr
    assert f"\n  leak:_ZL4make? ({known}:2): 1,120 bytes in 4 blocks never freed\n" in leaking.stderr
    assert f"\n  double-free:nowhere ({known}:4): nothing; is it still needed?\n" in leaking.stderr
    assert "\nnever freed" not in leaking.stderr
    misused = heapscope(*options, "--stack", "4", program, "wrong-size")
    assert misused.returncode == 0
    assert ", 1 misuses\n" in misused.stderr
    assert "  misuse           none\n" in misused.stderr
    assert heapscope(*options, "--stack", "4", program, "double-free").returncode == 99


def test_what_the_c_library_keeps_is_no_leak_unless_asked() -> None:
    program = str(elf("task/hello", "glibc"))
    usual = heapscope("--heap", "--error-exitcode=99", program)
    assert usual.returncode == 0
    assert "\nsuppressed: " in usual.stderr
    assert heapscope("--heap", "--error-exitcode=99", "--no-default-suppressions", program).returncode == 99


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--stack", "4"), "--stack needs --heap"),
        (("--strict",), "--strict needs --heap"),
        (("--heap", "--uninitialised"), "--uninitialised needs --memcheck"),
        (("--heap", "--stack", "65"), "it is 0 to 64"),
        (("--heap", "--error-exitcode", "256"), "an exit code is 0 to 255"),
        (("--heap", "--alloc", "x"), "is not NAME=KIND"),
        (("--heap", "--alloc", "nothing=malloc"), "the program has no such function"),
        (("--heap", "--alloc", "mallok=malloc"), "has no such function; is it malloc"),
        (("--heap", "--alloc", "0x10=malloc"), "no code is there; the program's is 0x"),
        (("--heap", "--alloc-file", "/nonexistent"), "No such file or directory"),
        (("--suppressions", "x"), "--suppressions needs --heap"),
        (("--heap", "--suppressions", "/nonexistent"), "No such file or directory"),
        (("--heap", "--error-exitcode"), "before a program write --error-exitcode=99"),
        (("--heap", "--alloc-file", "Makefile"), "Makefile: "),
        (("--heap", "--alloc-file", "guest/heap/broken.toml"), "'b_malloc': the program has no such function"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: tuple[str, ...], why: str) -> None:
    done = heapscope(*words, str(elf("heap/misuses")))
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_plain_run_imports_nothing_of_the_heap() -> None:
    program = (
        "import sys, emu.cli; code = emu.cli.main(['run', '-q', sys.argv[1]]);"
        "print([m for m in ('numpy', 'emu.uprobes', 'emu.trace.heap', 'emu.analysis.heap') if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(elf("task/hello"))], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("[] 0\n")


NOT_ASKED_FOR = (
    "numpy", "pyarrow", "rich", "capstone", "elftools.elf", "difflib", "json", "tomllib",
    "emu.sinks.arrow", "emu.trace.alloc_library", "emu.trace.memcheck", "emu.trace.strict", "emu.analysis.ends",
    "emu.analysis.misuse", "emu.analysis.strict", "emu.unwind", "emu.flow", "emu.dwarf.frames", "emu.allocators",
)  # fmt: skip


def test_a_heap_run_imports_nothing_that_was_not_asked_for() -> None:
    """Its report tells of leaks by lines, of costs and of time, and does without a third of a second of imports."""
    program = (
        "import sys, emu.cli; code = emu.cli.main(['run', '-q', '--heap', sys.argv[1], '1000']);"
        f"print([m for m in {NOT_ASKED_FOR!r} if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(elf("bench/churn_small"))],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "churn_small.c:20)" in done.stderr
    assert "over time" in done.stderr
    assert done.stdout.endswith("[] 0\n")


def test_memcheck_implies_heap_and_tells_bad_accesses_in_the_report() -> None:
    program = str(elf("heap/accesses"))
    done = heapscope("--memcheck", "--stack", "8", "--error-exitcode", "99", program, "overflow")
    assert done.returncode == 99
    assert re.search("\noverflow: write of 4 bytes at 0x[0-9a-f]+, 4 bytes past the end of a block of 24", done.stderr)
    assert "\n  at put4, instruction " in done.stderr
    assert "  misuse           1\n" in done.stderr
    often = heapscope("--memcheck", program, "often").stderr
    assert ", just past the end of a block of 24 bytes, 1,000 times\n" in often


def test_the_help_names_every_kind_that_a_rule_may_have() -> None:
    words = set(heapscope("--help").stdout.replace(",", " ").replace(".", " ").split())
    assert set(FORMS) <= words
