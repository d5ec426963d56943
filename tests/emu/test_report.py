"""The pages: a death report to the letter, an AVX instruction with its remedy, statistics as text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runs import program

import emu
from emu.disassembly import annotate, decode, listing
from emu.elf import read_elf
from emu.outcome import Call, Counters, Death
from emu.report import death, stats
from emu.symbols import Symbols

REGISTERS = {name: 0x10 for row in death.ROWS for name in row} | {"rip": 0x401000, "rflags": 0x246}
DEATH = Death(
    sig=11,
    name="SIGSEGV",
    code="SEGV_ACCERR",
    siginfo="{…}",
    addr=0x402000,
    meaning="the mapping does not permit this access",
    where="r-- of /a.out",
    pc=0x401000,
    place="main+0x4 (a.c:7)",
    instruction="mov byte ptr [rax], 1",
    code_bytes=b"\xc6\x00\x01",
    remedy="",
    registers=REGISTERS,
    backtrace=(
        Call(0x401000, "main+0x4 (a.c:7)", "registers"),
        *(Call(0x401100, "again+0x10", "cfi"),) * 4,
        Call(0x401200, "", "stack"),
    ),
)
GOLDEN = """\
=== killed by SIGSEGV (SEGV_ACCERR): the mapping does not permit this access
  address      0x402000: r-- of /a.out
  at           0x401000 main+0x4 (a.c:7)
  instruction  mov byte ptr [rax], 1  [c6 00 01]
  registers
    rax 0x0000000000000010  rbx 0x0000000000000010  rcx 0x0000000000000010  rdx 0x0000000000000010
    rsi 0x0000000000000010  rdi 0x0000000000000010  rbp 0x0000000000000010  rsp 0x0000000000000010
     r8 0x0000000000000010   r9 0x0000000000000010  r10 0x0000000000000010  r11 0x0000000000000010
    r12 0x0000000000000010  r13 0x0000000000000010  r14 0x0000000000000010  r15 0x0000000000000010
    rip 0x0000000000401000  rflags 0x246 [PF ZF]
  backtrace
    #0   0x0000000000401000 main+0x4 (a.c:7)
    #1   0x0000000000401100 again+0x10
         … 3 more of the same
    #5   0x0000000000401200 ? (guessed from the stack)
"""


def test_a_death_report_to_the_letter() -> None:
    assert death.render(DEATH) == GOLDEN


def test_colour_is_only_in_the_first_line() -> None:
    first, rest = death.render(DEATH, colour=True).split("\n", 1)
    assert first == "\x1b[1;31m=== killed by SIGSEGV (SEGV_ACCERR): the mapping does not permit this access\x1b[0m"
    assert rest == GOLDEN.split("\n", 1)[1]


def test_stats_say_each_figure_once() -> None:
    counters = Counters(
        instructions=1_234_567,
        faults={"COW": 2},
        minor_faults=50,
        rss=40960,
        peak_rss=81920,
        vsz=1 << 20,
        peak_vsz=2 << 20,
        start_brk=0x405000,
        brk=0x426000,
        mappings=9,
        ram_used=1 << 18,
        virtual_ns=1_234_567,
    )
    assert stats.render(counters, 0.5).splitlines() == [
        "instructions  1,234,567",
        "page faults   50 minor (2 COW)",
        "RSS           40 KiB at the end, 80 KiB at its peak",
        "VSZ           1,024 KiB at the end, 2,048 KiB at its peak",
        "brk           0x405000-0x426000 (132 KiB)",
        "mappings      9",
        "RAM in use    256 KiB, page tables included",
        "virtual time  0.001234567 s",
        "wall time     0.500 s (2.5 Minsn/s)",
    ]


@pytest.mark.parametrize(
    ("code", "extension"),
    [
        ("c5f458d0", "AVX"),
        ("c5fd6fc1", "AVX"),
        ("c4e27d58c0", "AVX2"),
        ("62f17c4858c0", "AVX-512"),
        ("c5f877", "AVX"),
        ("c4e2f0f2c1", ""),  # andn: VEX-coded, but BMI, which this CPU has
        ("0f58c1", ""),
        ("90", ""),
    ],
)
def test_extensions_that_this_cpu_lacks_are_named(code: str, extension: str) -> None:
    insn = decode(bytes.fromhex(code), 0x401000)
    assert insn is not None
    assert insn.extension == extension


def test_bytes_that_are_no_instruction_are_shown_as_bytes() -> None:
    assert decode(b"\x06", 0) is None
    assert [insn.text for insn in listing(b"\x90\x06\x90", 0x1000)] == ["nop", ".byte 0x06", "nop"]


@pytest.fixture
def avx(tmp_path: Path) -> Path:
    source, output = tmp_path / "avx.c", tmp_path / "avx"
    source.write_text('int main(void) { __asm__ volatile("vaddps %ymm0,%ymm1,%ymm2"); return 0; }\n')
    compiler = program("gcc")
    done = subprocess.run([compiler, "-g", "-O1", "-static", source, "-o", output], capture_output=True)
    if done.returncode:
        pytest.skip("gcc cannot link statically here (Debian package libc6-dev)")
    return output


def test_an_avx_instruction_is_named_with_the_remedy(avx: Path) -> None:
    report = emu.run(avx).death
    assert report is not None
    text = death.render(report)
    assert "=== killed by SIGILL (ILL_ILLOPN): an instruction that this CPU does not have\n" in text
    assert "  instruction  vaddps ymm2, ymm1, ymm0  [c5 f4 58 d0]\n" in text
    assert "  remedy       this is an AVX instruction; build for x86-64-v2, e.g. -march=x86-64-v2; " in text
    assert "#0   " in text
    assert "main" in report.place
    assert "(avx.c:1)" in report.place or "/avx.c:1)" in report.place


def test_branches_and_rip_relative_operands_are_named(avx: Path) -> None:
    symbols = Symbols(read_elf(str(avx)))
    main = symbols.find("main")
    assert main is not None
    call = b"\xe8" + (main.value - 0x401005).to_bytes(4, "little", signed=True)
    insn = decode(call, 0x401000)
    assert insn is not None
    assert annotate(insn, symbols) == f"call {main.value:#x} <main>"
    lea = b"\x48\x8d\x05" + (main.value + 4 - 0x401007).to_bytes(4, "little", signed=True)
    insn = decode(lea, 0x401000)
    assert insn is not None
    assert annotate(insn, symbols).endswith(f"# {main.value + 4:#x} <main+0x4>")
