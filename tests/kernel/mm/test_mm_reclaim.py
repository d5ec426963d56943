"""Pages leave RAM when it is full, and come back: the clock, swap, lazily freed pages, files of the host."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from runs import elf

from emu.api import run
from kernel.abi.mman import Madv
from kernel.cpu import Access
from kernel.mm import map as mm_map
from kernel.mm.advise import do_madvise
from kernel.mm.check import check_machine
from kernel.mm.fault import Fault, handle_mm_fault
from kernel.mm.frames import Frames, OutOfMemory
from kernel.mm.mm import ANON, MAJ_FLT, SWAP, Mm
from kernel.mm.protect import mprotect
from kernel.mm.ram import Ram
from kernel.mm.reclaim import Clock
from kernel.mm.remap import mremap
from kernel.mm.residency import mincore, mlock
from kernel.mm.shmem import Shmem
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE = 4096
RW = 3


def small(swap: int = 256, pages: int = 64) -> Mm:
    """An address space on a machine of `pages` frames and `swap` slots."""
    ram = Ram((1 << 20) + pages * PAGE)
    frames = Frames(ram, overcommit=1, swap_pages=swap)
    frames.reclaim = Clock(frames)
    return Mm(ram, frames, Probes(), Rlimits())


def fill(mm: Mm, va: int, pages: int, value: int = 1) -> None:
    for n in range(pages):
        mm.copy_to_user(va + n * PAGE, bytes([(value + n) % 251 + 1]) * PAGE)


def holds(mm: Mm, va: int, pages: int, value: int = 1) -> bool:
    return all(mm.copy_from_user(va + n * PAGE, PAGE) == bytes([(value + n) % 251 + 1]) * PAGE for n in range(pages))


def test_more_than_ram_comes_back_from_swap() -> None:
    mm = small()
    va = mm_map.mmap(mm, 0, 200 * PAGE, RW)
    fill(mm, va, 200)
    check_machine(mm.frames, [mm])
    assert mm.counters[SWAP] + mm.counters[ANON] == 200
    assert holds(mm, va, 200)
    assert mm.counters[MAJ_FLT] >= 140
    check_machine(mm.frames, [mm])
    mm.destroy()
    assert (mm.frames.used, mm.frames.swap.used) == (1, 0)


def test_a_read_across_pages_is_one_even_if_each_page_drives_out_the_last() -> None:
    mm = small(pages=16)
    va = mm_map.mmap(mm, 0, 64 * PAGE, RW)
    fill(mm, va, 64)
    assert mm.copy_from_user(va, 64 * PAGE) == b"".join(bytes([n % 251 + 2]) * PAGE for n in range(64))
    check_machine(mm.frames, [mm])


def test_without_room_in_swap_memory_ends() -> None:
    mm = small(swap=20)
    va = mm_map.mmap(mm, 0, 200 * PAGE, RW)
    with pytest.raises(OutOfMemory):
        fill(mm, va, 200)
    assert mm.counters[SWAP] == 20
    check_machine(mm.frames, [mm])


def test_locked_pages_never_leave() -> None:
    mm = small()
    locked = mm_map.mmap(mm, 0x10000000, 16 * PAGE, RW, fixed=True)
    fill(mm, locked, 16)
    mlock(mm, locked, locked + 16 * PAGE, False)
    va = mm_map.mmap(mm, 0, 150 * PAGE, RW)
    fill(mm, va, 150)
    assert mincore(mm, locked, 16) == bytes([1]) * 16
    check_machine(mm.frames, [mm])


def test_lazily_freed_pages_go_before_anything_is_swapped_and_written_ones_stay() -> None:
    mm = small()
    va = mm_map.mmap(mm, 0, 40 * PAGE, RW)
    fill(mm, va, 40)
    do_madvise(mm, va, 40 * PAGE, Madv.FREE)
    mm.copy_to_user(va, b"kept")
    more = mm_map.mmap(mm, 0x10000000, 30 * PAGE, RW, fixed=True)
    fill(mm, more, 30)
    assert mm.counters[SWAP] == 0
    assert mm.copy_from_user(va, 5) == b"kept\2"
    there = [mm.copy_from_user(va + n * PAGE, PAGE) for n in range(1, 40)]
    assert all(page in (bytes(PAGE), bytes([n % 251 + 2]) * PAGE) for n, page in enumerate(there, 1))
    assert bytes(PAGE) in there
    assert holds(mm, more, 30)


def test_pageout_and_what_happens_to_pages_in_swap() -> None:
    mm = small()
    va = mm_map.mmap(mm, 0x10000000, 8 * PAGE, RW, fixed=True)
    fill(mm, va, 8)
    do_madvise(mm, va, 8 * PAGE, Madv.PAGEOUT)
    assert (mm.counters[SWAP], mm.counters[ANON], mm.rss) == (8, 0, 0)
    assert mincore(mm, va, 8) == bytes(8)
    to = mremap(mm, va, 8 * PAGE, 8 * PAGE, 0x20000000, maymove=True, fixed=True)
    mprotect(mm, to, to + PAGE, 1)
    assert holds(mm, to, 1)
    assert handle_mm_fault(mm, to, Access.WRITE) is Fault.ACCERR
    do_madvise(mm, to + PAGE, PAGE, Madv.DONTNEED)
    do_madvise(mm, to + 2 * PAGE, PAGE, Madv.FREE)
    mm_map.munmap(mm, to + 3 * PAGE, to + 4 * PAGE)
    check_machine(mm.frames, [mm])
    assert mm.counters[SWAP] == 4
    assert mm.copy_from_user(to + PAGE, 2 * PAGE) == bytes(2 * PAGE)
    assert holds(mm, to + 4 * PAGE, 4, 5)


def test_without_swap_pageout_keeps_what_was_written() -> None:
    mm = small(swap=0)
    va = mm_map.mmap(mm, 0, 8 * PAGE, RW)
    fill(mm, va, 8)
    do_madvise(mm, va, 8 * PAGE, Madv.PAGEOUT)
    assert mincore(mm, va, 8) == bytes([1]) * 8


@pytest.mark.parametrize("seed", range(6))
def test_under_pressure_an_address_space_is_still_a_dict_of_pages(seed: int) -> None:
    rng = random.Random(seed)
    mm = small(swap=400, pages=48)
    base, span = 0x10000000, 160
    known: dict[int, int] = {}
    for _ in range(1500):
        at, value = rng.randrange(span), rng.randrange(1, 255)
        va = base + at * PAGE
        match rng.choice(("write", "write", "write", "read", "read", "map", "unmap", "zap", "pageout", "move")):
            case "write" if at in known:
                mm.copy_to_user(va, bytes([value]) * PAGE)
                known[at] = value
            case "read" if at in known:
                assert mm.copy_from_user(va, PAGE) == bytes([known[at]]) * PAGE
            case "map":
                mm_map.mmap(mm, va, 8 * PAGE, RW, fixed=True)
                known |= dict.fromkeys(range(at, at + 8), 0)
            case "unmap":
                mm_map.munmap(mm, va, va + PAGE)
                known.pop(at, None)
            case "zap" if at in known:
                do_madvise(mm, va, PAGE, Madv.DONTNEED)
                known[at] = 0
            case "pageout" if at in known:
                do_madvise(mm, va, PAGE, Madv.PAGEOUT)
            case "move" if at in known and abs(at - (to := rng.randrange(span))) > 0:
                mremap(mm, va, PAGE, PAGE, base + to * PAGE, maymove=True, fixed=True)
                known[to] = known.pop(at)
        if not rng.randrange(20):
            check_machine(mm.frames, [mm])
    assert all(mm.copy_from_user(base + at * PAGE, PAGE) == bytes([value]) * PAGE for at, value in known.items())
    mm.destroy()
    assert (mm.frames.used, mm.frames.swap.used) == (1, 0)


@pytest.mark.parametrize(("name", "options"), [("mm/swap", {"swap": "64M"}), ("mm/lazyfree", {})])
@pytest.mark.parametrize("native", [True, False])
def test_a_guest_gets_its_bytes_back(name: str, options: dict[str, str], native: bool) -> None:
    done = run(elf(name, "musl"), memory="16M", native=native, timeout=200, **options)  # type: ignore[arg-type]
    assert (done.stdout, done.returncode) == (b"ok\n", 0), done.stderr


def test_a_mounted_file_larger_than_ram_can_be_mapped(tmp_path: Path) -> None:
    from files import Files

    from kernel.config import Mount

    size = 12 << 20
    (tmp_path / "big").write_bytes(b"".join(n.to_bytes(4, "little") * 1024 for n in range(size // PAGE)))
    guest = Files(ram_bytes=8 << 20, mounts=(Mount(str(tmp_path), "/host", True),), overcommit=1)
    fd = guest.open("/host/big", 2)
    at = guest.map(fd, size)
    for n in range(0, size // PAGE, 3):
        guest.put(b"new!", at + n * PAGE + 8)
    mm = guest.task.mm
    for n in range(size // PAGE):
        wanted = n.to_bytes(4, "little")
        assert mm.copy_from_user(at + n * PAGE, 12) == wanted * 2 + (wanted if n % 3 else b"new!")
    guest.sys("munmap", at, size)
    data = (tmp_path / "big").read_bytes()
    assert all(data[n * PAGE + 8 : n * PAGE + 12] == b"new!" for n in range(0, size // PAGE, 3))


def test_shared_memory_is_swapped_once_for_all_who_map_it() -> None:
    mm = small()
    shared = Shmem(mm.frames, 120, accounted=False)
    one = mm_map.mmap(mm, 0x10000000, 120 * PAGE, RW, fixed=True, mappable=shared, shared=True)
    two = mm_map.mmap(mm, 0x20000000, 120 * PAGE, RW, fixed=True, mappable=shared, shared=True)
    for start in range(0, 120, 40):
        fill(mm, one + start * PAGE, 40, start + 1)
        assert holds(mm, two + start * PAGE, 40, start + 1)
    assert holds(mm, two, 120)
    assert mm.counters[SWAP] == 0
    assert shared.swapped(0, 120) == mm.frames.swap.used > 50
    check_machine(mm.frames, [mm], shared.pages.values())
    shared.punch(0, 60)
    assert mm.copy_from_user(one, 60 * PAGE) == bytes(60 * PAGE)
    assert holds(mm, one + 60 * PAGE, 60, 61)
    mm.destroy()
    assert (mm.frames.used, mm.frames.swap.used) == (1, 0)


def test_files_in_memory_that_nobody_maps_are_swapped() -> None:
    from files import Files

    guest = Files(ram_bytes=8 << 20, swap_bytes=16 << 20, overcommit=1)
    fd = guest.open("/dev/shm/large", 0o102)
    pages = (3 << 20) // PAGE
    for n in range(pages):
        assert guest.write(fd, n.to_bytes(4, "little") * 1024) == PAGE
    at = guest.call("mmap", 0, 6 << 20, RW, 0x22, -1, 0)
    for n in range((6 << 20) // PAGE):
        guest.put(b"x", at + n * PAGE)
    swap = guest.kernel.system.frames.swap
    assert swap.used > 256
    assert all(guest.pread(fd, 4, n * PAGE) == n.to_bytes(4, "little") for n in range(pages))
    guest.sys("munmap", at, 6 << 20)
    assert guest.sys("unlink", b"/dev/shm/large\0") == guest.sys("close", fd) == 0
    assert swap.used < 16  # of the guest's own
