"""Line tables as compilers and linkers write them, held against their source, and another reader: pyelftools."""

from __future__ import annotations

import random
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import toolchain

from emu.dwarf.cursor import Cursor, Effort, Unreadable
from emu.dwarf.lines import LineTables
from emu.elf import Elf, read_elf
from emu.symbols import Symbols

HEADER = """\
static inline int twice(int x) {
    return x * 2 + 1;
}
"""
FIRST = """\
#include "inner/twice.h"
int other(int);
__attribute__((section(".text.apart"))) int apart(int x) {
    return twice(x) ^ 5;
}
int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        argc += other(i);
    return apart(argc);
}
"""
SECOND = """\
#include "inner/twice.h"
int other(int x) {
    return twice(x) - 3;
}
"""
FORMATS = ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf-4 -gdwarf64", "-gdwarf-5 -gdwarf64",
           "-gdwarf-5 -gz", "-gdwarf-5 -gno-as-loc-support", "-gdwarf-5 -gsplit-dwarf"]  # fmt: skip


# By -O0: (file, lines) of each function, the first is its first instruction's
WRITTEN = {
    "main": ("first.c", [6, 7, 8, 9, 10]),
    "apart": ("first.c", [3, 4, 5]),
    "other": ("second.c", [2, 3, 4]),
    "twice": ("inner/twice.h", [1, 2, 3]),
}


def compiled(folder: Path, options: str) -> Elf:
    (folder / "inner").mkdir()
    for name, text in (("inner/twice.h", HEADER), ("first.c", FIRST), ("second.c", SECOND)):
        (folder / name).write_text(text)
    command = ["gcc", "-O0", *options.split(), "-o", "program", "first.c", "second.c"]
    subprocess.run(command, cwd=folder, check=True)
    return read_elf(str(folder / "program"))


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("options", FORMATS)
def test_each_version_and_form_tells_the_lines_as_they_were_written(options: str, tmp_path: Path) -> None:
    symbols = Symbols(compiled(tmp_path, options))
    tables = LineTables(symbols.elf)
    for name, (file, lines) in WRITTEN.items():
        function = symbols.find(name)
        assert function is not None
        found = [tables.find(va) for va in range(function.value, function.value + function.size)]
        assert found[0] == (file, lines[0])
        assert sorted(set(found), key=str) == sorted(((file, line) for line in lines), key=str)
    assert tables.find(symbols.elf.entry) is None  # of the C library, without lines


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_an_index_leads_to_the_unit_and_one_that_lies_changes_no_answer(tmp_path: Path) -> None:
    elf = compiled(tmp_path, "-gdwarf-5")
    index, function = elf.section(".debug_aranges"), Symbols(elf).find("other")
    assert index is not None
    assert function is not None
    vas = range(function.value, function.value + function.size)
    tables = LineTables(elf)
    told = [tables.find(va) for va in vas]
    assert None not in told
    assert tables._units == []  # no other was read on the way
    rng = random.Random(8)
    for _ in range(40):
        content = bytearray(elf.content)
        for _ in range(rng.randint(1, 8)):
            content[index.offset + rng.randrange(index.size)] = rng.choice((0, 1, 0x40, 0xFF, rng.randrange(256)))
        wrong = LineTables(Elf(bytes(content)))
        assert [wrong.find(va) for va in vas] == told


def rows_of(elf: Elf) -> list[tuple[int, int]]:
    """(address, line) of each row that begins some instructions, as pyelftools reads them."""
    from elftools.elf.elffile import ELFFile

    found, before = [], None
    dwarf = ELFFile(BytesIO(elf.content)).get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)
    for unit in dwarf.iter_CUs():
        program: Any = dwarf.line_program_for_CU(unit)
        for state in (entry.state for entry in program.get_entries() if entry.state is not None):
            if before is not None and before.address < state.address:
                found.append((before.address, before.line))
            before = None if state.end_sequence else state
    code = [(segment.vaddr, segment.end) for segment in elf.executable]
    return [row for row in found if any(start <= row[0] < end for start, end in code)]


@pytest.mark.parametrize("kind", ["musl", "glibc"])
def test_every_line_of_a_program_is_that_of_pyelftools(kind: str) -> None:
    try:
        elf = read_elf(str(toolchain.build("task/die", kind)))
    except toolchain.Unavailable as why:
        pytest.skip(str(why))
    tables = LineTables(elf)
    rows = rows_of(elf)
    assert len(rows) > 20
    for va, line in rows:
        found = tables.find(va)
        assert found is not None
        assert found[1] == line, hex(va)


def test_a_list_of_names_without_content_is_given_up() -> None:
    """DWARF 5: 2^62 file names of no fields each are a loop that reads nothing."""
    header = b"\x01\x01\x01\xfb\x0e\x0d" + bytes(12)
    for content in (b"\0" + b"\xff" * 8 + b"\x3f" + bytes(64), b"\1\1\x19" + b"\xff" * 8 + b"\x3f" + bytes(64)):
        unit = b"\5\0\x08\0" + len(header + content).to_bytes(4, "little") + header + content
        assert read(len(unit).to_bytes(4, "little") + unit) == "names without content"


def read(section: bytes) -> str:
    """Why it is unreadable as .debug_line."""
    from emu.dwarf.lineprogram import LineProgram

    class One:
        def find(self, _name: str) -> Cursor:
            return Cursor(section, 0, len(section))

    with pytest.raises(Unreadable) as why:
        list(LineProgram(One(), 0, Effort()).lines())  # type: ignore[arg-type]
    return str(why.value)


def test_a_number_without_an_end_and_a_form_of_forms_are_refused() -> None:
    with pytest.raises(Unreadable):
        Cursor(b"\x80" * 100, 0, 100).uleb()
    from emu.dwarf.cursor import Widths

    with pytest.raises(Unreadable):
        Cursor(b"\x16" * 5000, 0, 5000).value(0x16, Widths(5, 4, 8))
    assert Cursor(b"\x7f", 0, 1).sleb() == -1
    assert Cursor(b"\x80\x7f", 0, 2).sleb() == -128


def test_what_takes_too_long_is_given_up() -> None:
    elf = Elf(toolchain.build("task/die", "musl").read_bytes())
    main = Symbols(elf).find("main")
    assert main is not None
    tables, patient = LineTables(elf), LineTables(elf)
    tables._effort.left = 100  # bytes
    assert tables.find(main.value) is None
    assert patient.find(main.value) is not None


def test_mutated_tables_raise_nothing_else() -> None:
    content = toolchain.build("task/die", "musl").read_bytes()
    elf = Elf(content)
    sections = [section for section in elf.sections if section.name.startswith(".debug")]
    rng = random.Random(5)
    vas = [segment.vaddr + rng.randrange(segment.memsz) for segment in elf.executable for _ in range(3)]
    answered = 0
    for _ in range(60):
        mutated = bytearray(content)
        for _ in range(rng.randint(1, 40)):
            section = rng.choice(sections)
            mutated[section.offset + rng.randrange(min(section.size, rng.choice((40, 400, 1 << 20))))] = rng.choice(
                (0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))
            )
        tables = LineTables(Elf(bytes(mutated)))
        answered += sum(tables.find(va) is not None for va in vas)
    assert answered > 20
