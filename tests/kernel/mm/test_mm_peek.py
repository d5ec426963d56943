"""peek reads what a tracer could read, and leaves no mark."""

from __future__ import annotations

import pytest

from kernel.abi.errno import LinuxError
from kernel.mm import map as mm_map
from kernel.mm.frames import Frames
from kernel.mm.mm import Mm
from kernel.mm.protect import mprotect
from kernel.mm.ram import Ram
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE, BASE = 4096, 0x7000_0000_0000


@pytest.fixture
def mm() -> Mm:
    """Two pages that may be read and written; the first was written."""
    ram = Ram(4 << 20)
    mm = Mm(ram, Frames(ram), Probes(), Rlimits())
    mm_map.mmap(mm, BASE, 2 * PAGE, 3, fixed=True)
    mm.copy_to_user(BASE + PAGE - 4, b"left")
    return mm


def test_an_untouched_page_reads_as_zeroes_and_stays_untouched(mm: Mm) -> None:
    used, counters = mm.frames.used, list(mm.counters)
    assert mm.peek(BASE + PAGE - 4, 8) == b"left" + bytes(4)
    assert (mm.frames.used, list(mm.counters)) == (used, counters)
    assert mm.page_table.entry(BASE + PAGE) == 0


@pytest.mark.parametrize("va", [0, BASE - 1, BASE + 2 * PAGE, 1 << 47, (1 << 64) - 4])
def test_where_nothing_is_mapped_nothing_is_read(mm: Mm, va: int) -> None:
    with pytest.raises(LinuxError, match="not readable"):
        mm.peek(va, 4)


def test_a_range_that_runs_out_of_its_mapping_is_refused(mm: Mm) -> None:
    with pytest.raises(LinuxError):
        mm.peek(BASE + 2 * PAGE - 4, 8)


def test_no_access_is_no_access(mm: Mm) -> None:
    mprotect(mm, BASE, BASE + 2 * PAGE, 0)
    for va in (BASE, BASE + PAGE):
        with pytest.raises(LinuxError):
            mm.peek(va, 1)
