"""The pytest plugin: options, marks, the fixture `guest`, and what a failing test says of its guests.

def test_nothing_leaks(guest):
    run = guest("churn.c", ["1000"])
    assert run.returncode == 0
    assert run.heap.leaks == []
    run.matches_baseline()

It is loaded into every pytest of an environment that has heapscope, so importing it imports no emulator.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emu.pytest_plugin.runner import GuestRunner

MARKS = (
    "no_leaks: each guest of the test must free every block that it allocated",
    "limit_rss(size): no guest of the test may have more bytes resident than size, as in '1M'",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("heapscope")
    does = "rewrite the baselines of the tests that run, instead of comparing"
    group.addoption("--heapscope-update", action="store_true", help=does)
    parser.addini("heapscope_toolchain", "what guests are built with: zig-musl, musl-gcc or gcc", default="zig-musl")


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    if not config.getoption("heapscope_update"):
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError("--heapscope-update: CI=true, and a baseline is to be looked at before it is used")
    from emu.pytest_plugin.gone import Gone

    config.pluginmanager.register(Gone(config))


_RUNNER = pytest.StashKey["GuestRunner"]()


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> GuestRunner:
    """Runs guests: `guest("churn.c", ["1000"], cflags=["-O1"]) -> GuestRun`. See GuestRunner."""
    from emu.pytest_plugin.runner import GuestRunner

    runner = GuestRunner(request)
    request.node.stash[_RUNNER] = runner
    return runner


@pytest.hookimpl(hookwrapper=True)  # and not wrapper=True, at which an older pytest would not start at all
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """A failed test shows what its guests did."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    runner = item.stash.get(_RUNNER, None)
    if report.when == "call" and report.failed and runner is not None:
        report.sections += [(f"guest {run.label}", run.story()) for run in runner.runs]


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Leaks and misuses one a line, with their stacks."""
    if op not in ("==", "!=") or "emu.analysis.heapresult" not in sys.modules:
        return None
    from emu.pytest_plugin.runner import findings

    sides: list[Any] = [side for side in (left, right) if isinstance(side, list | tuple)]
    lines = [line for side in sides for line in findings(side)]
    if not lines:
        return None
    return [f"{_counted(left)} {op} {_counted(right)}", "", *lines]


def _counted(side: object) -> str:
    from emu.analysis.heapresult import Leak
    from emu.analysis.misuse import Misuse

    if not isinstance(side, list | tuple) or not side or not isinstance(side[0], Leak | Misuse):
        return repr(side)
    if isinstance(side[0], Leak):
        return f"[blocks never freed, from {len(side)} place{'s' * (len(side) > 1)}]"
    return f"[{len(side)} misuse{'s' * (len(side) > 1)} of the heap]"
