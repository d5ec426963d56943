"""Suppressions: which findings a line takes, and which lines are refused."""

from __future__ import annotations

import pytest

from emu.analysis.heapresult import Leak
from emu.analysis.misuse import Happening, Misuse
from emu.analysis.suppressions import DEFAULT, parse, sift
from emu.calls import RuleError

CALLS = ("make.constprop.0+0x9 (lib/src/pool.c:12)", "main+0x1b (main.c:9)", "0x401234", "_start")


def misuse(kind: str) -> Misuse:
    return Misuse(kind, "free(0x1)", 1, Happening("free", 5, CALLS), None, None, None)


@pytest.mark.parametrize(
    "rule",
    ["leak:make*", "leak:main", "leak:lib/src/pool.c", "leak:src/pool.c", "leak:pool.c", "leak:lib/*", "*:_start",
     "leak:main.c", "leak:0x401234", " leak : main  # why"],
)  # fmt: skip
def test_a_glob_is_held_against_the_function_and_file_of_every_frame(rule: str) -> None:
    (left, _, (taken,)) = sift(parse(rule, "f"), [Leak(CALLS, 3, 120)], [])
    assert not left
    assert (taken.leaks, taken.blocks, taken.bytes, taken.misuses) == (1, 3, 120, 0)


@pytest.mark.parametrize("rule", ["leak:ma", "leak:Main", "leak:ol.c", "double-free:main", "leak:main.c:9", "leak:src"])
def test_what_it_does_not_match_stays(rule: str) -> None:
    leaks = [Leak(CALLS, 3, 120)]
    assert sift(parse(rule, "f"), leaks, [])[0] == leaks


def test_the_first_rule_that_covers_a_finding_takes_it() -> None:
    rules = parse("\n# both\n\ndouble-free:main\n*:main\n", "known")
    done = sift(rules, [Leak(CALLS, 1, 8)], [misuse("double-free"), misuse("wrong-size"), misuse("double-free")])
    assert (done.leaks, done.misuse) == ([], [])
    assert [(str(each.rule), each.leaks, each.misuses) for each in done.suppressed] == [
        ("double-free:main (known:4)", 0, 2),
        ("*:main (known:5)", 1, 1),
    ]


def test_a_program_of_a_usual_c_library_has_usual_blocks() -> None:
    leak = Leak(("_IO_file_doallocate+0x8b", "main+0xf (a.c:6)"), 1, 4096)
    assert not sift(DEFAULT, [leak], []).leaks


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("leak", "known:2: 'leak' is not KIND:GLOB, as in leak:make_table"),
        ("leak:", "known:2: 'leak:' is not KIND:GLOB"),
        ("lake:x", "known:2: there is no kind 'lake': leak, double-free, "),
        (":x", "known:2: there is no kind ''"),
    ],
)
def test_a_line_that_says_nothing_is_refused_with_its_number(line: str, why: str) -> None:
    with pytest.raises(RuleError) as refused:
        parse(f"leak:fine\n{line}\n", "known")
    assert str(refused.value).startswith(why)
