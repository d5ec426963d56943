"""--memcheck: guests that commit one bad access, guests that commit none, and the hooks against their twin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import elf, mount, program

import emu
from emu import native
from emu.analysis.heapresult import Heap
from emu.calls import TELLS, HeapOptions

LIMITS: dict[str, Any] = {"max_instructions": 1_000_000_000, "timeout": 120.0}
needs_native = pytest.mark.skipif(native.library() is None, reason="no native hooks")


def checked(
    path: Path | str, argv: tuple[str, ...] = (), stack: int = 8, uninitialised: bool = False, **knobs: Any
) -> tuple[emu.Run, Heap]:
    options = HeapOptions(stack=stack, memcheck=True, uninitialised=uninitialised)
    run = emu.run(path, argv, heap=options, **LIMITS, **knobs)
    assert run.heap is not None
    return run, run.heap


BAD = [
    ("read-after-free", "use-after-free", "read of 1 byte at X, 8 bytes inside a freed block of 24 bytes"),
    ("write-after-free", "use-after-free", "write of 1 byte at X, 23 bytes inside a freed block of 24 bytes"),
    ("read-after-realloc", "use-after-free", "read of 1 byte at X, 20 bytes inside a freed block of 24 bytes"),
    ("overflow", "overflow", "write of 4 bytes at X, 4 bytes past the end of a block of 24 bytes"),
    ("overflow-read", "overflow", "read of 1 byte at X, just past the end of a block of 24 bytes"),
    ("past-the-end", "overflow", "write of 1 byte at X, just past the end of a block of 20 bytes"),
    ("asked", "use-after-free", "read of 1 byte at X, just past the end of a freed block of 20 bytes"),
    ("straddle", "overflow", "write of 4 bytes at X, 20 bytes inside a block of 21 bytes, 3 bytes past its end"),
    ("underflow", "underflow", "write of 1 byte at X, 1 byte before a block of 24 bytes"),
    ("shrunk", "overflow", "write of 1 byte at X, just past the end of a block of 900 bytes"),
    ("big", "overflow", "read of 1 byte at X, 1 byte past the end of a block of 1048576 bytes"),
    ("big-unaligned", "overflow", "read of 8 bytes at X, 4 bytes past the end of a block of 1048588 bytes"),
    ("calloc", "overflow", "write of 1 byte at X, just past the end of a block of 20 bytes"),
    ("memalign", "overflow", "write of 1 byte at X, 1 byte past the end of a block of 20 bytes"),
    ("strlen-of-freed", "use-after-free", "read of 8 bytes at X, 0 bytes inside a freed block of 24 bytes"),
    ("edge", "overflow", "write of 1 byte at X, just past the end of a block of 8192 bytes"),
    ("edge-before", "underflow", "write of 1 byte at X, 1 byte before a block of 8192 bytes"),
    ("long-double", "overflow", "write of 10 bytes at X, 16 bytes inside a block of 24 bytes, 2 bytes past its end"),
    ("long-double-read", "use-after-free", "read of 10 bytes at X, 8 bytes inside a freed block of 24 bytes"),
    ("environment", "overflow", "write of 28 bytes at X, 0 bytes inside a block of 20 bytes, 8 bytes past its end"),
    ("masked", "overflow", "write of 1 byte at X, just past the end of a block of 24 bytes"),
    ("exchange", "overflow", "read of 8 bytes at X, 20 bytes inside a block of 24 bytes, 4 bytes past its end"),
    ("kernel-reads", "overflow",
     "read of 25 bytes at X by write(buf), 0 bytes inside a block of 24 bytes, 1 byte past its end"),
    ("kernel-writes", "use-after-free",
     "write of 12 bytes at X by read(buf), 0 bytes inside a freed block of 24 bytes"),
    ("kernel-vector", "overflow",
     "read of 21 bytes at X by writev(iov[1]), 0 bytes inside a block of 20 bytes, 1 byte past its end"),
    ("kernel-random", "overflow",
     "write of 48 bytes at X by getrandom(buf), 0 bytes inside a block of 40 bytes, 8 bytes past its end"),
]


@pytest.mark.parametrize("native", [True, False], ids=["native", "twin"])
def test_a_small_block_at_the_start_of_a_freed_one_does_not_hide_the_rest(native: bool) -> None:
    (misuse,) = checked(elf("heap/accesses", "glibc"), ("split",), native=native)[1].misuse
    assert (misuse.kind, misuse.allocated) == ("use-after-free", None)
    assert misuse.text.endswith(", in memory that was freed")


@pytest.mark.parametrize(("how", "kind", "words"), BAD)
@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_a_bad_access_is_told_where_it_happens(libc: str, how: str, kind: str, words: str) -> None:
    _, heap = checked(elf("heap/accesses", libc), (how,))
    assert heap.misuse_count == 1
    misuse = heap.misuse[0]
    assert (misuse.kind, re.sub("0x[0-9a-f]+", "X", misuse.text)) == (kind, words)
    assert any(call.startswith("main") for call in misuse.at.calls)
    assert misuse.allocated is not None
    assert any(call.startswith("main") for call in misuse.allocated.calls)
    assert (misuse.freed is not None) == ("freed" in words)


@pytest.mark.parametrize("kind", ["musl", "glibc", "jemalloc", "tcmalloc"])
def test_whole_pages_of_a_block_are_its_own(kind: str) -> None:
    assert checked(elf("heap/accesses", kind), ("edge-inside",))[1].misuse == []


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", ["glibc", "tcmalloc"])
def test_whole_pages_that_were_freed_know_of_which_block(kind: str, native: bool) -> None:
    (misuse,) = checked(elf("heap/accesses", kind), ("edge-of-freed",), native=native)[1].misuse
    assert misuse.text.endswith(", 5000 bytes inside a freed block of 8192 bytes")
    assert misuse.freed is not None


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("memcheck", [False, True])
def test_the_access_that_killed_it_is_told_where_a_freed_block_has_been_unmapped(memcheck: bool, native: bool) -> None:
    options = HeapOptions(stack=8, memcheck=memcheck)
    run = emu.run(elf("heap/accesses"), ("unmapped",), heap=options, native=native, **LIMITS)
    assert (run.signal_name, run.heap is not None and run.heap.misuse_count) == ("SIGSEGV", 1)
    assert run.heap is not None
    (misuse,) = run.heap.misuse
    assert misuse.kind == "use-after-free"
    assert f"write at {misuse.pointer:#x}, 100 bytes inside a freed block of 1048576 bytes" in misuse.text
    assert [call.partition("+")[0] for call in misuse.at.calls[:2]] == ["put", "main"]
    assert misuse.freed is not None
    assert misuse.freed.calls[0].startswith("drop+")


@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_it_says_who_did_it_and_who_allocated_and_freed_the_block(libc: str) -> None:
    misuse = checked(elf("heap/accesses", libc), ("read-after-free",))[1].misuse[0]
    assert misuse.at.function.startswith("get")
    assert "guest/heap/accesses.c:28" in misuse.at.calls[0]
    assert misuse.allocated is not None
    assert misuse.allocated.calls[0].startswith("make")
    assert misuse.freed is not None
    assert misuse.freed.function in ("free", "__libc_free", "cfree")
    assert misuse.freed.calls[1].startswith("main")
    assert misuse.freed.instructions is not None
    assert misuse.at.instructions is not None
    assert misuse.freed.instructions < misuse.at.instructions


@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_a_path_is_read_up_to_its_end(libc: str) -> None:
    misuse = checked(elf("heap/accesses", libc), ("kernel-path",))[1].misuse[0]
    assert re.search(r"^read of \d byte.* by open(at)?\(pathname\), 0 bytes inside a freed block of 24", misuse.text)


BLANK = [
    ("all", "read of 24 bytes at X by write(buf), byte 0 of a block of 24 bytes was never written"),
    ("tail", "read of 24 bytes at X by write(buf), byte 20 of a block of 24 bytes was never written"),
    ("resized", "read of 5000 bytes at X by write(buf), byte 24 of a block of 5000 bytes was never written"),
    ("moved", "read of 20 bytes at X by write(buf), byte 8 of a block of 5000 bytes was never written"),
    ("big", "read of 4096 bytes at X by write(buf), byte 5000 of a block of 2097152 bytes was never written"),
    ("again", "read of 2 bytes at X by write(buf), byte 8 of a block of 24 bytes was never written"),
    ("masked", "read of 16 bytes at X by write(buf), byte 8 of a block of 24 bytes was never written"),
    ("vector", "read of 3 bytes at X by writev(iov[1]), byte 0 of a block of 24 bytes was never written"),
]


@pytest.mark.parametrize(("how", "words"), BLANK)
@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_a_syscall_that_reads_what_nobody_has_written_is_told(libc: str, how: str, words: str) -> None:
    _, heap = checked(elf("heap/blank", libc), (how,))
    assert heap.misuse_count == 1
    misuse = heap.misuse[0]
    assert (misuse.kind, re.sub("0x[0-9a-f]+", "X", misuse.text)) == ("uninitialised", words)
    assert any(call.startswith("main") for call in misuse.at.calls)
    assert misuse.allocated is not None
    assert misuse.freed is None


def test_it_is_told_once_for_each_place_and_counted() -> None:
    assert [misuse.times for misuse in checked(elf("heap/blank"), ("often",))[1].misuse] == [100]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_what_a_syscall_fills_is_written_and_what_it_does_not_use_need_not_be(libc: str, native: bool) -> None:
    run, heap = checked(elf("heap/filled", libc), uninitialised=True, native=native)
    assert run.returncode == 0
    assert not heap.misuse


LOADED = [
    ("load", "read of 1 byte at X, byte 3 of a block of 24 bytes was never written"),
    ("branch", "read of 1 byte at X, byte 8 of a block of 24 bytes was never written"),
    ("swapped", "read of 4 bytes at X, byte 8 of a block of 24 bytes was never written"),
    ("x87", "read of 10 bytes at X, byte 0 of a block of 24 bytes was never written"),
]


@pytest.mark.parametrize(("how", "words"), LOADED)
@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_a_load_of_what_nobody_has_written_is_told_where_that_is_asked_for(libc: str, how: str, words: str) -> None:
    path = elf("heap/blank", libc)
    assert not checked(path, (how,))[1].misuse
    heap = checked(path, (how,), uninitialised=True)[1]
    assert [(each.kind, re.sub("0x[0-9a-f]+", "X", each.text)) for each in heap.misuse] == [("uninitialised", words)]


@needs_native
@pytest.mark.parametrize("how", ["none", "tail", *(how for how, _ in LOADED)])
def test_the_twin_tells_the_same_loads(how: str) -> None:
    path = elf("heap/blank")
    ours, theirs = (checked(path, (how,), uninitialised=True, native=kind)[1].misuse for kind in (True, False))
    assert ours
    assert ours == theirs


@pytest.mark.parametrize("kind", ["musl", "glibc", "jemalloc", "tcmalloc"])
def test_whatever_writes_a_byte_has_written_it(kind: str) -> None:
    """x87, cmpxchg16b, maskmovdqu, movbe, rep stos, the kernel, realloc and calloc."""
    run, heap = checked(elf("heap/blank", kind))
    assert run.returncode == 0
    assert [(misuse.text, misuse.at.calls) for misuse in heap.misuse] == []


@needs_native
@pytest.mark.parametrize("how", ["none", *(how for how, _ in BLANK), "path", "often"])
def test_the_twin_knows_the_same_bytes_to_be_written(how: str) -> None:
    path = elf("heap/blank")
    ours, theirs = (checked(path, (how,), native=kind) for kind in (True, False))
    assert ours[1].misuse == theirs[1].misuse
    assert ours[0].counters == theirs[0].counters


@pytest.mark.parametrize("libc", ["musl", "glibc"])
def test_the_same_access_again_is_counted_and_one_of_another_block_is_told(libc: str) -> None:
    path = elf("heap/accesses", libc)
    assert [misuse.times for misuse in checked(path, ("often",))[1].misuse] == [1000]
    assert TELLS < 1000
    heap = checked(path, ("each",))[1]
    assert heap.misuse_count == len(heap.misuse)
    assert sum(misuse.times for misuse in heap.misuse) == 3
    assert len({misuse.allocated.calls for misuse in heap.misuse if misuse.allocated}) == len(heap.misuse) > 1


@pytest.mark.parametrize(
    ("name", "kind", "argv"),
    [
        ("heap/accesses", "musl", ()),
        ("heap/accesses", "glibc", ()),
        ("heap/strings", "musl", ("300",)),
        ("heap/strings", "glibc", ("300",)),
        ("heap/strings", "jemalloc", ("300",)),
        ("heap/strings", "tcmalloc", ("300",)),
        ("heap/blocks", "musl", ()),
        ("heap/churn", "musl", ("20000",)),
        ("heap/churn", "musl-gcc", ("20000",)),
        ("heap/churn", "musl-pie", ("20000",)),
        ("heap/churn", "glibc", ("20000",)),
        ("heap/churn", "diet", ("20000",)),
        ("heap/churn", "jemalloc", ("20000",)),
        ("heap/churn", "tcmalloc", ("20000",)),
        ("bench/churn_small", "musl", ("20000",)),
        ("bench/churn_mixed", "glibc", ("20000",)),
        ("heap/logged", "jemalloc", ()),
        ("heap/logged", "tcmalloc", ()),
        ("heap/logged_new", "glibc", ()),
        ("heap/exceptions", "musl", ()),
        ("heap/exceptions", "glibc", ()),
    ],
)
def test_nothing_is_told_of_a_clean_program(name: str, kind: str, argv: tuple[str, ...]) -> None:
    run, heap = checked(elf(name, kind), argv)
    assert run.returncode == 0
    assert heap.allocations
    assert [(misuse.text, misuse.at.calls) for misuse in heap.misuse] == []


AWK = '{ seen[$1 % 7] = seen[$1 % 7] "x" } END { print length(seen[3]) }'
SHELL = "a=1; while [ $a -lt 200 ]; do a=$((a + 1)); b=$b$a; done; echo ${#b}"
BASH = "for i in {1..300}; do a[i]=x$i; done; echo ${#a[@]} ${a[*]: -2}"


@pytest.mark.parametrize(
    ("name", "package", "argv", "stdin"),
    [
        ("busybox", "busybox-static", ("sort", "-n"), b"3\n1\n2\n" * 500),
        ("busybox", "busybox-static", ("awk", AWK), b"3\n" * 500),
        ("busybox", "busybox-static", ("md5sum",), b"x" * 70_000),
        ("busybox", "busybox-static", ("sh", "-c", SHELL), b""),
        ("bash-static", "bash-static", ("-c", BASH), b""),
    ],
)
def test_nor_of_a_stripped_one(name: str, package: str, argv: tuple[str, ...], stdin: bytes) -> None:
    path = program(name, package)
    plain = emu.run(path, argv, stdin=stdin, **LIMITS)
    run, heap = checked(path, argv, stdin=stdin)
    assert (run.stdout, run.returncode) == (plain.stdout, 0)
    assert run.counters == plain.counters
    assert not heap.misuse_count


def test_nor_of_one_that_lists_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    run, heap = checked(program("busybox", "busybox-static"), ("ls", "-la", "/data"), mounts=[mount(tmp_path, "/data")])
    assert b"file" in run.stdout
    assert not heap.misuse_count


def test_checking_changes_nothing_of_the_run() -> None:
    path = elf("heap/churn", "musl")
    plain = emu.run(path, ("2000",), trace="all", **LIMITS)
    run, _ = checked(path, ("2000",), trace="all")
    assert plain.events == run.events
    assert plain.counters == run.counters


@needs_native
@pytest.mark.parametrize("libc", ["musl", "glibc"])
@pytest.mark.parametrize("how", [*(how for how, _, _ in BAD), "memset", "often", "each", "kernel-path", "fxsave"])
def test_the_hooks_and_their_twin_tell_the_same(libc: str, how: str) -> None:
    path = elf("heap/accesses", libc)
    ours, theirs = (checked(path, (how,), native=kind) for kind in (True, False))
    assert ours[1].misuse
    assert ours[1].misuse == theirs[1].misuse
    assert ours[0].counters == theirs[0].counters


@needs_native
@pytest.mark.parametrize(
    ("name", "kind", "argv"), [("heap/strings", "glibc", ("2",)), ("heap/churn", "musl", ("100",))]
)
def test_the_twin_too_tells_nothing_of_a_clean_program(name: str, kind: str, argv: tuple[str, ...]) -> None:
    path = elf(name, kind)
    ours, theirs = (checked(path, argv, native=kind) for kind in (True, False))
    assert ours[1].misuse == theirs[1].misuse == []
    assert ours[0].counters == theirs[0].counters


FAR = """
import ctypes, mmap, sys
from emu.cpu import libunicorn
ctypes.PyDLL(libunicorn.library_path())
between = [mmap.mmap(-1, 1 << 30) for _ in range(5)]
import emu
from emu.calls import HeapOptions
run = emu.run(sys.argv[1], ["overflow"], heap=HeapOptions(memcheck=True))
print(run.heap.misuse_count)
"""


def test_wherever_the_host_puts_translated_code() -> None:
    """It calls what is within 2 GiB in another way than what is not."""
    command = [sys.executable, "-c", FAR, str(elf("heap/accesses", "musl"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "1\n"
