"""Credential syscalls: whose rights a process has. Its ids, groups and capabilities (credentials(7))."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import In, Int, Uid
from kernel.abi.credargs import CapData, OutCapData
from kernel.abi.errno import EINVAL, EPERM, LinuxError
from kernel.abi.limits import NGROUPS_MAX
from kernel.abi.structs import CapHeader
from kernel.abi.words import InIds, OutIds, OutInt
from kernel.syscalls.process import find_process
from kernel.syscalls.table import syscall
from kernel.task.task import Task

KEEP = 0xFFFFFFFF  # -1: leave this id as it is
CAP_VERSIONS = {0x19980330: 1, 0x20071026: 2, 0x20080522: 2}  # how many capability words each has
CAP_V3 = 0x20080522
ALL_CAPS = (1 << 41) - 1


@syscall
def getuid(task: Task) -> int:
    """getuid(2)."""
    return task.cred.uid


@syscall
def geteuid(task: Task) -> int:
    """geteuid(2)."""
    return task.cred.euid


@syscall
def getgid(task: Task) -> int:
    """getgid(2)."""
    return task.cred.gid


@syscall
def getegid(task: Task) -> int:
    """getegid(2)."""
    return task.cred.egid


@syscall
def getresuid(task: Task, ruid: OutInt, euid: OutInt, suid: OutInt) -> int:
    """getresuid(2)."""
    cred = task.cred
    return _put_ids(task, (ruid, cred.uid), (euid, cred.euid), (suid, cred.suid))


@syscall
def getresgid(task: Task, rgid: OutInt, egid: OutInt, sgid: OutInt) -> int:
    """getresgid(2)."""
    cred = task.cred
    return _put_ids(task, (rgid, cred.gid), (egid, cred.egid), (sgid, cred.sgid))


def _put_ids(task: Task, *pairs: tuple[int, int]) -> int:
    for va, value in pairs:
        task.mm.copy_to_user(va, value.to_bytes(4, "little"))
    return 0


def _allowed(task: Task, old: tuple[int, ...], *new: int) -> None:
    """Without CAP_SETUID (CAP_SETGID) an id may only become one that the process has."""
    if not task.cred.privileged and any(value not in (*old, KEEP) for value in new):
        raise LinuxError(EPERM, "becoming somebody else needs CAP_SETUID or CAP_SETGID")


def _set_uids(task: Task, uid: int, euid: int, suid: int) -> int:
    cred = task.cred
    cred.uid = cred.uid if uid == KEEP else uid
    cred.euid = cred.euid if euid == KEEP else euid
    cred.suid = cred.suid if suid == KEEP else suid
    cred.fsuid = cred.euid
    _rights_changed(task)
    return 0


def _set_gids(task: Task, gid: int, egid: int, sgid: int) -> int:
    cred = task.cred
    cred.gid = cred.gid if gid == KEEP else gid
    cred.egid = cred.egid if egid == KEEP else egid
    cred.sgid = cred.sgid if sgid == KEEP else sgid
    cred.fsgid = cred.egid
    return 0


def _rights_changed(task: Task) -> None:
    task.mm.privileged = task.cred.privileged


@syscall
def setuid(task: Task, uid: Uid) -> int:
    """setuid(2): all three ids for root, the effective one for others."""
    if uid == KEEP:
        raise LinuxError(EINVAL, "-1 is no uid")
    cred = task.cred
    if cred.privileged:
        return _set_uids(task, uid, uid, uid)
    _allowed(task, (cred.uid, cred.suid), uid)
    return _set_uids(task, KEEP, uid, KEEP)


@syscall
def setgid(task: Task, gid: Uid) -> int:
    """setgid(2)."""
    if gid == KEEP:
        raise LinuxError(EINVAL, "-1 is no gid")
    cred = task.cred
    if cred.privileged:
        return _set_gids(task, gid, gid, gid)
    _allowed(task, (cred.gid, cred.sgid), gid)
    return _set_gids(task, KEEP, gid, KEEP)


@syscall
def setreuid(task: Task, ruid: Uid, euid: Uid) -> int:
    """setreuid(2)."""
    cred = task.cred
    _allowed(task, (cred.uid, cred.euid), ruid)
    _allowed(task, (cred.uid, cred.euid, cred.suid), euid)
    saves = ruid != KEEP or (euid not in (KEEP, cred.uid))
    return _set_uids(task, ruid, euid, (cred.euid if euid == KEEP else euid) if saves else KEEP)


@syscall
def setregid(task: Task, rgid: Uid, egid: Uid) -> int:
    """setregid(2)."""
    cred = task.cred
    _allowed(task, (cred.gid, cred.egid), rgid)
    _allowed(task, (cred.gid, cred.egid, cred.sgid), egid)
    saves = rgid != KEEP or (egid not in (KEEP, cred.gid))
    return _set_gids(task, rgid, egid, (cred.egid if egid == KEEP else egid) if saves else KEEP)


@syscall
def setresuid(task: Task, ruid: Uid, euid: Uid, suid: Uid) -> int:
    """setresuid(2)."""
    cred = task.cred
    _allowed(task, (cred.uid, cred.euid, cred.suid), ruid, euid, suid)
    return _set_uids(task, ruid, euid, suid)


@syscall
def setresgid(task: Task, rgid: Uid, egid: Uid, sgid: Uid) -> int:
    """setresgid(2)."""
    cred = task.cred
    _allowed(task, (cred.gid, cred.egid, cred.sgid), rgid, egid, sgid)
    return _set_gids(task, rgid, egid, sgid)


@syscall
def setfsuid(task: Task, uid: Uid) -> int:
    """setfsuid(2): the one before, whatever happens."""
    cred = task.cred
    old = cred.fsuid
    if uid != KEEP and (cred.privileged or uid in (cred.uid, cred.euid, cred.suid, cred.fsuid)):
        cred.fsuid = uid
    return old


@syscall
def setfsgid(task: Task, gid: Uid) -> int:
    """setfsgid(2): the one before, whatever happens."""
    cred = task.cred
    old = cred.fsgid
    if gid != KEEP and (cred.privileged or gid in (cred.gid, cred.egid, cred.sgid, cred.fsgid)):
        cred.fsgid = gid
    return old


@syscall
def getgroups(task: Task, size: Int, list: OutIds) -> int:
    """getgroups(2)."""
    groups = task.cred.groups
    if size < 0:
        raise LinuxError(EINVAL, "size is negative")
    if size:
        if len(groups) > size:
            raise LinuxError(EINVAL, f"there are {len(groups)} groups, room is for {size}")
        task.mm.copy_to_user(list, b"".join(gid.to_bytes(4, "little") for gid in groups))
    return len(groups)


@syscall
def setgroups(task: Task, size: Int, list: Annotated[int, InIds("size")]) -> int:
    """setgroups(2)."""
    if not task.cred.privileged:
        raise LinuxError(EPERM, "setting groups needs CAP_SETGID")
    if not 0 <= size <= NGROUPS_MAX:
        raise LinuxError(EINVAL, f"at most {NGROUPS_MAX} groups")
    raw = task.mm.copy_from_user(list, 4 * size)
    task.cred.groups = tuple(int.from_bytes(raw[i : i + 4], "little") for i in range(0, len(raw), 4))
    return 0


@syscall
def capget(task: Task, header: In[CapHeader], data: OutCapData) -> int:
    """capget(2): root has all capabilities, others none."""
    words, pid = _cap_header(task, header, data)
    if not words:
        return 0
    if pid < 0:
        raise LinuxError(EINVAL, "pid is negative")
    caps = ALL_CAPS if find_process(task, pid).cred.privileged else 0
    raw = b"".join((caps >> 32 * i & 0xFFFFFFFF).to_bytes(4, "little") * 2 + bytes(4) for i in range(words))
    task.mm.copy_to_user(data, raw)
    return 0


def _cap_header(task: Task, header: int, data: int) -> tuple[int, int]:
    """(capability words, pid); 0 words: a probe for the version, answered. Raises EINVAL for an unknown version."""
    given = CapHeader.unpack(task.mm.copy_from_user(header, CapHeader.SIZE))
    words = CAP_VERSIONS.get(given.version)
    if words is None:
        task.mm.copy_to_user(header, CAP_V3.to_bytes(4, "little"))
        if data:
            raise LinuxError(EINVAL, "the preferred version has been written to the header")
        return 0, 0
    return (words if data else 0), given.pid


@syscall(partly="capabilities are all or none: only the set that the process has is accepted")
def capset(task: Task, header: In[CapHeader], data: CapData) -> int:
    """capset(2)."""
    words, pid = _cap_header(task, header, data)
    if pid not in (0, task.pid):
        raise LinuxError(EPERM, "only the caller's own capabilities can be set")
    raw = task.mm.copy_from_user(data, 12 * words)
    sets = [[int.from_bytes(raw[12 * w + at : 12 * w + at + 4], "little") for w in range(words)] for at in (0, 4, 8)]
    effective, permitted, inheritable = (sum(word << 32 * i for i, word in enumerate(each)) for each in sets)
    own = ALL_CAPS if task.cred.privileged else 0
    if effective & ~own or permitted & ~own or inheritable & ~own:
        raise LinuxError(EPERM, "a capability that the process does not have")
    if effective & ALL_CAPS != own or permitted & ALL_CAPS != own or inheritable:
        raise LinuxError(EINVAL, "capabilities are all or none here: single ones can be neither dropped nor inherited")
    return 0
