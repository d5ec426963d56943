"""Our trace against the real strace's of the same ELF on the host, line by line, after tests/normalise.py."""

from __future__ import annotations

import difflib

import pytest
import toolchain
from normalise import normalised
from runs import CWD, cases, elf, emulated, straced


def compared(guest: toolchain.Guest) -> bool:
    return not guest.not_compared and guest.name != "mm/exhaust"


@pytest.mark.parametrize(("name", "kind", "case"), cases(compared))
def test_our_trace_is_straces(name: str, kind: str, case: toolchain.Case) -> None:
    path = elf(name, kind)
    theirs, cwd = straced(path, case.argv, env=case.env, stdin=case.stdin)
    ours = emulated(path, case.argv, env=case.env, stdin=case.stdin, traced=True)
    wanted = normalised(theirs.trace, str(path), cwd)
    got = normalised(ours.trace, str(path), CWD)
    if got != wanted:
        difference = difflib.unified_diff(wanted, got, "strace on the host", "heapscope", lineterm="", n=2)
        pytest.fail("\n".join(list(difference)[:60]), pytrace=False)
