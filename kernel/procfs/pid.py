"""/proc/[pid]: what a process has mapped, was started with, and may use (proc(5), fs/proc/task_mmu.c, base.c)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EINVAL, LinuxError
from kernel.fs.dentry import full_name
from kernel.mm.stats import VmaStats, mm_stats, table_pages, vm_flags, vma_stats
from kernel.mm.vma import EXEC, HUGETLB, LOCKED, MAYSHARE, READ, WRITE
from kernel.procfs.registry import pid_file
from kernel.procfs.setting import number
from kernel.rlimit import INFINITY, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma
    from kernel.task.task import Task

_PERMS = ("---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx")
NAME_COLUMN = 73  # where a mapping's name begins


def maps_line(mm: Mm, vma: Vma) -> bytes:
    """One line of maps (show_map_vma), its newline included."""
    flags, origin = vma.flags, vma.origin
    perms = _PERMS[flags & (READ | WRITE | EXEC)] + ("s" if flags & MAYSHARE else "p")
    if origin is None:
        line = f"{vma.start:08x}-{vma.end:08x} {perms} 00000000 00:00 0"
    else:
        (major, minor, ino), offset = origin.identity, vma.pgoff << 12
        line = f"{vma.start:08x}-{vma.end:08x} {perms} {offset:08x} {major:02x}:{minor:02x} {ino}"
    name = mapping_name(mm, vma)
    if not name:
        return line.encode() + b" \n"
    line = line.ljust(NAME_COLUMN - 1) + " " + name.replace("\n", "\\012")
    return line.encode("utf-8", "surrogateescape") + b"\n"


def mapping_name(mm: Mm, vma: Vma) -> str:
    """The last column: a path, [heap], [stack], or what prctl(PR_SET_VMA) named."""
    if vma.origin is not None:
        return vma.origin.name
    if vma.start < mm.brk and vma.end > mm.start_brk:
        return "[heap]"
    if vma.start <= mm.start_stack <= vma.end:
        return "[stack]"
    return f"[anon:{vma.name}]" if vma.name else ""


@pid_file("maps")
def maps(task: Task) -> list[bytes]:
    mm = task.mm
    return [maps_line(mm, vma) for vma in mm.vmas]


SMAPS = ("Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced",
         "Anonymous", "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb",
         "Private_Hugetlb", "Swap", "SwapPss", "Locked")  # fmt: skip


def _smaps_fields(stats: VmaStats, locked_bytes: int) -> tuple[int, ...]:
    """In kB, as SMAPS; what this machine never has is 0."""
    return (
        stats.rss * 4, stats.pss_bytes >> 10, stats.pss_dirty_bytes >> 10, stats.shared_clean * 4,
        stats.shared_dirty * 4, stats.private_clean * 4, stats.private_dirty * 4, stats.referenced * 4,
        stats.anonymous * 4, 0, stats.lazyfree * 4, 0, 0, 0, stats.hugetlb_shared * 4, stats.hugetlb_private * 4,
        (stats.swap + stats.swap_shared) * 4, stats.swap * 4, locked_bytes >> 10,
    )  # fmt: skip


def _lines(names: Iterable[str]) -> str:
    """A line for each, to be filled in by %."""
    return "".join(f"{name + ':':<16}%8d kB\n" for name in names)


ROLLUP = ("Pss_Anon", "Pss_File", "Pss_Shmem")  # stand behind Pss_Dirty
_SMAPS = _lines(("Size", "KernelPageSize", "MMUPageSize", *SMAPS)) + "THPeligible:           0\nVmFlags: %s\n"
_ROLLUP = _lines((*SMAPS[:3], *ROLLUP, *SMAPS[3:]))


@pid_file("smaps")
def smaps(task: Task) -> list[bytes]:
    mm = task.mm
    return [maps_line(mm, vma) + _smaps_of(mm, vma) for vma in mm.vmas]


def _smaps_of(mm: Mm, vma: Vma) -> bytes:
    stats = vma_stats(mm, vma)
    locked = stats.pss_bytes if vma.flags & LOCKED else 0
    return _smaps_text(vma.end - vma.start >> 10, vma.flags, _smaps_fields(stats, locked))


@lru_cache(512)
def _smaps_text(size: int, flags: int, fields: tuple[int, ...]) -> bytes:
    """Many mappings are alike, and each is when it is looked at again."""
    page_kb = 2048 if flags & HUGETLB else 4
    return (_SMAPS % (size, page_kb, page_kb, *fields, vm_flags(flags))).encode()


@pid_file("smaps_rollup")
def smaps_rollup(task: Task) -> str:
    mm = task.mm
    total, locked = VmaStats(), 0
    anon = file = shmem = first = last = 0
    for vma in mm.vmas:
        first, last = first or vma.start, vma.end
        stats = vma_stats(mm, vma)
        for name in VmaStats.__slots__:
            setattr(total, name, getattr(total, name) + getattr(stats, name))
        locked += stats.pss_bytes if vma.flags & LOCKED else 0
        own = stats.anonymous * 4096
        anon += min(own, stats.pss_bytes)
        rest = max(0, stats.pss_bytes - own)
        shmem, file = (shmem + rest, file) if vma.shmem else (shmem, file + rest)
    fields = _smaps_fields(total, locked)
    head = f"{first:08x}-{last:08x} ---p 00000000 00:00 0".ljust(NAME_COLUMN - 1) + " [rollup]\n"
    return head + _ROLLUP % (*fields[:3], anon >> 10, file >> 10, shmem >> 10, *fields[3:])


@pid_file("statm")
def statm(task: Task) -> str:
    mm = task.mm
    stats = mm_stats(mm)
    shared = stats.rss_file + stats.rss_shmem
    return f"{stats.size} {stats.rss} {shared} {stats.exe_bytes >> 12} 0 {stats.data + stats.stack} 0\n"


def _user_range(mm: Mm, start: int, end: int) -> bytes:
    """What the process's own memory says there, up to the first page it unmapped."""
    from kernel.mm.uaccess import copy_from_user_partial

    return copy_from_user_partial(mm, start, max(0, end - start))


