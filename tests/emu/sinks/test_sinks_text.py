"""The text sink writes what strace writes."""

from __future__ import annotations

import errno
import io

import pytest

from emu.sinks.text import TextSink
from emu.trace.events import Note, SignalDelivered, SyscallExit, TaskExit
from kernel.abi.errno import Errno


def exit_of(text: str, shown: str, error: Errno | None = None, why: str = "") -> SyscallExit:
    return SyscallExit(0, 1000, 3, "close", (0,) * 6, text, shown, 0, error, why, 0)


def written(*events: object, **options: bool) -> list[str]:
    out = io.StringIO()
    sink = TextSink(out, **options)
    for event in events:
        sink.write(event)
    sink.close()
    return out.getvalue().splitlines()


REFUSED = exit_of("close(9)", "-1 EBADF (Bad file descriptor)", Errno.EBADF, "fd 9 is not open")


def test_results_stand_in_column_40() -> None:
    assert written(exit_of("close(3)", "0")) == ["close(3)                                = 0"]


def test_a_long_call_pushes_its_result_along() -> None:
    assert written(exit_of("x" * 45, "0")) == ["x" * 45 + " = 0"]


def test_a_reason_is_a_comment_where_it_is_wanted() -> None:
    assert written(REFUSED, why=True)[0].endswith("= -1 EBADF (Bad file descriptor) /* fd 9 is not open */")
    assert written(REFUSED)[0].endswith("= -1 EBADF (Bad file descriptor)")
    assert "/*" not in written(exit_of("close(3)", "0"), why=True)[0]


def test_signals_and_ends_have_lines_of_their_own() -> None:
    assert written(
        SignalDelivered(0, 1000, 11, "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}"),
        TaskExit(0, 1000, 0, 11, True),
        TaskExit(0, 1000, 0, 9, False),
        TaskExit(0, 1000, 3, 0, False),
        Note(0, 1000, "out of memory"),
    ) == [
        "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---",
        "+++ killed by SIGSEGV (core dumped) +++",
        "+++ killed by SIGKILL +++",
        "+++ exited with 3 +++",
        "heapscope: out of memory",
    ]


def test_every_line_can_begin_with_its_thread() -> None:
    assert written(exit_of("close(3)", "0"), pids=True) == ["1000  close(3)                                = 0"]


def test_colours_change_nothing_but_colour() -> None:
    import re

    coloured = written(REFUSED, why=True, colour=True)[0]
    assert "\33[31m" in coloured
    assert re.sub("\33\\[[0-9]*m", "", coloured) == written(REFUSED, why=True)[0]


def test_an_event_it_does_not_know_is_let_pass() -> None:
    assert written("something else") == []


class FullDisk(io.StringIO):
    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_remembered_and_told() -> None:
    sink = TextSink(FullDisk())
    with pytest.raises(OSError, match="No space left"):
        sink.write(REFUSED)
    assert sink.error is not None
    assert sink.error.errno == errno.ENOSPC
    sink.close()  # says it no second time
