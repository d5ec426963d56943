"""Addresses in words: functions, offsets and lines, as addr2line has them; hostile line tables give no lines."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import toolchain

from emu.dwarf.lines import LineTables
from emu.elf import Elf, read_elf
from emu.symbols import Symbols


@pytest.fixture(scope="module", params=["musl", "glibc", "glibc-pie"])
def program(request: pytest.FixtureRequest) -> Path:
    try:
        return toolchain.build("task/die", request.param)
    except toolchain.Unavailable as why:
        pytest.skip(str(why))


@pytest.mark.skipif(not shutil.which("addr2line"), reason="needs addr2line (binutils)")
def test_lines_are_those_of_addr2line(program: Path) -> None:
    symbols = Symbols(read_elf(str(program)))
    main = symbols.find("main")
    assert main is not None
    addresses = range(main.value, main.value + main.size)
    asked = [hex(va) for va in addresses]
    printed = subprocess.run(["addr2line", "-e", program, *asked], capture_output=True, text=True, check=True).stdout
    for va, answer in zip(addresses, printed.splitlines(), strict=True):
        file, _, line = answer.partition(" ")[0].rpartition(":")
        if line.isdigit() and line != "0":
            place = symbols.place(va)
            assert (place.function, place.offset, place.line) == ("main", va - main.value, int(line)), hex(va)
            assert Path(place.file).name == Path(file).name


def test_a_bias_moves_every_address(program: Path) -> None:
    elf = read_elf(str(program))
    bias = 0x5555_0000_0000
    plain, moved = Symbols(elf), Symbols(elf, bias)
    main = plain.find("main")
    assert main is not None
    assert moved.place(main.value + bias + 5)[1:] == plain.place(main.value + 5)[1:]
    assert moved.place(main.value).function == ""


def test_outside_of_all_code_there_is_no_function(program: Path) -> None:
    symbols = Symbols(read_elf(str(program)))
    for va in (0, 0x10, 0x7FFF_FFFF_F000, (1 << 64) - 1):
        assert symbols.place(va).function == ""
        assert str(symbols.place(va)) == hex(va)


def test_broken_line_tables_give_no_lines_and_no_harm() -> None:
    content = toolchain.build("task/die", "musl").read_bytes()
    elf = Elf(content)
    main = Symbols(elf).find("main")
    lines = elf.section(".debug_line")
    assert main is not None
    assert lines is not None
    random_ = random.Random(2)
    for _ in range(15):
        mutated = bytearray(content)
        for _ in range(random_.randint(1, 20)):
            mutated[lines.offset + random_.randrange(min(lines.size, 3000))] = random_.randrange(256)
        LineTables(Elf(bytes(mutated))).find(main.value)
