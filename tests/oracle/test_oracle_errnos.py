"""Each errno of the memory calls' man pages, on the host's Linux and on ours; docs/memory-syscalls.md says which."""

from __future__ import annotations

import functools

import pytest
from oracle_errnos import PAGE, Way, calls, gaps, page
from oracle_sides import Ours, lacking, linux

from kernel.abi.errno import Errno

WAYS = [way for call in calls() for way in call.ways]


@functools.cache
def played(host: bool) -> dict[str, str]:
    """What each way's last line printed, on one side."""
    ways = [way for way in WAYS if not (host and way.ours)]
    side = linux if host else Ours(checked=False)
    return {way.name: said[-1] for way, said in zip(ways, side([way.script for way in ways]), strict=True)}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_errno(way: Way) -> None:
    if why := lacking():
        pytest.skip(why)
    wanted = f"= -{Errno[way.errno].value:x}"
    assert played(False)[way.name] == wanted
    assert way.ours or played(True)[way.name] == wanted


def test_no_errno_of_a_man_page_is_left_out() -> None:
    assert not gaps()


def test_the_table_is_current() -> None:
    assert PAGE.read_text() == page(), "run python tests/oracle/oracle_errnos.py"