@pid_file("cmdline")
def cmdline(task: Task) -> bytes:
    """get_mm_cmdline(): argv as it stands in memory; overwritten without an end it runs on into envp (setproctitle)."""
    mm = task.mm
    text = _user_range(mm, mm.arg_start, mm.arg_end)
    if not text or text.endswith(b"\0"):
        return text
    more = _user_range(mm, mm.arg_start, mm.env_end)
    end = more.find(b"\0", len(text))
    return more if end < 0 else more[: end + 1]


@pid_file("environ", 0o400)
def environ(task: Task) -> bytes:
    return _user_range(task.mm, task.mm.env_start, task.mm.env_end)


@pid_file("auxv", 0o400)
def auxv(task: Task) -> bytes:
    return task.process.auxv


def _set_comm(task: Task, data: bytes) -> None:
    task.comm = data[:15].split(b"\0")[0].removesuffix(b"\n").decode("utf-8", "surrogateescape")


@pid_file("comm", 0o644, _set_comm)
def comm(task: Task) -> str:
    return task.comm + "\n"


@pid_file("cgroup")
def cgroup(task: Task) -> str:
    return "0::/\n"


UNITS = {"CPU": "seconds", "NPROC": "processes", "NOFILE": "files", "LOCKS": "locks", "SIGPENDING": "signals",
         "NICE": "", "RTPRIO": "", "RTTIME": "us"}  # fmt: skip
TITLES = {
    "CPU": "cpu time", "FSIZE": "file size", "DATA": "data size", "STACK": "stack size", "CORE": "core file size",
    "RSS": "resident set", "NPROC": "processes", "NOFILE": "open files", "MEMLOCK": "locked memory",
    "AS": "address space", "LOCKS": "file locks", "SIGPENDING": "pending signals", "MSGQUEUE": "msgqueue size",
    "NICE": "nice priority", "RTPRIO": "realtime priority", "RTTIME": "realtime timeout",
}  # fmt: skip


@pid_file("limits")
def limits(task: Task) -> str:
    def shown(value: int) -> str:
        return "unlimited" if value == INFINITY else str(value)

    lines = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"]
    for i, name in enumerate(NAMES):
        cur, top = shown(task.rlimits.cur[i]), shown(task.rlimits.max[i])
        unit = UNITS.get(name, "bytes")
        lines.append(f"{'Max ' + TITLES[name]:<25} {cur:<20} {top:<20} " + (f"{unit:<10}\n" if unit else "\n"))
    return "".join(lines)


@pid_file("mounts")
def mounts(task: Task) -> list[bytes]:
    """As mount(8) reads it (show_vfsmnt)."""
    out = []
    for mount in task.system.vfs.mounts:
        place = full_name(mount.at) if mount.at is not None else b"/"
        options = ",".join(["ro" if mount.readonly else "rw", *_flags(mount.noexec), mount.fs.options()]).rstrip(",")
        head = f"{_escape(mount.source)} ".encode() + _escape_bytes(place)
        out.append(head + f" {mount.fs.type} {options} 0 0\n".encode())
    return out


