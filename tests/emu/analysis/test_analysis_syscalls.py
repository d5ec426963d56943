"""The count table has the form of `strace -c`."""

from __future__ import annotations

from emu.analysis.syscalls import Count, SyscallCounts
from emu.trace.events import SyscallExit
from kernel.abi.errno import Errno


def exit_of(nr: int, name: str, error: Errno | None = None, took: int = 0) -> SyscallExit:
    return SyscallExit(0, 1, nr, name, (0,) * 6, f"{name}()", "0", 0, error, "", took)


def folded(*events: SyscallExit) -> SyscallCounts:
    counts = SyscallCounts()
    for event in events:
        counts.write(event)
    return counts


def test_calls_errors_and_time_add_up() -> None:
    counts = folded(
        exit_of(9, "mmap"), exit_of(9, "mmap", Errno.ENOMEM), exit_of(35, "nanosleep", took=2_000_000),
        exit_of(0, "read"),
    )
    assert counts.rows() == [
        Count(35, "nanosleep", 1, 0, 2_000_000), Count(0, "read", 1, 0, 0), Count(9, "mmap", 2, 1, 0),
    ]  # fmt: skip


def test_a_call_that_never_comes_back_is_counted_by_name_and_not_in_the_table() -> None:
    gone = exit_of(231, "exit_group")._replace(value=None)
    counts = folded(exit_of(9, "mmap", Errno.ENOMEM), gone)
    assert counts.by_name() == {"exit_group": (1, 0), "mmap": (1, 1)}
    assert [row.name for row in counts.rows()] == ["mmap"]
    assert folded(gone).text() == ""


def test_the_table_is_strace_s() -> None:
    text = folded(exit_of(9, "mmap"), exit_of(9, "mmap", Errno.ENOMEM), exit_of(35, "nanosleep", took=2_000_000)).text()
    assert text == """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
100.00    0.002000        2000         1           nanosleep
  0.00    0.000000           0         2         1 mmap
------ ----------- ----------- --------- --------- ----------------
100.00    0.002000         666         3         1 total
"""


def test_a_long_name_widens_its_column() -> None:
    assert folded(exit_of(450, "set_mempolicy_home_node")).text().splitlines()[1].endswith(" " + "-" * 24)


def test_no_call_is_no_table() -> None:
    assert SyscallCounts().text() == ""
