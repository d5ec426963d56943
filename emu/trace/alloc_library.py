"""The allocator of a program without symbols, found by the code of the static library that it was linked with."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from emu import ar, uprobes
from emu.calls import Function, RuleError
from emu.codematch import GLOBAL, CodeMatch
from emu.elf import PT_TLS, STT_FUNC, STT_TLS, Elf, ElfError, Symbol
from emu.signatures import ET_REL, Code, code_of

# Where Debian, Fedora, Arch and Alpine have their C libraries
GLIBC = ("/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib64/libc.a", "/usr/lib/libc.a")
MUSL = ("/usr/lib/x86_64-linux-musl/libc.a", "/usr/lib/musl/lib/libc.a", "/usr/x86_64-linux-musl/lib64/libc.a",
        "/usr/local/musl/lib/libc.a", "/usr/lib/libc.a")  # fmt: skip
_MACHINES = {3: "i386", 8: "MIPS", 21: "PowerPC", 22: "S390", 40: "Arm", 183: "AArch64", 243: "RISC-V"}
_BANNER, _SHORT = re.compile(rb"GNU C Library \(([^)]{1,80})\)"), re.compile(rb"\0(glibc 2\.\d+)\0")


class Learned(NamedTuple):
    """What a library tells of a program: its functions, those of each object file together (none: nothing is certain),
    and which of them are an allocator's, or why that is not known."""

    files: list[list[Symbol]]
    words: str


def learn(elf: Elf, libraries: Sequence[str], ruled: bool) -> str:
    """Give `elf` the functions that are found by the code of `libraries`; without them, of the host's C library, if it
    has no symbols, and no rules say more. How they were found or why not; "": they were not looked for. Raises
    RuleError for `libraries` that do not tell."""
    if not libraries:
        return "" if ruled or any(elf.symbols()) else _by_host(elf)
    learned = _from(elf, libraries)
    if not learned.files:
        raise RuleError(f"--alloc-from: {learned.words}")
    elf.learned = learned.files
    return learned.words


def learn_anew(elf: Elf, libraries: Sequence[str], ruled: bool) -> str:
    """The same of a program that another one has called: the libraries were named for that one, and need not tell."""
    if libraries and not any(elf.symbols()):
        with contextlib.suppress(RuleError):
            return learn(elf, libraries, ruled)
    return learn(elf, (), ruled)


def _by_host(elf: Elf) -> str:
    hosts = GLIBC if b"GNU C Library" in elf.content or b"GLIBC_TUNABLES" in elf.content else MUSL
    host = next((path for path in hosts if os.path.isfile(path)), None)
    if host is None:
        return f"it has no symbols, and no {hosts[0]} is here to find them by; name a library with --alloc-from"
    try:
        learned = _from(elf, (host,))
    except RuleError as wrong:
        return str(wrong)
    elf.learned = learned.files
    return learned.words


def read_library(path: str) -> list[Code]:
    """The code of a static library, or of one object file. Raises RuleError for what is none for x86-64."""
    try:
        status = os.stat(path)
        return _read(path, status.st_mtime_ns, status.st_size)
    except RuleError:
        raise
    except (OSError, ValueError) as error:  # no such file, a directory, a NUL byte in the name
        raise RuleError(f"--alloc-from {path}: {getattr(error, 'strerror', None) or error}{_near(path)}") from None


def _near(path: str) -> str:
    """Which libraries of that folder may be meant."""
    try:
        there = [name for name in os.listdir(os.path.dirname(path) or ".") if name.endswith((".a", ".o"))]
    except (OSError, ValueError):
        return ""
    import difflib

    near = difflib.get_close_matches(os.path.basename(path), sorted(there), 5, 0.5)
    return f"; is it {', '.join(near)}?" if near else ""


@lru_cache(maxsize=2)  # 0.2 s for a libc.a; many runs of one process ask for the same
def _read(path: str, _mtime: int, _size: int) -> list[Code]:
    with open(path, "rb") as file:
        content = file.read()
    try:
        members = [("", content)] if content[:4] == b"\x7fELF" else list(ar.members(content))
    except ar.ArError as wrong:
        script = b"GROUP" in content[:4096] or b"INPUT" in content[:4096]
        why = "a linker script; name a library that it names" if script else str(wrong)
        raise RuleError(f"--alloc-from {path}: {why}") from None
    found = [code for name, body in members for code in code_of(name, body)]
    if not found:
        raise RuleError(f"--alloc-from {path}: {_no_code(body for _, body in members)}")
    return found


def _no_code(members: Iterable[bytes]) -> str:
    for body in members:
        try:
            elf = Elf(body)
        except ElfError as wrong:
            if body[:4] == b"\x7fELF":
                return str(wrong)
            continue
        if elf.machine in _MACHINES:
            return f"a library for {_MACHINES[elf.machine]}, not for x86-64"
        if elf.type != ET_REL:
            return "an ELF file that is linked already; it takes a static library (.a) or an object file (.o)"
    return "there is no machine code for x86-64 in it"


