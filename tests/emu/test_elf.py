"""The ELF reader: it agrees with readelf on good files, and with hostile ones it says ElfError or leaves things out."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import toolchain

from emu.allocators import allocators_of
from emu.elf import Elf, ElfError, read_elf
from emu.symbols import Symbols


@pytest.fixture(scope="module")
def die() -> Path:
    return toolchain.build("task/die", "musl")


@pytest.mark.skipif(not shutil.which("readelf"), reason="needs readelf (binutils)")
def test_segments_and_symbols_are_those_that_readelf_shows(die: Path) -> None:
    elf = read_elf(str(die))
    printed = subprocess.run(["readelf", "-lsW", die], capture_output=True, text=True, check=True).stdout
    loads = re.findall(r"^ +LOAD +(0x\w+) (0x\w+) 0x\w+ (0x\w+) (0x\w+)", printed, re.MULTILINE)
    ours = [(s.offset, s.vaddr, s.filesz, s.memsz) for s in elf.segments if s.type == 1]
    assert ours == [tuple(int(word, 16) for word in load) for load in loads]
    functions = re.findall(r"^ +\d+: (\w+) +\w+ FUNC +\w+ +\w+ +\d+ (\S+)", printed, re.MULTILINE)
    assert {(s.value, s.name) for s in elf.symbols() if s.type == 2} == {(int(va, 16), name) for va, name in functions}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n", "not an ELF"),
        (b"\x7fELF", "32-bit|class"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "32-bit"),
        (b"\x7fELF\x02\x02\x01" + bytes(60), "big-endian"),
        (b"\x7fELF\x02\x01\x01" + bytes(20), "cut off"),
        (b"\x7fELF\x07\x01\x01" + bytes(60), "class"),
    ],
)
def test_what_is_no_64_bit_elf_is_refused_in_words(content: bytes, words: str) -> None:
    with pytest.raises(ElfError, match=words):
        Elf(content)


def test_program_headers_past_the_end_are_refused(die: Path) -> None:
    content = bytearray(die.read_bytes())
    struct.pack_into("<Q", content, 32, len(content) - 8)
    with pytest.raises(ElfError, match="past the end"):
        Elf(bytes(content))


def _look_at(content: bytes) -> None:
    """Everything that a command asks of a file."""
    elf = Elf(content)
    symbols = Symbols(elf)
    symbols.name_of(elf.entry)
    symbols.find("main")
    allocators_of(elf)
    elf.read(elf.entry, 64)


def test_mutated_files_are_refused_or_read_never_worse(die: Path) -> None:
    content = die.read_bytes()
    shoff = struct.unpack_from("<Q", content, 40)[0]
    random_ = random.Random(1)
    for _ in range(1000):
        mutated = bytearray(content)
        for _ in range(random_.randint(1, 6)):
            table = random_.choice((0, 0, 64, shoff))
            at = min(table + random_.randrange(600), len(mutated) - 1)
            mutated[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        if random_.random() < 0.1:
            del mutated[random_.randrange(len(mutated)) :]
        try:
            _look_at(bytes(mutated))
        except ElfError:
            continue
