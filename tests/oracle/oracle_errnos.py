"""The errnos of the memory calls' man pages (errnos.toml): how to have each, and docs/memory-syscalls.md made of that.

python tests/oracle/oracle_errnos.py      writes the table
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT)]
PAGE = ROOT / "docs" / "memory-syscalls.md"
MARKS = ("never", "open")


class Way(NamedTuple):
    """One way to have an errno. `ours`: why the host is not asked, "" where it is."""

    call: str
    errno: str
    when: str
    script: tuple[str, ...]
    ours: str
    nth: int

    @property
    def name(self) -> str:
        return f"{self.call}-{self.errno}-{self.nth}"


class Call(NamedTuple):
    """One call: the errnos that its man page names, Linux's others, the ways to have them, and why some are not had."""

    name: str
    man: tuple[str, ...]
    more: tuple[str, ...]
    ways: tuple[Way, ...]
    never: dict[str, str]
    open: dict[str, str]
    open_points: tuple[str, ...]


def calls() -> list[Call]:
    """What errnos.toml says, in its order."""
    with (HERE / "errnos.toml").open("rb") as file:
        said = tomllib.load(file)
    return [_call(name, entry) for name, entry in said.items()]


def _call(name: str, entry: dict[str, list[str] | list[dict[str, str]] | dict[str, str]]) -> Call:
    ways: list[Way] = []
    words: dict[str, tuple[str, ...]] = {}
    reasons: dict[str, dict[str, str]] = {mark: {} for mark in MARKS}
    for key, value in entry.items():
        if isinstance(value, dict):
            reasons[key] = value
            continue
        words[key] = tuple(item for item in value if isinstance(item, str))
        found = [item for item in value if isinstance(item, dict)]
        for n, way in enumerate(found, 1):
            ways.append(Way(name, key, way["when"], tuple(way["script"].split("\n")), way.get("ours", ""), n))
    return Call(name, words["man"], words.get("more", ()), tuple(ways), reasons["never"], reasons["open"],
                words.get("open_points", ()))  # fmt: skip


def gaps() -> list[str]:
    """Errnos of man pages that have neither a way nor a reason, and entries that no list names."""
    found: list[str] = []
    for call in calls():
        had = {way.errno for way in call.ways} | set(call.never) | set(call.open)
        listed = {*call.man, *call.more}
        found += [f"{call.name}: {errno} has no test" for errno in sorted(listed - had)]
        found += [f"{call.name}: {errno} is in no list" for errno in sorted(had - listed)]
    return found


def missing_of(name: str) -> str:
    """What the table says that a call lacks; "" if nothing."""
    from kernel.abi.nr import NR
    from kernel.syscalls import load
    from kernel.syscalls.table import TABLE

    load()
    entry = TABLE.get(NR[name])
    return "not implemented" if entry is None else entry.partly or ""


def page() -> str:
    """The text of docs/memory-syscalls.md."""
    lines = [
        "# Memory syscalls: each errno, and the test that has it",
        "",
        "Made by `python tests/oracle/oracle_errnos.py` from `tests/oracle/errnos.toml`; CI checks that it is current,",
        "and that no errno of a man page (man-pages 6.9) is left out. A test in `tests/oracle/test_oracle_errnos.py`",
        "is a script that has the errno on the host's Linux and on ours, or on ours alone where it says why.",
        "",
        "| call | errno | when | test |",
        "| --- | --- | --- | --- |",
    ]
    for call in calls():
        lacks = missing_of(call.name)
        lines.append(f"| **{call.name}** | | {f'partly: {lacks}' if lacks else ''} | |")
        for errno in (*call.man, *call.more):
            for way in call.ways:
                if way.errno == errno:
                    where = f"`{way.name}`" + (f" (ours alone: {way.ours})" if way.ours else "")
                    lines.append(f"| | {errno} | {way.when} | {where} |")
            if errno in call.never:
                lines.append(f"| | {errno} | never: {call.never[errno]} | |")
            if errno in call.open:
                lines.append(f"| | {errno} | **open**: {call.open[errno]} | |")
    lines += ["", "## Open points", ""]
    lines += [f"- {point}" for call in calls() for point in call.open_points]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
