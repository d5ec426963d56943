"""Programs without symbols: traced as with them, by the code of their libraries; and real ones, which are clean."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import elf, mount, native, program, unavailable
from test_heap import LIMITS, Kept
from toolchain import COMMON, KINDS

import emu
from emu.calls import HeapOptions

ROOT = Path(__file__).resolve().parents[2]
LIBC = "/usr/lib/x86_64-linux-gnu/libc.a"
BESIDE = {
    "jemalloc": ("/usr/lib/x86_64-linux-gnu/libjemalloc.a", LIBC),
    "tcmalloc": ("/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.a", LIBC),
}


def stripped(path: Path, folder: Path) -> Path:
    """A copy without symbols, of the same name: where it stands is a word of the program's own stack."""
    out = folder / path.name
    subprocess.run([program("strip", "binutils"), "-s", "-o", str(out), str(path)], check=True)
    return out


def traced(path: Path | str, argv: tuple[str, ...], **options: Any) -> tuple[emu.Run, Any]:
    kept = Kept()
    run = emu.run(path, argv, argv0="/guest", heap=HeapOptions(sinks=(kept,), **options), **LIMITS)
    return run, kept.events


def assert_traced_the_same(path: Path, argv: tuple[str, ...], folder: Path, libraries: tuple[str, ...]) -> emu.Run:
    named, events = traced(path, argv, strict=True)
    bare, found = traced(stripped(path, folder), argv, strict=True, libraries=libraries)
    assert (named.heap is None, bare.heap is None) == (False, False)
    assert len(events) > 300
    np.testing.assert_array_equal(found, events)
    for one, other in ((bare, named),):
        assert one.stdout == other.stdout
        assert one.heap is not None
        assert other.heap is not None
        assert one.heap.functions == other.heap.functions
        assert one.heap.strict == other.heap.strict
        assert one.heap.strict is not None
        assert one.heap.strict.errno_checked
    return bare


@pytest.mark.parametrize("kind", ["glibc", "glibc-pie", "musl-gcc"])
@pytest.mark.parametrize(
    ("guest", "argv"), [("heap/logged", ()), ("heap/churn", ("3000",)), ("heap/programs", ("words",))]
)
def test_a_stripped_program_is_traced_event_by_event_as_the_one_with_symbols(
    kind: str, guest: str, argv: tuple[str, ...], tmp_path: Path
) -> None:
    assert_traced_the_same(elf(guest, kind), argv, tmp_path, ())


@pytest.mark.parametrize("kind", ["jemalloc", "tcmalloc"])
@pytest.mark.parametrize(("guest", "argv"), [("heap/logged", ()), ("heap/programs", ("regex",))])
def test_so_it_is_with_another_allocators_library(kind: str, guest: str, argv: tuple[str, ...], tmp_path: Path) -> None:
    assert_traced_the_same(elf(guest, kind), argv, tmp_path, BESIDE[kind])


