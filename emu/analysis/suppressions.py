"""Suppressions: findings about the heap that are known and let pass. A file has one a line, KIND:GLOB.

    # the table lives as long as the program
    leak:make_table
    leak:src/intern.c
    double-free:_ZN4Pool*
    *:third_party/*

KIND is `leak`, a kind of misuse, or `*` for all. GLOB (`*`, `?`, `[…]`, as in a shell) is held against every frame of
the finding's call stack: the function's name as the report prints it, or the source file, whole or its last parts. A
stack is the call site alone unless --stack asks for more. What stands after `#` is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from emu.calls import RuleError

if TYPE_CHECKING:
    from emu.analysis.heapresult import Leak
    from emu.analysis.misuse import Misuse

_FRAME = r"(?P<function>.*?)(\+0x[0-9a-f]+)?( \((?P<file>.*):\d+\))?"  # emu.symbols.Place.__str__


class Suppression(NamedTuple):
    """One line. `where` is FILE:LINE; "" for those that are always there."""

    kind: str
    pattern: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.pattern}" + (f" ({self.where})" if self.where else "")

    def covers(self, kind: str, calls: Iterable[str]) -> bool:
        """Is a finding of `kind` with the frames `calls` (places in words) one of these?"""
        return self.kind in (kind, "*") and any(self._is(call) for call in calls)

    @property
    def _head(self) -> str:
        """What stands in every frame that it covers: the pattern, up to where it is open."""
        pattern = self.pattern.lstrip("/")
        return pattern[: next((at for at, letter in enumerate(pattern) if letter in "*?["), None)]

    def _is(self, call: str) -> bool:
        if self._head not in call:
            return False  # nearly always; each glob that is tried costs 0.2 ms
        frame = re.fullmatch(_FRAME, call)
        assert frame is not None
        function, file = frame["function"], frame["file"] or ""
        return fnmatchcase(function, self.pattern) or fnmatchcase(f"/{file}", f"*/{self.pattern.lstrip('/')}")


class Suppressed:
    """What one Suppression let pass: places and bytes that leaked, and misuses."""

    def __init__(self, rule: Suppression) -> None:
        self.rule = rule
        self.leaks = self.blocks = self.bytes = self.misuses = 0

    @property
    def used(self) -> bool:
        return bool(self.leaks or self.misuses)


# What the C and C++ runtimes allocate once and keep, in any static program that is linked with them. None of these
# hands out a block that the program should free. (In glibc __libc_freeres frees them, which valgrind calls at the end.)
DEFAULT = tuple(
    Suppression("leak", pattern)
    for pattern in (
        "_IO_file_doallocate",  # glibc: the buffers of stdin, stdout, stderr
        "_IO_wfile_doallocate",
        "_dl_init_static_tls",  # glibc: the loader's own tables, in static programs too
        "_dl_init_paths",
        "_dl_find_object_init",
        "_dl_get_origin",
        "_dl_non_dynamic_init",
        "__new_exitfn",  # glibc: more than 32 atexit functions
        "__cxa_atexit",  # musl
        "tzset_internal",  # glibc: the time zone
        "__tzstring_len",
        "__tzfile_read",
        "do_tzset",  # musl
        "setlocale",
        "_nl_find_locale",  # glibc: locales
        "_nl_load_locale*",
        "_nl_make_l10nflist",
        "_nl_load_domain",  # glibc: messages
        "_nl_find_domain",
        "__get_locale",  # musl: locales
        "set_binding_values*",  # glibc
        "bindtextdomain",
        "textdomain",
        "dcngettext",  # musl
        "__gconv_read_conf",  # glibc: iconv's tables
        "__gconv_get_path",
        "__gconv_lookup_cache",
        "add_alias*",
        "find_derivation",
        "gen_steps",
        "__add_to_environ",  # glibc: the environment
        "__putenv",  # musl
        "__env_rm_add",
        "setenv",
        "strerror_l",  # glibc: texts of numbers that have none
        "strsignal",
        "getmntent",
        "getmntent_r",  # musl
        "_GLOBAL__sub_I_eh_alloc.cc",  # libstdc++: memory for exceptions when there is no other
        "_ZN12_GLOBAL__N_14poolC?Ev",
        "_ZN13TCMallocGuardC?Ev",  # tcmalloc's own objects, made before main
        "_ZN15MallocExtension8RegisterEPS_",
    )
)


def parse(text: str, name: str) -> tuple[Suppression, ...]:
    """The suppressions in the text of the file called `name`. Raises RuleError with the line's number."""
    return tuple(_parsed(text, name))


def _parsed(text: str, name: str) -> Iterator[Suppression]:
    from emu.analysis.misuse import KINDS as MISUSES

    kinds = ("leak", *MISUSES, "*")
    for number, line in enumerate(text.splitlines(), 1):
        rule = line.partition("#")[0].strip()
        if not rule:
            continue
        kind, colon, pattern = (part.strip() for part in rule.partition(":"))
        if not colon or not pattern:
            raise RuleError(f"{name}:{number}: {rule!r} is not KIND:GLOB, as in leak:make_table")
        if kind not in kinds:
            raise RuleError(f"{name}:{number}: there is no kind {kind!r}: {', '.join(kinds)}")
        yield Suppression(kind, pattern, f"{name}:{number}")


class Sifted(NamedTuple):
    """Findings that remain, and one Suppressed a rule, in the order of the rules."""

    leaks: list[Leak]
    misuse: list[Misuse]
    suppressed: tuple[Suppressed, ...]


def sift(rules: Sequence[Suppression], leaks: Iterable[Leak], misuse: Iterable[Misuse]) -> Sifted:
    """Let the first rule that covers a finding take it."""
    taken = tuple(Suppressed(rule) for rule in rules)
    left: Sifted = Sifted([], [], taken)
    for leak in leaks:
        by = next((each for each in taken if each.rule.covers("leak", leak.calls)), None)
        if by is None:
            left.leaks.append(leak)
        else:
            by.leaks, by.blocks, by.bytes = by.leaks + 1, by.blocks + leak.blocks, by.bytes + leak.bytes
    for each in misuse:
        by = next((one for one in taken if one.rule.covers(each.kind, each.at.calls)), None)
        if by is None:
            left.misuse.append(each)
        else:
            by.misuses += 1
    return left