def _from(elf: Elf, paths: Sequence[str]) -> Learned:
    library = [code for path in paths for code in read_library(path)]
    match = CodeMatch(elf, library)
    files = _with_all_operators_or_none([*match.functions(), *_whichever(match), _errno(elf, match)], match)
    traced = [symbol for file in files for symbol in file if symbol.type == STT_FUNC and uprobes.known(symbol.name)]
    names = " and ".join(paths)
    if why := _doubt(match, traced, names + _versions(elf, paths)):
        return Learned([], why)
    named = {probe.va: probe.name for probe in uprobes.merged(_known(traced))}
    return Learned(files, f"{_places(named)}: by the code of {names}")


def _with_all_operators_or_none(files: list[list[Symbol]], match: CodeMatch) -> list[list[Symbol]]:
    """`new` and `delete` are a jump each, often: too little to be known by. Where some of a library's were not found,
    all are left out, as a block of one that is traced would seem to be released by free: it counts as malloc's."""
    defined = {symbol.name for code in match.library for symbol in code.functions if _is_operator(symbol.name)}
    if defined <= {symbol.name for file in files for symbol in file}:
        return files
    return [[symbol for symbol in file if symbol.name not in defined] for file in files]


def _is_operator(name: str) -> bool:
    does = uprobes.known(name)
    return does is not None and not does.family & uprobes.C


def _errno(elf: Elf, match: CodeMatch) -> list[Symbol]:
    """glibc's, which has a name of its own inside it."""
    offset, tls = match.thread_local("errno", "__libc_errno"), elf.segment(PT_TLS)
    if offset is None or tls is None:
        return []
    size = -(-tls.memsz // max(tls.align, 1)) * max(tls.align, 1)  # psABI, variant II: it ends at the FS base
    return [Symbol("errno", offset + size, 4, STT_TLS, GLOBAL, 1)]


def _places(named: dict[int, str]) -> str:
    return ", ".join(f"{name} {va:#x}" for va, name in sorted(named.items()))


def _known(symbols: Iterable[Symbol]) -> Iterator[tuple[int, str, Function]]:
    for symbol in symbols:
        does = uprobes.known(symbol.name)
        if does is not None:
            yield symbol.value, symbol.name, does


def _whichever(match: CodeMatch) -> Iterator[list[Symbol]]:
    """Functions of equal code of which nobody can tell which is there, where that makes no difference: musl's malloc
    and __libc_malloc are both a jump to one place."""
    for va, codes in match.undecided.items():
        first = [next((s for s in code.functions if not s.value and uprobes.known(s.name)), None) for code in codes]
        symbols = [symbol for symbol in first if symbol is not None]
        if len(symbols) == len(codes) and len({uprobes.known(symbol.name) for symbol in symbols}) == 1:
            yield [min(symbols, key=lambda s: (s.name.startswith("_"), s.name))._replace(value=va)]


def _doubt(match: CodeMatch, traced: list[Symbol], library: str) -> str:
    """Why the allocator is not known for certain, and what to do; "": it is."""
    at = {symbol.name: {symbol.value} for symbol in traced}
    for code in match.library:
        for name in {symbol.name for symbol in code.functions} & match.names.keys():
            if uprobes.known(name) and not _is_operator(name):
                at[name] = at.get(name, set()) | match.names[name]
    for name, vas in sorted(at.items()):
        if len(vas) > 1:
            places = " or ".join(f"{va:#x}" for va in sorted(vas))
            return f"by the code of {library}, {name} is at {places}: name the right ones with --alloc"
    found = {symbol.value for symbol in traced}
    strange = {va: name for name, vas in sorted(at.items(), reverse=True) for va in vas if va not in found}
    if strange:
        forms = {**{form: form for form in uprobes.FORMS}, "aligned_alloc": "memalign"}
        rules = " ".join(f"--alloc {va:#x}={forms[name]}" for va, name in sorted(strange.items()) if name in forms)
        return (
            f"calls lead to {_places(strange)}, but what is there is not the code of {library}; name the library that "
            f"it is from with --alloc-from, or trace these alone: {rules or '--alloc'}"
        )
    kinds = {uprobes.KINDS[does.kind] for _, _, does in _known(traced)}
    if not {"malloc", "free"} <= kinds:
        return (
            f"no malloc and free are there by the code of {library}; name another library with --alloc-from, or --alloc"
        )
    return ""


def _versions(elf: Elf, paths: Sequence[str]) -> str:
    """Which glibc the program has, and which the libraries, as far as they say."""
    ours, theirs = _version(elf.content), ""
    for path in paths:
        with open(path, "rb") as file:
            theirs = theirs or _version(file.read())
    return f" (the program has {ours}, the library {theirs})" if ours and theirs else ""


def _version(content: bytes) -> str:
    told = _BANNER.search(content) or _SHORT.search(content)
    return told[1].decode("latin-1") if told else ""
