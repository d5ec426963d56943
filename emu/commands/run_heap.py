"""The heap options of `heapscope run`: what they ask for, and what is printed at the end."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from emu.commands import Refusal

if TYPE_CHECKING:
    from emu.api import Run
    from emu.calls import HeapOptions

ERROR_CODE = 99  # as valgrind's users have it


def add_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--heap", action="store_true", help="trace each malloc and free: leaks, misuse, sizes and costs at the end")
    add("--stack", metavar="N", type=int, help="tell places by N frames of the call stack, at most 64 (with --heap)")
    add(
        "--alloc",
        metavar="RULE",
        action="append",
        default=[],
        help="NAME=KIND[:REGISTER,…]: another allocator function, by name or address, as in my_alloc=malloc:rdi",
    )
    add("--alloc-file", metavar="FILE", action="append", default=[], help="such rules, kept in a TOML file")
    add(
        "--record",
        metavar="DIR",
        help="keep the heap's events in the new folder DIR, for `heapscope summary DIR` (with --heap)",
    )
    add(
        "--error-exitcode",
        metavar="N",
        type=int,
        help=f"exit with N (as {ERROR_CODE}) if the heap was misused or blocks were never freed (with --heap)",
    )


def options_of(options: argparse.Namespace) -> HeapOptions | None:
    """What to trace; None: nothing. Raises Refusal."""
    asked = [name for name in ("stack", "alloc", "alloc_file", "record", "error_exitcode") if getattr(options, name)]
    if not options.heap:
        if asked:
            raise Refusal(f"--{asked[0].replace('_', '-')} needs --heap")
        return None
    code = options.error_exitcode
    if code is not None and not 0 <= code <= 255:
        raise Refusal(f"--error-exitcode {code}: an exit code is 0 to 255")
    from emu.calls import HeapOptions, RuleError
    from emu.trace.alloc_rules import parse_rule, parse_toml

    try:
        rules = [parse_rule(text) for text in options.alloc]
        for path in options.alloc_file:
            rules += parse_toml(_read(path), path)
        return HeapOptions(tuple(rules), options.stack or 0, record=options.record or "")
    except RuleError as wrong:
        raise Refusal(str(wrong)) from None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise Refusal(f"--alloc-file {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Refusal(f"--alloc-file {path}: not UTF-8 text: {error}") from None


def report(run: Run) -> None:
    """Print what the heap did, if it was traced."""
    if run.heap is not None:
        from emu.report import heap

        sys.stderr.write(heap.render(run.heap))


def exit_code(options: argparse.Namespace, run: Run) -> int | None:
    """The code that --error-exitcode asks for; None: the run's own."""
    heap = run.heap
    if heap is None or options.error_exitcode is None:
        return None
    return options.error_exitcode if heap.misuse_count or heap.leaked_blocks else None
