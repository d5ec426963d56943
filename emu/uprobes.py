"""Which guest functions are traced, and what each does to the heap: by their names, or by rules that a user wrote.

A role (size, pointer, …) is an argument by number, as the psABI passes integers: rdi, rsi, rdx, rcx, r8, r9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emu.calls import (
    ALLOCATE,
    ASK,
    CHOOSE,
    DEFAULT_POOL,
    EXACT_SIZE,
    FREES_FAILED,
    IN_PLACE,
    LOG2,
    MERGE,
    NEVER_NULL,
    NO_POOL,
    RELEASE,
    RESIZE,
    SETS_ERRNO,
    SWEEP,
    ZEROES,
    Function,
)
from emu.elf import STT_FUNC, Elf

REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
# The number of a kind in an event is its index here; emu/report says them as they stand.
KINDS = ("", "malloc", "calloc", "realloc", "free", "memalign", "new", "new[]", "delete", "delete[]", "usable",
         "destroy")  # fmt: skip
C, NEW, ARRAY, ALIGNED_NEW, ALIGNED_ARRAY, HEAP = 1, 2, 4, 8, 16, 32  # families: who may release what
_FAMILY = {"new": NEW, "delete": NEW, "new[]": ARRAY, "delete[]": ARRAY}
_VERB = {"realloc": RESIZE, "free": RELEASE, "delete": RELEASE, "delete[]": RELEASE, "usable": ASK, "destroy": SWEEP}


class Form(NamedTuple):
    """How a function is called: its kind, its roles in order (those after `needed` may be left out), its options."""

    kind: str
    roles: tuple[str, ...]
    needed: int
    options: int = 0


# What a rule may say a function is.
FORMS = {
    "malloc": Form("malloc", ("size", "pool"), 1),
    "calloc": Form("calloc", ("times", "size", "pool"), 2, ZEROES),
    "realloc": Form("realloc", ("pointer", "size", "pool"), 2),
    "reallocarray": Form("realloc", ("pointer", "times", "size", "pool"), 3),
    "free": Form("free", ("pointer",), 1),
    "free_sized": Form("free", ("pointer", "size"), 2, EXACT_SIZE),
    "memalign": Form("memalign", ("alignment", "size", "pool"), 2),
    "posix_memalign": Form("memalign", ("out", "alignment", "size"), 3),
    "new": Form("new", ("size", "alignment"), 1),
    "new[]": Form("new[]", ("size", "alignment"), 1),
    "delete": Form("delete", ("pointer",), 1),
    "delete[]": Form("delete[]", ("pointer",), 1),
    "malloc_usable_size": Form("usable", ("pointer",), 1),
    "destroy": Form("destroy", ("pool", "pointer"), 1),  # all blocks of the pool are released; and the one at `pointer`
}


class Uprobe(NamedTuple):
    """One traced function. `va` is where the guest has it; `names` are all that stand at that address."""

    va: int
    name: str
    names: tuple[str, ...]
    function: Function


def function(kind: str, options: int = 0, **roles: int) -> Function:
    """The Function of a kind, its roles by argument number."""
    verb = _VERB.get(kind, ALLOCATE)
    return Function(verb, KINDS.index(kind), _FAMILY.get(kind, C), options, **roles)


def of_form(name: str, arguments: Iterable[int] = (), options: int = 0) -> Function:
    """The Function of FORMS[name], its roles taken from `arguments` in order; without them, from the first on."""
    form = FORMS[name]
    given = tuple(arguments) or range(form.needed)
    return function(form.kind, form.options | options, **dict(zip(form.roles, given, strict=False)))


PAGES = 12  # valloc: aligned to 1 << 12


def _c_functions() -> dict[str, Function]:
    """The C library's. POSIX: a failure sets errno to ENOMEM."""
    same = ("malloc", "calloc", "realloc", "reallocarray", "free", "memalign", "posix_memalign", "free_sized")
    named = {name: of_form(name) for name in same}
    named |= {"aligned_alloc": of_form("memalign"), "cfree": of_form("free")}
    named |= {name: of_form("malloc")._replace(aligned=PAGES) for name in ("valloc", "pvalloc")}
    named["free_aligned_sized"] = function("free", EXACT_SIZE, pointer=0, alignment=1, size=2)
    for name, does in named.items():
        if does.verb in (ALLOCATE, RESIZE):
            named[name] = does._replace(options=does.options | SETS_ERRNO)
    return named | {"malloc_usable_size": of_form("malloc_usable_size")}


_C = _c_functions()
_JEMALLOC = {
    "mallocx": function("malloc", LOG2, size=0, alignment=1),
    "rallocx": function("realloc", LOG2, pointer=0, size=1, alignment=2),
    "xallocx": function("realloc", IN_PLACE, pointer=0, size=1),
    "dallocx": of_form("free"),
    "sdallocx": of_form("free"),
    "sallocx": of_form("malloc_usable_size"),
}
_UNKNOWN = function("malloc")._replace(aligned=0)  # strdup: what it asks for is not said


