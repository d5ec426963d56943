"""Instructions a guest has no business with: each ends in the exception that Linux on an AMD CPU gives, at the right
place, and the host goes on."""

from __future__ import annotations

import struct

import pytest
from bare import CODE, DATA, STACK, guest

from emu import native
from kernel.cpu import Trap, TrapKind, Vector

KINDS = [False, True] if native.library() else [False]
pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "native" if kind else "twin")

EXIT = b"\xb8\x3c\0\0\0\x0f\x05"
NOP = b"\x90"

FAULTS = {  # RIP at the instruction
    "cli": (b"\xfa", Vector.GP),
    "sti": (b"\xfb", Vector.GP),
    "hlt": (b"\xf4", Vector.GP),
    "in al, dx": (b"\xec", Vector.GP),
    "out dx, al": (b"\xee", Vector.GP),
    "in al, 0x80": (b"\xe4\x80", Vector.GP),
    "rep insb": (b"\xf3\x6c", Vector.GP),
    "rep outsb": (b"\xf3\x6e", Vector.GP),
    "rdmsr": (b"\x0f\x32", Vector.GP),
    "wrmsr": (b"\x0f\x30", Vector.GP),
    "rdpmc": (b"\x0f\x33", Vector.GP),
    "mov cr0": (b"\x0f\x22\xc0", Vector.GP),
    "mov cr3, rax": (b"\x0f\x22\xd8", Vector.GP),
    "mov rax, cr3": (b"\x0f\x20\xd8", Vector.GP),
    "mov cr8": (b"\x44\x0f\x22\xc0", Vector.GP),
    "mov dr7": (b"\x0f\x23\xf8", Vector.GP),
    "clts": (b"\x0f\x06", Vector.GP),
    "lmsw": (b"\x0f\x01\xf0", Vector.GP),
    "lgdt": (b"\x0f\x01\x17", Vector.GP),
    "lidt": (b"\x0f\x01\x1f", Vector.GP),
    "lldt": (b"\x0f\x00\xd0", Vector.GP),
    "ltr": (b"\x0f\x00\xd8", Vector.GP),
    "invlpg": (b"\x0f\x01\x3f", Vector.GP),
    "invd": (b"\x0f\x08", Vector.GP),
    "wbinvd": (b"\x0f\x09", Vector.GP),
    "swapgs": (b"\x0f\x01\xf8", Vector.GP),
    "sysret": (b"\x48\x0f\x07", Vector.GP),
    "sysenter": (b"\x0f\x34", Vector.UD),
    "sysexit": (b"\x0f\x35", Vector.UD),
    "vmrun": (b"\x0f\x01\xd8", Vector.UD),
    "vmmcall": (b"\x0f\x01\xd9", Vector.UD),
    "vmload": (b"\x0f\x01\xda", Vector.UD),
    "vmsave": (b"\x0f\x01\xdb", Vector.UD),
    "stgi": (b"\x0f\x01\xdc", Vector.UD),
    "clgi": (b"\x0f\x01\xdd", Vector.UD),
    "skinit": (b"\x0f\x01\xde", Vector.UD),
    "invlpga": (b"\x0f\x01\xdf", Vector.UD),
    "vmcall": (b"\x0f\x01\xc1", Vector.UD),
    "monitor": (b"\x0f\x01\xc8", Vector.UD),
    "mwait": (b"\x0f\x01\xc9", Vector.UD),
    "xgetbv": (b"\x0f\x01\xd0", Vector.UD),
    "xsetbv": (b"\x0f\x01\xd1", Vector.UD),
    "xsave": (b"\x0f\xae\x27", Vector.UD),
    "rsm": (b"\x0f\xaa", Vector.UD),
    "ud2": (b"\x0f\x0b", Vector.UD),
    "ud0": (b"\x0f\xff\xc0", Vector.UD),
    "ud1": (b"\x0f\xb9\xc0", Vector.UD),
    "vmovaps ymm0, ymm1": (b"\xc5\xfc\x28\xc1", Vector.UD),
    "vpaddd xmm0, xmm1, xmm2": (b"\xc5\xf1\xfe\xc2", Vector.UD),
    "vaddps xmm0, xmm1, [rdi]": (b"\xc5\xf0\x58\x07", Vector.UD),
    "vpshufb xmm0, xmm1, xmm2": (b"\xc4\xe2\x71\x00\xc2", Vector.UD),
    "vzeroupper": (b"\xc5\xf8\x77", Vector.UD),
    "rdrand eax": (b"\x0f\xc7\xf0", Vector.UD),
    "rdseed rax": (b"\x48\x0f\xc7\xf8", Vector.UD),
    "rdpid rax": (b"\xf3\x0f\xc7\xf8", Vector.UD),
    "XOP": (b"\x8f\xe8\x78\xc0\xc1\x01", Vector.UD),
    "EVEX": (b"\x62\xf1\x7c\x48\x28\xc1", Vector.UD),
    "push es": (b"\x06", Vector.UD),
    "into": (b"\xce", Vector.UD),
    "ljmp imm": (b"\xea\0\0\0\0\x23\0", Vector.UD),
    "lcall imm": (b"\x9a\0\0\0\0\x23\0", Vector.UD),
    "lock add reg": (b"\xf0\x01\xc0", Vector.UD),
    "mov cs, ax": (b"\x8e\xc8", Vector.UD),
    "int 0x0d": (b"\xcd\x0d", Vector.GP),
    "int 0x0e": (b"\xcd\x0e", Vector.GP),
    "int 0x20": (b"\xcd\x20", Vector.GP),
    "int 0xff": (b"\xcd\xff", Vector.GP),
    "66 int 0x20": (b"\x66\xcd\x20", Vector.GP),
    "div by zero": (b"\xf7\xf1", Vector.DE),
    "idiv overflow": (b"\x48\xb8\0\0\0\0\0\0\0\x80\x48\x99\x48\xf7\xfa", None),
    "load from a non-canonical address": (b"\x8a\x03", Vector.GP),
    "store to a non-canonical address": (b"\x88\x03", Vector.GP),
    "17 prefixes": (b"\x66" * 17 + b"\x90", Vector.GP),
}
AFTER = {  # RIP after it
    "int3": (b"\xcc", Vector.BP),
    "int 3": (b"\xcd\x03", Vector.BP),
    "int 4": (b"\xcd\x04", Vector.OF),
    "int 0x80": (b"\xcd\x80", Vector.INT80),
    "int1": (b"\xf1", Vector.DB),
}


