"""What the user says of allocator functions: `--alloc 'my_alloc=malloc:rdi'`, or the same in a TOML file.

    alloc-from = ["libpool.a"]  # as after --alloc-from: static libraries; relative to this file

    [[alloc]]
    function = "my_alloc"   # a name, or an address of the file: "0x401230"
    kind = "malloc"         # one of uprobes.FORMS
    program = "worker"      # of a program that execve starts: its path in the guest, or the last part of that
    size = "rsi"            # roles that are not where the kind has them: size, times, pointer, alignment, out, pool
    aligned = 8             # what --strict holds it to: blocks are aligned to this (16 if it is left out),
    errno = true            # and a failure sets errno to ENOMEM

A rule that names no program is of the one that the run begins with, which must have the function; those that execve
starts follow it if they have. One that names a program is of that alone: `--alloc 'worker:my_alloc=malloc'`.

A pool is known by the pointer that its functions are given: `arena_alloc=malloc:rsi,rdi` makes a block of rsi bytes in
the pool at rdi, and `arena_free=destroy:rdi,rdi` releases all blocks of that, and the one that is the pool itself; with
`destroy:rdi` the pool stays, empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from emu import uprobes
from emu.calls import ALLOCATE, ASK, RELEASE, RESIZE, RULED, SETS_ERRNO, SWEEP, AllocRule, Function, RuleError
from emu.elf import Elf

ROLES = ("size", "times", "pointer", "alignment", "out", "pool")
MEANT = {
    ALLOCATE: set(ROLES) - {"pointer"}, RESIZE: set(ROLES), RELEASE: set(ROLES) - {"out", "pool"}, ASK: {"pointer"},
    SWEEP: {"pool", "pointer"},
}  # fmt: skip
PROMISES = ("aligned", "errno")
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Told(NamedTuple):
    """What a user says of allocators: rules, and the static libraries by whose code functions are found."""

    rules: tuple[AllocRule, ...]
    libraries: tuple[str, ...]


def told(alloc: str | Iterable[str], files: Paths, libraries: Paths) -> Told:
    """Rules as after --alloc, TOML files as after --alloc-file, libraries as after --alloc-from: one or several. Raises
    RuleError."""
    from_files = [parse_toml(read("--alloc-file", path), path) for path in paths(files)]
    rules = [parse_rule(text) for text in ((alloc,) if isinstance(alloc, str) else alloc)]
    return Told(
        (*rules, *(rule for each in from_files for rule in each.rules)),
        (*paths(libraries), *(path for each in from_files for path in each.libraries)),
    )


def paths(given: Paths, folder: str = "") -> tuple[str, ...]:
    """One or several, each relative to `folder`."""
    several = (given,) if isinstance(given, str | os.PathLike) else given
    return tuple(os.path.join(folder, path) for path in several)


def read(option: str, path: str) -> str:
    """The text of the file after `option`. Raises RuleError."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise RuleError(f"{option} {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise RuleError(f"{option} {path}: not UTF-8 text: {error}") from None


def parse_rule(text: str) -> AllocRule:
    """`[PROGRAM:]NAME=KIND[:REGISTER,…]`, the registers of the kind's arguments in their order. Raises RuleError."""
    whose, equals, rest = text.partition("=")
    program, named, where = (word.strip() for word in whose.rpartition(":"))
    kind, colon, registers = rest.partition(":")
    if not equals or not where or (named and not program):
        raise RuleError(f"alloc rule {text!r} is not NAME=KIND[:REGISTER,…] or PROGRAM:NAME=…, as in get=malloc:rdi")
    form = _form(kind.strip(), text)
    words = [word.strip() for word in registers.split(",")] if colon else []
    if colon and not form.needed <= len(words) <= len(form.roles):
        raise RuleError(f"alloc rule {text!r}: {kind} takes {_words(form)} registers")
    return AllocRule(where, uprobes.of_form(kind.strip(), [_register(word, text) for word in words]), program)


def _form(kind: str, where: str) -> uprobes.Form:
    if kind not in uprobes.FORMS:
        raise RuleError(f"alloc rule {where!r}: no kind {kind!r}; there are {', '.join(uprobes.FORMS)}")
    return uprobes.FORMS[kind]


def _words(form: uprobes.Form) -> str:
    """`size[, pool]: 1 to 2`"""
    more = "".join(f"[, {role}]" for role in form.roles[form.needed :])
    return f"{', '.join(form.roles[: form.needed])}{more}: {form.needed}" + (f" to {len(form.roles)}" if more else "")


def _register(word: object, where: str) -> int:
    if word not in uprobes.REGISTERS:
        raise RuleError(f"alloc rule {where!r}: {word!r} passes no argument; {', '.join(uprobes.REGISTERS)} do")
    return uprobes.REGISTERS.index(str(word))


def parse_toml(text: str, name: str) -> Told:
    """What the TOML file at the path `name` says. Raises RuleError."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise RuleError(f"{name}: {wrong}") from None
    entries, libraries = table.get("alloc", []), table.get("alloc-from", [])
    if unknown := sorted(set(table) - {"alloc", "alloc-from"}):
        raise RuleError(f"{name}: no key {unknown[0]!r}; it may hold alloc-from, [[alloc]] tables and nothing else")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise RuleError(f"{name}: alloc is [[alloc]] tables and nothing else")
    if not isinstance(libraries, list) or not all(isinstance(one, str) and one for one in libraries):
        raise RuleError(f'{name}: alloc-from is a list of static libraries, as in ["libpool.a"]')
    rules = tuple(_of_table(entry, f"{name}: alloc {number}") for number, entry in enumerate(entries, 1))
    return Told(rules, paths(libraries, os.path.dirname(name)))


def _of_table(entry: dict[str, Any], where: str) -> AllocRule:
    unknown = sorted(set(entry) - {"function", "kind", "program", *ROLES, *PROMISES})
    if unknown:
        keys = ", ".join(("function", "kind", "program", *ROLES, *PROMISES))
        raise RuleError(f"{where}: no key {unknown[0]!r}; there are {keys}")
    if not isinstance(entry.get("function"), str) or not isinstance(entry.get("kind"), str):
        raise RuleError(f"{where}: it needs function and kind, both strings")
    program = entry.get("program", "")
    if not isinstance(program, str):
        raise RuleError(f"{where}: program = {program!r}: it is a path in the guest, or the last part of one")
    form = _form(entry["kind"], where)
    usual = dict(zip(form.roles, range(form.needed), strict=False))
    given = {role: _register(entry[role], where) for role in ROLES if role in entry}
    aligned, errno = entry.get("aligned", 16), entry.get("errno", False)
    if type(aligned) is not int or not 0 < aligned <= 1 << 47 or aligned & aligned - 1:
        raise RuleError(f"{where}: aligned = {aligned!r}: it is a power of two")
    if not isinstance(errno, bool):
        raise RuleError(f"{where}: errno is true or false")
    does = uprobes.function(form.kind, form.options | (SETS_ERRNO if errno else 0), **usual | given)
    senseless = [role for role in given if role not in MEANT[does.verb]]
    if senseless:
        meant = ", ".join(role for role in ROLES if role in MEANT[does.verb])
        raise RuleError(f"{where}: {entry['kind']} has no {senseless[0]}; it may have {meant}")
    return AllocRule(entry["function"], does._replace(aligned=aligned.bit_length() - 1), program)


def concerning(rules: Iterable[AllocRule], paths: Sequence[str], by_address: bool = True) -> list[AllocRule]:
    """The rules that a program at one of `paths` may have to follow: first those that name no program, of which those
    `by_address` are of one file, then those that name it, and win."""
    of_all = [rule for rule in rules if not rule.program and (by_address or not _by_address(rule))]
    return of_all + [rule for rule in rules if rule.program and is_of(rule, paths)]


def is_of(rule: AllocRule, paths: Sequence[str]) -> bool:
    """Does it name the program at one of `paths`?"""
    return any(rule.program in (path, os.path.basename(path)) for path in paths)


def _by_address(rule: AllocRule) -> bool:
    return rule.where[:2].lower() == "0x"


def why_not(elf: Elf, rule: AllocRule) -> str:
    """Why `elf` cannot follow a rule; "": it can."""
    try:
        list(_found(elf, 0, rule))
    except RuleError as wrong:
        return str(wrong)
    return ""


def probes_of(elf: Elf, bias: int, rules: Iterable[AllocRule] = ()) -> list[uprobes.Uprobe]:
    """The functions to trace in `elf`: those known by name, and those of the rules, which win. Raises RuleError for a
    rule whose function is not there."""
    ruled = {
        va: (name, does._replace(options=does.options | RULED))
        for rule in rules
        for va, name, does in _found(elf, bias, rule)
    }
    known = [one for one in uprobes.by_name(elf, bias) if one[0] not in ruled]
    return uprobes.merged([*known, *((va, name, does) for va, (name, does) in ruled.items())])


def _found(elf: Elf, bias: int, rule: AllocRule) -> Iterator[tuple[int, str, Function]]:
    if _by_address(rule):
        va = _address(elf, rule.where)
        yield va + bias, rule.where, rule.does
        return
    code = [symbol for symbol in elf.symbols() if any(s.vaddr <= symbol.value < s.end for s in elf.executable)]
    found = {symbol.value for symbol in code if symbol.name == rule.where}
    if not found:
        import difflib

        near = difflib.get_close_matches(rule.where, {symbol.name for symbol in code}, 5, 0.5)
        hint = f"; is it {', '.join(near)}?" if near else "" if code else ": the file has no symbols; give an address"
        other = "" if rule.program else f"; if a program that it starts has it, write PROGRAM:{rule.where}=…"
        raise RuleError(f"alloc rule for {rule.where!r}: the program has no such function{hint}{other}")
    for va in sorted(found):
        yield va + bias, rule.where, rule.does


def _address(elf: Elf, text: str) -> int:
    try:
        va = int(text, 16)
    except ValueError:
        raise RuleError(f"alloc rule for {text!r}: not an address") from None
    if not any(segment.vaddr <= va < segment.vaddr + segment.filesz for segment in elf.executable):
        spans = ", ".join(f"{segment.vaddr:#x}-{segment.vaddr + segment.filesz:#x}" for segment in elf.executable)
        raise RuleError(f"alloc rule for {text}: no code is there; the program's is {spans or 'nowhere'}")
    return va
