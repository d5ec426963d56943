"""/proc/self/{mem,pagemap,clear_refs,numa_maps} and /proc/sys/vm, as Linux 6.18 answers."""

from __future__ import annotations

import struct

import pytest
from files import ANON, RW, Files

from kernel.abi.errno import EACCES, EFAULT, EINVAL, EIO, EOVERFLOW, ERANGE
from kernel.mm.check import check

PAGE = 4096
GUARD_INSTALL, PAGEOUT = 102, 21


@pytest.fixture
def guest() -> Files:
    return Files(uid=0, swap_bytes=1 << 20)


def anonymous(guest: Files, pages: int, prot: int = RW) -> int:
    return guest.call("mmap", 0, pages * PAGE, prot, ANON, -1, 0)


def entries(guest: Files, va: int, pages: int) -> list[int]:
    data = guest.pread(guest.open("/proc/self/pagemap"), 8 * pages, va // PAGE * 8)
    return list(struct.unpack(f"<{pages}Q", data))


def test_pagemap_says_what_page_tables_say(guest: Files) -> None:
    at = anonymous(guest, 6)
    guest.put(b"x", at + PAGE)
    guest.get(1, at + 2 * PAGE)
    guest.put(b"y", at + 3 * PAGE)
    guest.call("madvise", at + 3 * PAGE, PAGE, PAGEOUT)
    guest.call("madvise", at + 4 * PAGE, PAGE, GUARD_INSTALL)
    absent, written, zero, swapped, guard, _ = entries(guest, at, 6)
    assert absent == 0
    assert written >> 55 == 0x102  # present, mapped once; soft-dirty only with CONFIG_MEM_SOFT_DIRTY
    assert (zero >> 55, zero & 0xFFFFFF) == (0x100, guest.kernel.system.frames.zero_pfn)
    assert (swapped >> 55, swapped & 31) == (0x80, 0)
    assert guard == 0x4400_0000_0000_009F
    shared = guest.call("mmap", 0, PAGE, RW, 0x21, -1, 0)
    guest.put(b"z", shared)
    assert entries(guest, shared, 1)[0] >> 55 == 0x142


def test_pagemap_hides_frames_from_users() -> None:
    guest = Files()
    guest.put(b"x", guest.buf)
    assert entries(guest, guest.buf, 1)[0] & ((1 << 55) - 1) == 0


def test_pagemap_is_read_in_whole_entries_and_ends_with_the_address_space(guest: Files) -> None:
    fd = guest.open("/proc/self/pagemap")
    assert guest.sys("pread64", fd, guest.buf, 7, 0) == -EINVAL
    assert guest.sys("pread64", fd, guest.buf, 8, 4) == -EINVAL
    assert guest.sys("pread64", fd, guest.buf, 16, 0x7FFFFFFFE000 // PAGE * 8) == 8
    assert guest.sys("pread64", fd, guest.buf, 8, 0x7FFFFFFFF000 // PAGE * 8) == 0
    assert guest.sys("lseek", fd, 0, 2) == -EINVAL


def test_clear_refs_forgets_accesses(guest: Files) -> None:
    def referenced() -> int:
        text = guest.slurp("/proc/self/smaps").decode().split(f"{at:x}-")[1]
        return int(text.split("Referenced:")[1].split()[0])

    at = anonymous(guest, 4)
    guest.put(b"x" * 4 * PAGE, at)
    assert referenced() == 16
    fd = guest.open("/proc/self/clear_refs", 1)
    assert guest.write(fd, b"3\n") == 2
    assert referenced() == 16
    assert guest.write(fd, b"1\n") == 2
    assert referenced() == 0
    guest.get(1, at)
    assert referenced() == 4
    assert guest.write(fd, b"4") == 1
    for bad in (b"0", b"6", b"x", b"-1"):
        assert guest.sys("write", fd, bad, len(bad)) == -EINVAL
    assert guest.sys("write", fd, b"99999999999", 11) == -ERANGE


def test_mem_reaches_past_protections_but_not_everywhere(guest: Files) -> None:
    at = anonymous(guest, 4)
    guest.put(b"secret", at)
    guest.call("mprotect", at, PAGE, 0)
    guest.call("mprotect", at + PAGE, PAGE, 1)
    fd = guest.open("/proc/self/mem", 2)
    assert guest.pread(fd, 6, at) == b"secret"
    assert guest.pread(fd, 6, at + PAGE) == bytes(6)
    assert guest.sys("pwrite64", fd, b"hello", 5, at + PAGE) == 5
    assert guest.sys("pwrite64", fd, b"none", 4, at + 2 * PAGE - 2) == 4
    assert guest.get(5, at + PAGE) == b"hello"
    assert guest.sys("pwrite64", fd, b"S", 1, at) == 1
    assert guest.pread(fd, 6, at) == b"Secret"
    text = 0x401000
    assert guest.sys("pwrite64", fd, b"\x90", 1, text) == 1
    shared = guest.call("mmap", 0, 2 * PAGE, 1, 0x21, -1, 0)
    assert guest.sys("pwrite64", fd, b"x", 1, shared) == -EIO
    assert guest.sys("pread64", fd, guest.buf, 8, 0) == -EIO
    assert guest.sys("pread64", fd, guest.buf, 8, -PAGE) == -EINVAL
    assert guest.sys("pread64", fd, 8, 8, at) == -EFAULT
    guest.call("munmap", at + 2 * PAGE, 2 * PAGE)
    assert guest.sys("pread64", fd, guest.buf, 3 * PAGE, at) == 2 * PAGE
    check(guest.task.mm)


def test_what_mem_wrote_is_still_protected(guest: Files) -> None:
    at = anonymous(guest, 1, 1)
    fd = guest.open("/proc/self/mem", 2)
    guest.sys("pwrite64", fd, b"forced", 6, at)
    assert guest.sys("read", guest.open("/proc/version"), at, 4) == -EFAULT
    assert guest.get(6, at) == b"forced"


def test_numa_maps(guest: Files) -> None:
    at = anonymous(guest, 4)
    guest.put(b"x", at)
    lines = guest.slurp("/proc/self/numa_maps").decode().splitlines()
    assert f"{at:08x} default anon=1 dirty=1 active=0 N0=1 kernelpagesize_kB=4" in lines
    assert any(" file=/prog " in line or line.endswith(" file=/prog") for line in lines)
    assert any(" stack anon=" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "text", "result", "then"),
    [
        ("swappiness", b"201", -EINVAL, b"60\n"), ("swappiness", b"10\n", 3, b"10\n"),
        ("swappiness", b"0x1f", 4, b"31\n"), ("swappiness", b"010", 3, b"8\n"),
        ("swappiness", b"60x", -EINVAL, b"60\n"),
        ("overcommit_memory", b"1", 1, b"1\n"), ("overcommit_memory", b"3", -EINVAL, b"0\n"),
        ("max_map_count", b"100", 3, b"100\n"), ("page-cluster", b"-1", -EINVAL, b"3\n"),
        ("percpu_pagelist_high_fraction", b"7", -EINVAL, b"0\n"), ("percpu_pagelist_high_fraction", b"8", 1, b"8\n"),
        ("vfs_cache_pressure_denom", b"99", -EINVAL, b"100\n"), ("numa_zonelist_order", b"zone", -EINVAL, b"Node\n"),
        ("numa_zonelist_order", b"node", 4, b"Node\n"), ("min_slab_ratio", b"101", -EINVAL, b"5\n"),
        ("dirtytime_expire_seconds", b"0", 1, b"0\n"), ("mmap_rnd_compat_bits", b"17", -EINVAL, b"8\n"),
        ("lowmem_reserve_ratio", b"1", -EINVAL, b"256\t256\t32\t0\t0\n"), ("nr_hugepages_mempolicy", b"0", 1, b"0\n"),
        ("stat_refresh", b"1", 1, b""),
    ],
)  # fmt: skip
def test_settings_are_roots_to_set(guest: Files, name: str, text: bytes, result: int, then: bytes) -> None:
    fd = guest.open(f"/proc/sys/vm/{name}", 1)
    assert guest.sys("write", fd, text, len(text)) == result
    assert guest.slurp(f"/proc/sys/vm/{name}") == then
    assert Files().open(f"/proc/sys/vm/{name}", 1) == -EACCES


@pytest.mark.parametrize(
    ("name", "text", "result", "then"),
    [
        ("run", b"0\n", 2, b"0\n"), ("run", b"2", 1, b"0\n"), ("run", b"1", -EINVAL, b"0\n"),
        ("run", b"3", -EINVAL, b"0\n"), ("pages_to_scan", b"+7\n", 3, b"7\n"),
        ("pages_to_scan", b" 7", -EINVAL, b"100\n"),
        ("max_page_sharing", b"1", -EINVAL, b"256\n"), ("use_zero_pages", b"1", 1, b"1\n"),
        ("sleep_millisecs", b"4294967296", -EINVAL, b"20\n"), ("advisor_mode", b"none", 4, b"[none] scan-time\n"),
    ],
)  # fmt: skip
def test_ksm_is_off_and_stays_so(guest: Files, name: str, text: bytes, result: int, then: bytes) -> None:
    fd = guest.open(f"/sys/kernel/mm/ksm/{name}", 1)
    assert guest.sys("write", fd, text, len(text)) == result
    assert guest.slurp(f"/sys/kernel/mm/ksm/{name}") == then
    assert guest.slurp("/sys/kernel/mm/ksm/pages_shared") == b"0\n"


def test_vmstat_has_all_lines_of_linux_and_counts_what_happens(guest: Files) -> None:
    def figures() -> dict[str, int]:
        lines = [line.split() for line in guest.slurp("/proc/vmstat").decode().splitlines()]
        return {name: int(value) for name, value in lines}

    figures()  # the guest's buffer is there
    before = figures()
    at = anonymous(guest, 3)
    guest.put(b"x" * 3 * PAGE, at)
    guest.call("madvise", at, PAGE, PAGEOUT)
    after = figures()
    changed = {name: after[name] - before[name] for name in before if after[name] != before[name]}
    assert changed["nr_anon_pages"] == changed["nr_active_anon"] == 2
    assert (changed["pgfault"], changed["pswpout"]) == (3, 1)
    assert (next(iter(after)), [*after][-1], len(after)) == ("nr_free_pages", "nr_unstable", 192)


def test_the_top_of_memory_is_sought_and_has_no_end_beyond_it(guest: Files) -> None:
    """Positions of mem are addresses (rw_verify_area, FMODE_UNSIGNED_OFFSET); pread's are not."""
    fd = guest.open("/proc/self/mem", 2)
    answers = [(-1, 0, 0), (-1, 1, EOVERFLOW), (-8, 16, EOVERFLOW), (-8, 4, EIO), ((1 << 63) - 1, 8, EIO)]
    for position, size, errno in answers:
        for name in ("read", "write"):
            guest.sys("lseek", fd, position, 0)
            assert guest.sys(name, fd, guest.buf, size) == -errno, (position, size, name)
    assert guest.sys("pread64", fd, guest.buf, 1, -1) == -EINVAL
    plain = guest.open("/proc/self/pagemap", 0)
    guest.sys("lseek", plain, -8, 0)
    assert guest.sys("read", plain, guest.buf, 8) == -EINVAL


# What Linux 6.18 made of each, swappiness being 60.
WRITTEN = [
    (b" 63", 3, b"63"), (b"\t64 ", 4, b"64"), (b"65 66", 3, b"65"), (b"67 x", 3, b"67"), (b"", 0, b"60"),
    (b" ", -EINVAL, b"60"), (b"\n", -EINVAL, b"60"), (b"09", -EINVAL, b"60"), (b"+5", -EINVAL, b"60"),
    (b"9999999999", -EINVAL, b"60"), (b"70\0", -EINVAL, b"60"), (b"-0", 2, b"0"), (b"--5", -EINVAL, b"60"),
    (b"- 5", -EINVAL, b"60"), (b"5-", -EINVAL, b"60"), (b"0x", -EINVAL, b"60"), (b"00", 2, b"0"),
    (b"00000000000000000005", 20, b"5"), (b"000000000000000000000000000005", -EINVAL, b"60"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "result", "then"), WRITTEN)
def test_what_is_written_to_a_setting_is_read_as_linux_reads_it(
    guest: Files, text: bytes, result: int, then: bytes
) -> None:
    fd = guest.open("/proc/sys/vm/swappiness", 1)
    assert guest.sys("write", fd, text, len(text)) == result
    assert guest.slurp("/proc/sys/vm/swappiness") == then + b"\n"


def test_a_setting_is_read_and_written_at_its_beginning(guest: Files) -> None:
    fd = guest.open("/proc/sys/vm/swappiness", 2)
    assert guest.sys("pwrite64", fd, b"33", 2, 1) == 2
    assert [guest.pread(fd, n, at) for n, at in ((1, 0), (1, 1), (9, 0))] == [b"6", b"", b"60\n"]


def test_the_mode_of_a_setting_binds_root(guest: Files) -> None:
    assert guest.open("/proc/sys/vm/drop_caches", 0) == guest.open("/proc/sys/vm/drop_caches", 2) == -EACCES
    assert guest.open("/proc/sys/vm/drop_caches", 1) > 0
    assert guest.open("/proc/sys/kernel/osrelease", 1) == -EACCES


def test_tmpfs_in_swap_is_no_shmem_and_shown_where_it_is_mapped(guest: Files) -> None:
    def kb(path: str, name: str, part: int = 0) -> int:
        return int(guest.slurp(path).decode().split(f"{name}:")[part + 1].split()[0])

    fd = guest.sys("memfd_create", b"m\0", 0)
    assert guest.write(fd, b"x" * 3 * PAGE) == 3 * PAGE
    at = guest.map(fd, 3 * PAGE)
    guest.get(3 * PAGE, at)
    before = kb("/proc/meminfo", "Shmem")
    guest.call("madvise", at, 3 * PAGE, PAGEOUT)
    assert kb("/proc/meminfo", "Shmem") == before - 12
    smaps = guest.slurp("/proc/self/smaps").decode().split("/memfd:m (deleted)")[1]
    assert "\nSwap:                 12 kB\nSwapPss:               0 kB\n" in smaps
    assert guest.pread(fd, 2 * PAGE, PAGE // 2) == b"x" * 2 * PAGE  # as it is in swap
    guest.put(b"y", at + PAGE)
    assert guest.pread(fd, PAGE, PAGE) == b"y" + b"x" * (PAGE - 1)
    assert kb("/proc/meminfo", "Shmem") == before - 8
    assert guest.sys("ftruncate", fd, 100) == guest.sys("ftruncate", fd, PAGE) == 0
    assert guest.pread(fd, PAGE, 0) == b"x" * 100 + bytes(PAGE - 100)
    assert guest.kernel.system.frames.swap.used == 0


def test_settings_act(guest: Files) -> None:
    def put(name: str, text: bytes) -> None:
        assert guest.write(guest.open(f"/proc/sys/vm/{name}", 1), text) == len(text)

    put("max_map_count", b"3")
    assert guest.call("mmap", 0, PAGE, 1, ANON, -1, 0) == -12
    put("max_map_count", b"65530")
    huge = 1 << 40
    assert guest.call("mmap", 0, huge, RW, ANON, -1, 0) == -12
    put("overcommit_memory", b"1")
    assert guest.call("mmap", 0, huge, RW, ANON, -1, 0) > 0
    put("drop_caches", b"3")


def test_swap_is_shown(guest: Files) -> None:
    assert guest.slurp("/proc/swaps").decode().splitlines()[1].split() == ["/dev/vdb", "partition", "1024", "0", "-2"]
    at = anonymous(guest, 3)
    guest.put(b"x" * 3 * PAGE, at)
    guest.call("madvise", at, 3 * PAGE, PAGEOUT)
    assert b"VmSwap:\t      12 kB" in guest.slurp("/proc/self/status")
    smaps = guest.slurp("/proc/self/smaps").decode().split(f"{at:x}-")[1]
    assert "\nSwap:                 12 kB\nSwapPss:              12 kB\n" in smaps
    assert b"SwapFree:           1012 kB" in guest.slurp("/proc/meminfo")
