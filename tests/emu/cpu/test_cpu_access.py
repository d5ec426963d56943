"""Where Unicorn does not show the error code of a page fault, the instruction tells: both must say the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bare import CODE, DATA, STACK, Bare, guest

from emu import native
from emu.cpu.emulator import the_emulator
from emu.cpu.probe import only_offset
from kernel.cpu import Access, Trap

pytest.importorskip("capstone")
KINDS = [False, True] if native.library() else [False]
HOLE = DATA + 0x8000
guest(b"\x90")
FOUND = the_emulator().error_offset
INSTRUCTIONS = [
    b"\x8a\x07",  # mov al, [rdi]
    b"\x88\x07",
    b"\x48\x89\x47\xf8",
    b"\x48\x8b\x44\x8f\x10",  # mov rax, [rdi+rcx*4+16]
    b"\x00\x07",  # add [rdi], al: reads first
    b"\xf0\x0f\xc1\x07",  # lock xadd
    b"\x87\x07",
    b"\xff\x07",
    b"\xc6\x07\x01",
    b"\xa4",  # movsb, the source missing
    b"\xaa",
    b"\xf3\xaa",
    b"\xac",
    b"\xae",
    b"\xff\x17",  # call [rdi]
    b"\xff\x27",
    b"\xff\x37",  # push [rdi]
    b"\x8f\x07",  # pop [rdi]
    b"\x0f\x11\x07",
    b"\x0f\x10\x07",
    b"\xd9\x1f",  # fstp dword [rdi]
    b"\xd9\x07",
    b"\x0f\xae\x1f",  # stmxcsr
    b"\x0f\x18\x07\x8a\x07",  # prefetch does not fault
    b"\xff\xe7",  # jmp rdi
]


@pytest.fixture(params=KINDS, ids=lambda kind: "native" if kind else "twin")
def blind(request: pytest.FixtureRequest) -> Iterator[bool]:
    """A Unicorn whose error code nobody found."""
    the_emulator().error_offset = None
    yield request.param
    the_emulator().error_offset = FOUND


def faulting(code: bytes, kind: bool, **regs: int) -> Bare:
    return guest(code, kind, rcx=1, rax=5, **{"rdi": HOLE, "rsi": HOLE, **regs})


@pytest.mark.parametrize("code", INSTRUCTIONS, ids=lambda code: code.hex())
def test_an_absent_page(blind: bool, code: bytes) -> None:
    emulator = the_emulator()
    guessed = faulting(code, blind).run()
    emulator.error_offset = FOUND
    shown = faulting(code, blind).run()
    assert (guessed.kind, guessed.va, guessed.access) == (shown.kind, shown.va, shown.access)


@pytest.mark.parametrize("code", [b"\x50", b"\xe8\0\0\0\0", b"\x9c", b"\xc8\x10\0\0"], ids=lambda code: code.hex())
def test_pushes_write(blind: bool, code: bytes) -> None:
    assert faulting(code, blind, rsp=HOLE + 8).run().access is Access.WRITE


@pytest.mark.parametrize("code", [b"\x58", b"\xc3", b"\x9d", b"\xc9"], ids=lambda code: code.hex())
def test_pops_read(blind: bool, code: bytes) -> None:
    assert faulting(code, blind, rsp=HOLE, rbp=HOLE).run().access is Access.READ


def test_a_present_page_that_refuses(blind: bool) -> None:
    wrote: Trap = guest(b"\x88\x07", blind, rdi=CODE).run()
    assert (wrote.access, wrote.va) == (Access.WRITE, CODE)
    fetched = guest(b"\xff\xe7", blind, rdi=DATA).run()
    assert (fetched.access, fetched.va) == (Access.FETCH, DATA)


def test_a_program_that_faults_its_memory_in_runs_to_its_end(blind: bool) -> None:
    bare = guest(b"\x50\x5b\x88\x07\xb8\x3c\0\0\0\x0f\x05", blind, rsp=STACK - 64, rdi=STACK - 9000)
    bare.run()
    assert [access for _, _, access in bare.faults] == [Access.WRITE, Access.WRITE]


def test_an_offset_counts_only_if_it_is_the_only_one() -> None:
    one = [b"\0\0\0\0\4\0\0\0", b"\0\0\0\0\6\0\0\0"]
    assert only_offset(one, [4, 6]) == 4
    assert only_offset([image * 2 for image in one], [4, 6]) is None
    assert only_offset([b"", one[1]], [4, 6]) is None
    assert only_offset(one, [4, 7]) is None
