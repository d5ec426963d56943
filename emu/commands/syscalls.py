"""`heapscope syscalls`: the whole x86-64 table, and how far each call is implemented."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator

from emu.api import SyscallState, syscall_table

NAME, HELP = "syscalls", "list every x86-64 syscall: implemented, partly, or not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--implemented", action="store_const", dest="state", const="yes", help="only the complete ones")
    which.add_argument("--partly", action="store_const", dest="state", const="partly", help="only those with a gap")
    which.add_argument("--missing", action="store_const", dest="state", const="no", help="only those without a handler")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as a Markdown table")
    form.add_argument("--json", action="store_true", help="as a JSON array")
    parser.add_argument("pattern", metavar="NAME", nargs="*", help="only calls whose name contains one of these")


def main(options: argparse.Namespace) -> int:
    table = syscall_table()
    chosen = [
        row
        for row in table
        if options.state in (None, row.state)
        and (not options.pattern or any(part in row.name for part in options.pattern))
    ]
    if options.json:
        print(json.dumps([row._asdict() for row in chosen], indent=1))
        return 0
    for line in _markdown(chosen) if options.markdown else _text(chosen):
        print(line)
    if not options.markdown:
        print(_counts(chosen))
    return 0


_WORDS = {"yes": "implemented", "partly": "partly", "no": "missing"}


def _text(rows: Iterable[SyscallState]) -> Iterator[str]:
    for row in rows:
        yield f"{row.nr:>4}  {row.name:<24} {_WORDS[row.state]:<12} {row.missing}".rstrip()


def _markdown(rows: Iterable[SyscallState]) -> Iterator[str]:
    yield "| nr | syscall | state | what is missing |"
    yield "| ---: | --- | --- | --- |"
    for row in rows:
        missing = row.missing.replace("|", "\\|")
        yield f"| {row.nr} | `{row.name}` | {_WORDS[row.state]} | {missing} |"


def _counts(rows: list[SyscallState]) -> str:
    count = {state: sum(row.state == state for row in rows) for state in _WORDS}
    return f"{len(rows)} calls: {count['yes']} implemented, {count['partly']} partly, {count['no']} missing"