@pytest.mark.parametrize("name", FAULTS)
def test_it_faults_at_the_instruction(kind: bool, name: str) -> None:
    code, vector = FAULTS[name]
    before = NOP * 3
    if vector is None:
        before, code, vector = before + code[:-3], code[-3:], Vector.DE
        before += b"\x31\xd2\x31\xc0\xff\xc0\x31\xd2\x48\xf7\xd2\x48\x31\xd2"  # then rdx = 0: divide by it
    bare = guest(before + code + EXIT, kind, rdi=DATA, rbx=1 << 47)
    trap = bare.run(10_000)
    assert (trap.kind, trap.vector) == (TrapKind.EXCEPTION, vector)
    assert bare.cpu.read_regs().rip == CODE + len(before)


@pytest.mark.parametrize("name", AFTER)
def test_it_traps_after_the_instruction(kind: bool, name: str) -> None:
    code, vector = AFTER[name]
    bare = guest(NOP * 3 + code + EXIT, kind)
    trap = bare.run(10_000)
    assert (trap.kind, trap.vector) == (TrapKind.EXCEPTION, vector)
    assert bare.cpu.read_regs().rip == CODE + 3 + len(code)
    assert bare.cpu.insns == 4
    assert bare.run().kind is TrapKind.SYSCALL
    assert bare.cpu.insns == 6


def test_the_trap_flag_traps_after_each_instruction(kind: bool) -> None:
    code = b"\x9c\x81\x0c\x24\0\1\0\0\x9d" + NOP * 3 + EXIT  # pushf; or dword [rsp], 0x100; popf
    bare = guest(code, kind)
    assert bare.run(10_000) == Trap(TrapKind.EXCEPTION, Vector.DB)
    rip = bare.cpu.read_regs().rip
    assert rip in (CODE + 9, CODE + 10)
    assert bare.run(10_000) == Trap(TrapKind.EXCEPTION, Vector.DB)
    assert bare.cpu.read_regs().rip == rip + 1


@pytest.mark.parametrize(
    "flags", [1 << 18, 1 << 10, 1 << 14, 1 << 21, 0xCD5], ids=["AC", "DF", "NT", "ID", "arithmetic"]
)
def test_a_syscall_with_odd_flags_is_a_syscall(kind: bool, flags: int) -> None:
    code = b"\x9c\x81\x0c\x24" + struct.pack("<I", flags) + b"\x9d" + EXIT
    bare = guest(code, kind)
    assert bare.run(10_000).kind is TrapKind.SYSCALL
    assert bare.cpu.read_regs().r11 & flags & ~(1 << 14) == flags & ~(1 << 14)


