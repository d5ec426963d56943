"""kernel/task/loader.py and stack.py: where Linux puts a program, its break, its stack, and what is on it."""

from __future__ import annotations

import struct

import pytest
from fakes import CODE, World, elf, phdr

from kernel.abi import limits as at
from kernel.abi.errno import E2BIG, LinuxError
from kernel.task.elf import ExecError
from kernel.task.stack import build, check_size

STACK_TOP = 0x7FFF_FFFF_F000


def maps(world: World) -> list[tuple[int, int, int]]:
    return [(vma.start, vma.end, vma.prot) for vma in world.task.mm.vmas]


def pie() -> bytes:
    return elf(
        phdr(flags=5, vaddr=0, filesz=0x1000),
        phdr(flags=6, offset=0x1000, vaddr=0x1000, filesz=0x1000, memsz=0x3000),
        kind=3,
        entry=0x10,
    )


def stack_of(world: World) -> tuple[list[int], dict[int, int]]:
    """argc and the pointers up to envp's NULL, and the auxv."""
    sp = world.cpu.regs.rsp
    words = struct.unpack(f"<{(STACK_TOP - sp) // 8}Q", world.get((STACK_TOP - sp) // 8 * 8, sp))
    argc = words[0]
    end = words.index(0, argc + 2)
    auxv = {}
    for key, value in zip(words[end + 1 :: 2], words[end + 2 :: 2], strict=False):
        if key == 0:
            break
        auxv[key] = value
    return list(words[: end + 1]), auxv


def string(world: World, va: int) -> bytes:
    return world.task.mm.strncpy_from_user(va, 4096)


def test_a_static_program_lies_where_its_segments_say_with_the_break_above() -> None:
    world = World()
    assert maps(world) == [
        (0x400000, 0x401000, 1),
        (0x401000, 0x402000, 5),
        (0x402000, 0x403000, 3),
        (0x403000, 0x404000, 3),
        (STACK_TOP - 0x21000, STACK_TOP, 3),
    ]
    assert world.task.mm.start_brk == world.task.mm.brk == 0x404000
    assert world.cpu.regs.rip == CODE


def test_a_static_pie_ends_at_mmap_base_and_its_break_is_far_below() -> None:
    world = World(pie())
    base = 0x7FFF_F7FF_F000 - 0x4000
    assert maps(world)[:3] == [
        (base, base + 0x1000, 5), (base + 0x1000, base + 0x2000, 3), (base + 0x2000, base + 0x4000, 3),
    ]  # fmt: skip
    assert world.task.mm.brk == 0x5555_5555_5000
    assert world.cpu.regs.rip == base + 0x10


def test_registers_start_at_zero() -> None:
    regs = World().cpu.regs
    assert regs.rflags == 0x202
    assert all(getattr(regs, name) == 0 for name in regs.__slots__ if name not in ("rip", "rsp", "rflags"))


def test_argv_envp_and_auxv_are_on_the_stack_as_linux_lays_them() -> None:
    world = World(argv=(b"prog", b"", b"two"), envp=(b"A=1", b"B="))
    pointers, auxv = stack_of(world)
    assert world.cpu.regs.rsp % 16 == 0
    assert pointers[0] == 3
    assert [string(world, va) for va in pointers[1:4]] == [b"prog", b"", b"two"]
    assert pointers[4] == 0
    assert [string(world, va) for va in pointers[5:7]] == [b"A=1", b"B="]
    assert list(auxv) == [
        at.AT_MINSIGSTKSZ, at.AT_HWCAP, at.AT_PAGESZ, at.AT_CLKTCK, at.AT_PHDR, at.AT_PHENT, at.AT_PHNUM, at.AT_BASE,
        at.AT_FLAGS, at.AT_ENTRY, at.AT_UID, at.AT_EUID, at.AT_GID, at.AT_EGID, at.AT_SECURE, at.AT_RANDOM,
        at.AT_HWCAP2, at.AT_EXECFN, at.AT_PLATFORM, at.AT_RSEQ_FEATURE_SIZE, at.AT_RSEQ_ALIGN,
    ]  # fmt: skip
    assert auxv[at.AT_PHDR] == 0x400040
    assert auxv[at.AT_PHNUM] == 4
    assert auxv[at.AT_ENTRY] == CODE
    assert auxv[at.AT_UID] == 1000
    assert string(world, auxv[at.AT_EXECFN]) == b"/prog"
    assert string(world, auxv[at.AT_PLATFORM]) == b"x86_64"
    assert auxv[at.AT_EXECFN] == STACK_TOP - 8 - len(b"/prog\0")


def test_the_first_stack_of_a_native_run_is_reproduced() -> None:
    """`env -i A=1 setarch -R ./aux_s x yy` on Linux 6.18, whose auxv has the vDSO's entry more."""
    keys = (33, 51, 16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25, 26, 31, 15, 27, 28)
    auxv = [(key, 0) for key in keys]
    built = build(STACK_TOP, [b"./aux_s", b"x", b"yy"], [b"A=1"], b"./aux_s", auxv, bytes(16))
    assert built.sp == 0x7FFF_FFFF_EE10
    assert built.arg_start == 0x7FFF_FFFF_EFDF
    assert built.env_start == 0x7FFF_FFFF_EFEC
    found = dict(struct.iter_unpack("<QQ", built.auxv))
    assert found[25] == 0x7FFF_FFFF_EFB9
    assert found[31] == 0x7FFF_FFFF_EFF0
    assert found[15] == 0x7FFF_FFFF_EFC9
    assert len(built.data) == STACK_TOP - built.sp


def test_random_bytes_come_from_the_seed() -> None:
    def at_random(seed: int) -> bytes:
        world = World(seed=seed)
        return world.get(16, stack_of(world)[1][at.AT_RANDOM])

    assert at_random(1) == at_random(1) != at_random(2)


def test_aslr_is_reproducible_and_moves_everything_that_linux_moves() -> None:
    def places(seed: int | None, image: bytes | None = None) -> tuple[int, int, int]:
        world = World(image, aslr=seed)
        return world.task.mm.start_brk, world.task.mm.mmap_base, max(vma.end for vma in world.task.mm.vmas)

    assert places(7) == places(7)
    for one, other, fixed in zip(places(7), places(8), places(None), strict=True):
        assert one != other
        assert one != fixed
    brk, base, top = places(7)
    assert 0x404000 < brk <= 0x404000 + (1 << 30) + 4096
    assert STACK_TOP - (16 << 30) <= top <= STACK_TOP
    assert base < STACK_TOP - (16 << 30)
    assert places(3, pie()) != places(4, pie())


def test_a_program_below_mmap_min_addr_needs_root() -> None:
    low = elf(phdr(vaddr=0x1000))
    with pytest.raises(ExecError, match="mmap_min_addr"):
        World(low)
    World(low, uid=0)


def test_a_segment_on_the_stack_is_refused() -> None:
    with pytest.raises(ExecError, match="collide"):
        World(elf(phdr(vaddr=STACK_TOP - 0x1000)))


def test_a_large_alignment_is_kept() -> None:
    image = elf(phdr(flags=5, vaddr=0, filesz=0x1000, align=0x200000), kind=3, entry=0x10)
    assert World(image).task.mm.start_code % 0x200000 == 0


def test_bss_of_a_petabyte_is_refused_not_allocated() -> None:
    with pytest.raises(LinuxError):
        World(elf(phdr(flags=6, memsz=100 << 40)))


def test_an_executable_stack_is_mapped_so() -> None:
    world = World(elf(phdr(flags=5), phdr(0x6474E551, 7, filesz=0)))
    assert maps(world)[-1][2] == 7


def test_too_many_arguments_are_e2big() -> None:
    check_size([b"x" * 131071], [], b"", 8 << 20)
    for argv in ([b"x" * 131072], [b"y" * 100_000] * 21):
        with pytest.raises(LinuxError) as refused:
            check_size(argv, [], b"", 8 << 20)
        assert refused.value.errno == E2BIG


def test_many_arguments_take_a_larger_stack() -> None:
    world = World(argv=tuple(b"x" * 1000 for _ in range(100)))
    start, end, _ = maps(world)[-1]
    assert end - start == 0x1A000 + 0x20000 - 0x1000
