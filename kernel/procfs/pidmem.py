"""/proc/[pid]/{mem,pagemap,clear_refs,numa_maps}: a process's memory, page by page (fs/proc/{base,task_mmu}.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EINVAL, EIO, ERANGE, LinuxError
from kernel.abi.limits import U64
from kernel.mm import pagemap
from kernel.mm.remote import read_remote, write_remote
from kernel.procfs.registry import RAW, RawFile, pid_file

if TYPE_CHECKING:
    from kernel.task.task import Task

BUFFER = 13  # bytes that a short decimal number is read into (PROC_NUMBUF)


@pid_file("numa_maps")
def numa_maps(task: Task) -> list[bytes]:
    mm = task.mm
    return [pagemap.numa_maps_line(mm, vma).encode("utf-8", "surrogateescape") for vma in mm.vmas]


def _pagemap(task: Task, n: int, pos: int) -> bytes:
    return pagemap.pagemap(task.mm, n, pos, task.cred.privileged)


def _clear_refs(task: Task, data: bytes, pos: int) -> int:
    digits = data[: BUFFER - 1].strip()
    try:
        kind = int(digits)
    except ValueError:
        raise LinuxError(EINVAL, "not a number") from None
    if not -1 << 31 <= kind < 1 << 31:
        raise LinuxError(ERANGE, "not an int")
    pagemap.clear_refs(task.mm, kind)
    return len(data)


def _read_mem(task: Task, n: int, pos: int) -> bytes:
    data = read_remote(task.mm, pos & U64, n)
    if n and not data:
        raise LinuxError(EIO, f"nothing can be read at 0x{pos & U64:x}")
    return data


def _write_mem(task: Task, data: bytes, pos: int) -> int:
    done = write_remote(task.mm, pos & U64, data)
    if data and not done:
        raise LinuxError(EIO, f"nothing can be written at 0x{pos & U64:x}")
    return done


RAW["mem"] = RawFile(_read_mem, _write_mem, 0o600, unsigned=True)
RAW["pagemap"] = RawFile(_pagemap, None, 0o400)
RAW["clear_refs"] = RawFile(None, _clear_refs, 0o200)