def _on_heaps(**of_default: Function) -> dict[str, Function]:
    """mimalloc's: each also as heap_…, with the heap before the other arguments."""
    roles = ("size", "times", "pointer", "alignment", "out")
    shifted = {
        f"heap_{name}": does._replace(pool=0, **{role: at + 1 for role in roles if (at := getattr(does, role)) >= 0})
        for name, does in of_default.items()
    }
    return of_default | shifted


_MIMALLOC = {
    **_on_heaps(
        malloc=_C["malloc"],
        calloc=_C["calloc"],
        realloc=_C["realloc"],
        zalloc=of_form("malloc", options=ZEROES),
        malloc_small=of_form("malloc"),
        mallocn=function("calloc", times=0, size=1),
        reallocn=of_form("reallocarray"),
        reallocf=of_form("realloc", options=FREES_FAILED),
        rezalloc=of_form("realloc"),
        recalloc=of_form("reallocarray"),
        malloc_aligned=function("memalign", size=0, alignment=1),
        zalloc_aligned=function("memalign", ZEROES, size=0, alignment=1),
        calloc_aligned=function("memalign", ZEROES, times=0, size=1, alignment=2),
        realloc_aligned=function("realloc", pointer=0, size=1, alignment=2),
        rezalloc_aligned=function("realloc", pointer=0, size=1, alignment=2),
        recalloc_aligned=function("realloc", pointer=0, times=1, size=2, alignment=3),
        # of these the byte at an offset is aligned
        malloc_aligned_at=function("memalign", size=0)._replace(aligned=0),
        zalloc_aligned_at=function("memalign", ZEROES, size=0)._replace(aligned=0),
        calloc_aligned_at=function("memalign", ZEROES, times=0, size=1)._replace(aligned=0),
        realloc_aligned_at=function("realloc", pointer=0, size=1)._replace(aligned=0),
        rezalloc_aligned_at=function("realloc", pointer=0, size=1)._replace(aligned=0),
        recalloc_aligned_at=function("realloc", pointer=0, times=1, size=2)._replace(aligned=0),
        strdup=_UNKNOWN,
        strndup=_UNKNOWN,
        realpath=_UNKNOWN,
    ),
    "zalloc_small": of_form("malloc", options=ZEROES),
    "heap_alloc_new": function("new", NEVER_NULL, size=1, pool=0)._replace(family=NEW | C),
    "heap_alloc_new_n": function("new[]", NEVER_NULL, times=1, size=2, pool=0)._replace(family=ARRAY | C),
    # a heap is a block of its own; what is in it goes when it is destroyed, and stays when it is deleted
    **dict.fromkeys(("heap_new", "heap_new_in_arena"), _UNKNOWN._replace(family=HEAP)),
    "heap_delete": function("free", pointer=0, pool=0)._replace(verb=MERGE, family=HEAP),
    "heap_destroy": function("destroy", pointer=0, pool=0)._replace(family=HEAP),
    "heap_set_default": Function(CHOOSE, 0, 0, pool=0),
    "expand": of_form("realloc"),
    "mbsdup": _UNKNOWN,
    "wcsdup": _UNKNOWN,
    "free_size": of_form("free"),
    "free_aligned": of_form("free"),
    "free_size_aligned": of_form("free"),
    "usable_size": of_form("malloc_usable_size"),
    "malloc_size": of_form("malloc_usable_size"),
}
# mi_free takes these as well as delete does.
_MIMALLOC |= {
    name: does._replace(family=does.family | C)
    for name, does in {
        "new": of_form("new", options=NEVER_NULL),
        "new_nothrow": of_form("new"),
        "new_n": function("new[]", NEVER_NULL, times=0, size=1),
        "new_aligned": function("new", NEVER_NULL, size=0, alignment=1),
        "new_aligned_nothrow": function("new", size=0, alignment=1),
        "new_realloc": of_form("realloc", options=NEVER_NULL),
        "new_reallocn": of_form("reallocarray", options=NEVER_NULL),
    }.items()
}


def _of_aligned(does: Function) -> Function:
    """The same of aligned blocks: C++ has other operators for them, and each kind is released by its own."""
    return does._replace(family={NEW: ALIGNED_NEW, ARRAY: ALIGNED_ARRAY}[does.family])


