"""Line tables as compilers and linkers write them, held against their source."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from emu.dwarf.lines import LineTables
from emu.elf import read_elf
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
FORMATS = ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5",
           "-gdwarf-5 -gz", "-gdwarf-5 -gno-as-loc-support", "-gdwarf-5 -gsplit-dwarf"]  # fmt: skip


# By -O0: (file, lines) of each function, the first is its first instruction's
WRITTEN = {
    "main": ("first.c", [6, 7, 8, 9, 10]),
    "apart": ("first.c", [3, 4, 5]),
    "other": ("second.c", [2, 3, 4]),
    "twice": ("inner/twice.h", [1, 2, 3]),
}


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize("options", FORMATS)
def test_each_version_and_form_tells_the_lines_as_they_were_written(options: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name, text in (("inner/twice.h", HEADER), ("first.c", FIRST), ("second.c", SECOND)):
        (tmp_path / name).write_text(text)
    command = ["gcc", "-O0", *options.split(), "-o", "program", "first.c", "second.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    symbols = Symbols(read_elf(str(tmp_path / "program")))
    tables = LineTables(symbols.elf)
    for name, (file, lines) in WRITTEN.items():
        function = symbols.find(name)
        assert function is not None
        found = [tables.find(va) for va in range(function.value, function.value + function.size)]
        assert found[0] == (file, lines[0])
        assert sorted(set(found), key=str) == sorted(((file, line) for line in lines), key=str)
    assert tables.find(symbols.elf.entry) is None  # of the C library, without lines
