"""Which libraries tell where a program's allocator is, and the words of those that do not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runs import elf, program

from emu.calls import RuleError
from emu.elf import Elf, read_elf
from emu.trace import alloc_library
from emu.trace.alloc_library import learn, learn_anew

LIBC = "/usr/lib/x86_64-linux-gnu/libc.a"
MUSL = "/usr/lib/x86_64-linux-musl/libc.a"
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.a"


def stripped(kind: str, tmp_path: Path, name: str = "heap/logged") -> Elf:
    out = tmp_path / "stripped.elf"
    subprocess.run([program("strip", "binutils"), "-s", "-o", str(out), str(elf(name, kind))], check=True)
    return read_elf(str(out))


def compiled(source: str, tmp_path: Path) -> str:
    (tmp_path / "source.c").write_text(source)
    out = tmp_path / "source.o"
    subprocess.run([program("gcc"), "-O2", "-c", str(tmp_path / "source.c"), "-o", str(out)], check=True)
    return str(out)


def refusal(elf_: Elf, *libraries: str) -> str:
    with pytest.raises(RuleError) as refused:
        learn(elf_, libraries, ruled=False)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_nothing_is_looked_for_in_a_program_with_symbols_or_with_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(alloc_library, "CodeMatch")
    assert learn(read_elf(str(elf("heap/logged", "glibc"))), (), ruled=False) == ""
    assert learn(stripped("glibc", tmp_path), (), ruled=True) == ""


@pytest.mark.parametrize(("kind", "library"), [("glibc", LIBC), ("musl-gcc", MUSL)])
def test_the_hosts_c_library_is_tried_unasked(kind: str, library: str, tmp_path: Path) -> None:
    truth = {symbol.name: symbol.value for symbol in read_elf(str(elf("heap/logged", kind))).symbols()}
    program_ = stripped(kind, tmp_path)
    told = learn(program_, (), ruled=False)
    assert told.endswith(f": by the code of {library}")
    found = {symbol.name: symbol.value for symbol in program_.symbols()}
    for name in ("malloc", "free", "realloc", "calloc"):
        assert f"{name} {truth[name]:#x}" in told
        assert found[name] == truth[name]


def test_libraries_that_were_named_for_another_program_need_not_tell(tmp_path: Path) -> None:
    program_ = stripped("glibc", tmp_path)
    assert learn_anew(program_, (MUSL,), ruled=False).endswith(f": by the code of {LIBC}")
    assert any(symbol.name == "malloc" for symbol in program_.symbols())
    assert learn_anew(read_elf(str(elf("heap/logged", "glibc"))), (LIBC,), ruled=False) == ""


def test_it_says_where_there_is_no_c_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alloc_library, "GLIBC", ("/nowhere/libc.a",))
    told = learn(stripped("glibc", tmp_path), (), ruled=False)
    assert told.startswith("it has no symbols, and no /nowhere/libc.a is here to find them by; name a library")


def test_where_other_code_stands_it_tells_what_calls_lead_there(tmp_path: Path) -> None:
    """jemalloc's malloc, which only the calls of glibc's strdup and its like lead to."""
    truth = {symbol.name: symbol.value for symbol in read_elf(str(elf("heap/logged", "jemalloc"))).symbols()}
    program_ = stripped("jemalloc", tmp_path)
    why = refusal(program_, LIBC)
    assert f"malloc {truth['malloc']:#x}" in why
    assert f"--alloc {truth['free']:#x}=free" in why
    assert f"not the code of {LIBC}" in why
    assert why == f"--alloc-from: {learn(program_, (), ruled=False)}"  # unasked, it is no refusal
    assert not any(program_.symbols())
    told = learn(program_, (JEMALLOC,), ruled=False)
    assert f"malloc {truth['malloc']:#x}, " in told
    assert f"mallocx {truth['mallocx']:#x}, " in told


def test_two_places_for_one_name_are_told_and_not_chosen_from(tmp_path: Path) -> None:
    """A library of the user's whose calls lead malloc elsewhere than the C library's do."""
    source = """
        void *malloc(unsigned long); void free(void *); extern int table[];
        void *pick(int *p, int n) {{
            for (int i = 0; i < n; i++) p[i] = (p[i] ^ 0x11223344) * 1234567 + 0x55667788;
            return {0}(p[0] * 99);
        }}
    """
    application = """
        #include <stdlib.h>
        #include <string.h>
        void *pick(int *p, int n);
        __attribute__((noinline)) void *odd(unsigned long n) { return strdup(n > 3 ? "a" : "b"); }
        int main(int argc, char **argv) { int at[3] = {argc}; free(pick(at, 3)), free(malloc(argc)); return 0; }
    """
    linked = tmp_path / "linked.o"
    Path(compiled(source.format("odd").replace("extern", "void *odd(unsigned long); extern"), tmp_path)).rename(linked)
    (tmp_path / "main.c").write_text(application)
    out = tmp_path / "program"
    command = [program("gcc"), "-O2", "-static", "-s", str(tmp_path / "main.c"), str(linked), "-o", str(out)]
    subprocess.run(command, check=True)
    why = refusal(read_elf(str(out)), compiled(source.format("malloc"), tmp_path), LIBC)
    assert why.startswith("--alloc-from: by the code of ")
    assert ", malloc is at 0x" in why
    assert why.endswith(": name the right ones with --alloc")


def test_a_library_that_nothing_is_of_is_refused(tmp_path: Path) -> None:
    why = refusal(stripped("musl-gcc", tmp_path, "heap/churn"), LIBC)
    assert f"no malloc and free are there by the code of {LIBC}" in why


def test_the_versions_are_told_where_they_differ(tmp_path: Path) -> None:
    old, new = (tmp_path / name for name in ("old", "new"))
    old.write_bytes(b"..\0glibc 2.31\0..")
    new.write_bytes(b"..GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n")
    told = alloc_library._versions(Elf(read_elf(str(elf("task/hello"))).content + old.read_bytes()), [str(new)])
    assert told == " (the program has glibc 2.31, the library Debian GLIBC 2.36-9)"


def other_machine(content: bytes) -> bytes:
    return content[:18] + b"\xb7\0" + content[20:]


def test_what_is_no_library_for_this_machine_is_refused(tmp_path: Path) -> None:
    program_ = stripped("musl-gcc", tmp_path, "heap/churn")
    path = tmp_path / "library.a"
    object_file = Path(compiled("int f(void) { return 3; }", tmp_path)).read_bytes()
    for content, why in [
        (b"/* GNU ld script */\nGROUP ( /lib/libm-2.36.a /lib/libmvec.a )\n", "a linker script; name a library"),
        (b"text", "not a static library (an ar archive)"),
        (b"!<thin>\n", "a thin archive"),
        (b"!<arch>\n", "there is no machine code for x86-64 in it"),
        (b"", "not a static library"),
        (other_machine(object_file), "a library for AArch64, not for x86-64"),
        (object_file[:4] + b"\1" + object_file[5:], "a 32-bit ELF file"),
        (program_.content, "an ELF file that is linked already"),
        (object_file, f"no malloc and free are there by the code of {path}"),
    ]:
        path.write_bytes(content)
        assert why in refusal(program_, str(path))
    assert "No such file or directory" in refusal(program_, str(tmp_path / "none.a"))
    assert "Is a directory" in refusal(program_, str(tmp_path))
    assert "null byte" in refusal(program_, "a\0b")