def _tcmalloc() -> Iterator[tuple[str, Function]]:
    for array in ("", "array"):
        kind = "[]" if array else ""
        for aligned, alignment in (("", -1), ("_aligned", 1)):
            for nothrow in ("", "_nothrow"):
                does = function(f"new{kind}", 0 if nothrow else NEVER_NULL, size=0, alignment=alignment)
                yield f"new{array}{aligned}{nothrow}", _of_aligned(does) if aligned else does
            does = of_form(f"delete{kind}")
            for suffix in (aligned, f"{aligned}_nothrow", f"_sized{aligned}"):
                yield f"delete{array}{suffix}", _of_aligned(does) if aligned else does
    yield "malloc_size", of_form("malloc_usable_size")
    yield "malloc_skip_new_handler", _C["malloc"]


_TCMALLOC = dict(_tcmalloc())
# Of those that are told no heap the thread's default one is meant.
_MIMALLOC = {
    name: does._replace(pool=DEFAULT_POOL) if does.verb <= RESIZE and does.pool < 0 and does.family != HEAP else does
    for name, does in (_C | _MIMALLOC).items()
}
# prefix → what its family has beside the C names
_PREFIXES = {
    "": _JEMALLOC, "__libc_": {}, "je_": _JEMALLOC, "_rjem_": _JEMALLOC, "jemalloc_": _JEMALLOC,
    "mi_": _MIMALLOC, "tc_": _TCMALLOC, "dl": {},
}  # fmt: skip
_NAMES = {prefix + name: each for prefix, more in _PREFIXES.items() for name, each in (_C | more).items()}
_OPERATOR = re.compile(r"_Z(nw|na|dl|da)(Pv)?(m)?(St11align_val_t)?(RKSt9nothrow_t)?")
_OPERATORS = {"nw": "new", "na": "new[]", "dl": "delete", "da": "delete[]"}


def in_words(name: str) -> str:
    """A C++ operator as people say it, `sized operator delete[]`; every other name as it is."""
    match = _OPERATOR.fullmatch(name)
    if match is None:
        return name
    which, pointer, sized, aligned, nothrow = match.groups()
    said = {"aligned": aligned, "sized": pointer and sized, "nothrow": nothrow}
    return " ".join([*(word for word, is_so in said.items() if is_so), f"operator {_OPERATORS[which]}"])


def known(name: str) -> Function | None:
    """What the function called `name` does, if names tell."""
    found = _NAMES.get(name)
    if found is not None or not name.startswith("_Z"):
        return found
    match = _OPERATOR.fullmatch(name)
    if match is None:
        return None
    which, pointer, sized, aligned, nothrow = match.groups()
    kind = _OPERATORS[which]
    if kind.startswith("new"):
        options = 0 if nothrow else NEVER_NULL
        does = function(kind, options, size=0, alignment=1 if aligned else -1) if sized and not pointer else None
    elif not pointer:
        return None
    else:
        size, alignment = (1 if sized else -1), (1 + bool(sized) if aligned else -1)
        does = function(kind, EXACT_SIZE if sized else 0, pointer=0, size=size, alignment=alignment)
    return _of_aligned(does) if does and aligned else does


def by_name(elf: Elf, bias: int) -> Iterator[tuple[int, str, Function]]:
    """(address, name, what it does) of every allocator function in the symbol tables."""
    for symbol in elf.symbols():
        if symbol.type == STT_FUNC:
            found = known(symbol.name)
            if found is not None:
                yield symbol.value + bias, symbol.name, found


def merged(found: Iterable[tuple[int, str, Function]]) -> list[Uprobe]:
    """One Uprobe an address, by address. Of aliases the plainest names it; what they do not agree on is not used: an
    argument that only some of them have, and who may release a block that any of them may have made."""
    at: dict[int, list[tuple[str, Function]]] = {}
    for va, name, does in found:
        at.setdefault(va, []).append((name, does))
    probes = []
    for va, aliases in sorted(at.items()):
        aliases.sort(key=lambda alias: (alias[0].startswith("_"), len(alias[0]), alias[0]))
        name, does = aliases[0]
        for _, other in aliases[1:]:
            does = _agreed(does, other)
        probes.append(Uprobe(va, name, tuple(dict.fromkeys(alias for alias, _ in aliases)), does))
    return probes


def _agreed(one: Function, other: Function) -> Function:
    roles = {
        role: getattr(one, role) if getattr(one, role) == getattr(other, role) else -1
        for role in ("size", "times", "pointer", "alignment", "out")
    }
    if one.verb != other.verb:
        return one
    pool = one.pool if one.pool == other.pool else NO_POOL
    if {one.pool, other.pool} == {NO_POOL, DEFAULT_POOL}:  # malloc is mi_malloc
        pool = DEFAULT_POOL
    options = one.options & other.options & ~(EXACT_SIZE if roles["size"] < 0 else 0)
    aligned = min(one.aligned, other.aligned)
    return one._replace(family=one.family | other.family, options=options, aligned=aligned, pool=pool, **roles)
