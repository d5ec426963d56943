"""The expression after `-e trace=`: classes, names, patterns, negation; and no name that x86-64 does not have."""

from __future__ import annotations

import pytest

from emu.trace.filter import CLASSES, Filter, UnknownSyscall
from kernel.abi.nr import NR


def test_every_class_names_syscalls_of_x86_64_only() -> None:
    for name, calls in CLASSES.items():
        assert calls <= set(NR), name


def test_all_lets_everything_through_and_none_nothing() -> None:
    assert Filter.parse("all").everything
    assert Filter.parse("none").nothing
    assert Filter.parse("!all").nothing


@pytest.mark.parametrize(
    ("expression", "inside", "outside"),
    [
        ("memory", "brk", "read"),
        ("%memory,read", "read", "write"),
        ("!brk,mmap", "munmap", "mmap"),
        ("!%file", "brk", "openat"),
        ("/^m(un)?map$", "munmap", "mremap"),
        ("?no_such_call,brk", "brk", "read"),
        ("9", "mmap", "munmap"),
        ("%%stat", "statx", "read"),
    ],
)
def test_expressions_select(expression: str, inside: str, outside: str) -> None:
    selected = Filter.parse(expression)
    assert inside in selected
    assert outside not in selected


@pytest.mark.parametrize("expression", ["", "brk,", "nosuch", "%nosuch", "/["])
def test_what_means_nothing_is_refused(expression: str) -> None:
    with pytest.raises(UnknownSyscall):
        Filter.parse(expression)
