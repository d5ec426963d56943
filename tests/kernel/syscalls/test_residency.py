"""mincore, msync, mlock and their kin, and the NUMA calls: what they say and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from fakes import World

from kernel.abi.errno import EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, EPERM, ESRCH
from kernel.abi.mman import Map, Mcl, Mpol, Ms
from kernel.abi.nr import NR
from kernel.events import SyscallExit
from kernel.mm.check import check
from kernel.syscalls.table import dispatch

PAGE, M64 = 4096, (1 << 64) - 1
BASE = 0x7000_0000_0000
DATA = BASE + 16 * PAGE  # for vectors and masks


@pytest.fixture
def world() -> World:
    """Four pages, the second one written; a page of PROT_NONE behind them; a data page."""
    world = World()
    world.call("mmap", BASE, 4 * PAGE, 3, Map.PRIVATE | Map.ANONYMOUS | Map.FIXED, M64, 0)
    world.call("mmap", BASE + 4 * PAGE, PAGE, 0, Map.PRIVATE | Map.ANONYMOUS | Map.FIXED, M64, 0)
    world.call("mmap", DATA, PAGE, 3, Map.PRIVATE | Map.ANONYMOUS | Map.FIXED, M64, 0)
    world.put(b"x", BASE + PAGE)
    world.put((1).to_bytes(8, "little") + (2).to_bytes(8, "little"), DATA)
    return world


def call(world: World, name: str, *args: int) -> int:
    seen: list[SyscallExit] = []
    world.probes.listen(SyscallExit, seen.append)
    value = dispatch(world.task, NR[name], *[*[arg & M64 for arg in args], 0, 0, 0, 0, 0, 0][:6])
    world.probes.forget(SyscallExit, seen.append)
    check(world.task.mm)
    assert isinstance(value, int)
    assert value >= 0 or seen[-1].why, "a refusal without a reason"
    return value


def locked(world: World) -> int:
    return world.task.mm.locked_vm


def test_mincore_says_which_pages_are_there(world: World) -> None:
    assert call(world, "mincore", BASE, 4 * PAGE, DATA + 64) == 0
    assert world.get(4, DATA + 64) == b"\0\1\0\0"


def test_mincore_tells_what_lies_before_a_hole(world: World) -> None:
    world.put(b"\7" * 8, DATA + 64)
    assert call(world, "mincore", BASE + PAGE, 8 * PAGE, DATA + 64) == -ENOMEM
    assert world.get(5, DATA + 64) == b"\1\0\0\0\7"


def test_locking_brings_in_and_counts_once(world: World) -> None:
    assert call(world, "mlock", BASE + 100, 2 * PAGE) == 0
    assert (locked(world), world.task.mm.find(BASE).pages) == (3, 3)  # type: ignore[union-attr]
    assert call(world, "mlock", BASE, 3 * PAGE) == 0
    assert locked(world) == 3
    assert call(world, "mincore", BASE, 4 * PAGE, DATA + 64) == 0
    assert world.get(4, DATA + 64) == b"\1\1\1\0"
    assert call(world, "munlock", BASE, 4 * PAGE) == 0
    assert locked(world) == 0


def test_mlock_on_fault_waits_for_the_touch(world: World) -> None:
    assert call(world, "mlock2", BASE, 4 * PAGE, 1) == 0
    assert locked(world) == 4
    assert call(world, "mincore", BASE, PAGE, DATA + 64) == 0
    assert world.get(1, DATA + 64) == b"\0"


def test_what_cannot_be_made_present_is_locked_and_enomem(world: World) -> None:
    assert call(world, "mlock", BASE + 4 * PAGE, PAGE) == -ENOMEM
    assert locked(world) == 1


def test_the_limit_of_locked_memory(world: World) -> None:
    world.task.rlimits.cur[8] = 2 * PAGE
    assert call(world, "mlock", BASE, 3 * PAGE) == -ENOMEM
    assert call(world, "mlock", BASE, 2 * PAGE) == 0
    assert call(world, "mlock", BASE + PAGE, PAGE) == 0
    assert call(world, "mlockall", Mcl.CURRENT) == -ENOMEM
    world.task.rlimits.cur[8] = 0
    assert call(world, "mlock", BASE, PAGE) == -EPERM
    assert call(world, "mlockall", Mcl.FUTURE) == -EPERM
    assert call(world, "munlockall") == 0
    assert locked(world) == 0


def test_what_is_mapped_after_mlockall_is_locked_too(world: World) -> None:
    assert call(world, "mlockall", Mcl.FUTURE | Mcl.ONFAULT) == 0
    at = world.call("mmap", 0, 2 * PAGE, 3, Map.PRIVATE | Map.ANONYMOUS, M64, 0)
    assert locked(world) == 2
    assert world.task.mm.page_table.entry(at) == 0
    assert call(world, "munlockall") == 0


@pytest.mark.parametrize(("name", "args", "errno"), [
    ("mincore", (BASE + 1, PAGE, DATA), EINVAL),
    ("mincore", (BASE, 1 << 60, DATA), ENOMEM),
    ("mincore", (BASE, PAGE, 1 << 48), EFAULT),
    ("mincore", (BASE, PAGE, BASE + 4 * PAGE), EFAULT),
    ("msync", (BASE, PAGE, 8), EINVAL),
    ("msync", (BASE + 1, PAGE, Ms.SYNC), EINVAL),
    ("msync", (BASE, PAGE, Ms.SYNC | Ms.ASYNC), EINVAL),
    ("msync", (BASE, 8 * PAGE, Ms.SYNC), ENOMEM),
    ("msync", (BASE, M64 - BASE, Ms.SYNC), ENOMEM),
    ("mlock", (BASE, 8 * PAGE), ENOMEM),
    ("mlock", (BASE, M64 - 2 * PAGE), ENOMEM),
    ("mlock2", (BASE, PAGE, 2), EINVAL),
    ("munlock", (BASE, 8 * PAGE), ENOMEM),
    ("munlock", (BASE, M64 - BASE), EINVAL),
    ("mlockall", (0,), EINVAL),
    ("mlockall", (Mcl.ONFAULT,), EINVAL),
    ("mlockall", (8,), EINVAL),
    ("mbind", (BASE, PAGE, 9, 0, 0, 0), EINVAL),
    ("mbind", (BASE + 1, PAGE, Mpol.BIND, DATA, 64, 0), EINVAL),
    ("mbind", (BASE, PAGE, Mpol.BIND, 0, 0, 0), EINVAL),
    ("mbind", (BASE, PAGE, Mpol.BIND, DATA + 8, 64, 0), EINVAL),
    ("mbind", (BASE, PAGE, Mpol.BIND, 8, 64, 0), EFAULT),
    ("mbind", (BASE, 8 * PAGE, Mpol.BIND, DATA, 64, 0), EFAULT),
    ("mbind", (BASE, PAGE, Mpol.BIND, DATA, 64, 8), EINVAL),
    ("mbind", (BASE, PAGE, Mpol.BIND, DATA, 64, 4), EPERM),
    ("mbind", (BASE, PAGE, Mpol.BIND | 0xC000, DATA, 64, 0), EINVAL),
    ("set_mempolicy", (Mpol.DEFAULT, DATA, 64), EINVAL),
    ("set_mempolicy", (Mpol.LOCAL, DATA, 64), EINVAL),
    ("set_mempolicy", (Mpol.BIND, DATA, 65537 * 8), EINVAL),
    ("get_mempolicy", (0, 0, 0, BASE, 0), EINVAL),
    ("get_mempolicy", (0, 0, 0, 0, 8), EINVAL),
    ("get_mempolicy", (0, 0, 0, 0, 1), EINVAL),
    ("get_mempolicy", (0, 0, 0, BASE + 8 * PAGE, 2), EFAULT),
    ("get_mempolicy", (0, DATA, 0, 0, 0), EINVAL),
    ("set_mempolicy_home_node", (BASE, PAGE, 0, 0), ENOENT),
    ("set_mempolicy_home_node", (BASE, PAGE, 1, 0), EINVAL),
    ("set_mempolicy_home_node", (BASE, PAGE, 0, 1), EINVAL),
    ("migrate_pages", (0, 64, DATA, DATA + 16), EINVAL),
    ("migrate_pages", (4242, 64, DATA, DATA), ESRCH),
    ("move_pages", (0, 0, 0, 0, 0, 1), EINVAL),
    ("move_pages", (0, 0, 0, 0, 0, 4), EPERM),
    ("move_pages", (4242, 0, 0, 0, 0, 0), ESRCH),
    ("move_pages", (0, 1, 8, 0, DATA, 0), EFAULT),
])  # fmt: skip
def test_what_is_refused(world: World, name: str, args: tuple[int, ...], errno: int) -> None:
    assert call(world, name, *args) == -errno


def test_locked_memory_is_not_invalidated(world: World) -> None:
    assert call(world, "mlock", BASE, PAGE) == 0
    assert call(world, "msync", BASE, PAGE, Ms.ASYNC | Ms.INVALIDATE) == -EBUSY


def test_a_policy_by_range_splits_and_merges(world: World) -> None:
    mm = world.task.mm
    assert call(world, "mbind", BASE + PAGE, PAGE, Mpol.BIND, DATA, 64, 0) == 0
    assert len(mm.vmas.overlapping(BASE, BASE + 4 * PAGE)) == 3
    assert call(world, "get_mempolicy", DATA + 64, DATA + 72, 64, BASE + PAGE, 2) == 0
    assert (world.u64(DATA + 64) & 0xFFFFFFFF, world.u64(DATA + 72)) == (Mpol.BIND, 1)
    assert call(world, "set_mempolicy_home_node", BASE + PAGE, PAGE, 0, 0) == 0
    assert call(world, "mbind", BASE, 4 * PAGE, Mpol.DEFAULT, 0, 0, 0) == 0
    assert len(mm.vmas.overlapping(BASE, BASE + 4 * PAGE)) == 1
    assert call(world, "mbind", BASE, PAGE, Mpol.PREFERRED, DATA, 64, 0) == 0
    assert call(world, "set_mempolicy_home_node", BASE, PAGE, 0, 0) == -EOPNOTSUPP


def test_move_pages_tells_each_pages_node(world: World) -> None:
    for i, va in enumerate((BASE + PAGE, BASE, BASE + 8 * PAGE)):
        world.put(va.to_bytes(8, "little"), DATA + 128 + 8 * i)
    assert call(world, "move_pages", 0, 3, DATA + 128, 0, DATA + 256, 0) == 0
    raw = world.get(12, DATA + 256)
    status = [int.from_bytes(raw[i : i + 4], "little", signed=True) for i in (0, 4, 8)]
    assert status == [0, -ENOENT, -EFAULT]
    world.put((1).to_bytes(4, "little"), DATA + 300)
    assert call(world, "move_pages", 0, 1, DATA + 128, DATA + 300, DATA + 256, 2) == -ENODEV