def _flags(noexec: bool) -> list[str]:
    return ["noexec", "relatime"] if noexec else ["relatime"]


def _escape(text: str) -> str:
    return _escape_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def _escape_bytes(text: bytes) -> bytes:
    for char in b"\\ \t\n#":
        text = text.replace(bytes([char]), b"\\%03o" % char)
    return text


@pid_file("mountinfo")
def mountinfo(task: Task) -> list[bytes]:
    """show_mountinfo()."""
    out = []
    for mount in task.system.vfs.mounts:
        place = full_name(mount.at) if mount.at is not None else b"/"
        parent = mount.at.mount.id if mount.at is not None else mount.id
        mode = "ro" if mount.readonly else "rw"
        head = f"{mount.id} {parent} 0:{mount.fs.dev} / ".encode() + _escape_bytes(place)
        own = ",".join([mode, *_flags(mount.noexec)])
        deep = ",".join(["ro" if mount.fs.readonly else "rw", mount.fs.options()]).rstrip(",")
        out.append(head + f" {own} - {mount.fs.type} {_escape(mount.source)} {deep}\n".encode())
    return out


def _badness(task: Task) -> int:
    """oom_badness(), in pages."""
    mm = task.mm
    total = task.system.frames.total + (task.system.config.swap_bytes >> 12)
    return mm.rss + mm_stats(mm).swap + table_pages(mm) + task.process.oom_score_adj * total // 1000


@pid_file("oom_score")
def oom_score(task: Task) -> str:
    total = task.system.frames.total + (task.system.config.swap_bytes >> 12)
    if task.process.oom_score_adj == -1000:
        return "0\n"
    return f"{max(0, (1000 + _badness(task) * 1000 // total) * 2 // 3)}\n"


def _number(data: bytes) -> int:
    """The whole of the first 12 bytes that are written (PROC_NUMBUF, kstrtoint). Raises LinuxError(EINVAL)."""
    text = data[:12].split(b"\0")[0].strip().removeprefix(b"+")
    value, taken = number(text)
    if taken < len(text):
        raise LinuxError(EINVAL, "more than a number")
    return value


def _set_oom_score_adj(task: Task, data: bytes) -> None:
    """oom_score_adj_write()."""
    value, process = _number(data), task.process
    if not -1000 <= value <= 1000:
        raise LinuxError(EINVAL, "not in -1000…1000")
    if value < process.oom_score_adj_min and not task.cred.privileged:
        raise LinuxError(EACCES, f"an oom_score_adj below {process.oom_score_adj_min} needs CAP_SYS_RESOURCE")
    process.oom_score_adj = value
    if task.cred.privileged:
        process.oom_score_adj_min = value


@pid_file("oom_score_adj", 0o644, _set_oom_score_adj)
def oom_score_adj(task: Task) -> str:
    return f"{task.process.oom_score_adj}\n"


def _set_oom_adj(task: Task, data: bytes) -> None:
    """The old scale: -17 (never) to 15 (first)."""
    value = _number(data)
    if not -17 <= value <= 15:
        raise LinuxError(EINVAL, "not in -17…15")
    score = 1000 if value == 15 else int(value * 1000 / 17)
    if score < task.process.oom_score_adj and not task.cred.privileged:
        raise LinuxError(EACCES, "lowering oom_adj needs CAP_SYS_RESOURCE")
    task.process.oom_score_adj = score


@pid_file("oom_adj", 0o644, _set_oom_adj)
def oom_adj(task: Task) -> str:
    adj = task.process.oom_score_adj
    return f"{15 if adj == 1000 else int(adj * 17 / 1000)}\n"


@pid_file("personality", 0o400)
def personality(task: Task) -> str:
    return f"{task.process.personality:08x}\n"


@pid_file("wchan")
def wchan(task: Task) -> str:
    return "0"


def _set_timerslack(task: Task, data: bytes) -> None:
    task.timerslack_ns = _number(data) or 50_000


@pid_file("timerslack_ns", 0o666, _set_timerslack)
def timerslack_ns(task: Task) -> str:
    return f"{task.timerslack_ns}\n"


@pid_file("uid_map", 0o644)
def uid_map(task: Task) -> str:
    return f"{0:>10} {0:>10} {0xFFFFFFFF:>10}\n"


@pid_file("gid_map", 0o644)
def gid_map(task: Task) -> str:
    return f"{0:>10} {0:>10} {0xFFFFFFFF:>10}\n"