def test_so_it_is_with_an_object_file(tmp_path: Path) -> None:
    path, object_file = elf("heap/logged", "mimalloc"), tmp_path / "static.o"
    flags = [flag for flag in KINDS["mimalloc"].before if not flag.endswith(".c")]
    command = [program("gcc"), *COMMON, *flags, "-c", "build/mimalloc/src/static.c", "-o", str(object_file)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert_traced_the_same(path, (), tmp_path, (str(object_file), LIBC))


@pytest.mark.parametrize(("guest", "argv"), [("heap/strings", ("300",)), ("heap/accesses", ("overflow",))])
def test_memcheck_finds_in_it_what_it_finds_with_symbols(guest: str, argv: tuple[str, ...], tmp_path: Path) -> None:
    path = elf(guest, "glibc")
    named, bare = (traced(each, argv, memcheck=True)[0].heap for each in (path, stripped(path, tmp_path)))
    assert named is not None
    assert bare is not None
    assert [(each.kind, each.text.split(" in ")[0]) for each in bare.misuse] == [
        (each.kind, each.text.split(" in ")[0]) for each in named.misuse
    ]
    assert len(named.misuse) == (guest == "heap/accesses")


def test_new_and_delete_are_traced_as_the_malloc_and_free_that_they_call(tmp_path: Path) -> None:
    """They are a jump each; to take half of them for what they are would be a mismatched free at each other."""
    gcc = program("g++")
    libstdcxx = subprocess.run([gcc, "-print-file-name=libstdc++.a"], capture_output=True, text=True).stdout.strip()
    path = stripped(elf("heap/logged_new", "glibc"), tmp_path)
    for libraries in ((), (libstdcxx, LIBC)):
        heap = traced(path, (), libraries=libraries)[0].heap
        assert heap is not None
        assert heap.allocations > 100
        assert heap.misuse == []
        assert heap.functions[:2] == ("malloc", "free")


def test_the_library_may_stand_in_the_file_of_rules(tmp_path: Path) -> None:
    path, (jemalloc, libc) = stripped(elf("heap/logged", "jemalloc"), tmp_path), BESIDE["jemalloc"]
    (tmp_path / "libjemalloc.a").symlink_to(jemalloc)
    (tmp_path / "rules.toml").write_text(f'alloc-from = ["libjemalloc.a", "{libc}"]\n')
    found = [
        emu.run(path, heap=True, **LIMITS, **knobs).heap
        for knobs in ({"alloc_file": tmp_path / "rules.toml"}, {"alloc_from": (tmp_path / "libjemalloc.a", libc)})
    ]
    for heap in found:
        assert heap is not None
        assert heap.learned.endswith(f": by the code of {tmp_path}/libjemalloc.a and {libc}")
        assert {"malloc", "mallocx"} <= set(heap.functions)
        assert heap.allocations > 100
    with pytest.raises(emu.ConfigError, match=rf"^--alloc-file {tmp_path}/none.toml: No such file"):
        emu.run(path, heap=True, alloc_file=tmp_path / "none.toml")
    with pytest.raises(emu.ConfigError, match=r"^alloc_from needs heap=True$"):
        emu.run(path, alloc_from=libc)


# what a user sees


def heapscope(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emu", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_report_and_the_record_say_by_which_library(tmp_path: Path) -> None:
    path, record = stripped(elf("heap/churn", "glibc"), tmp_path), tmp_path / "record"
    done = heapscope("run", "-q", "--heap", "--record", str(record), str(path), "300")
    line = next(line for line in done.stderr.splitlines() if line.startswith("  traced  "))
    assert re.fullmatch(rf"  traced +malloc 0x[0-9a-f]+, free 0x[0-9a-f]+, .*: by the code of {LIBC}", line)
    assert line in heapscope("summary", str(record)).stdout
    told = json.loads((record / "meta.json").read_text())["functions"]
    assert {f"{each['name']} {each['va']:#x}" for each in told} == set(line.split(":")[0].split(None, 1)[1].split(", "))
    assert "  traced  " not in heapscope("run", "-q", "--heap", str(elf("heap/churn", "glibc")), "300").stderr


def test_a_library_that_tells_nothing_is_refused_before_the_run(tmp_path: Path) -> None:
    path = str(stripped(elf("heap/churn", "glibc"), tmp_path))
    done = heapscope("run", "-q", "--heap", "--alloc-from", "/usr/lib/x86_64-linux-musl/libc.a", path, "300")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"heapscope: {path}: --alloc-from: no malloc and free are there by the code of ")
    assert done.stderr.count("\n") == 1
    done = heapscope("run", "-q", "--heap", "--alloc-from", path, path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "an ELF file that is linked already; it takes a static library (.a)" in done.stderr
    (tmp_path / "libpool.a").touch()
    done = heapscope("run", "-q", "--heap", "--alloc-from", f"{tmp_path}/libpoll.a", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"--alloc-from {tmp_path}/libpoll.a: No such file or directory; is it libpool.a?\n")
    assert heapscope("run", "--alloc-from", LIBC, path).stderr.startswith("heapscope: --alloc-from needs --heap")


# real programs

LINES = 400


def text() -> str:
    rng = random.Random(7)
    return "".join(f"{rng.randrange(10**6)} line w{rng.randrange(60)} {number}\n" for number in range(LINES))


AWK = "{ count[$3]++; sum += $1 } END { for (w in count) print w, count[w]; print sum, length(count) }"
SH = """
    i=0; while [ $i -lt 60 ]; do i=$((i + 1)); eval "v$i=x$i"; set -- "$@" "a$i"; done; echo "$#" "$v7" ${v9#x}
    f() { local x=$1; [ $x -gt 0 ] && f $((x - 1)); }; f 20; case abc in a*) echo yes;; esac
    read line < FILE; echo "$line"
"""
BUSYBOX = {  # argv, and how many allocations there are at least: one a line of what it keeps by the line
    "sort": (("sort", "-k2", "FILE"), LINES),
    "sort-n": (("sort", "-n", "-u", "FILE"), LINES),
    "sed": (("sed", "-n", "-e", "s/line \\(w1*\\)/<\\1>/gp", "-e", "$=", "FILE"), LINES),
    "awk": (("awk", AWK, "FILE"), LINES),
    "grep": (("grep", "-E", "w(1?[0-5]|4.)", "FILE"), LINES),
    "uniq": (("uniq", "-c", "FILE"), LINES),
    "diff": (("diff", "FILE", "FILE.2"), 10),
    "tar": (("tar", "-c", "-f", "-", "--numeric-owner", "FOLDER"), 10),
    "gzip": (("gzip", "-c", "FILE"), 5),
    "md5sum": (("md5sum", "FILE", "FILE.2"), 5),
    "find": (("find", "FOLDER", "-name", "*.2", "-o", "-size", "+1k"), 10),
    "ls": (("ls", "-1aR", "FOLDER"), 5),
    "xxd": (("xxd", "FILE"), 10),
    "sh": (("sh", "-c", SH), 60),
}
CHECKED = ("sort", "sed", "awk", "grep", "diff", "tar", "find", "sh")  # with --memcheck too


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "input").write_text(text())
    (tmp_path / "input.2").write_text(text().replace("9 line w5", "9 line W5"))
    return tmp_path


def in_folder(words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(word.replace("FILE", f"{folder}/input").replace("FOLDER", str(folder)) for word in words)


def clean(path: str, argv: tuple[str, ...], folder: Path, **options: Any) -> tuple[emu.Run, Any]:
    """Traced, and nothing to report."""
    kept, knobs = Kept(), HeapOptions(**options)
    mounts = [mount(folder, str(folder))]
    run = emu.run(path, argv, heap=knobs._replace(sinks=(kept,)), mounts=mounts, **LIMITS)
    heap = run.heap
    assert heap is not None
    assert heap.learned.endswith(f"by the code of {LIBC}"), heap.learned
    assert (heap.misuse, heap.overlaps, heap.lost) == ([], 0, 0)
    if heap.strict is not None:
        assert (heap.strict.violations, heap.strict.errno_checked) == ((), True)
    return run, kept.events


@pytest.fixture(scope="module")
def busybox() -> str:
    if not Path(LIBC).exists():
        unavailable(f"needs {LIBC} (Debian package libc6-dev)")
    return os.path.realpath(program("busybox", "busybox-static"))


@pytest.mark.parametrize("name", BUSYBOX)
def test_an_applet_of_busybox_is_clean_and_calls_what_qemu_sees_it_call(busybox: str, name: str, folder: Path) -> None:
    """QEMU logs each block of code that it runs at the addresses of the functions: as many as there are events."""
    words, least = BUSYBOX[name]
    argv = in_folder(words, folder)
    run, events = clean(busybox, argv, folder, strict=True)
    assert run.heap is not None
    assert run.heap.allocations >= least
    places = {name: int(va, 16) for name, va in re.findall(r"(\w+) (0x[0-9a-f]+)", run.heap.learned)}
    ours = {name: int((events["function"] == number).sum()) for number, name in enumerate(run.heap.functions)}
    log = folder.parent / f"{folder.name}.log"
    ranges = ",".join(f"{va:#x}+1" for va in places.values())
    qemu = (program("qemu-x86_64", "qemu-user"), "-d", "exec,nochain", "-dfilter", ranges, "-D", str(log))
    theirs = native(busybox, argv, before=qemu)
    assert (run.stdout, run.returncode) == (theirs.stdout, theirs.status)
    entered = [int(va, 16) for va in re.findall(r"/([0-9a-f]{16})/", log.read_text())]
    assert ours == {name: entered.count(va) for name, va in places.items()}


@pytest.mark.parametrize("name", CHECKED)
def test_memcheck_has_nothing_to_say_of_it(busybox: str, name: str, folder: Path) -> None:
    run, _ = clean(busybox, in_folder(BUSYBOX[name][0], folder), folder, memcheck=True)
    assert run.returncode == (name == "diff")


BASH = """
    declare -A name; declare -a square
    for ((i = 0; i < 400; i++)); do square[i]=$((i * i % 977)); name[key$((i % 30))]+=x; done
    s=abcdef; printf '%s|' "${s^^}" "${s/b/-}" "${s:1:2}" "${square[@]: -3}" "${#name[@]}"; echo
    while read -r number word rest; do seen[${number:0:2}]+=$word; done < FILE; echo "${#seen[@]}"
    [[ "line w12" =~ ^l.*w(1[0-9])$ ]] && echo "${BASH_REMATCH[1]}"; f() { local x=$1; ((x)) && f $((x - 1)); }; f 9
"""


@pytest.mark.parametrize("options", [{"strict": True}, {"memcheck": True}], ids=["strict", "memcheck"])
def test_bash_is_clean_too(options: dict[str, bool], folder: Path) -> None:
    """Debian's bash-static has glibc's malloc, not the one that bash can bring along."""
    bash = os.path.realpath(program("bash-static"))
    argv = in_folder(("-c", BASH), folder)
    run, _ = clean(bash, argv, folder, **options)
    assert run.stdout == native(bash, argv).stdout
    assert b"12\n" in run.stdout
    assert run.heap is not None
    assert run.heap.allocations > 400 + 400 + LINES
