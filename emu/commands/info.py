"""`heapscope info PROGRAM`: what an ELF file is, what it asks of a kernel, and which allocators it brought along."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import groupby
from typing import Any

from emu.allocators import allocators_of
from emu.api import refusal_of
from emu.commands import open_elf
from emu.dwarf.boundary import Patience
from emu.elf import (
    EM_X86_64,
    PT_GNU_RELRO,
    PT_GNU_STACK,
    PT_INTERP,
    PT_TLS,
    STT_FUNC,
    STT_GNU_IFUNC,
    Elf,
)
from emu.symbols import Symbols

NAME, HELP = "info", "what an ELF file is: segments, symbols, libc, allocator functions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="PROGRAM", help="an ELF file")


def main(options: argparse.Namespace) -> int:
    elf = open_elf(options.program)
    print(f"{options.program}: {kind(elf)}, {len(elf.content):,} bytes")
    for name, value in facts(elf):
        print(f"  {name:<12} {value}" if name else f"      {value}")
    return 0


def kind(elf: Elf) -> str:
    """`static x86-64 executable`, `dynamically linked …`, …"""
    machine = machine_name(elf.machine)
    if elf.type not in (2, 3):
        return f"{machine} {type_name(elf.type)} file, not an executable"
    if elf.segment(PT_INTERP):
        return f"dynamically linked {machine} executable"
    if elf.type == 2:
        return f"static {machine} executable"
    return f"static-PIE {machine} executable" if elf.entry else f"{machine} shared object"


def facts(elf: Elf) -> Iterator[tuple[str, str]]:
    """(name, value) of each line; a name of "" continues the one before."""
    yield "runs here", refusal(elf) or "yes"
    symbols = Symbols(elf)
    yield "entry", f"{elf.entry:#x}" + (f" {name}" if (name := symbols.name_of(elf.entry)) else "")
    if interpreter := elf.segment(PT_INTERP):
        yield "interpreter", elf.read(interpreter.vaddr, interpreter.filesz).rstrip(b"\0").decode("utf-8", "replace")
    yield "segments", f"{len(elf.segments)}"
    for segment in elf.segments:
        name = _names("ENUM_P_TYPE_BASE").get(segment.type, f"{segment.type:#x}")
        more = f", memory {segment.memsz:#x}" if segment.memsz != segment.filesz else ""
        where = f"{segment.vaddr:#010x}-{segment.end:#010x}"
        place = f"offset {segment.offset:#08x}  file {segment.filesz:#x}{more}"
        yield "", f"{name:<13} {where}  {segment.perms}  {place}  align {segment.align:#x}"
    yield "stack", _stack(elf)
    yield "TLS", _tls(elf)
    yield "RELRO", _relro(elf)
    yield from _origin(elf)
    yield "symbols", _symbols(elf, symbols)
    yield from _allocators(elf)


def refusal(elf: Elf) -> str:
    """Why `heapscope run` would refuse the file, in its words; "" where nothing speaks against it."""
    if why := refusal_of(elf.content):
        return f"no: {why}"
    needed = isa(elf)[0]
    if needed & ~0b11:
        return "not as it is: it declares that it needs x86-64-v3 or later; build for x86-64-v2"
    return ""


@cache
def _names(enumeration: str) -> dict[int, str]:
    """One of pyelftools' tables, the other way round and without its prefix: 3 → `INTERP`."""
    from elftools.elf import enums

    return {value: name.partition("_")[2] for name, value in vars(enums)[enumeration].items() if isinstance(value, int)}


def machine_name(machine: int) -> str:
    """`x86-64`, `AArch64`, …"""
    from elftools.elf.descriptions import describe_e_machine

    if machine == EM_X86_64:
        return "x86-64"
    name = _names("ENUM_E_MACHINE").get(machine)
    return describe_e_machine(f"EM_{name}") if name else f"machine {machine}"


def type_name(kind_: int) -> str:
    """`REL`, `CORE`, `EXEC`, …"""
    return _names("ENUM_E_TYPE").get(kind_, str(kind_))


@cache
def notes(elf: Elf) -> list[Any]:
    """The entries of the PT_NOTE segments, as pyelftools has them; what was read before a broken one."""
    found: list[Any] = []
    Patience().ask(lambda: found.extend(_notes(elf)), None)
    return found


