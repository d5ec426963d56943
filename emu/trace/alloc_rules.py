"""What the user says of allocator functions: `--alloc 'my_alloc=malloc:rdi'`, or the same in a TOML file.

    [[alloc]]
    function = "my_alloc"   # a name, or an address of the file: "0x401230"
    kind = "malloc"         # one of uprobes.FORMS
    size = "rsi"            # roles that are not where the kind has them: size, times, pointer, alignment, out
    aligned = 8             # what --strict holds it to: blocks are aligned to this (16 if it is left out),
    errno = true            # and a failure sets errno to ENOMEM
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from emu import uprobes
from emu.calls import RULED, SETS_ERRNO, AllocRule, Function, RuleError
from emu.elf import Elf

ROLES = ("size", "times", "pointer", "alignment", "out")
PROMISES = ("aligned", "errno")


def parse_rule(text: str) -> AllocRule:
    """`NAME=KIND[:REGISTER,…]`, the registers of the kind's arguments in their order. Raises RuleError."""
    where, equals, rest = text.partition("=")
    kind, colon, registers = rest.partition(":")
    if not equals or not where.strip():
        raise RuleError(f"alloc rule {text!r} is not NAME=KIND[:REGISTER,…], as in my_alloc=malloc:rdi")
    form = _form(kind.strip(), text)
    words = [word.strip() for word in registers.split(",")] if colon else []
    if colon and not form.needed <= len(words) <= len(form.roles):
        raise RuleError(f"alloc rule {text!r}: {kind} takes {', '.join(form.roles)}: {form.needed} registers")
    return AllocRule(where.strip(), uprobes.of_form(kind.strip(), [_register(word, text) for word in words]))


def _form(kind: str, where: str) -> uprobes.Form:
    if kind not in uprobes.FORMS:
        raise RuleError(f"alloc rule {where!r}: no kind {kind!r}; there are {', '.join(uprobes.FORMS)}")
    return uprobes.FORMS[kind]


def _register(word: object, where: str) -> int:
    if word not in uprobes.REGISTERS:
        raise RuleError(f"alloc rule {where!r}: {word!r} passes no argument; {', '.join(uprobes.REGISTERS)} do")
    return uprobes.REGISTERS.index(str(word))


def parse_toml(text: str, name: str) -> list[AllocRule]:
    """The rules of a TOML file that is called `name`. Raises RuleError."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise RuleError(f"{name}: {wrong}") from None
    entries = table.get("alloc", [])
    if set(table) - {"alloc"} or not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise RuleError(f"{name}: it may hold [[alloc]] tables and nothing else")
    return [_of_table(entry, f"{name}: alloc {number}") for number, entry in enumerate(entries, 1)]


def _of_table(entry: dict[str, Any], where: str) -> AllocRule:
    unknown = sorted(set(entry) - {"function", "kind", *ROLES, *PROMISES})
    if unknown:
        raise RuleError(f"{where}: no key {unknown[0]!r}; there are function, kind, {', '.join(ROLES + PROMISES)}")
    if not isinstance(entry.get("function"), str) or not isinstance(entry.get("kind"), str):
        raise RuleError(f"{where}: it needs function and kind, both strings")
    form = _form(entry["kind"], where)
    usual = dict(zip(form.roles, range(form.needed), strict=False))
    given = {role: _register(entry[role], where) for role in ROLES if role in entry}
    aligned, errno = entry.get("aligned", 16), entry.get("errno", False)
    if type(aligned) is not int or not 0 < aligned <= 1 << 47 or aligned & aligned - 1:
        raise RuleError(f"{where}: aligned = {aligned!r}: it is a power of two")
    if not isinstance(errno, bool):
        raise RuleError(f"{where}: errno is true or false")
    does = uprobes.function(form.kind, form.options | (SETS_ERRNO if errno else 0), **usual | given)
    return AllocRule(entry["function"], does._replace(aligned=aligned.bit_length() - 1))


def those_of(elf: Elf, rules: Iterable[AllocRule], by_address: bool) -> list[AllocRule]:
    """The rules whose functions are in `elf`; those that go by an address only if it is the file that they are of."""
    return [rule for rule in rules if _is_there(elf, rule) and (by_address or not _by_address(rule))]


def _by_address(rule: AllocRule) -> bool:
    return rule.where[:2].lower() == "0x"


def _is_there(elf: Elf, rule: AllocRule) -> bool:
    try:
        return any(True for _ in _found(elf, 0, rule))
    except RuleError:
        return False


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
        near = difflib.get_close_matches(rule.where, {symbol.name for symbol in code}, 5, 0.5)
        hint = f"; is it {', '.join(near)}?" if near else "" if code else ": the file has no symbols; give an address"
        raise RuleError(f"alloc rule for {rule.where!r}: the program has no such function{hint}")
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
