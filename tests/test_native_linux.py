"""The same ELF on this host's Linux and on ours: equal output, equal exit status or signal."""

from __future__ import annotations

import pytest
import toolchain
from runs import cases, elf, emulated, native


@pytest.mark.parametrize(("name", "kind", "case"), cases(lambda guest: not guest.not_on_a_host))
def test_a_guest_cannot_tell_ours_from_the_hosts(name: str, kind: str, case: toolchain.Case) -> None:
    path = elf(name, kind)
    theirs = native(path, case.argv, env=case.env, stdin=case.stdin)
    ours = emulated(path, case.argv, env=case.env, stdin=case.stdin)
    assert (ours.status, ours.stdout) == (theirs.status, theirs.stdout), ours.stderr.decode(errors="replace")
