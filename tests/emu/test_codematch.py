"""Code of a library found in programs that were linked with it: at the right places, and not where it is not known."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import elf, program

from emu.ar import members
from emu.codematch import CodeMatch
from emu.elf import STT_FUNC, Elf, read_elf
from emu.signatures import Code, code_of

LIBRARIES = {"glibc": "/usr/lib/x86_64-linux-gnu/libc.a", "musl-gcc": "/usr/lib/x86_64-linux-musl/libc.a"}
Linked = Callable[..., tuple[Elf, list[Code]]]


@pytest.fixture
def linked(tmp_path: Path) -> Linked:
    """The program of some C sources, and the code of those of its object files that are its library."""

    def link(application: str, *library: str, flags: tuple[str, ...] = ()) -> tuple[Elf, list[Code]]:
        gcc, objects = program("gcc"), []
        for number, source in enumerate((application, *library)):
            file = tmp_path / f"{number}.c"
            file.write_text(source)
            objects.append(file.with_suffix(".o"))
            options = ["-O2", "-ffreestanding", "-fno-pic", "-fcf-protection=none", "-c", *flags]
            subprocess.run([gcc, *options, str(file), "-o", str(objects[-1])], check=True)
        out = tmp_path / "program"
        whole = [gcc, "-static", "-no-pie", "-nostdlib", "-o", str(out), *map(str, objects)]
        subprocess.run(whole, check=True)
        return read_elf(str(out)), [code for file in objects[1:] for code in code_of(file.name, file.read_bytes())]

    return link


def places(elf_: Elf) -> dict[str, int]:
    return {symbol.name: symbol.value for symbol in elf_.symbols() if symbol.type == STT_FUNC}


def told(elf_: Elf, library: list[Code]) -> dict[str, int]:
    return {symbol.name: symbol.value for file in CodeMatch(elf_, library).functions() for symbol in file}


@pytest.mark.parametrize("kind", ["glibc", "musl-gcc"])
@pytest.mark.parametrize("guest", ["heap/logged", "heap/churn"])
def test_no_function_of_libc_is_named_wrong_and_no_allocators_is_missed(kind: str, guest: str) -> None:
    """The symbol table is the truth, but for local names that several files have, and weak ones that `ld` left out."""
    program_ = read_elf(str(elf(guest, kind)))
    library = [code for name, body in members(Path(LIBRARIES[kind]).read_bytes()) for code in code_of(name, body)]
    truth: dict[int, set[str]] = {}
    for symbol in program_.symbols():
        truth.setdefault(symbol.value, set()).add(symbol.name)
    found = [symbol for file in CodeMatch(program_, library).functions() for symbol in file]
    assert len(found) > (1000 if kind == "glibc" else 40)
    wrong = {symbol.name for symbol in found if symbol.bind == 1 and symbol.name not in truth.get(symbol.value, ())}
    assert wrong == set()
    for name in ("malloc", "free", "calloc", "realloc", "aligned_alloc", "posix_memalign", "malloc_usable_size"):
        at = places(program_).get(name)
        if at is not None:
            assert [symbol.value for symbol in found if symbol.name == name] == [at], name


LONG = """
    int table[4];
    void small(int *p);
    void outer(int *p, int n) {{
        for (int i = 0; i < n; i++) p[i] = (p[i] ^ {number}) * 1234567 + table[i & 3];
        small(p);
        p[n - 1] = 0x55667788;
    }}
"""
SMALL = "void target(int *); void small(int *p) { target(p + 1); }"
START = "void outer(int *, int); int at[9]; void target(int *p) { *p = 3; } void _start(void) { outer(at, 9); }"


def test_a_small_function_is_found_by_who_calls_it(linked: Linked) -> None:
    start = START + "void small2(int *p) { target(p + 1); }"  # the same code once more, in the application
    found, library = linked(start, LONG.format(number=0x11223344), SMALL)
    truth = places(found)
    assert told(found, library) == {"outer": truth["outer"], "small": truth["small"]}


def test_a_small_function_that_nobody_points_to_is_not_guessed(linked: Linked) -> None:
    found, library = linked(START.replace("outer(at, 9)", "target(at)"), SMALL)
    assert told(found, library) == {}


def test_other_code_is_not_taken_for_it(linked: Linked, tmp_path: Path) -> None:
    found, _ = linked(START, LONG.format(number=0x11223344), SMALL)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "long.c"
    other.write_text(LONG.format(number=0x11223345))
    subprocess.run([program("gcc"), "-O2", "-c", "-fno-pic", str(other), "-o", str(tmp_path / "long.o")], check=True)
    assert told(found, list(code_of("long.o", (tmp_path / "long.o").read_bytes()))) == {}


def test_equal_code_that_is_there_twice_is_not_named(linked: Linked) -> None:
    once = LONG.format(number=7)
    again = once.replace("outer", "outer2").replace("int table", "extern int table")
    found, library = linked(START.replace("outer(at, 9)", "target(at)"), once, again, SMALL)
    assert {"outer", "outer2"} & told(found, library[:1]).keys() == set()


def test_a_thread_local_variable_is_found_by_who_uses_it(linked: Linked) -> None:
    source = """
        __thread int number = 5; __thread int last;
        int outer(int *p, int n) {
            for (int i = 0; i < n; i++) p[i] = (p[i] ^ 0x11223344) * 1234567 + number;
            return last = p[n - 1] * 77;
        }
    """
    found, library = linked(START, source)
    tls = {symbol.name: symbol.value for symbol in found.symbols()}
    segment = found.segment(7)
    assert segment is not None
    size = -(-segment.memsz // segment.align) * segment.align
    match = CodeMatch(found, library)
    assert match.thread_local("number") == tls["number"] - size
    assert match.thread_local("last") == tls["last"] - size
    assert match.thread_local("number", "last") is None
    assert match.thread_local("nothing") is None


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_object_file_is_no_crash(linked: Linked, seed: int, tmp_path: Path) -> None:
    found, _ = linked(START, LONG.format(number=1), SMALL)
    rng, content = random.Random(seed), bytearray((tmp_path / "1.o").read_bytes())
    for _ in range(30):
        at = rng.randrange(64, len(content) - 8)
        struct.pack_into("<Q", content, at, rng.choice((0, 1, 1 << 63, rng.getrandbits(64), rng.getrandbits(8))))
    for name, va in told(found, list(code_of("1.o", bytes(content)))).items():
        assert name
        assert found.read(va, 1)
