"""The hooks in C and their Python twins: the same counts, the same traps, the same registers, whatever the guest does.

And both against an oracle that has no blocks: the guest run one instruction at a time.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from bare import CODE, DATA, STACK, Bare

from emu import native
from kernel.cpu import Trap, TrapKind

needs_native = pytest.mark.skipif(native.library() is None, reason="no native hooks")
Observed = dict[str, Any]

RWX, LAZY = 0x80_0000, 0x90_0000
SYSCALL = b"\x0f\x05"
EXIT = b"\xb8\x3c\0\0\0" + SYSCALL
# Each leaves r15 (fuel), rsp, rbp (data), r12 (demand-filled), r13 (code that is written) as they are.
PLAIN = [
    b"\x48\x01\xd8",  # add rax, rbx
    b"\x48\x31\xc3",
    b"\x48\x8d\x44\x9a\x07",  # lea rax, [rdx+rbx*4+7]
    b"\x48\x0f\xaf\xc3",
    b"\x48\xc1\xc8\x0d",
    b"\x48\x89\x45\x10",  # mov [rbp+16], rax
    b"\x48\x03\x5d\x10",
    b"\xf7\xd8",
    b"\x0f\x1f\x40\x00",
    b"\x66\x90",
    b"\x50\x5b",  # push rax; pop rbx
    b"\x48\xba\x88\x77\x66\x55\x44\x33\x22\x11",
    b"\xf3\x0f\x6f\x45\x00\x66\x0f\xef\xc8",  # movdqu; pxor
    b"\x0f\x31\x48\x01\xc3",  # rdtsc; add rbx, rax
    b"\x31\xc0\x0f\xa2",  # cpuid
    b"\x89\xc1\x83\xe1\x03\x48\x89\xef\xf3\xaa",  # ecx = eax & 3; rdi = rbp; rep stosb
    b"\x89\xd9\x83\xe1\x07\x48\x89\xee\x48\x8d\x7d\x40\xf3\xa4",  # rep movsb
    b"\x31\xc9\xf3\xab",  # rep stosd of nothing
    b"\x0f\x94\xc0",
    b"\xc4\xe2\xf8\xf2\xc3",  # andn: a VEX instruction that is there
]
LAZY_ACCESS = [
    b"\x89\xc7\x81\xe7\xff\x7f\x00\x00\x4c\x01\xe7\x88\x07",  # edi = eax & 0x7fff; rdi += r12; mov [rdi], al
    b"\x89\xdf\x81\xe7\xff\x7f\x00\x00\x4c\x01\xe7\x48\x03\x07",  # edi = ebx & 0x7fff; add rax, [rdi]
    b"\x89\xdf\x81\xe7\xf0\x7f\x00\x00\x4c\x01\xe7\xb9\x30\0\0\0\xf3\xaa",  # rep stosb over a page's edge
]
CALLS = [
    b"\xb8\x27\0\0\0" + SYSCALL,
    b"\xb8\x27\0\0\0\x66" + SYSCALL,
]
PATCHES = [  # writes to code at r13: immediates, and another number of instructions in as many bytes
    b"\x41\x88\x45\x01",
    b"\x41\xc6\x45\x02\x90\x41\xc6\x45\x03\x90",  # nop; nop
    b"\x41\xc6\x45\x02\x66\x41\xc6\x45\x03\x90",  # xchg ax, ax
    b"\x66\x41\xc7\x45\x02\xff\xc3",  # inc ebx
    b"\x41\xff\xd5",  # call r13
    b"\x41\xff\xd5",
]
PATCHED = b"\xb0\x01\x90\x90\x01\xc3\xc3"  # mov al, 1; nop; nop; add ebx, eax; ret


def assemble(seed: int, kinds: list[bytes], blocks: int = 12, fuel: int = 60) -> bytes:
    """Blocks of random snippets, each ending in a random jump, until the fuel in r15 is used up."""
    source = random.Random(seed)
    bodies = [b"".join(source.choice(kinds) for _ in range(source.randrange(1, 6))) for _ in range(blocks)]
    tails = [source.choice(["jz", "jc", "js", "jmp", "loop"]) for _ in range(blocks)]
    targets = [source.randrange(blocks) for _ in range(blocks)]
    size = {"jz": 6, "jc": 6, "js": 6, "jmp": 5, "loop": 6}
    header = b"\x49\xff\xcf\x0f\x88"  # dec r15; js end
    starts, at = [], 0
    for body, tail in zip(bodies, tails, strict=True):
        starts.append(at)
        at += len(header) + 4 + len(body) + size[tail]
    end, out = at, b""
    for i, (body, tail) in enumerate(zip(bodies, tails, strict=True)):
        out += header + struct.pack("<i", end - (starts[i] + len(header) + 4)) + body
        opcode = {"jz": b"\x0f\x84", "jc": b"\x0f\x82", "js": b"\x0f\x88", "jmp": b"\xe9", "loop": b"\x0f\x85"}[tail]
        out += opcode + struct.pack("<i", starts[targets[i]] - (starts[i] + len(header) + 4 + len(body) + size[tail]))
    return out + EXIT


def machine(code: bytes, kind: bool, fuel: int = 60, slice_insns: int = 10_000_000) -> Bare:
    bare = Bare(kind, slice_insns)
    bare.map(CODE, code)
    bare.map(DATA, perms="rw", pages=2)
    bare.map(RWX, PATCHED, perms="rwx")
    bare.ranges += [(STACK - (1 << 20), STACK, "rw"), (LAZY, LAZY + 0x9000, "rw")]
    bare.on_syscall = lambda nr, *_: None if nr == 60 else 7
    bare.start(rsp=STACK - 4096, rbp=DATA, r12=LAZY, r13=RWX, r15=fuel, rbx=5, rdx=3)
    return bare


def observe(bare: Bare, stops: Callable[[int], int | None]) -> Observed:
    """Run to the end, with deadlines; all that a kernel could see."""
    log: list[object] = []
    while True:
        trap: Trap = bare.run(stops(bare.cpu.insns))
        log.append((trap, bare.cpu.insns, bare.cpu.read_regs()))
        if trap.kind is not TrapKind.DEADLINE:
            break
    memory = [bare.read(va, 4096) for va in (DATA, RWX)]
    return {"log": log, "faults": bare.faults, "calls": bare.calls, "memory": memory}


def to_the_end(_now: int) -> None:
    """No deadline."""


KINDS = PLAIN + LAZY_ACCESS + CALLS


@needs_native
@pytest.mark.parametrize("seed", range(40))
def test_a_random_program_is_the_same_to_both(seed: int) -> None:
    code = assemble(seed, KINDS)
    runs = [observe(machine(code, kind), to_the_end) for kind in (False, True)]
    assert runs[0] == runs[1]


@needs_native
@pytest.mark.parametrize("seed", range(12))
def test_with_a_deadline_at_every_seventh_instruction_too(seed: int) -> None:
    code = assemble(seed, KINDS)
    free = observe(machine(code, True), to_the_end)
    runs = [observe(machine(code, kind), lambda now: now // 7 * 7 + 7) for kind in (False, True)]
    assert runs[0] == runs[1]
    assert runs[0]["log"][-1] == free["log"][-1]
    assert runs[0]["faults"] == free["faults"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", [False, pytest.param(True, marks=needs_native)], ids=["twin", "native"])
def test_one_instruction_at_a_time_comes_to_the_same_end(seed: int, kind: bool) -> None:
    """The oracle: each deadline is one further, and each step is one instruction of the disassembly."""
    code = assemble(seed, KINDS, fuel=20)
    free = observe(machine(code, kind, fuel=20), to_the_end)
    stepped = observe(machine(code, kind, fuel=20), lambda now: now + 1)
    assert stepped["log"][-1] == free["log"][-1]
    assert stepped["faults"] == free["faults"]
    assert stepped["calls"] == free["calls"]
    counts = [insns for _, insns, _ in stepped["log"]]
    assert counts[:-1] == list(range(1, len(counts)))
    check_path([regs.rip for _, _, regs in stepped["log"]], code)


def check_path(path: list[int], code: bytes) -> None:
    """Each step goes to the next instruction, stays (rep), or follows a jump."""
    capstone = pytest.importorskip("capstone")
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for here, there in itertools.pairwise(path):
        insn = next(disassembler.disasm(code[here - CODE : here - CODE + 15], here, 1))
        allowed = {here + insn.size}
        if insn.mnemonic.startswith("rep"):
            allowed.add(here)
        if insn.mnemonic.startswith("j"):
            allowed.add(int(insn.op_str, 16))
        assert there in allowed, (hex(here), insn.mnemonic, hex(there))


@needs_native
@pytest.mark.parametrize("seed", range(25))
def test_code_that_writes_code(seed: int) -> None:
    kinds = PLAIN[:6] + PATCHES * 2
    code = assemble(seed, kinds)
    free = [observe(machine(code, kind), to_the_end) for kind in (False, True)]
    assert free[0] == free[1]
    stepped = observe(machine(code, True), lambda now: now + 1)
    assert stepped["log"][-1] == free[0]["log"][-1]


SELF = [  # stores into the very block they stand in, at RWX
    b"\x90\xc6\x05\x02\0\0\0\x90\x90\xff\xc3" + EXIT,  # mov byte [rip+2], 0x90: the inc after it becomes nop; nop...
    b"\x90\xc6\x05\x01\0\0\0\xc3\x90\xff\xc3\x90\x90" + EXIT,
    b"\x90\x90\x66\xc7\x05\x00\0\0\0\x66\x90\xff\xc3\xff\xc3" + EXIT,
    b"\xb9\x03\0\0\0\x48\x8d\x3d\x04\0\0\0\xb0\x90\xf3\xaa\xff\xc3\xff\xc3" + EXIT,  # rep stosb over what follows
    b"\x48\xff\xc3\xc6\x05\xf6\xff\xff\xff\x48\x48\xff\xc3\x48\xff\xcd\x75\xed" + EXIT,  # its own first byte, in a loop
    b"\xc6\x05\x00\0\0\0\x90\xff\xc3\x48\xff\xcd\x75\xf2" + EXIT,
]


@needs_native
@pytest.mark.parametrize("code", SELF)
def test_a_store_into_its_own_block(code: bytes) -> None:
    def build(kind: bool) -> Bare:
        bare = machine(EXIT, kind)
        bare.map(RWX, code, perms="rwx")
        bare.start(RWX, rsp=STACK - 4096, rbp=4)
        return bare

    runs = [observe(build(kind), lambda now: None if now < 500 else now) for kind in (False, True)]
    assert runs[0] == runs[1]
    stepped = observe(build(True), lambda now: now + 1)
    assert stepped["log"][-1][1:] == runs[0]["log"][-1][1:]
    assert [insns for _, insns, _ in stepped["log"]][:-1] == list(range(1, len(stepped["log"])))


@needs_native
def test_slices_do_not_show() -> None:
    code = assemble(3, KINDS)
    whole = observe(machine(code, True, fuel=5000), to_the_end)
    assert observe(machine(code, True, fuel=5000, slice_insns=1), to_the_end) == whole


@needs_native
def test_other_code_at_the_same_address_after_a_remap() -> None:
    """A page of code is replaced by another, PTE and all, as munmap and mmap do it."""

    def swap(kind: bool) -> Observed:
        bare = machine(b"\xb8\x27\0\0\0" + SYSCALL + b"\x41\xff\xd5\xeb\xf4", kind)
        bodies = [b"\xff\xc3\x90\x90\xc3", b"\xff\xc3\x66\x90\xc3", b"\x83\xc3\x02\x90\xc3"]

        def syscall(*_: int) -> int | None:
            if len(bare.calls) == 9:
                return None
            bare.map(RWX, bodies[len(bare.calls) % 3], perms="rx")
            bare.cpu.flush_tlb()
            bare.cpu.invalidate_code(bare.used_frames)
            return 0

        bare.on_syscall = syscall
        return observe(bare, to_the_end)

    runs = [swap(False), swap(True)]
    assert runs[0] == runs[1]
    assert runs[0]["log"][-1][1] == 8 * 4 + (3 + 3 + 4) * 2 + 3 + 3 + 2  # eight rounds, and the last syscall
