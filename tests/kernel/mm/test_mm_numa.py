"""Several nodes: frames come from where policies want them, and move when asked to."""

from __future__ import annotations

import struct

import pytest
from files import ANON, RW, Files

from kernel.abi.errno import EFAULT, EINVAL, EIO, ENODEV, ENOENT
from kernel.mm.check import check_machine
from kernel.mm.frames import Frames, OutOfMemory
from kernel.mm.map import mmap
from kernel.mm.mempolicy import Policy
from kernel.mm.mempolicy import mbind as set_policy
from kernel.mm.mm import Mm
from kernel.mm.numa import NumaFrames
from kernel.mm.ram import Ram
from kernel.mm.reclaim import Clock
from kernel.probes import Probes
from kernel.rlimit import Rlimits

PAGE = 4096
DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY, WEIGHTED = range(7)
STRICT, MOVE = 1, 2
NODE, ADDR = 1, 2


@pytest.fixture
def guest() -> Files:
    return Files(uid=0, nodes=4, ram_bytes=64 << 20)


def mask(*nodes: int) -> bytes:
    return sum(1 << node for node in nodes).to_bytes(8, "little")


def touched(guest: Files, pages: int) -> int:
    at = guest.call("mmap", 0, pages * PAGE, RW, ANON, -1, 0)
    guest.put(b"".join(bytes([n + 1]) * PAGE for n in range(pages)), at)
    return at


def where(guest: Files, at: int, pages: int) -> list[int]:
    addresses = struct.pack(f"<{pages}Q", *(at + n * PAGE for n in range(pages)))
    assert guest.sys("move_pages", 0, pages, addresses, 0, guest.buf, 0) == 0
    return list(struct.unpack(f"<{pages}i", guest.get(4 * pages, guest.buf)))


def node_of(guest: Files, va: int) -> int:
    assert guest.sys("get_mempolicy", guest.buf, 0, 0, va, NODE | ADDR) == 0
    return int.from_bytes(guest.get(4, guest.buf), "little")


def intact(guest: Files, at: int, pages: int) -> bool:
    return guest.get(pages * PAGE, at) == b"".join(bytes([n + 1]) * PAGE for n in range(pages))


def test_without_a_policy_pages_are_local(guest: Files) -> None:
    at = touched(guest, 4)
    assert where(guest, at, 4) == [0] * 4
    assert where(guest, guest.call("mmap", 0, PAGE, RW, ANON, -1, 0), 1) == [-ENOENT]
    assert where(guest, 4096, 1) == [-EFAULT]


def test_a_policy_of_shared_memory_is_there_for_all_its_mappings(guest: Files) -> None:
    fd = guest.sys("memfd_create", b"m\0", 0)
    guest.call("ftruncate", fd, 4 * PAGE)
    one, other = (guest.call("mmap", 0, 4 * PAGE, RW, 1, fd, 0) for _ in range(2))
    assert guest.sys("mbind", one + PAGE, 3 * PAGE, BIND, mask(2), 64, 0) == 0
    assert guest.sys("mbind", one + 2 * PAGE, PAGE, BIND, mask(3), 64, 0) == 0
    guest.put(b"x" * 4 * PAGE, other)
    assert where(guest, other, 4) == [0, 2, 3, 2]
    assert f"{other:x} default file=/memfd:m" in guest.slurp("/proc/self/numa_maps").decode()
    later = guest.call("mmap", 0, PAGE, RW, 2, fd, PAGE)
    assert f"{later:x} bind:2 file=/memfd:m" in guest.slurp("/proc/self/numa_maps").decode()


