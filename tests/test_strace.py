"""Our trace against the real strace's of the same ELF on the host, line by line, after tests/normalise.py."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest
import toolchain
from normalise import normalised
from runs import CWD, Outcome, cases, elf, emulated, mount, program, straced

DATA = Path(__file__).resolve().parent / "data"
LINES = b"".join(b"%d line\n" % (number * 7919 % 1000) for number in range(1000))
PROGRAMS = {
    "md5sum": ("busybox", "md5sum", f"{DATA}/message.txt"),
    "sort": ("busybox", "sort"),
    "gzip": ("busybox", "gzip", "-c"),
    "awk": ("busybox", "awk", "{ n += $1 } END { print n }"),
    "find": ("busybox", "find", "."),
    "touch": ("busybox", "touch", "a"),
    "cp": ("busybox", "cp", f"{DATA}/key.gpg", "copy"),
    "wc": ("busybox", "wc", f"{DATA}/message.txt"),
    "mkdir": ("busybox", "mkdir", "-p", "a/b/c"),
    "tail": ("busybox", "tail", "-n", "1", f"{DATA}/message.txt"),
    "sh redirects": ("busybox", "sh", "-c", "echo a > f; read x < f; echo $x; cd /; pwd"),
    "sh signals": ("busybox", "sh", "-c", 'trap "echo x" USR1; kill -USR1 $$; for i in *; do echo $i; done'),
    "ldconfig": ("ldconfig", "-p"),
}


def compared(guest: toolchain.Guest) -> bool:
    return not guest.not_compared and not guest.not_on_a_host


@pytest.mark.parametrize(("name", "kind", "case"), cases(compared))
def test_our_trace_is_straces(name: str, kind: str, case: toolchain.Case) -> None:
    path = elf(name, kind)
    theirs, cwd = straced(path, case.argv, env=case.env, stdin=case.stdin)
    ours = emulated(path, case.argv, env=case.env, stdin=case.stdin, traced=True)
    compare(theirs, ours, str(path), cwd)


def compare(theirs: Outcome, ours: Outcome, exe: str, cwd: str) -> None:
    wanted, got = normalised(theirs.trace, exe, cwd), normalised(ours.trace, exe, CWD)
    if got != wanted:
        difference = difflib.unified_diff(wanted, got, "strace on the host", "heapscope", lineterm="", n=2)
        pytest.fail("\n".join(list(difference)[:60]), pytrace=False)


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_real_programs_trace_is_straces(what: str) -> None:
    name, *argv = PROGRAMS[what]
    exe = os.path.realpath(program(name, {"busybox": "busybox-static", "ldconfig": "libc-bin"}[name]))
    seen = [path for path in (DATA, Path("/etc/ld.so.cache")) if path.exists()]
    if not any(str(DATA) in word for word in argv):
        seen.remove(DATA)  # which may lie below the folder that the program looks at
    theirs, cwd = straced(exe, tuple(argv), stdin=LINES)
    ours = emulated(exe, tuple(argv), stdin=LINES, traced=True, mounts=[mount(path, str(path)) for path in seen])
    compare(theirs, ours, exe, cwd)
