"""Windows: which mappings a CPU may fill by itself, as the flat table shows them."""

import pytest

from kernel.abi.mman import Prot
from kernel.cpu import Access
from kernel.mm import map as mm_map
from kernel.mm.fault import handle_mm_fault, settle
from kernel.mm.frames import Frames
from kernel.mm.mm import Mm
from kernel.mm.pte import SPECIAL
from kernel.mm.ram import Ram
from kernel.mm.vma import Vma
from kernel.mm.windows import COUNT, HEAD, TELL, TOLD, USED, WIDTH, Windows
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE = 4096
RW = Prot.READ | Prot.WRITE


@pytest.fixture
def mm() -> Mm:
    ram = Ram(2 << 20)
    return Mm(ram, Frames(ram), Probes(), Rlimits())


def shown(windows: Windows) -> list[list[int]]:
    """The open windows' words, by number."""
    words = windows.table[HEAD : HEAD + windows.table[USED] * WIDTH].tolist()
    return [words[i : i + WIDTH] for i in range(0, len(words), WIDTH) if words[i + 1]]


def test_the_oldest_window_makes_room_for_a_new_one() -> None:
    windows = Windows()
    vmas = [Vma(n * PAGE, (n + 1) * PAGE, RW) for n in range(1, COUNT + 3)]
    for vma in vmas:
        windows.open(vma)
    assert [vma.window for vma in vmas[:3]] == [0, 0, 3]
    assert [vma.window for vma in vmas[-2:]] == [1, 2]
    assert all(windows.owners[vma.window] is vma for vma in vmas[2:])
    assert sorted(window[0] for window in shown(windows)) == [vma.start for vma in vmas[2:]]


def test_a_closed_window_is_the_next_to_be_taken() -> None:
    windows = Windows()
    vmas = [Vma(n * PAGE, (n + 1) * PAGE, RW) for n in range(1, 5)]
    for vma in vmas[:3]:
        windows.open(vma)
    windows.close(vmas[1])
    windows.open(vmas[3])
    assert [vma.window for vma in vmas] == [1, 0, 3, 2]
    assert windows.table[USED] == 3


@pytest.mark.parametrize("prot", range(8))
def test_a_window_promises_what_a_fault_would_do(prot: int) -> None:
    windows = Windows()
    vma = Vma(PAGE, 2 * PAGE, prot)
    windows.open(vma)
    write = vma.write_bits if prot & Prot.WRITE and not prot & Prot.EXEC else 0
    read = vma.read_bits | SPECIAL if prot else 0
    assert shown(windows) == [[PAGE, 2 * PAGE, write, read, 1]]


def test_a_vma_that_the_cpu_wrote_to_first_gets_its_anon_vma(mm: Mm) -> None:
    low, high = (mm_map.mmap_anonymous(mm, PAGE, prot) for prot in (RW, Prot.READ))
    vma, other = mm.find(low), mm.find(high)
    assert vma is not None
    assert other is not None
    mm.windows.table[TOLD] = vma.window
    settle(mm)
    assert vma.anon_vma == mm.next_anon_vma - 1
    assert other.anon_vma == mm.windows.table[TOLD] == 0
    assert mm.windows.table[HEAD + (vma.window - 1) * WIDTH + TELL] == 0


def test_a_fault_opens_a_window_again_that_a_change_has_closed(mm: Mm) -> None:
    start = mm_map.mmap_anonymous(mm, 2 * PAGE, RW)
    mm_map.munmap(mm, start + PAGE, start + 2 * PAGE)
    vma = mm.find(start)
    assert vma is not None
    assert vma.window == 0
    handle_mm_fault(mm, start, Access.WRITE)
    assert mm.windows.owners[vma.window] is vma
    assert shown(mm.windows)[-1][:2] == [start, start + PAGE]