@pytest.mark.parametrize(
    ("mode", "nodes", "expected"),
    [
        (BIND, (2,), [2] * 4), (PREFERRED, (3,), [3] * 4), (PREFERRED_MANY, (1, 3), [1] * 4), (LOCAL, (), [0] * 4),
        (INTERLEAVE, (0, 1, 3), None), (WEIGHTED, (1, 2), None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["mbind", "set_mempolicy"])
def test_policies_place_pages(
    guest: Files, mode: int, nodes: tuple[int, ...], expected: list[int] | None, by: str
) -> None:
    at = guest.call("mmap", 0, 4 * PAGE, RW, ANON, -1, 0)
    if by == "mbind":
        assert guest.sys("mbind", at, 4 * PAGE, mode, mask(*nodes), 64, 0) == 0
    else:
        assert guest.sys("set_mempolicy", mode, mask(*nodes), 64) == 0
    guest.put(b"x" * 4 * PAGE, at)
    wanted = expected or [nodes[(at // PAGE + n) % len(nodes)] for n in range(4)]
    assert where(guest, at, 4) == wanted
    assert [node_of(guest, at + n * PAGE) for n in range(4)] == wanted
    text = guest.slurp("/proc/self/numa_maps").decode()
    assert all(f" N{node}=" in text for node in wanted)


def test_numa_maps_names_policies(guest: Files) -> None:
    at = guest.call("mmap", 0, 4 * PAGE, RW, ANON, -1, 0)
    for mode, nodes, text in (
        (BIND, (0, 1, 3), "bind:0-1,3"), (PREFERRED, (2,), "prefer:2"), (INTERLEAVE, (1, 2), "interleave:1-2"),
        (LOCAL, (), "local"), (PREFERRED_MANY, (0, 2), "prefer (many):0,2"), (WEIGHTED, (3,), "weighted interleave:3"),
        (BIND | 1 << 15, (1,), "bind=static:1"),
    ):  # fmt: skip
        guest.sys("mbind", at, 4 * PAGE, mode, mask(*nodes), 64, 0)
        assert f"{at:08x} {text}\n" in guest.slurp("/proc/self/numa_maps").decode()


def test_move_pages_moves_each_where_it_is_told(guest: Files) -> None:
    at = touched(guest, 4)
    addresses = struct.pack("<4Q", *(at + n * PAGE for n in range(4)))
    assert guest.sys("move_pages", 0, 4, addresses, struct.pack("<4i", 3, 1, 0, 2), guest.buf, MOVE) == 0
    assert struct.unpack("<4i", guest.get(16, guest.buf)) == (3, 1, 0, 2)
    assert where(guest, at, 4) == [3, 1, 0, 2]
    assert intact(guest, at, 4)
    assert guest.sys("move_pages", 0, 1, addresses, struct.pack("<i", 4), guest.buf, MOVE) == -ENODEV
    shared = guest.call("mmap", 0, PAGE, RW, 0x21, -1, 0)
    guest.put(b"all", shared)
    assert guest.sys("move_pages", 0, 1, struct.pack("<Q", shared), struct.pack("<i", 2), guest.buf, MOVE) == 0
    assert (where(guest, shared, 1), guest.get(3, shared)) == ([2], b"all")


def test_mbind_strict_complains_and_move_moves(guest: Files) -> None:
    at = touched(guest, 4)
    assert guest.sys("mbind", at, 4 * PAGE, BIND, mask(1), 64, STRICT) == -EIO
    assert where(guest, at, 4) == [0] * 4
    assert guest.sys("mbind", at, 4 * PAGE, BIND, mask(1), 64, STRICT | MOVE) == 0
    assert where(guest, at, 4) == [1] * 4
    assert intact(guest, at, 4)


def test_migrate_pages_keeps_relative_places(guest: Files) -> None:
    at = guest.call("mmap", 0, 4 * PAGE, RW, ANON, -1, 0)
    guest.sys("mbind", at, 4 * PAGE, INTERLEAVE, mask(0, 1), 64, 0)
    guest.put(b"".join(bytes([n + 1]) * PAGE for n in range(4)), at)
    before = where(guest, at, 4)
    assert guest.sys("migrate_pages", 0, 64, mask(0, 1), mask(2, 3)) == 0
    assert where(guest, at, 4) == [node + 2 for node in before]
    assert intact(guest, at, 4)
    assert guest.sys("migrate_pages", 0, 64, mask(0), mask(9)) == -EINVAL


def test_the_nodes_are_shown(guest: Files) -> None:
    total = [int(guest.slurp(f"/sys/devices/system/node/node{node}/meminfo").split()[3]) for node in range(4)]
    assert sum(total) == 64 << 10
    assert guest.slurp("/sys/devices/system/node/online") == b"0-3\n"
    assert guest.slurp("/sys/devices/system/node/node1/distance") == b"20 10 20 20\n"


def small(swap: int = 0) -> Mm:
    ram = Ram(2 << 20)
    frames = NumaFrames(ram, 1, swap, nodes=2)
    frames.reclaim = Clock(frames)
    return Mm(ram, frames, Probes(), Rlimits())


def test_bound_memory_ends_with_its_node_and_other_memory_goes_on_elsewhere() -> None:
    mm = small()
    va = mmap(mm, 0x10000000, 400 * PAGE, RW, fixed=True)
    frames = mm.frames
    assert isinstance(frames, NumaFrames)
    assert frames.size_of(0) == 256  # all of it the CPU's: node 0 has nothing to give
    set_policy(mm, va, va + 400 * PAGE, Policy(BIND, 0, 2))
    with pytest.raises(OutOfMemory):
        mm.copy_to_user(va, bytes(400 * PAGE))
    check_machine(frames, [mm])


def test_bound_memory_is_swapped_within_its_node() -> None:
    mm = small(swap=300)
    va = mmap(mm, 0x10000000, 400 * PAGE, RW, fixed=True)
    for n in range(400):
        mm.copy_to_user(va + n * PAGE, n.to_bytes(2, "little"))
    assert [int.from_bytes(mm.copy_from_user(va + n * PAGE, 2), "little") for n in range(400)] == list(range(400))
    check_machine(mm.frames, [mm])
    mm.destroy()
    assert mm.frames.used == 1


def test_nodes_may_be_smaller_than_what_the_cpu_keeps() -> None:
    frames = NumaFrames(Ram(4 << 20), nodes=8)
    assert [frames.free_on(node) for node in range(8)] == [0, 0, 127, 128, 128, 128, 128, 128]
    assert frames.used == 1


def test_one_node_is_served_without_all_this() -> None:
    assert type(Files().kernel.system.frames) is Frames
    assert type(Files(nodes=2).kernel.system.frames) is NumaFrames


def test_weights_say_how_many_pages_in_turn_a_node_gets(guest: Files) -> None:
    weights = "/sys/kernel/mm/mempolicy/weighted_interleave"
    assert guest.slurp(f"{weights}/auto") == b"true\n"
    for node, weight in ((1, b"3\n"), (2, b"0x2")):
        assert guest.write(guest.open(f"{weights}/node{node}", 1), weight) == len(weight)
    for text in (b"0", b"256", b"4 5", b"x"):
        assert guest.sys("write", guest.open(f"{weights}/node0", 1), text, len(text)) == -EINVAL
    assert guest.sys("write", guest.open(f"{weights}/auto", 1), b"y", 1) == -ENODEV
    assert guest.slurp(f"{weights}/auto") == b"false\n"
    assert guest.sys("set_mempolicy", WEIGHTED, mask(0, 1, 2), 64) == 0
    at = touched(guest, 12)
    nodes = where(guest, at, 12)
    turn = [0, 1, 1, 1, 2, 2]
    first = at // PAGE % 6
    assert nodes == (turn * 3)[first : first + 12]


def test_each_node_says_what_is_on_it(guest: Files) -> None:
    def told(node: int, file: str) -> dict[str, int]:
        lines = guest.slurp(f"/sys/devices/system/node/node{node}/{file}").decode().splitlines()
        words = [line.replace(f"Node {node} ", "").replace(":", "").split() for line in lines]
        return {name: int(value) for name, value, *_ in words}

    for _ in range(2):  # what asking takes of memory is there the second time
        before = [told(node, "meminfo") for node in range(4)]
    assert guest.sys("set_mempolicy", INTERLEAVE, mask(0, 2), 64) == 0
    touched(guest, 8)
    after = [told(node, "meminfo") for node in range(4)]
    assert [after[n]["AnonPages"] - before[n]["AnonPages"] for n in range(4)] == [16, 0, 16, 0]
    assert sum(each["MemTotal"] for each in after) == 64 << 10
    assert all(each["MemFree"] + each["MemUsed"] == each["MemTotal"] for each in after)
    stat = told(2, "numastat")
    assert stat["interleave_hit"] == stat["numa_hit"] == stat["other_node"] == told(2, "vmstat")["nr_anon_pages"] == 4
    assert told(0, "numastat")["local_node"] > 4
    assert told(0, "vmstat")["numa_local"] == told(0, "numastat")["local_node"]
