"""What a death report says of an address."""

from __future__ import annotations

import pytest

from kernel.abi.mman import Madv
from kernel.mm import map as mm_map
from kernel.mm.advise import do_madvise
from kernel.mm.brk import brk
from kernel.mm.describe import describe
from kernel.mm.frames import Frames
from kernel.mm.mm import Mm
from kernel.mm.ram import Ram
from kernel.mm.vma import GROWSDOWN
from kernel.probes import Probes
from kernel.rlimit import Rlimits

ANON = 0x7000_0000_0000
STACK = 0x7FFF_FFFD_E000


@pytest.fixture
def mm() -> Mm:
    """A heap of a page and a half, three anonymous areas, a stack."""
    ram = Ram(4 << 20)
    mm = Mm(ram, Frames(ram), Probes(), Rlimits())
    mm.start_brk = mm.brk = 0x50_0000
    brk(mm, 0x50_1800)
    mm_map.mmap(mm, ANON, 0x4000, 3, fixed=True)
    mm_map.mmap(mm, ANON + 0x8000, 0x1000, 1, fixed=True)
    mm_map.mmap(mm, ANON + 0xA000, 0x1000, 0, fixed=True)
    do_madvise(mm, ANON + 0x3000, 0x1000, Madv.GUARD_INSTALL)
    mm_map.mmap(mm, STACK, 0x2_1000, 3, fixed=True, flags=GROWSDOWN)
    mm.start_stack = STACK + 0x2_0F00
    return mm


@pytest.mark.parametrize(("va", "words"), [
    (0, "the NULL page"),
    (24, "the NULL page, 24 bytes past NULL"),
    (0x8000, "below vm.mmap_min_addr (0x10000): 32 KiB past NULL"),
    (0x50_1900, "no man's land, 256 bytes past the break 0x501800"),
    (0x50_2800, "4 KiB past the heap's break 0x501800, no man's land ends at 0x502000"),
    (0x50_0010, "a page that is not executable of the heap, 500000-502000 rw-p"),
    (ANON + 0x3004, "a guard page (MADV_GUARD_INSTALL) in anonymous memory"),
    (ANON + 0x4000, "in a hole: right behind the end of anonymous memory"),
    (ANON + 0x8123, "a read-only page of anonymous memory"),
    (ANON + 0xA000, "an inaccessible (PROT_NONE) page of anonymous memory"),
    (STACK - 8, "8 bytes below the stack"),
    (STACK + 0x2_1000 - (8 << 20) - 8, "which may grow to 8 MiB (RLIMIT_STACK): a stack overflow"),
    (1 << 46, "nothing is mapped there (hole from"),
    (1 << 47, "a non-canonical address (bits 47 to 63 differ)"),
    (0xFFFF_8000_0000_0000, "a kernel address"),
])  # fmt: skip
def test_an_address_in_words(mm: Mm, va: int, words: str) -> None:
    assert words in describe(mm, va)


def test_a_break_that_ends_a_page_leaves_no_mans_land(mm: Mm) -> None:
    brk(mm, 0x50_2000)
    assert describe(mm, 0x50_2000) == "at the heap's break 0x502000, where the heap ends"
    assert describe(mm, 0x50_2005) == "5 bytes past the heap's break 0x502000, where the heap ends"


def test_the_stack_that_met_its_neighbour_is_in_its_guard_gap(mm: Mm) -> None:
    mm_map.mmap(mm, STACK - 0x8_0000, 0x1000, 3, fixed=True)
    assert "in the stack's guard gap" in describe(mm, STACK - 0x100)
