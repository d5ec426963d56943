"""Allocator functions by name, by rule and by TOML file; what cannot be followed is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import elf

from emu import uprobes
from emu.calls import (
    ALLOCATE,
    ASK,
    DEFAULT_POOL,
    EXACT_SIZE,
    LOG2,
    NEVER_NULL,
    NO_POOL,
    RELEASE,
    RESIZE,
    SETS_ERRNO,
    SWEEP,
    ZEROES,
    RuleError,
)
from emu.elf import Elf, read_elf
from emu.trace.alloc_rules import concerning, parse_rule, parse_toml, probes_of, told


@pytest.fixture
def program() -> Elf:
    return read_elf(str(elf("heap/misuses")))


def test_names_tell_what_a_function_does() -> None:
    malloc, sized = uprobes.known("malloc"), uprobes.known("_ZdlPvmSt11align_val_t")
    assert malloc is not None
    assert (malloc.verb, malloc.family, malloc.size, malloc.pointer) == (ALLOCATE, uprobes.C, 0, -1)
    assert sized is not None
    assert (sized.verb, sized.family, sized.options) == (RELEASE, uprobes.ALIGNED_NEW, EXACT_SIZE)
    assert (sized.pointer, sized.size, sized.alignment) == (0, 1, 2)
    assert uprobes.known("je_rallocx") is not None
    assert uprobes.known("mi_malloc_aligned") is not None
    for other in ("main", "mallocs", "_Znw", "_ZdlPv1", "_Znwmm", "free_all"):
        assert uprobes.known(other) is None, other


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("_Znwm", "operator new"),
        ("_ZdaPvmSt11align_val_t", "aligned sized operator delete[]"),
        ("_ZnamRKSt9nothrow_t", "nothrow operator new[]"),
        ("_ZN4PoolnwEm", "_ZN4PoolnwEm"),
        ("malloc", "malloc"),
    ],
)
def test_an_operator_is_called_in_words_what_cpp_calls_it(name: str, words: str) -> None:
    assert uprobes.in_words(name) == words


def test_aliases_at_one_address_are_one_function_of_both_families() -> None:
    free, delete, sized = (uprobes.known(name) for name in ("free", "_ZdlPv", "_ZdlPvm"))
    assert free and delete and sized  # noqa: PT018
    (probe,) = uprobes.merged([(16, "_ZdlPvm", sized), (16, "_ZdlPv", delete), (16, "free", free)])
    assert probe.name == "free"
    assert probe.names == ("free", "_ZdlPv", "_ZdlPvm")
    assert probe.function.family == uprobes.C | uprobes.NEW
    assert (probe.function.size, probe.function.options) == (-1, 0)


def test_a_rule_names_kind_and_registers() -> None:
    rule = parse_rule("pool_alloc=malloc:rsi")
    assert (rule.where, rule.does.verb, rule.does.size) == ("pool_alloc", ALLOCATE, 1)
    rule = parse_rule("0x401000=realloc:rdx,rcx")
    assert (rule.where, rule.does.verb, rule.does.pointer, rule.does.size) == ("0x401000", RESIZE, 2, 3)
    assert parse_rule("f=free").does.pointer == 0
    rule = parse_rule("arena_alloc=malloc:rsi,rdi")
    assert (rule.does.verb, rule.does.size, rule.does.pool) == (ALLOCATE, 1, 0)
    rule = parse_rule("arena_free=destroy:rdi")
    assert (rule.does.verb, rule.does.pool, rule.does.pointer) == (SWEEP, 0, -1)


def test_a_heap_of_mimallocs_is_the_first_argument_or_the_threads_default() -> None:
    for name, pool in (
        ("mi_heap_malloc", 0), ("mi_heap_alloc_new_n", 0), ("mi_heap_destroy", 0), ("mi_heap_new", NO_POOL),
        ("mi_malloc", DEFAULT_POOL), ("mi_posix_memalign", DEFAULT_POOL), ("mi_new", DEFAULT_POOL),
        ("mi_free", NO_POOL), ("mi_usable_size", NO_POOL), ("malloc", NO_POOL), ("tc_malloc", NO_POOL),
    ):  # fmt: skip
        does = uprobes.known(name)
        assert does is not None
        assert does.pool == pool, name
    malloc, ours = uprobes.known("malloc"), uprobes.known("mi_malloc")
    assert malloc and ours  # noqa: PT018
    assert uprobes.merged([(16, "malloc", malloc), (16, "mi_malloc", ours)])[0].function.pool == DEFAULT_POOL


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("malloc", "not NAME=KIND"),
        ("=malloc", "NAME=KIND"),
        ("worker:=malloc", "NAME=KIND"),
        (":f=malloc", "NAME=KIND"),
        ("f=gobble", "no kind 'gobble'"),
        ("f=malloc:rax", "'rax' passes no argument"),
        ("f=free:rdi,rsi", "takes pointer: 1 registers"),
        ("f=malloc:rdi,rsi,rdx", r"takes size\[, pool\]: 1 to 2 registers"),
        ("f=realloc:rdi", "2 to 3 registers"),
    ],
)
def test_a_bad_rule_is_refused(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        parse_rule(text)


def test_a_toml_file_holds_the_same_rules() -> None:
    (rule,), libraries = parse_toml('[[alloc]]\nfunction = "get"\nkind = "malloc"\nsize = "rsi"\n', "rules.toml")
    assert (rule, libraries) == (parse_rule("get=malloc:rsi"), ())


def test_a_rule_may_be_of_one_program() -> None:
    (rule,), _ = parse_toml('[[alloc]]\nfunction = "get"\nkind = "free"\nprogram = "/bin/worker"\n', "rules.toml")
    assert rule == parse_rule("/bin/worker:get=free")
    rules = [parse_rule(text) for text in ("worker:a=free", "b=free", "0x10=free", "/bin/worker:c=free", "bin:d=free")]
    assert [rule.where for rule in concerning(rules, ["/bin/worker"])] == ["b", "0x10", "a", "c"]
    assert [rule.where for rule in concerning(rules, ["/other/worker"], by_address=False)] == ["b", "a"]


def test_the_file_that_the_readme_shows_says_what_the_readme_says() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text().split("```toml\nalloc-from")[1].split("```")[0]
    rule = parse_rule(text.split("--alloc '")[1].split("'")[0])
    assert parse_toml(f"alloc-from{text}", "rules.toml") == ((rule,), ("libpool.a",))


def test_a_toml_file_names_libraries_from_where_it_is() -> None:
    told_ = parse_toml('alloc-from = ["libpool.a", "/usr/lib/libc.a"]\n', "rules/pool.toml")
    assert told_ == ((), ("rules/libpool.a", "/usr/lib/libc.a"))


def test_rules_and_libraries_come_from_files_and_words_together(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('alloc-from = ["b.a"]\n[[alloc]]\nfunction = "get"\nkind = "malloc"\n')
    both = (parse_rule("put=free"), parse_rule("get=malloc")), ("a.a", f"{tmp_path}/b.a")
    assert told("put=free", file, "a.a") == told(["put=free"], [str(file)], [Path("a.a")]) == both
    assert told((), (), ()) == ((), ())
    for absent, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(RuleError, match=f"^--alloc-file {absent}: {why}"):
            told((), absent, ())
    file.write_bytes(b"\xff")
    with pytest.raises(RuleError, match="not UTF-8 text"):
        told((), file, ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[alloc", "rules.toml: "),
        ("x = 1", r"no key 'x'; it may hold alloc-from, \[\[alloc\]\] tables and nothing else"),
        ("alloc_from = []", "no key 'alloc_from'; it may hold alloc-from,"),
        ("alloc-from = 'libpool.a'", 'alloc-from is a list of static libraries, as in \\["libpool.a"\\]'),
        ("alloc-from = [1]", "alloc-from is a list"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\nprogram = 1", "program = 1: it is a path in the guest"),
        ("alloc = 1", "nothing else"),
        ("[[alloc]]\nkind = 'malloc'", "needs function and kind"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\nsiez = 'rdi'", "no key 'siez'"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\npointer = 'rdi'",
         "malloc has no pointer; it may have size, times, alignment, out"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc_usable_size'\nsize = 'rdi'", "has no size; it may have pointer"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\nsize = []", "passes no argument"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\naligned = 12", "aligned = 12: it is a power of two"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\naligned = 'x'", "a power of two"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'malloc'\nerrno = 12", "errno is true or false"),
        ("[[alloc]]\nfunction = 'f'", "needs function and kind"),
        ("[[alloc]]\nfunction = 'f'\nkind = 'pool'", "no kind 'pool'; there are malloc, calloc"),
        ("alloc = [1]", "nothing else"),
        ("\u0000", "rules.toml: "),
    ],
)
def test_a_bad_toml_file_is_refused(text: str, why: str) -> None:
    with pytest.raises(RuleError, match=why):
        parse_toml(text, "rules.toml")


def test_a_function_that_is_not_there_is_refused_naming_candidates(program: Elf) -> None:
    with pytest.raises(RuleError, match=r"no such function; is it .*malloc"):
        probes_of(program, 0, [parse_rule("mallok=malloc")])
    with pytest.raises(RuleError, match=r"write PROGRAM:mallok=…$"):
        probes_of(program, 0, [parse_rule("mallok=malloc")])
    with pytest.raises(RuleError, match="no code is there"):
        probes_of(program, 0, [parse_rule("0x10=malloc")])
    with pytest.raises(RuleError, match="not an address"):
        probes_of(program, 0, [parse_rule("0xzz=malloc")])


def test_promises_are_those_of_the_rule_or_of_the_name() -> None:
    text = "[[alloc]]\nfunction = 'get'\nkind = 'calloc'\naligned = 8\nerrno = true\n"
    (rule,), _ = parse_toml(text, "rules.toml")
    assert rule.does.aligned == 3
    assert rule.does.options == ZEROES | SETS_ERRNO
    assert parse_rule("get=malloc").does.options == 0
    for name, options, aligned in (
        ("malloc", SETS_ERRNO, 4), ("calloc", SETS_ERRNO | ZEROES, 4), ("valloc", SETS_ERRNO, 12),
        ("_Znwm", NEVER_NULL, 4), ("_ZnwmRKSt9nothrow_t", 0, 4), ("mi_zalloc", ZEROES, 4),
        ("tc_newarray", NEVER_NULL, 4), ("free", 0, 4),
        ("mallocx", LOG2, 4), ("mi_malloc_aligned_at", 0, 0),
    ):  # fmt: skip
        does = uprobes.known(name)
        assert does is not None
        assert (does.options, does.aligned) == (options, aligned), name


# Functions of stdlib.h, jemalloc.h, mimalloc.h, tcmalloc.h: (what it does, its size, its pointer, its alignment).
HEADERS = {
    "malloc": (ALLOCATE, 0, -1, -1), "aligned_alloc": (ALLOCATE, 1, -1, 0), "posix_memalign": (ALLOCATE, 2, -1, 1),
    "reallocarray": (RESIZE, 2, 0, -1), "pvalloc": (ALLOCATE, 0, -1, -1), "free_sized": (RELEASE, 1, 0, -1),
    "free_aligned_sized": (RELEASE, 2, 0, 1), "malloc_usable_size": (ASK, -1, 0, -1), "cfree": (RELEASE, -1, 0, -1),
    "_ZnwmSt11align_val_t": (ALLOCATE, 0, -1, 1), "_ZnamRKSt9nothrow_t": (ALLOCATE, 0, -1, -1),
    "_ZnamSt11align_val_tRKSt9nothrow_t": (ALLOCATE, 0, -1, 1), "_ZdaPvSt11align_val_t": (RELEASE, -1, 0, 1),
    "_ZdlPvmSt11align_val_t": (RELEASE, 1, 0, 2), "_ZdlPvRKSt9nothrow_t": (RELEASE, -1, 0, -1),
    "mallocx": (ALLOCATE, 0, -1, 1), "rallocx": (RESIZE, 1, 0, 2), "xallocx": (RESIZE, 1, 0, -1),
    "sallocx": (ASK, -1, 0, -1), "dallocx": (RELEASE, -1, 0, -1), "sdallocx": (RELEASE, -1, 0, -1),
    "je_malloc": (ALLOCATE, 0, -1, -1), "_rjem_sdallocx": (RELEASE, -1, 0, -1), "je_xallocx": (RESIZE, 1, 0, -1),
    "mi_heap_malloc": (ALLOCATE, 1, -1, -1), "mi_heap_realloc": (RESIZE, 2, 1, -1), "mi_expand": (RESIZE, 1, 0, -1),
    "mi_heap_calloc_aligned": (ALLOCATE, 2, -1, 3), "mi_recalloc_aligned": (RESIZE, 2, 0, 3),
    "mi_strdup": (ALLOCATE, -1, -1, -1),
    "mi_heap_reallocn": (RESIZE, 3, 1, -1), "mi_new_reallocn": (RESIZE, 2, 0, -1),
    "mi_free_size_aligned": (RELEASE, -1, 0, -1),
    "tc_malloc": (ALLOCATE, 0, -1, -1), "tc_memalign": (ALLOCATE, 1, -1, 0),
    "tc_new_aligned_nothrow": (ALLOCATE, 0, -1, 1),
    "tc_deletearray_sized_aligned": (RELEASE, -1, 0, -1), "tc_delete_nothrow": (RELEASE, -1, 0, -1),
    "tc_malloc_skip_new_handler": (ALLOCATE, 0, -1, -1), "tc_malloc_size": (ASK, -1, 0, -1),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_the_functions_of_the_allocators_headers_are_known(name: str) -> None:
    does = uprobes.known(name)
    assert does is not None
    assert (does.verb, does.size, does.pointer, does.alignment) == HEADERS[name]


def test_a_rule_wins_over_the_name(program: Elf) -> None:
    plain = {probe.name: probe for probe in probes_of(program, 0)}
    ruled = {probe.name: probe for probe in probes_of(program, 0, [parse_rule("malloc=new:rsi")])}
    assert ruled["malloc"].va == plain["malloc"].va
    assert ruled["malloc"].function != plain["malloc"].function
