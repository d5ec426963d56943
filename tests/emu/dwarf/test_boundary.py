"""pyelftools behind its door: whatever a file makes it raise or repeat, the answer is an answer or none."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import FrameType

import pytest
import toolchain

from emu.dwarf.boundary import Patience
from emu.dwarf.frames import FrameTable
from emu.dwarf.lines import LineTables
from emu.elf import Elf, ElfError
from emu.symbols import Symbols


@pytest.fixture(scope="module", params=["musl", "glibc"])
def program(request: pytest.FixtureRequest) -> bytes:
    try:
        return toolchain.build("task/die", request.param).read_bytes()
    except toolchain.Unavailable as why:
        pytest.skip(str(why))


def test_what_the_library_raises_is_no_answer() -> None:
    def fails() -> int:
        raise KeyError("DW_FORM_???")

    assert Patience().ask(fails, 7) == 7
    assert Patience().ask(lambda: 1, 7) == 1


def test_a_loop_without_end_ends_and_so_does_what_asks_on() -> None:
    def step() -> None:
        pass

    def endless() -> int:
        while True:
            step()

    patience = Patience(1000)
    assert patience.ask(endless, 7) == 7
    assert patience.ask(lambda: patience.ask(endless, 1), 7) == 7
    assert patience.ask(lambda: 1, 7) == 7  # its patience is at an end


def test_a_debugger_keeps_its_trace_function() -> None:
    def tracer(_frame: FrameType, _event: str, _argument: object) -> None:
        pass

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        Patience().ask(lambda: Patience().ask(lambda: 1, 0), 0)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def _mutated(rng: random.Random, content: bytes, elf: Elf) -> bytes:
    """Some bytes of its unwinding tables, its debug sections or their headers changed."""
    sections = [section for section in elf.sections if section.name.startswith((".debug", ".eh_frame"))]
    mutated = bytearray(content)
    for _ in range(rng.randint(1, 12)):
        section = rng.choice(sections)
        if rng.random() < 0.2:
            at = elf.shoff + 64 * elf.sections.index(section) + rng.randrange(4, 64)
        else:
            at = section.offset + rng.randrange(min(section.size, rng.choice((32, 400, 1 << 20))))
        mutated[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(mutated)


def test_mutated_tables_give_less_and_never_raise(program: bytes) -> None:
    elf = Elf(program)
    main = Symbols(elf).find("main")
    assert main is not None
    rng = random.Random(11)
    answered = 0
    for _ in range(30):
        try:
            broken = Elf(_mutated(rng, program, elf))
        except ElfError:
            continue
        lines, frames = LineTables(broken), FrameTable(broken)
        for va in (main.value, main.value + 9, main.value + main.size - 1, elf.entry):
            answered += lines.find(va) is not None
            frames.row(va)
    assert answered > 10


def test_a_header_that_counts_entries_without_content_is_given_up(program: bytes) -> None:
    """DWARF 5: a list of 2^62 file names of no fields each is a loop that reads nothing."""
    content = bytearray(program)
    elf = Elf(bytes(content))
    section = elf.section(".debug_line")
    main = Symbols(elf).find("main")
    assert section is not None
    assert main is not None
    at, found = section.offset, 0
    while at + 20 < section.offset + section.size:
        length = int.from_bytes(content[at : at + 4], "little")
        version = int.from_bytes(content[at + 4 : at + 6], "little")
        formats = at + (12 if version >= 5 else 10) + 6 + content[at + (12 if version >= 5 else 10) + 5] - 1
        if version >= 5:
            content[formats : formats + 10] = b"\0" + b"\xff" * 8 + b"\x3f"
            found += 1
        at += 4 + length
    if not found:
        pytest.skip("this compiler writes older DWARF")
    tables = LineTables(Elf(bytes(content)))
    tables._patience.left = 200_000
    assert tables.find(main.value) is None


def test_a_section_that_claims_more_than_the_file_has_is_not_believed(program: bytes) -> None:
    elf = Elf(program)
    main = Symbols(elf).find("main")
    assert main is not None
    for kind, size in ((8, 1 << 45), (1, 1 << 45)):  # SHT_NOBITS, SHT_PROGBITS
        content = bytearray(program)
        header = elf.shoff + 64 * [section.name for section in elf.sections].index(".debug_str")
        content[header + 4 : header + 8] = kind.to_bytes(4, "little")
        content[header + 32 : header + 40] = size.to_bytes(8, "little")
        assert LineTables(Elf(bytes(content))).find(main.value) is None


def test_no_other_file_is_opened(program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
            seen.append(arguments[0])

    watching, seen = False, list[object]()
    elf = Elf(program.replace(b".debug_aranges", b".gnu_debuglink"))
    main = Symbols(elf).find("main")
    assert main is not None
    LineTables(elf).find(main.value)  # imports are done
    sys.addaudithook(opened)
    watching = True
    LineTables(elf).find(main.value)
    watching = False
    assert seen == []
