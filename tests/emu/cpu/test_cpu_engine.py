"""What UnicornCpu promises the kernel: traps, exact counts, registers, time. On both kinds of hooks."""

from __future__ import annotations

import struct

import pytest
from bare import CODE, DATA, STACK, Bare, guest

from emu import native
from kernel.cpu import Access, Regs, Trap, TrapKind, Vector

KINDS = [False, True] if native.library() else [False]
pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "native" if kind else "twin")

SYSCALL = b"\x0f\x05"
NOP = b"\x90"


def mov_eax(value: int) -> bytes:
    return b"\xb8" + struct.pack("<I", value)


EXIT = mov_eax(60) + SYSCALL


def test_a_syscall_gets_its_number_and_arguments_and_its_value_lands_in_rax(kind: bool) -> None:
    bare = guest(mov_eax(39) + SYSCALL + b"\x48\x89\xc3" + EXIT, kind, rdi=7)
    trap = bare.run()
    assert trap.kind is TrapKind.SYSCALL
    assert [call[1:] for call in bare.calls] == [(39, 7), (60, 7)]
    assert bare.cpu.read_regs().rbx == 39


def test_a_syscall_leaves_rcx_and_r11_as_the_instruction_does(kind: bool) -> None:
    bare = guest(mov_eax(39) + SYSCALL + EXIT, kind, rflags=0x203)
    bare.run()
    regs = bare.cpu.read_regs()
    assert regs.rcx == regs.rip == CODE + 14
    assert regs.r11 == 0x203


def test_a_negative_result_is_taken_modulo_2_to_64(kind: bool) -> None:
    bare = guest(mov_eax(1) + SYSCALL + b"\x48\x89\xc3" + EXIT, kind)
    bare.on_syscall = lambda nr, *_: None if nr == 60 else -38
    bare.run()
    assert bare.cpu.read_regs().rbx == (1 << 64) - 38


def test_none_leaves_rax_alone(kind: bool) -> None:
    bare = guest(EXIT, kind)
    bare.run()
    assert bare.cpu.read_regs().rax == 60


def test_registers_written_inside_a_syscall_are_where_the_guest_goes_on(kind: bool) -> None:
    bare = guest(mov_eax(15) + SYSCALL + b"\x0f\x0b", kind)
    bare.map(CODE + 0x1000, b"\x48\xff\xc3" + EXIT)

    def sigreturn(nr: int, *_: int) -> int | None:
        if nr == 15:
            bare.cpu.write_regs(Regs(rip=CODE + 0x1000, rbx=41, rcx=5, r11=6, rsp=STACK - 64, rflags=0x246))
            assert bare.cpu.read_regs().rbx == 41
        return None

    bare.on_syscall = sigreturn
    assert bare.run().kind is TrapKind.SYSCALL
    regs = bare.cpu.read_regs()
    assert (regs.rip, regs.rcx, regs.r11, regs.rflags) == (CODE + 0x1000, 5, 6, 0x246)
    bare.run()
    assert bare.cpu.read_regs().rbx == 42


def test_stop_lets_the_syscall_finish_first(kind: bool) -> None:
    bare = guest(mov_eax(1) + SYSCALL + b"\x8d\x58\x01" + EXIT, kind)

    def stopping(nr: int, *_: int) -> int | None:
        bare.cpu.stop()
        return 41 if nr == 1 else None

    bare.on_syscall = stopping
    assert bare.run().kind is TrapKind.SYSCALL
    assert bare.cpu.read_regs().rax == 41
    assert bare.cpu.insns == 2
    bare.run()
    assert bare.cpu.read_regs().rbx == 42


def test_what_a_trap_method_raises_comes_out_of_run(kind: bool) -> None:
    bare = guest(mov_eax(1) + SYSCALL + EXIT, kind)

    def broken(*_: int) -> int:
        raise KeyError("the kernel's own")

    bare.on_syscall = broken
    with pytest.raises(KeyError):
        bare.run()
    assert bare.cpu.insns == 2
    bare.on_syscall = None
    assert bare.run().kind is TrapKind.SYSCALL


