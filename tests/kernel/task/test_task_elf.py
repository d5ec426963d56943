"""kernel/task/elf.py: what a loader refuses, in words, and that hostile headers never do more than be refused."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from fakes import DATA, World, elf, phdr

from kernel.abi.errno import LinuxError
from kernel.task.elf import Elf, ExecError, parse


def read(image: bytes) -> Elf:
    return parse(lambda offset, n: image[offset : offset + n], len(image))


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"", "not an ELF file"),
        (b"hello, world\n", "not an ELF file"),
        (b"#!/bin/sh\n", "a script"),
        (elf()[:40], "truncated"),
        (elf(bits=1), "32-bit"),
        (elf(machine=183), "AArch64"),
        (elf(machine=999), "machine 999"),
        (elf(kind=1), "relocatable"),
        (elf(kind=4), "core dump"),
        (elf(phnum=0), "0 program headers"),
        (elf(phnum=200), "200 program headers"),
        (elf(phoff=1 << 60), "past the end"),
        (elf(phdr(kind=3), phdr()), "dynamically linked"),
        (elf(phdr(kind=4)), "no PT_LOAD"),
        (elf(phdr(filesz=0x9000, memsz=0x9000)), "truncated"),
        (elf(phdr(filesz=0x1000, memsz=0x800)), "more bytes in the file"),
        (elf(phdr(memsz=1 << 62)), "out of range"),
        (elf(phdr(vaddr=(1 << 64) - 0x1000)), "out of range"),
        (elf(phdr(vaddr=0x7FFF_FFFF_F000)), "out of range"),
        (elf(phdr(vaddr=0x400800)), "differ within a page"),
        (elf(phdr(), phdr(vaddr=0x400000)), "overlap"),
        (elf(kind=3, entry=0), "shared object"),
        (elf(entry=1 << 63), "entry point"),
    ],
)
def test_what_cannot_run_is_refused_in_words(image: bytes, why: str) -> None:
    with pytest.raises(ExecError) as refused:
        read(image)
    assert why in refused.value.why
    assert "\n" not in refused.value.why


def test_a_big_endian_program_is_not_ours() -> None:
    image = bytearray(elf())
    image[5] = 2
    with pytest.raises(ExecError, match="big-endian"):
        read(bytes(image))


def test_the_stack_is_executable_only_if_the_program_says_so() -> None:
    assert not read(elf()).exec_stack
    assert not read(elf(phdr())).exec_stack
    assert read(elf(phdr(), phdr(0x6474E551, 7, filesz=0))).exec_stack


def test_the_largest_power_of_two_is_the_alignment() -> None:
    program = read(elf(phdr(align=3), phdr(vaddr=0x600000, align=0x200000)))
    assert program.alignment == 0x200000


def test_ten_thousand_mutated_headers_are_run_or_refused_and_nothing_else() -> None:
    """Never a traceback, a hang, or memory beyond the machine's own."""
    rng = random.Random(20240607)
    clean = elf()
    world = World(clean)
    system, task, find = world.kernel.system, world.task, world.kernel.system.vfs.find
    from kernel.task.exec import execve

    path = find(b"/prog")
    inode = path.inode
    ran = 0
    baseline = None
    for _ in range(10_000):
        image = mutated(rng, clean)
        inode.pages.write(image[:0x400], 0)  # type: ignore[attr-defined]
        with suppress(LinuxError):
            execve(task, path, b"/prog", [b"x"], [], find)
            ran += 1
        if baseline is None:
            baseline = system.frames.used
        assert system.frames.used < baseline + 200
    assert 500 < ran < 9_500


def mutated(rng: random.Random, clean: bytes) -> bytes:
    """1 to 4 changes in the headers: a byte, or an 8-byte field at a boundary value."""
    image = bytearray(clean)
    edges = (0, 1, 0xFFF, 0x1000, 1 << 31, 1 << 32, (1 << 47) - 4096, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(4, 64 + 4 * 56)
        if rng.random() < 0.5:
            image[at] = rng.randrange(256)
        else:
            at &= ~7
            value = rng.choice(edges) + rng.randint(-2, 2)
            image[at : at + 8] = (value % (1 << 64)).to_bytes(8, "little")
    return bytes(image)


def test_the_bss_tail_reads_zero_and_is_writable() -> None:
    image = bytearray(elf())
    image[0x2000:0x3000] = b"\xaa" * 0x1000
    world = World(bytes(image))
    assert world.get(0x800) == b"\xaa" * 0x800
    assert world.get(0x1800, DATA + 0x800) == bytes(0x1800)
    world.put(b"x", DATA + 0x1FFF)
