"""/proc and /sys: Linux's own text. Where this host has the file, ours has its lines, names and widths."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from files import ANON, RW, Files

from kernel.abi.errno import EACCES, EFAULT, EINVAL, ENOENT, EPERM
from kernel.abi.fcntl import Open
from kernel.mm.stats import mm_stats

HOST = Path("/proc/self/maps").exists()


@pytest.fixture
def guest() -> Files:
    return Files()


def lines(guest: Files, path: str) -> list[str]:
    return guest.slurp(path).decode().splitlines()


def test_maps_has_linuxs_columns(guest: Files) -> None:
    text = lines(guest, "/proc/self/maps")
    ino = guest.kernel.system.vfs.find(b"/prog").inode.ino
    assert text[0] == f"00400000-00401000 r--p 00000000 00:19 {ino}".ljust(73) + "/prog"
    assert all(line.index("[") == 73 for line in text if "[" in line)
    assert text[-1].endswith("[stack]")
    anonymous = [line for line in text if "/" not in line and "[" not in line]
    assert anonymous
    assert all(line.endswith(" 00:00 0 ") for line in anonymous)


def test_maps_shows_mappings_as_they_are(guest: Files) -> None:
    fd = guest.open("/tmp/f", Open.CREAT | Open.RDWR)
    guest.sys("ftruncate", fd, 16384)
    at = guest.map(fd, 8192, 1, 1, 4096)
    ino = guest.kernel.system.vfs.find(b"/tmp/f").inode.ino
    wanted = f"{at:08x}-{at + 8192:08x} r--s 00001000 00:19 {ino}".ljust(73) + "/tmp/f"
    assert wanted in lines(guest, "/proc/self/maps")
    guest.sys("rename", "/tmp/f", "/tmp/a b\nc")
    assert any(line.endswith("/tmp/a b\\012c") for line in lines(guest, "/proc/self/maps"))
    shared = guest.call("mmap", 0, 4096, RW, 0x21, -1, 0)
    assert any(line.startswith(f"{shared:x}-") and line.endswith("/dev/zero (deleted)") for line in
               lines(guest, "/proc/self/maps"))  # fmt: skip


@pytest.mark.skipif(not HOST, reason="no /proc here to compare with")
@pytest.mark.parametrize("name", ["status", "limits", "smaps", "smaps_rollup", "meminfo"])
def test_the_fields_are_the_hosts_in_its_order(guest: Files, name: str) -> None:
    path = "/proc/meminfo" if name == "meminfo" else f"/proc/self/{name}"
    host = [line for line in Path(path).read_text().splitlines() if not re.match(r"[0-9a-f]+-[0-9a-f]+ ", line)]
    ours = [line for line in lines(guest, path) if not re.match(r"[0-9a-f]+-[0-9a-f]+ ", line)]
    names = [re.split(r":|  ", line)[0] for line in host]
    ours_named = [re.split(r":|  ", line)[0] for line in ours]
    known = {"ProtectionKey", "DirectMap1G", "x86_Thread_features", "x86_Thread_features_locked"}
    if name == "smaps":
        names, ours_named = names[: len(set(names))], ours_named[: len(set(ours_named))]
    assert ours_named == [each for each in names if each in ours_named or each not in known]
    theirs = dict(zip(names, host, strict=False))
    for label, line in zip(ours_named, ours, strict=False):
        if line.endswith("kB"):
            assert len(line) == len(theirs[label]) or len(theirs[label]) > 28, (line, theirs[label])


def test_status_and_statm_and_stat_tell_one_story(guest: Files) -> None:
    at = guest.call("mmap", 0, 1 << 20, RW, ANON, -1, 0)
    guest.put(b"x" * 50_000, at)
    stats = mm_stats(guest.task.mm)
    status = dict(line.split(":\t") for line in lines(guest, "/proc/self/status"))
    assert int(status["VmSize"].split()[0]) == stats.size * 4
    rss = int(status["VmRSS"].split()[0]) // 4
    assert rss == sum(int(status[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem")) // 4
    statm = [int(word) for word in guest.slurp("/proc/self/statm").split()]
    assert statm[0] == stats.size
    assert abs(statm[1] - rss) <= 1
    stat = guest.slurp("/proc/self/stat").decode().rsplit(") ", 1)
    assert stat[0] == "1000 (prog"
    fields = stat[1].split()
    assert len(fields) == 50
    assert (fields[0], fields[1], int(fields[20])) == ("R", "999", stats.size * 4096)
    assert status["Uid"] == "1000\t1000\t1000\t1000"
    assert status["CapEff"] == "0" * 16


def test_smaps_adds_up_to_rss(guest: Files) -> None:
    total = sum(int(line.split()[1]) for line in lines(guest, "/proc/self/smaps") if line.startswith("Rss:"))
    rollup = dict(line.split(":") for line in lines(guest, "/proc/self/smaps_rollup")[1:])
    assert abs(total - int(rollup["Rss"].split()[0])) <= 4


def test_what_the_process_was_started_with() -> None:
    guest = Files(argv=(b"prog", b"two words", b""), envp=(b"A=1", b"B="))
    assert guest.slurp("/proc/self/cmdline") == b"prog\0two words\0\0"
    assert guest.slurp("/proc/self/environ") == b"A=1\0B=\0"
    assert guest.slurp("/proc/self/comm") == b"prog\n"
    auxv = guest.slurp("/proc/self/auxv")
    assert len(auxv) % 16 == 0
    assert auxv.endswith(bytes(16))
    assert guest.sys("readlink", "/proc/self/exe", guest.buf, 100) == 5
    assert guest.get(5, guest.buf) == b"/prog"
    assert guest.slurp("/proc/1000/cgroup") == b"0::/\n"


def test_fd_lists_descriptors_and_leads_to_their_files(guest: Files) -> None:
    fd = guest.open("/tmp/f", Open.CREAT | Open.RDWR)
    guest.write(fd, b"content")
    guest.sys("unlink", "/tmp/f")
    assert guest.names("/proc/self/fd") == ["0", "1", "2", "3", "4"]  # 4 is the listing's own
    assert guest.slurp(f"/proc/self/fd/{fd}") == b"content"
    assert guest.sys("readlink", f"/proc/self/fd/{fd}", guest.buf, 100) == len(name := b"/tmp/f (deleted)")
    assert guest.get(len(name), guest.buf) == name
    assert guest.open(f"/proc/self/fd/0{fd}") == guest.open("/proc/self/fd/99") == -ENOENT
    info = dict(line.split(":\t") for line in lines(guest, f"/proc/self/fdinfo/{fd}"))
    assert (info["pos"], info["flags"]) == ("7", "0100002")


def test_a_text_is_read_in_whole_records_of_at_most_a_page(guest: Files) -> None:
    for i in range(200):
        guest.call("mmap", 0x10000000 + i * 8192, 4096, RW, ANON | 0x10, -1, 0)
    fd = guest.open("/proc/self/maps")
    first = guest.read(fd, 65536)
    assert 3900 < len(first) < 4096
    assert first.endswith(b"\n")
    whole = first
    while piece := guest.read(fd, 1000):
        whole += piece
    assert whole == guest.slurp("/proc/self/maps")
    assert guest.pread(fd, 100, 150) == whole[150:250]
    assert guest.sys("lseek", fd, 0, 2) == -EINVAL
    assert guest.sys("lseek", fd, 0, 0) == 0
    assert guest.sys("read", fd, 8, 100) == -EFAULT


def test_files_that_take_writes(guest: Files) -> None:
    for name, text, result in (
        ("comm", b"renamed", 7), ("oom_score_adj", b"10", 2), ("oom_score_adj", b"x", -EINVAL),
        ("oom_score_adj", b"2000", -EINVAL), ("oom_score_adj", b"5", 1), ("oom_score_adj", b"-5", -EACCES),
        ("status", b"x", -EACCES),
    ):  # fmt: skip
        fd = guest.open(f"/proc/self/{name}", Open.WRONLY)
        assert (guest.write(fd, text) if fd >= 0 else fd) == result
    assert guest.slurp("/proc/self/comm") == b"renamed\n"
    assert guest.slurp("/proc/self/oom_score_adj") == b"5\n"


def test_nothing_is_made_removed_or_changed_there() -> None:
    guest = Files(uid=0, gid=0)
    for args, errno in (
        (("mkdir", "/proc/x", 0o755), ENOENT), (("unlink", "/proc/cpuinfo"), EPERM),
        (("rmdir", "/proc/self/fd"), EPERM),
        (("chmod", "/proc/self/maps", 0o600), EPERM), (("open", "/proc/x", Open.CREAT, 0o600), ENOENT),
        (("open", "/sys/x", Open.CREAT, 0o600), EACCES), (("mkdir", "/sys/x", 0o755), EPERM),
        (("open", "/proc/7", 0), ENOENT),
    ):  # fmt: skip
        assert guest.sys(*args) == -errno


@pytest.mark.parametrize(("path", "text"), [
    ("/proc/sys/vm/overcommit_memory", "0"), ("/proc/sys/vm/max_map_count", "65530"),
    ("/proc/sys/kernel/ostype", "Linux"), ("/proc/sys/vm/mmap_min_addr", "65536"),
    ("/proc/sys/kernel/osrelease", "6.18.0"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"),
    ("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152"), ("/sys/devices/system/cpu/online", "0"),
    ("/sys/devices/system/node/online", "0"), ("/sys/devices/system/node/node0/cpulist", "0"),
    ("/proc/uptime", "1000.00 1000.00"), ("/proc/loadavg", "0.00 0.00 0.00 1/1 1000"),
])  # fmt: skip
def test_fixed_texts(guest: Files, path: str, text: str) -> None:
    assert guest.slurp(path).decode() == text + "\n"


@pytest.mark.skipif(not HOST, reason="no /proc here to compare with")
def test_every_name_of_ours_is_linuxs_with_its_mode(guest: Files) -> None:
    """What the host lacks by its configuration alone is left out."""
    configured = {"yama", "random", "hugepages", "node", "topology", "protected_"}
    for folder in ("/proc", "/proc/self", "/proc/sys/vm", "/proc/sys/kernel", "/sys/kernel/mm/transparent_hugepage"):
        for name in guest.names(folder):
            path = f"{folder}/{name}"
            if name.isdigit() or any(each in path for each in configured):
                continue
            assert os.path.lexists(path), path
            found = guest.stat(path, follow=False)
            assert not isinstance(found, int)
            if name != "swaps" and "/sys/" not in path:
                assert oct(found.st_mode) == oct(os.lstat(path).st_mode), path


def test_the_same_run_reads_the_same() -> None:
    def everything() -> list[bytes]:
        guest = Files()
        others = ("fd", "fdinfo", "task", "mem", "clear_refs", "pagemap")
        paths = ["/proc/self/" + name for name in guest.names("/proc/self") if name not in others]
        more = ("meminfo", "cpuinfo", "stat", "vmstat", "version", "sys/kernel/random/uuid")
        paths += [f"/proc/{name}" for name in more]
        return [guest.slurp(path) for path in paths if not path.endswith(("cwd", "exe", "root"))]

    assert everything() == everything()