@pytest.mark.parametrize(
    ("code", "access", "va"),
    [
        (b"\x8a\x07", Access.READ, DATA + 0x9000),
        (b"\x88\x07", Access.WRITE, DATA + 0x9000),
        (b"\x00\x07", Access.READ, DATA + 0x9000),  # add [rdi], al reads first
        (b"\xff\xe7", Access.FETCH, DATA + 0x9000),
        (b"\xff\x17", Access.READ, DATA + 0x9000),  # call [rdi]
        (b"\xa4", Access.READ, DATA + 0x9000),
        (b"\xf3\xab", Access.WRITE, DATA + 0x9000),
        (b"\x0f\x11\x07", Access.WRITE, DATA + 0x9000),  # movups [rdi], xmm0
    ],
)
def test_a_refused_fault_says_where_and_how(kind: bool, code: bytes, access: Access, va: int) -> None:
    bare = guest(NOP * 3 + code + EXIT, kind, rdi=va, rsi=va, rcx=4)
    trap = bare.run()
    assert (trap.kind, trap.vector, trap.va, trap.access) == (TrapKind.FAULT, Vector.PF, va, access)
    assert bare.cpu.insns == (4 if access is Access.FETCH else 3)
    assert bare.cpu.read_regs().rip == (va if access is Access.FETCH else CODE + 3)


def test_a_write_to_a_read_only_page_and_a_fetch_from_an_nx_page_are_protection_faults(kind: bool) -> None:
    bare = guest(b"\x88\x07", kind, rdi=CODE)
    assert bare.run() == Trap(TrapKind.FAULT, Vector.PF, CODE, Access.WRITE, 7)
    bare = guest(b"\xff\xe7", kind, rdi=DATA)
    assert bare.run() == Trap(TrapKind.FAULT, Vector.PF, DATA, Access.FETCH, 0x15)


def test_a_jump_to_zero_is_a_fetch_fault_at_zero(kind: bool) -> None:
    bare = guest(b"\x31\xc0\xff\xe0", kind)
    assert bare.run() == Trap(TrapKind.FAULT, Vector.PF, 0, Access.FETCH, 0x14)
    assert bare.cpu.read_regs().rip == 0


def test_running_off_the_end_of_code_faults_at_the_instruction_that_needs_the_next_page(kind: bool) -> None:
    """Unicorn fetches the block ahead; the instructions before the edge must have run all the same."""
    tail = b"\x48\xff\xc3" * 5 + b"\x48\xb8"  # five inc rbx, and a mov whose constant lies on the missing page
    bare = guest(NOP, kind)
    bare.map(CODE, bytes(4096 - len(tail)) + tail)
    bare.start(CODE + 4096 - len(tail), rsp=STACK)
    trap = bare.run()
    assert (trap.kind, trap.va, trap.access) == (TrapKind.FAULT, CODE + 4096, Access.FETCH)
    assert bare.cpu.read_regs().rbx == 5
    assert bare.cpu.read_regs().rip == CODE + 4094
    assert bare.cpu.insns == 5


def test_time_is_the_instruction_count_plus_the_offset(kind: bool) -> None:
    bare = guest(NOP * 7 + b"\x0f\x31\x89\xc3" + NOP * 2 + b"\x0f\x01\xf9" + EXIT, kind, rcx=99)
    bare.cpu.tsc_offset = lambda: 5 << 32
    bare.run()
    regs = bare.cpu.read_regs()
    assert regs.rbx == 7
    assert regs.rdx == 5
    rdtscp = next(call for call in bare.calls)[0]
    assert rdtscp == 7 + 2 + 2 + 1 + 2


def test_cpuid_is_ours(kind: bool) -> None:
    bare = guest(mov_eax(0x8000_0002) + b"\x0f\xa2\x41\x89\xc0" + EXIT, kind)
    bare.run()
    regs = bare.cpu.read_regs()
    assert struct.pack("<I", regs.r8) == b"heap"


def test_the_fpu_image_comes_back_as_it_was(kind: bool) -> None:
    # fldpi; fld1; movups xmm3, [rdi]
    bare = guest(b"\xd9\xeb\xd9\xe8\x0f\x10\x1f" + EXIT, kind, rdi=CODE)
    initial = bare.cpu.read_fpu()
    assert initial[:32] == struct.pack("<HHBxHQQII", 0x37F, 0, 0, 0, 0, 0, 0x1F80, 0xFFFF)
    bare.run()
    image = bare.cpu.read_fpu()
    assert image[4] == 0b1100_0000
    assert image[32:42] == bytes.fromhex("0000000000000080ff3f")
    assert image[48:58] == bytes.fromhex("35c26821a2da0fc90040")
    assert image[160 + 48 : 160 + 64] == bare.read(CODE, 16)
    bare.cpu.write_fpu(initial)
    assert bare.cpu.read_fpu() == initial
    bare.cpu.write_fpu(image)
    assert bare.cpu.read_fpu() == image


