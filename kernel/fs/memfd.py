"""memfd: a file in memory without a name, which may be sealed (memfd_create(2), mm/memfd.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EBUSY, EINVAL, EPERM, LinuxError
from kernel.abi.fcntl import S_IFREG, Open, Seal
from kernel.fs.dentry import Dentry, Path
from kernel.fs.hugememfd import HugeInode, make_huge_memfd
from kernel.fs.ramfile import RamFile, RamOpen
from kernel.mm.vma import MAYWRITE, SHARED

if TYPE_CHECKING:
    from kernel.fs.file import File
    from kernel.fs.inode import Cred
    from kernel.fs.vfs import Vfs
    from kernel.mm.hugetlb import HugePool

ALL_SEALS = Seal.SEAL | Seal.SHRINK | Seal.GROW | Seal.WRITE | Seal.FUTURE_WRITE | Seal.EXEC


def make_memfd(
    vfs: Vfs, cred: Cred, name: bytes, *, sealable: bool, executable: bool, pool: HugePool | None = None, log2: int = 0
) -> File:
    """A new one, empty; not `executable` means that it never will be (MFD_NOEXEC_SEAL). With a `pool`: in huge pages of
    2^`log2` bytes."""
    if pool is not None:
        huge = make_huge_memfd(vfs, cred, pool, name, log2, executable)
        _settle(huge.file, sealable, executable)
        return huge
    inode = RamFile(vfs.shm, S_IFREG | (0o777 if executable else 0o666), cred.fsuid, cred.fsgid)
    inode.nlink = 0
    _settle(inode, sealable, executable)
    path = Path(vfs.shm_mount, Dentry(b"/memfd:" + name + b" (deleted)", None, inode))
    return RamOpen(path, Open.RDWR | Open.LARGEFILE)


def _settle(inode: RamFile | HugeInode, sealable: bool, executable: bool) -> None:
    """The seals that it begins with."""
    if not executable:
        inode.seals = Seal.EXEC
    elif sealable:
        inode.seals = 0


def _sealable(file: File) -> RamFile | HugeInode:
    inode = file.inode
    if not isinstance(inode, RamFile | HugeInode):
        raise LinuxError(EINVAL, "only files in memory have seals")
    return inode


def get_seals(file: File) -> int:
    """F_GET_SEALS."""
    return _sealable(file).seals


def add_seals(file: File, seals: int) -> None:
    """F_ADD_SEALS, in the order of memfd_add_seals()."""
    if not file.writable:
        raise LinuxError(EPERM, "seals are added through a descriptor that can write")
    if seals & ~ALL_SEALS:
        raise LinuxError(EINVAL, "an unknown seal")
    inode = _sealable(file)
    if inode.seals & Seal.SEAL:
        raise LinuxError(EPERM, "the file has F_SEAL_SEAL (it was made without MFD_ALLOW_SEALING, or was sealed)")
    if seals & Seal.WRITE and not inode.seals & Seal.WRITE and shared_writers(inode):
        raise LinuxError(EBUSY, "F_SEAL_WRITE, and the file is mapped shared and writable")
    if seals & Seal.EXEC and inode.mode & 0o111:
        seals |= Seal.SHRINK | Seal.GROW | Seal.WRITE | Seal.FUTURE_WRITE
    inode.seals |= seals


def shared_writers(inode: RamFile | HugeInode) -> bool:
    """Is it mapped shared by somebody who may write (mapping_deny_writable)?"""
    return any(vma.flags & SHARED and vma.flags & MAYWRITE for _, vma in inode.pages.mappings.values())
