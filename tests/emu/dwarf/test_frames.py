"""Call frame rows: what readelf -wF prints for every row of a glibc program; broken tables are None, never worse."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import toolchain

from emu.dwarf.expression import Malformed, evaluate
from emu.dwarf.frames import REGISTERS, FrameTable, Row
from emu.elf import Elf, read_elf


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return toolchain.build("task/die", "glibc")
    except toolchain.Unavailable as why:
        pytest.skip(str(why))


def _described(row: Row) -> tuple[str, dict[str, str]]:
    """A row in readelf's words."""
    cfa = "exp" if row.cfa_block else f"{REGISTERS[row.cfa_register]}{row.cfa_offset:+d}"
    rules = {REGISTERS[n]: f"c{rule.number:+d}" for n, rule in row.rules.items() if n < 16 and rule.kind == "offset"}
    return cfa, rules


@pytest.mark.skipif(not shutil.which("readelf"), reason="needs readelf (binutils)")
def test_rows_are_those_of_readelf(program: Path) -> None:
    table = FrameTable(read_elf(str(program)))
    printed = subprocess.run(["readelf", "-wF", program], capture_output=True, text=True, check=True).stdout
    columns: list[str] = []
    compared = 0
    for line in printed.splitlines():
        words = line.split()
        if words[:1] == ["LOC"]:
            columns = words[1:-1]
        if not re.match(r"[0-9a-f]{16} \S", line) or "FDE" in line or "CIE" in line or "(" in line:
            continue
        va = int(words[0], 16)
        found = table.row(va) if va else None
        if found is None or "exp" in words:
            continue
        expected = {name: word for name, word in zip(columns[1:], words[2:], strict=False) if word[0] == "c"}
        assert _described(found) == (words[1], expected), hex(va)
        compared += 1
    assert compared > 3000


def test_broken_tables_are_no_harm(program: Path) -> None:
    content = program.read_bytes()
    elf = Elf(content)
    section = elf.section(".eh_frame")
    assert section is not None
    random_ = random.Random(3)
    for _ in range(40):
        mutated = bytearray(content)
        for _ in range(random_.randint(1, 40)):
            mutated[section.offset + random_.randrange(section.size)] = random_.randrange(256)
        table = FrameTable(Elf(bytes(mutated)))
        for _ in range(50):
            table.row(random_.choice(elf.executable).vaddr + random_.randrange(200_000))


def test_expressions_compute_as_dwarf_says() -> None:
    registers = list(range(100, 117))
    memory = {108: 7}
    # breg7+1 (108), deref (7), lit3, plus, dup, mul: (7+3)^2
    assert evaluate(bytes((0x77, 1, 0x06, 0x33, 0x22, 0x12, 0x1E)), registers, memory.get, None) == 100
    assert evaluate(bytes((0x77, 2, 0x06)), registers, memory.get, None) is None
    with pytest.raises(Malformed):
        evaluate(b"\x22", registers, memory.get, None)
    with pytest.raises(Malformed):  # DW_OP_call_frame_cfa
        evaluate(b"\x9c", registers, memory.get, None)