def _notes(elf: Elf) -> Iterator[Any]:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import NoteSegment

    for segment in ELFFile(BytesIO(elf.content)).iter_segments("PT_NOTE"):
        if isinstance(segment, NoteSegment):
            yield from segment.iter_notes()


def isa(elf: Elf) -> tuple[int, int]:
    """GNU_PROPERTY_X86_ISA_1_NEEDED and _USED, as bit masks of baseline, v2, v3, v4 (0: not declared)."""
    found = {"GNU_PROPERTY_X86_ISA_1_NEEDED": 0, "GNU_PROPERTY_X86_ISA_1_USED": 0}
    for note in notes(elf):
        if note["n_type"] == "NT_GNU_PROPERTY_TYPE_0":
            for entry in note["n_desc"]:
                if entry["pr_type"] in found and isinstance(entry["pr_data"], int):
                    found[entry["pr_type"]] |= entry["pr_data"]
    needed, used = found.values()
    return needed, used


def _levels(mask: int) -> str:
    names = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
    return names[mask.bit_length() - 1] if 0 < mask < 16 else "not declared"


def _stack(elf: Elf) -> str:
    segment = elf.segment(PT_GNU_STACK)
    if segment is None:
        return "no PT_GNU_STACK: executable, and READ_IMPLIES_EXEC is not modelled on x86-64"
    size = f", {segment.memsz:#x} bytes asked for" if segment.memsz else ""
    return ("executable" if segment.flags & 1 else "not executable") + size


def _tls(elf: Elf) -> str:
    segment = elf.segment(PT_TLS)
    if segment is None:
        return "none"
    return f"{segment.filesz} bytes initialised, {segment.memsz} in all, align {segment.align}"


def _relro(elf: Elf) -> str:
    segment = elf.segment(PT_GNU_RELRO)
    return f"{segment.vaddr:#x}-{segment.end:#x}" if segment else "none"


def _origin(elf: Elf) -> Iterator[tuple[str, str]]:
    """Where it comes from: build id, libc, compiler, instruction set."""
    for note in notes(elf):
        if note["n_type"] == "NT_GNU_BUILD_ID":
            yield "build id", str(note["n_desc"])
    yield "libc", libc(elf)
    compilers = {part.decode("utf-8", "replace") for part in elf.bytes_of(".comment").split(b"\0") if part}
    if compilers:
        yield "compiler", "; ".join(sorted(compilers))
    needed, used = isa(elf)
    yield "needs", f"{_levels(needed)} (uses {_levels(used)})" if needed or used else "instruction set not declared"


_SIGNS = (
    (b"GNU C Library", "glibc"),
    (b"Result not representable\0Not a tty\0", "musl"),
    (b"\xff Go buildinf:", "Go runtime"),
    (b"Go build ID:", "Go runtime"),
    (b"__unified_syscall", "dietlibc"),
    (b"klibc", "klibc"),
    (b"__init_libc", "musl"),
    (b"__libc_setup_tls", "glibc"),
    (b"dietlibc", "dietlibc"),
    (b"GLIBC_TUNABLES", "glibc"),
)


def libc(elf: Elf) -> str:
    """The C library (or runtime) by the strings and names that each one leaves behind; a guess."""
    for sign, name in _SIGNS:
        at = elf.content.find(sign)
        if at >= 0:
            rest = elf.content[at : at + 120].split(b"\n")[0]
            version = rest.partition(b"version ")[2].split(b".\0")[0].rstrip(b".\0") if name == "glibc" else b""
            return f"{name} {version.decode('utf-8', 'replace')}".strip()
    return "unknown"


def _symbols(elf: Elf, symbols: Symbols) -> str:
    count = sum(1 for _ in elf.symbols())
    if not count:
        return "none: the file is stripped"
    functions = sum(1 for symbol in symbols.functions if symbol.type in (STT_FUNC, STT_GNU_IFUNC))
    lines = ", with line numbers" if elf.section(".debug_line") else ""
    return f"{count:,}, {functions:,} of them functions{lines}"


def _allocators(elf: Elf) -> Iterator[tuple[str, str]]:
    found = allocators_of(elf)
    if not found:
        without = ": there are no symbols to find them by; run --heap looks for the code of libc.a"
        yield "allocators", "none found" + ("" if any(elf.symbols()) else without)
        return
    yield "allocators", f"{len(found)} functions"
    for family, functions in groupby(found, key=lambda function: function.family):
        yield "", f"{family}: " + " ".join(f"{function.name}@{function.va:#x}" for function in functions)
