"""Frames: references, zeroes, the end of RAM, and what goes back to the host."""

from __future__ import annotations

import pytest

from kernel.cpu import Access
from kernel.mm import map as mm_map
from kernel.mm.check import check_machine
from kernel.mm.fault import Fault, handle_mm_fault, populate
from kernel.mm.frames import CLEAN, FREE, Frames, OutOfMemory
from kernel.mm.mm import Mm
from kernel.mm.protect import mprotect
from kernel.mm.ram import Ram
from kernel.mm.remap import mremap
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE, GIB = 4096, 1 << 30


def fresh(size: int) -> Mm:
    ram = Ram(size)
    return Mm(ram, Frames(ram), Probes(), Rlimits())


def test_a_freed_frame_comes_back_zeroed() -> None:
    frames = Frames(Ram(2 << 20))
    pfn = frames.alloc()
    frames.ram.bytes[pfn << 12] = 7
    frames.put(pfn)
    assert frames.alloc() == pfn
    assert frames.ram.bytes[pfn << 12] == 0


def test_a_frame_is_free_when_its_last_owner_goes() -> None:
    frames = Frames(Ram(2 << 20))
    before = frames.used
    pfn = frames.alloc()
    frames.get(pfn)
    frames.put(pfn)
    assert frames.used == before + 1
    frames.put(pfn)
    assert frames.used == before


def test_ram_ends_with_out_of_memory_and_reclaim_is_asked_first() -> None:
    frames = Frames(Ram((1 << 20) + 4 * PAGE))
    taken = [frames.alloc() for _ in range(3)]
    asked = []

    def reclaim() -> bool:
        asked.append(1)
        if len(asked) == 1:
            frames.put(taken.pop())
            return True
        return False

    frames.reclaim = reclaim
    frames.alloc()
    with pytest.raises(OutOfMemory, match="260 frames"):
        frames.alloc()
    assert len(asked) == 2


def test_much_memory_is_unmapped_run_by_run_and_its_frames_are_clean_again() -> None:
    mm = fresh(64 << 20)
    size = 40 << 20
    start = mm_map.mmap(mm, 0, size, 3)
    populate(mm, start, start + size)
    assert mm.rss == size >> 12
    moved = mremap(mm, start, size, size, 0x2000_0000_1000, maymove=True, fixed=True)
    mprotect(mm, moved, moved + size, 1)
    assert handle_mm_fault(mm, moved, Access.WRITE) is Fault.ACCERR
    mprotect(mm, moved, moved + size, 3)
    check_machine(mm.frames, [mm])
    mm_map.munmap(mm, moved, moved + size)
    assert mm.rss == 0
    free = mm.frames.free[: mm.frames.counters[FREE]].tolist()
    assert sum(bool(entry & CLEAN) for entry in free) >= size >> 12
    check_machine(mm.frames, [mm])


def test_reservations_cost_nothing() -> None:
    mm = fresh(2 << 20)
    used = mm.frames.used
    for length, prot in ((12 << 40, 0), (256 * GIB, 3)):
        start = mm_map.mmap(mm, 0, length, prot, flags=mm_map.noreserve(mm))
        assert mm.frames.used == used
        if prot:
            assert handle_mm_fault(mm, start + length // 2, Access.WRITE) is Fault.OK
        mm_map.munmap(mm, start, start + length)
        assert mm.frames.used == used
