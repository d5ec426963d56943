"""Frames that held code: the CPU is told of each that changes or goes, and of no other."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from kernel.cpu import Access
from kernel.fs.pagecache import PageCache
from kernel.mm.fault import Fault, handle_mm_fault
from kernel.mm.frames import Frames
from kernel.mm.map import mmap, munmap
from kernel.mm.mm import Mm
from kernel.mm.protect import mprotect
from kernel.mm.pte import PFN
from kernel.mm.ram import Ram
from kernel.mm.shmem import Shmem
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE, RW, RX, RWX = 4096, 3, 5, 7


class World:
    """An address space, and what its CPU was told to translate anew."""

    def __init__(self) -> None:
        self.frames = Frames(Ram(8 << 20))
        self.stale: list[int] = []
        self.frames.invalidate = self._invalidate
        self.mm = self.space()

    def _invalidate(self, pfns: Collection[int]) -> None:
        self.stale += pfns

    def space(self) -> Mm:
        return Mm(self.frames.ram, self.frames, Probes(), Rlimits())

    def executed(self, va: int, mm: Mm | None = None) -> int:
        """The frame of va's page, fetched from."""
        mm = mm or self.mm
        assert handle_mm_fault(mm, va, Access.FETCH) is Fault.OK
        return (mm.page_table.entry(va) & PFN) >> 12


@pytest.fixture
def world() -> World:
    return World()


def file(world: World, pages: int = 1) -> PageCache:
    cache = PageCache(world.frames.ram, world.frames, (0, 1, 2))
    cache.write(b"\xc3" * PAGE * pages, 0)
    return cache


def written(world: World) -> tuple[int, int]:
    """Anonymous memory with code: its address and frame."""
    va = mmap(world.mm, 0, PAGE, RWX)
    world.mm.copy_to_user(va, b"\xc3")
    world.stale.clear()
    return va, world.executed(va)


def test_a_page_that_is_unmapped(world: World) -> None:
    va, pfn = written(world)
    assert world.stale == []
    munmap(world.mm, va, va + PAGE)
    assert world.stale == [pfn]
    assert pfn not in world.frames.code


def test_a_page_that_is_executable_no_more_may_go_unseen(world: World) -> None:
    va, pfn = written(world)
    mprotect(world.mm, va, va + PAGE, RW)
    assert world.stale == [pfn]
    munmap(world.mm, va, va + PAGE)
    assert world.stale == [pfn]


def test_a_page_that_the_kernel_writes(world: World) -> None:
    va, pfn = written(world)
    world.mm.copy_to_user(va + 8, b"\x90")
    assert world.stale == [pfn]


def test_a_write_to_a_program_that_nobody_runs_now(world: World) -> None:
    cache = file(world)
    va = mmap(world.mm, 0, PAGE, RX, mappable=cache)
    pfn = world.executed(va)
    world.mm.destroy()
    assert world.stale == [], "the next program runs the same code"
    cache.write(b"\x90", 0)
    assert world.stale == [pfn]


def test_a_program_that_is_truncated_or_deleted(world: World) -> None:
    cache = file(world, 2)
    va = mmap(world.mm, 0, 2 * PAGE, RX, mappable=cache)
    pfns = [world.executed(va), world.executed(va + PAGE)]
    world.mm.destroy()
    cache.truncate(PAGE)
    assert world.stale == pfns[1:]
    cache.release()
    assert world.stale == pfns[::-1]
    assert not world.frames.code


def test_an_exit_takes_its_own_pages_along(world: World) -> None:
    _, own = written(world)
    memory = Shmem(world.frames, 1, False)
    shared = world.executed(mmap(world.mm, 0, PAGE, RWX, mappable=memory, shared=True))
    world.mm.destroy()
    assert sorted(world.stale) == sorted([own, shared])


def test_two_who_map_a_page_lose_it_one_by_one(world: World) -> None:
    cache, other = file(world), world.space()
    here, there = (mmap(mm, 0, PAGE, RX, mappable=cache) for mm in (world.mm, other))
    pfn = world.executed(here)
    assert world.executed(there, other) == pfn
    munmap(world.mm, here, here + PAGE)
    assert pfn in world.frames.code, "what the kernel writes there is still to be told"
