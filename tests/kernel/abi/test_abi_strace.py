"""Our text of a syscall is strace 6.1's, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from abi_cases import CASES
from abi_replay import GOLDEN, build_recorder, differences, load, record

import kernel.syscalls


@pytest.fixture(scope="module", autouse=True)
def _table() -> None:
    kernel.syscalls.load()


def test_every_recorded_call_is_printed_as_strace_printed_it() -> None:
    assert not differences(load(GOLDEN))


def test_every_call_is_printed_as_the_strace_of_this_machine_prints_it(tmp_path: Path) -> None:
    recorder = build_recorder(tmp_path)
    if recorder is None:
        pytest.skip("no gcc, or no strace 6.1, on this machine")
    assert not differences(record(CASES, tmp_path, recorder))


def test_the_recording_holds_the_cases() -> None:
    assert len(load(GOLDEN)) == len(CASES), "run tests/kernel/abi/abi_replay.py to record them anew"
