"""Random operations on an address space against a naive oracle: a dict of pages. mm/check.py after each step."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.abi.errno import LinuxError
from kernel.cpu import Access
from kernel.events import VmaMap, VmaUnmap
from kernel.mm import map as mm_map
from kernel.mm.advise import do_madvise
from kernel.mm.check import check_machine
from kernel.mm.fault import Fault, handle_mm_fault
from kernel.mm.frames import Frames
from kernel.mm.mm import Mm
from kernel.mm.protect import mprotect
from kernel.mm.ram import Ram
from kernel.mm.remap import mremap
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE = 4096
BASE = 0x7000_0020_0000 - 8 * PAGE  # a page-table boundary lies in the middle
SPAN = 16
DONTNEED = 4
KEEPING = [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 103]  # advice that no byte is lost by


@dataclass
class Page:
    """What a byte-by-byte reader would know of a page."""

    prot: int
    value: int = 0


def fresh() -> Mm:
    ram = Ram(4 << 20)
    return Mm(ram, Frames(ram, swap_pages=64), Probes(), Rlimits())


pages = st.integers(0, SPAN - 1)
sizes = st.integers(1, 6)
prots = st.sampled_from([0, 1, 3, 5, 7])
operation = st.one_of(
    st.tuples(st.just("mmap"), pages, sizes, prots),
    st.tuples(st.just("munmap"), pages, sizes, prots),
    st.tuples(st.just("mprotect"), pages, sizes, prots),
    st.tuples(st.just("dontneed"), pages, sizes, prots),
    st.tuples(st.just("advise"), pages, sizes, st.sampled_from(KEEPING)),
    st.tuples(st.just("write"), pages, st.integers(1, 255), prots),
    st.tuples(st.just("read"), pages, sizes, prots),
    st.tuples(st.just("move"), pages, sizes, pages),
    st.tuples(st.just("resize"), pages, sizes, sizes),
)


class World:
    """The Mm and the oracle, and each operation on both."""

    def __init__(self) -> None:
        self.mm = fresh()
        self.pages: dict[int, Page] = {}

    def mmap(self, at: int, n: int, prot: int) -> None:
        mm_map.mmap(self.mm, BASE + at * PAGE, n * PAGE, prot, fixed=True)
        for i in range(at, at + n):
            self.pages[i] = Page(prot)

    def munmap(self, at: int, n: int, _: int) -> None:
        mm_map.munmap(self.mm, BASE + at * PAGE, BASE + (at + n) * PAGE)
        for i in range(at, at + n):
            self.pages.pop(i, None)

    def mprotect(self, at: int, n: int, prot: int) -> None:
        try:
            mprotect(self.mm, BASE + at * PAGE, BASE + (at + n) * PAGE, prot)
            whole = True
        except LinuxError:
            whole = False
        there = [i in self.pages for i in range(at, at + n)]
        assert whole == all(there)
        for i in range(at, at + n):
            if i not in self.pages:
                break
            self.pages[i].prot = prot

    def dontneed(self, at: int, n: int, _: int) -> None:
        try:
            do_madvise(self.mm, BASE + at * PAGE, n * PAGE, DONTNEED)
        except LinuxError:
            assert not all(i in self.pages for i in range(at, at + n))
        for i in range(at, at + n):
            if i in self.pages:
                self.pages[i].value = 0

    def advise(self, at: int, n: int, advice: int) -> None:
        whole = all(i in self.pages for i in range(at, at + n))
        try:
            do_madvise(self.mm, BASE + at * PAGE, n * PAGE, advice)
        except LinuxError:
            assert not whole or advice == 22  # MADV_POPULATE_READ of what may not be read
        else:
            assert whole

    def write(self, at: int, value: int, _: int) -> None:
        page = self.pages.get(at)
        va = BASE + at * PAGE + value
        fault = handle_mm_fault(self.mm, va, Access.WRITE)
        if page is None:
            assert fault is Fault.MAPERR
        elif not page.prot & 2:
            assert fault is Fault.ACCERR
        else:
            assert fault is Fault.OK
            self.mm.copy_to_user(BASE + at * PAGE, bytes([value]) * PAGE)
            page.value = value

    def read(self, at: int, n: int, _: int) -> None:
        for i in range(at, at + n):
            page = self.pages.get(i)
            try:
                data = self.mm.copy_from_user(BASE + i * PAGE, PAGE)
            except LinuxError:
                assert page is None or not page.prot
            else:
                assert page is not None
                assert page.prot
                assert data == bytes([page.value]) * PAGE

    def move(self, at: int, n: int, to: int) -> None:
        if abs(at - to) < n:
            return
        moved = [self.pages.get(i) for i in range(at, at + n)]
        try:
            mremap(self.mm, BASE + at * PAGE, n * PAGE, n * PAGE, BASE + to * PAGE, maymove=True, fixed=True)
        except LinuxError:
            assert moved[0] is None
            return
        for i in range(n):
            page = moved[i]
            self.pages.pop(at + i, None)
            # The gaps of a range that holds several mappings do not unmap what lies under them.
            if page is not None:
                self.pages[to + i] = page

    def resize(self, at: int, old: int, new: int) -> None:
        vma = self.mm.find(BASE + at * PAGE)
        end = None if vma is None else (vma.end - BASE) // PAGE
        try:
            got = mremap(self.mm, BASE + at * PAGE, old * PAGE, new * PAGE)
        except LinuxError:
            free = not any(i in self.pages for i in range(at + old, at + new))
            assert end is None or (new > old and (at + old != end or not free))
            return
        assert got == BASE + at * PAGE
        assert end is not None
        for i in range(at + new, at + old):
            self.pages.pop(i, None)
        for i in range(at + old, at + new):
            self.pages[i] = Page(self.pages[at + old - 1].prot)

    def check(self) -> None:
        check_machine(self.mm.frames, [self.mm])
        mapped = {(va - BASE) // PAGE: vma.prot for vma in self.mm.vmas for va in range(vma.start, vma.end, PAGE)}
        assert mapped == {i: page.prot for i, page in self.pages.items()}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(operation, min_size=10, max_size=30))
def test_an_address_space_is_a_dict_of_pages(steps: list[tuple[str, int, int, int]]) -> None:
    world = World()
    world.mmap(0, SPAN // 2, 3)
    for page in range(SPAN // 2):
        world.write(page, page + 1, 0)  # something to lose
    for name, a, b, c in steps:
        getattr(world, name)(a, b, c)
        world.check()
    world.read(0, SPAN, 0)
    world.mm.destroy()
    assert world.mm.frames.used == 1  # the zero page


@pytest.fixture
def runs_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every range of more than one page as runs."""
    import kernel.mm.protect
    import kernel.mm.zap

    for module in (kernel.mm.zap, kernel.mm.protect):
        monkeypatch.setattr(module, "FEW", 0)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(operation, min_size=10, max_size=30))
@pytest.mark.usefixtures("runs_always")
def test_so_it_is_run_by_run(steps: list[tuple[str, int, int, int]]) -> None:
    world = World()
    for name, a, b, c in steps:
        getattr(world, name)(a, b, c)
        world.check()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operation, min_size=10, max_size=30))
def test_the_events_of_mappings_tell_the_same_address_space(operations: list[tuple[str, int, int, int]]) -> None:
    world = World()
    told: set[int] = set()
    world.mm.probes.listen(VmaMap, lambda event: told.update(range(event.start, event.end, PAGE)))
    world.mm.probes.listen(VmaUnmap, lambda event: told.difference_update(range(event.start, event.end, PAGE)))
    for name, *arguments in operations:
        getattr(world, name)(*arguments)
        assert told == {va for vma in world.mm.vmas for va in range(vma.start, vma.end, PAGE)}