@pytest.mark.parametrize(
    "code",
    [
        b"\x6a\x23\x68\0\0\x40\0\x48\xcb",  # push 0x23; push CODE; retfq
        b"\x6a\x10\x68\0\0\x40\0\x48\xcb",  # the kernel's CS
        b"\x6a\0\x6a\0\x9c\x6a\x10\x68\0\0\x40\0\x48\xcf",  # iretq to CS 0x10
        b"\x6a\x2b\x54\x9c\x6a\x08\x68\0\0\x40\0\x48\xcf",
        b"\xc7\x07\0\0\x40\0\xc7\x47\x04\x23\0\0\0\xff\x2f",  # ljmp [rdi]
        b"\xc7\x07\0\0\x40\0\xc7\x47\x04\x10\0\0\0\xff\x1f",  # lcall [rdi]
        b"\xb8\x10\0\0\0\x8e\xd0",  # mov ss, 0x10
        b"\xb8\x10\0\0\0\x8e\xd8",  # mov ds, 0x10
        b"\x31\xc0\x8e\xd0",  # mov ss, 0
        b"\x6a\x10\x0f\xa1",  # pop fs
    ],
)
def test_no_selector_leads_anywhere(kind: bool, code: bytes) -> None:
    bare = guest(NOP + code + EXIT, kind, rdi=DATA)
    trap = bare.run(10_000)
    assert (trap.kind, trap.vector) == (TrapKind.EXCEPTION, Vector.GP)


def test_null_data_segments_may_be_loaded(kind: bool) -> None:
    bare = guest(b"\x31\xc0\x8e\xd8\x8e\xc0" + EXIT, kind)
    assert bare.run(10_000).kind is TrapKind.SYSCALL


def test_a_jump_to_a_non_canonical_address(kind: bool) -> None:
    bare = guest(b"\x48\xb8\0\0\0\0\0\0\0\x80\xff\xe0", kind)
    trap = bare.run(10_000)
    assert (trap.kind, trap.vector) == (TrapKind.EXCEPTION, Vector.GP)


def test_kernel_addresses_are_not_there(kind: bool) -> None:
    for code in (b"\x8a\x03", b"\x88\x03", b"\xff\xe3"):
        bare = guest(code, kind, rbx=(1 << 64) - 4096)
        trap = bare.run(10_000)
        assert (trap.kind, trap.va) == (TrapKind.FAULT, (1 << 64) - 4096)


def test_a_stack_that_is_not_there_faults_in_the_guest(kind: bool) -> None:
    for code in (b"\x50", b"\xe8\0\0\0\0", b"\x9c"):
        bare = guest(code, kind, rsp=0x1000)
        trap = bare.run(10_000)
        assert (trap.kind, trap.va) == (TrapKind.FAULT, 0xFF8)


def test_random_bytes_never_break_out(kind: bool) -> None:
    """Each run of garbage ends in a trap, a syscall or at the limit; never in an error of ours."""
    import random

    source = random.Random(7)
    for _ in range(400):
        code = bytes(source.choice([source.randrange(256), 0x0F, 0x48, 0xF3, 0x66]) for _ in range(64))
        bare = guest(code, kind, rdi=DATA, rsi=DATA + 64, rcx=3, rbx=DATA + 128, rax=DATA, rdx=5, rbp=STACK - 2048)
        bare.on_syscall = lambda *_: None
        for _ in range(4):
            trap = bare.run(bare.cpu.insns + 500)
            assert trap.kind is not TrapKind.SLICE


def test_a_pte_that_names_no_ram_ends_the_run_with_our_error_and_no_access(kind: bool) -> None:
    """The guest cannot write page tables; should the kernel ever write a wrong one, nothing of the host is touched."""
    from emu.cpu.libunicorn import UnicornError

    for code in (b"\x8a\x07", b"\x88\x07", b"\xff\xe7"):
        bare = guest(code + EXIT, kind, rdi=DATA)
        bare.words[bare.pte(DATA)] = 1 << 36 | 7
        with pytest.raises(UnicornError):
            bare.run(10_000)
    assert guest(EXIT, kind).run().kind is TrapKind.SYSCALL
