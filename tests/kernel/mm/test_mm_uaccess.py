"""What the kernel copies for a program is told to whoever listens, once each, before it happens."""

from __future__ import annotations

import pytest

from kernel.abi.errno import LinuxError
from kernel.events import UserCopy
from kernel.mm import map as mm_map
from kernel.mm.frames import Frames
from kernel.mm.mm import Mm
from kernel.mm.ram import Ram
from kernel.mm.remote import read_remote, write_remote
from kernel.mm.uaccess import copy_from_user_partial, copy_to_user_partial
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE, BASE = 4096, 0x7000_0000_0000
EDGE = BASE + PAGE


@pytest.fixture
def mm() -> Mm:
    """Two pages that may be read and written; a string crosses from the first to the second."""
    ram = Ram(4 << 20)
    mm = Mm(ram, Frames(ram), Probes(), Rlimits())
    mm_map.mmap(mm, BASE, 2 * PAGE, 3, fixed=True)
    mm.copy_to_user(EDGE - 4, b"left and right\0")
    return mm


@pytest.fixture
def told(mm: Mm) -> list[tuple[int, int, bool]]:
    found: list[tuple[int, int, bool]] = []
    mm.probes.listen(UserCopy, lambda event: found.append((event.va, event.size, event.store)))
    return found


def test_each_copy_is_told_once_with_all_that_was_asked_for(mm: Mm, told: list[tuple[int, int, bool]]) -> None:
    mm.copy_from_user(BASE, 5)
    mm.copy_from_user(EDGE - 3, 6)
    mm.copy_to_user(EDGE - 3, bytes(6))
    copy_from_user_partial(mm, BASE, 3 * PAGE)
    copy_to_user_partial(mm, EDGE, bytes(2 * PAGE))
    read_remote(mm, BASE, 7)
    write_remote(mm, BASE, bytes(8))
    assert told == [
        (BASE, 5, False), (EDGE - 3, 6, False), (EDGE - 3, 6, True), (BASE, 3 * PAGE, False), (EDGE, 2 * PAGE, True),
        (BASE, 7, False), (BASE, 8, True),
    ]  # fmt: skip


def test_a_copy_of_nothing_is_not_told(mm: Mm, told: list[tuple[int, int, bool]]) -> None:
    mm.copy_from_user(BASE, 0)
    mm.copy_to_user(BASE, b"")
    assert told == []


def test_a_string_is_told_up_to_its_end(mm: Mm, told: list[tuple[int, int, bool]]) -> None:
    assert mm.strncpy_from_user(EDGE - 4, 100) == b"left and right"
    assert told == [(EDGE - 4, 4, False), (EDGE, 11, False)]
    told.clear()
    with pytest.raises(LinuxError, match="8 bytes or more"):
        mm.strncpy_from_user(EDGE, 8)
    with pytest.raises(LinuxError, match="not readable"):
        mm.strncpy_from_user(EDGE + PAGE, 8)
    assert told == [(EDGE, 8, False)]