def test_fs_and_gs_bases(kind: bool) -> None:
    bare = guest(b"\x64\x48\x8b\x04\x25\x08\0\0\0\x65\x48\x03\x04\x25\0\0\0\0\x48\x89\xc3" + EXIT, kind)
    bare.cpu.write_fs_base(DATA)
    bare.cpu.write_gs_base(DATA + 16)
    pa = bare.words[bare.pte(DATA)] & 0xFFFF_F000
    bare.words[(pa >> 3) + 1], bare.words[(pa >> 3) + 2] = 40, 2
    bare.run()
    assert bare.cpu.read_regs().rbx == 42
    assert (bare.cpu.read_fs_base(), bare.cpu.read_gs_base()) == (DATA, DATA + 16)


def test_another_address_space_may_hold_other_code_at_the_same_address(kind: bool) -> None:
    bare = guest(b"\xb3\x01" + EXIT, kind)
    other = bare.new_tables()
    bare.map(CODE, NOP * 2 + b"\xb3\x02" + EXIT, cr3=other)
    counts = []
    for cr3 in (bare.cr3, other, bare.cr3, other):
        bare.cpu.load_cr3(cr3)
        bare.cpu.write_regs(Regs(rip=CODE))
        before = bare.cpu.insns
        bare.run()
        counts.append((bare.cpu.read_regs().rbx, bare.cpu.insns - before))
    assert counts == [(1, 3), (2, 5), (1, 3), (2, 5)]


def test_code_that_the_kernel_changed_runs_as_changed(kind: bool) -> None:
    bare = guest(b"\xb3\x01\x90\x90" + EXIT, kind)
    bare.run()
    pa = bare.words[bare.pte(CODE)] & 0xFFFF_F000
    bare.ram.bytes[pa : pa + 4] = b"\xb3\x02\x66\x90"  # one instruction less
    bare.cpu.invalidate_code((pa >> 12,))
    bare.cpu.write_regs(Regs(rip=CODE))
    before = bare.cpu.insns
    bare.run()
    assert bare.cpu.read_regs().rbx == 2
    assert bare.cpu.insns - before == 4


def test_a_pte_taken_away_faults_after_a_flush(kind: bool) -> None:
    bare = guest(b"\x8a\x07" + mov_eax(1) + SYSCALL + b"\x8a\x07" + EXIT, kind, rdi=DATA)

    def unmap(nr: int, *_: int) -> int | None:
        bare.words[bare.pte(DATA)] = 0
        bare.cpu.flush_tlb()
        return 0

    bare.on_syscall = unmap
    trap = bare.run()
    assert (trap.kind, trap.va, bare.cpu.insns) == (TrapKind.FAULT, DATA, 3)


def test_flags_that_are_the_kernels_cannot_be_set(kind: bool) -> None:
    bare = guest(NOP + EXIT, kind)
    bare.cpu.write_regs(Regs(rip=CODE, rflags=(1 << 32) - 1 & ~(1 << 8)))
    flags = bare.cpu.read_regs().rflags
    assert not flags & 0x3000  # IOPL
    assert flags & 0x202 == 0x202


def test_slices_come_and_change_nothing(kind: bool) -> None:
    bare = Bare(kind, slice_insns=4096)
    bare.map(CODE, b"\xff\xc9\x75\xfc" + EXIT)  # dec ecx; jnz
    bare.start(rcx=10_000)
    kinds: list[TrapKind] = []
    while not kinds or kinds[-1] is TrapKind.SLICE:
        kinds.append(bare.cpu.run(bare).kind)
    assert kinds.count(TrapKind.SLICE) == 4
    assert bare.cpu.insns == 20_002


def test_an_older_cpu_may_not_run_when_a_newer_one_exists(kind: bool) -> None:
    old = guest(EXIT, kind)
    guest(EXIT, kind)
    with pytest.raises(RuntimeError, match="superseded"):
        old.run()
