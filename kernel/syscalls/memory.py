"""Memory syscalls that shape the address space: check what the ABI asks, in Linux's order, then ask mm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.args import Addr, Fd, Hex, Int, Size, UInt, ULong, XOff
from kernel.abi.credargs import UffdFlags
from kernel.abi.errno import EACCES, EEXIST, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EOVERFLOW, EPERM, LinuxError
from kernel.abi.fcntl import Seal
from kernel.abi.limits import RLIMIT_MEMLOCK, TASK_SIZE, U64
from kernel.abi.memargs import NewAddr, PkeyRights
from kernel.abi.mman import (
    MAP_HUGE_SHIFT,
    MAP_TYPE,
    MadvChoice,
    Map,
    MapFlags,
    Mremap,
    MremapFlags,
    Prot,
    ProtFlags,
)
from kernel.fs.file import File
from kernel.fs.hugememfd import HugeOpen
from kernel.fs.ramfile import RamFile
from kernel.mm import map as mm_map
from kernel.mm import vma as vm
from kernel.mm.advise import checked_end, do_madvise
from kernel.mm.brk import brk as move_brk
from kernel.mm.fault import populate
from kernel.mm.place import get_unmapped_area, round_hint_to_min
from kernel.mm.protect import mprotect as change_protection
from kernel.mm.remap import mremap as move_mapping
from kernel.mm.residency import mseal as seal
from kernel.mm.shmem import Shmem
from kernel.syscalls.hugepages import map_huge_file, map_huge_pages
from kernel.syscalls.table import Hexadecimal, syscall

if TYPE_CHECKING:
    from kernel.mm.mappable import Mappable
    from kernel.mm.mm import Mm
    from kernel.task.task import Task

# What MAP_SHARED ignores beyond, and MAP_SHARED_VALIDATE refuses (LEGACY_MAP_MASK; FIXED_NOREPLACE is not in it).
LEGACY_MAP_MASK = (
    Map.SHARED | Map.PRIVATE | Map.FIXED | Map.ANONYMOUS | Map.DENYWRITE | Map.EXECUTABLE | Map.UNINITIALIZED
    | Map.GROWSDOWN | Map.LOCKED | Map.NORESERVE | Map.POPULATE | Map.NONBLOCK | Map.STACK | Map.HUGETLB
    | Map._32BIT | Map.ABOVE4G | 21 << MAP_HUGE_SHIFT | 30 << MAP_HUGE_SHIFT
)  # fmt: skip
PRIVATE_ANONYMOUS = Map.PRIVATE | Map.ANONYMOUS


@syscall(result=Hexadecimal)
def brk(task: Task, addr: Addr) -> int:
    """brk(2), as the kernel has it: the new break, or the present one where it cannot be moved."""
    try:
        return move_brk(task.mm, addr)
    except LinuxError:
        return task.mm.brk


@syscall(result=Hexadecimal)
def mmap(task: Task, addr: Addr, length: Size, prot: ProtFlags, flags: MapFlags, fd: Fd, offset: XOff) -> int:
    """mmap(2)."""
    mm = task.mm
    plain = flags == PRIVATE_ANONYMOUS and not (addr or offset) and prot < 8 and 0 < length <= TASK_SIZE
    if plain and mm.map_count <= mm.max_map_count and not mm.def_flags and not mm.read_implies_exec:
        return mm_map.mmap_anonymous(mm, length + 4095 & ~4095, prot)  # nothing else of this function applies
    if offset & 4095:
        raise LinuxError(EINVAL, "offset is not page-aligned")
    if flags & Map.ANONYMOUS:
        if flags & Map.HUGETLB:
            return map_huge_pages(task, addr, length, prot, flags, offset)
        file: File | None = None
    else:
        file = task.files.get(fd)
        if isinstance(file, HugeOpen):
            return map_huge_file(task, file, addr, length, prot, flags, offset)
        if flags & Map.HUGETLB:
            raise LinuxError(EINVAL, "MAP_HUGETLB of a file that is not in hugetlbfs")
    if not length:
        raise LinuxError(EINVAL, "length is 0")
    size = length + 4095 & U64 & ~4095
    if not size:
        raise LinuxError(ENOMEM, "length overflows when rounded up to pages")
    pgoff = offset >> 12
    if pgoff + (size >> 12) >= 1 << 64:
        raise LinuxError(EOVERFLOW, "offset + length overflows")
    if mm.map_count > mm.max_map_count:
        raise LinuxError(ENOMEM, f"vm.max_map_count: there are {mm.map_count} mappings")
    if mm.read_implies_exec and prot & Prot.READ:
        prot |= Prot.EXEC
    if flags & Map.FIXED_NOREPLACE:
        flags |= Map.FIXED
    vm_flags = prot & 7 | vm.MAY | mm.def_flags
    if flags & (Map.GROWSDOWN | Map.LOCKED | Map.STACK | Map.SYNC):
        vm_flags |= _flag_bits(flags)
    if addr and not flags & Map.FIXED:
        addr = round_hint_to_min(mm, addr)
    start = get_unmapped_area(
        mm, addr, size, fixed=bool(flags & Map.FIXED), low32=bool(flags & Map._32BIT),
        above4g=bool(flags & Map.ABOVE4G), offset=0 if file is None else offset,
        thp=not addr and not size & 0x1FFFFF and file is None and flags & MAP_TYPE != Map.SHARED,
    )  # fmt: skip
    if flags & Map.FIXED_NOREPLACE and (there := mm.vmas.overlapping(start, start + size)):
        raise LinuxError(EEXIST, f"MAP_FIXED_NOREPLACE, but 0x{there[0].start:x}-0x{there[0].end:x} is mapped")
    if flags & Map.LOCKED and not mm.privileged and not mm.limits.cur[RLIMIT_MEMLOCK]:
        raise LinuxError(EPERM, "MAP_LOCKED needs CAP_IPC_LOCK or a RLIMIT_MEMLOCK above 0")
    mm_map.check_mlock_future(mm, vm_flags, size)
    mappable: Mappable | None = None
    behind: object = file
    if file is not None:
        vm_flags, mappable = _file_mapping(file, prot, flags, vm_flags, pgoff, size)
    else:
        vm_flags |= _anonymous_mapping(flags, vm_flags)
    if flags & Map.NORESERVE:
        vm_flags |= mm_map.noreserve(mm)
    shared: Shmem | None = None
    if vm_flags & vm.SHARED and mappable is None:
        pgoff = 0
        mappable = behind = shared = Shmem(mm.frames, size >> 12, accounted=False)
    mm_map.mmap_region(mm, start, start + size, vm_flags, mappable, pgoff, behind)
    if shared is not None and not vm_flags & vm.NORESERVE:
        _promise(mm, shared, start)
    if vm_flags & vm.LOCKED or flags & (Map.POPULATE | Map.NONBLOCK) == Map.POPULATE:
        populate(mm, start, start + size)
    return start


def _flag_bits(flags: int) -> int:
    """calc_vm_flag_bits. MAP_STACK keeps huge pages away since Linux 6.7."""
    return (
        (vm.GROWSDOWN if flags & Map.GROWSDOWN else 0)
        | (vm.LOCKED if flags & Map.LOCKED else 0)
        | (vm.NOHUGEPAGE if flags & Map.STACK else 0)
        | (vm.SYNC if flags & Map.SYNC else 0)
    )


def _anonymous_mapping(flags: int, vm_flags: int) -> int:
    """The VM_ flags that the type adds to memory without a file."""
    kind = flags & MAP_TYPE
    if kind == Map.PRIVATE:
        return 0
    if kind == Map.SHARED:
        if vm_flags & vm.GROWSDOWN:
            raise LinuxError(EINVAL, "MAP_GROWSDOWN of shared memory")
        return vm.SHARED | vm.MAYSHARE
    if kind == Map.DROPPABLE:
        if flags & (Map.LOCKED | Map.HUGETLB) or vm_flags & vm.GROWSDOWN:
            raise LinuxError(EINVAL, "MAP_DROPPABLE with MAP_LOCKED, MAP_HUGETLB or MAP_GROWSDOWN")
        return vm.DROPPABLE | vm.NORESERVE | vm.WIPEONFORK | vm.DONTDUMP
    raise LinuxError(EINVAL, "neither MAP_SHARED nor MAP_PRIVATE (or both)")


def _file_mapping(
    file: File, prot: int, flags: int, vm_flags: int, pgoff: int, size: int
) -> tuple[int, Mappable | None]:
    """The VM_ flags and the content of a file's mapping; the file's own refusals."""
    if pgoff > (1 << 63) - 1 >> 12 or pgoff + (size >> 12) > (1 << 63) - 1 >> 12:
        raise LinuxError(EOVERFLOW, "offset + length is past the largest file")
    kind = flags & MAP_TYPE
    if kind in (Map.SHARED, Map.SHARED_VALIDATE):
        if kind == Map.SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
            raise LinuxError(EOPNOTSUPP, "MAP_SHARED_VALIDATE with a flag that this file does not know")
        if prot & Prot.WRITE and not file.writable:
            raise LinuxError(EACCES, "a shared writable mapping of a file that is not open for writing")
        vm_flags |= vm.SHARED | vm.MAYSHARE
        if not file.writable:
            vm_flags &= ~(vm.MAYWRITE | vm.SHARED)
    elif kind != Map.PRIVATE:
        raise LinuxError(EINVAL, "neither MAP_SHARED nor MAP_PRIVATE (or both)")
    if not file.readable:
        raise LinuxError(EACCES, "the file is not open for reading")
    if file.path.mount.noexec:
        if vm_flags & vm.EXEC:
            raise LinuxError(EPERM, "PROT_EXEC of a file on a noexec mount")
        vm_flags &= ~vm.MAYEXEC
    mappable = file.mappable()
    if vm_flags & vm.GROWSDOWN:
        raise LinuxError(EINVAL, "MAP_GROWSDOWN of a file")
    return _sealed(file, vm_flags), mappable


def _sealed(file: File, vm_flags: int) -> int:
    """memfd_check_seals_mmap: what the file's seals leave of the VM_ flags. Raises LinuxError(EPERM)."""
    inode = file.inode
    if vm_flags & vm.SHARED and isinstance(inode, RamFile) and inode.seals & (Seal.WRITE | Seal.FUTURE_WRITE):
        if vm_flags & vm.WRITE:
            raise LinuxError(EPERM, "a shared writable mapping of a file that is sealed against writing")
        vm_flags &= ~vm.MAYWRITE
    return vm_flags


def _promise(mm: Mm, shared: Shmem, start: int) -> None:
    """shmem_zero_setup: the object counts towards the commit limit, not the mapping. Where that is too much, what was
    mapped at `start` before is gone all the same."""
    try:
        mm.commit.charge(shared.length, mm.privileged, mm.total_vm)
    except LinuxError:
        mm_map.munmap(mm, start, start + (shared.length << 12))
        raise
    shared.accounted = True


@syscall
def munmap(task: Task, addr: Addr, length: Size) -> int:
    """munmap(2). Holes are no error."""
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    if addr > TASK_SIZE or length > TASK_SIZE - addr:
        raise LinuxError(EINVAL, "the range ends beyond the address space")
    if not length:
        raise LinuxError(EINVAL, "length is 0")
    mm_map.munmap(task.mm, addr, addr + length + 4095 & ~4095)
    return 0


@syscall
def mprotect(task: Task, addr: Addr, length: Size, prot: ProtFlags) -> int:
    """mprotect(2)."""
    return _mprotect(task, addr, length, prot, -1)


@syscall
def pkey_mprotect(task: Task, addr: Addr, length: Size, prot: ProtFlags, pkey: Int) -> int:
    """pkey_mprotect(2), on a CPU without protection keys: only key -1."""
    return _mprotect(task, addr, length, prot, pkey)


def _mprotect(task: Task, addr: int, length: int, prot: int, pkey: int) -> int:
    grows = prot & (Prot.GROWSDOWN | Prot.GROWSUP)
    prot &= ~(Prot.GROWSDOWN | Prot.GROWSUP)
    if grows == Prot.GROWSDOWN | Prot.GROWSUP:
        raise LinuxError(EINVAL, "PROT_GROWSDOWN and PROT_GROWSUP together")
    if addr & 4095:
        raise LinuxError(EINVAL, "addr is not page-aligned")
    if not length:
        return 0
    end = addr + (length + 4095 & U64 & ~4095)
    if end & U64 <= addr:
        raise LinuxError(ENOMEM, "the range wraps around")
    if prot & ~(Prot.READ | Prot.WRITE | Prot.EXEC | Prot.SEM):
        raise LinuxError(EINVAL, "unknown bits in prot")
    if pkey != -1:
        raise LinuxError(EINVAL, f"protection key {pkey} is not allocated (this CPU has none)")
    change_protection(
        task.mm, addr, end, prot & 7, growsdown=bool(grows & Prot.GROWSDOWN), growsup=bool(grows & Prot.GROWSUP)
    )
    return 0


@syscall
def pkey_alloc(task: Task, flags: Hex, access_rights: PkeyRights) -> int:
    """pkey_alloc(2), on a CPU without protection keys (CPUID says so)."""
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    if access_rights & ~3:
        raise LinuxError(EINVAL, "unknown access rights")
    raise LinuxError(EINVAL, "this CPU has no protection keys")


@syscall
def pkey_free(task: Task, pkey: Int) -> int:
    """pkey_free(2), on a CPU without protection keys."""
    raise LinuxError(EINVAL, f"protection key {pkey} is not allocated (this CPU has none)")


@syscall(result=Hexadecimal)
def mremap(
    task: Task, old_address: Addr, old_size: Size, new_size: Size, flags: MremapFlags, new_address: NewAddr
) -> int:
    """mremap(2)."""
    if flags & ~(Mremap.MAYMOVE | Mremap.FIXED | Mremap.DONTUNMAP):
        raise LinuxError(EINVAL, "unknown bits in flags")
    old = old_size + 4095 & U64 & ~4095
    new = new_size + 4095 & U64 & ~4095
    if old_address & 4095:
        raise LinuxError(EINVAL, "old_address is not page-aligned")
    if not new:
        raise LinuxError(EINVAL, "new_size is 0 (or overflows when rounded up to pages)")
    if new > TASK_SIZE:
        raise LinuxError(EINVAL, "new_size exceeds the address space")
    if flags & (Mremap.FIXED | Mremap.DONTUNMAP):
        _check_new_address(task, old_address, old, new, new_address, flags)
    return move_mapping(
        task.mm, old_address, old, new, new_address, maymove=bool(flags & Mremap.MAYMOVE),
        fixed=bool(flags & Mremap.FIXED), dontunmap=bool(flags & Mremap.DONTUNMAP),
    )  # fmt: skip


def _check_new_address(task: Task, addr: int, old: int, new: int, new_addr: int, flags: int) -> None:
    """The rest of check_mremap_params, where an address is wished for."""
    if new_addr > TASK_SIZE - new:
        raise LinuxError(EINVAL, "new_address is beyond the address space")
    if new_addr & 4095:
        raise LinuxError(EINVAL, "new_address is not page-aligned")
    if not flags & Mremap.MAYMOVE:
        raise LinuxError(EINVAL, "MREMAP_FIXED and MREMAP_DONTUNMAP need MREMAP_MAYMOVE")
    if flags & Mremap.DONTUNMAP and old != new:
        raise LinuxError(EINVAL, "MREMAP_DONTUNMAP does not resize")
    if addr + old & U64 > new_addr and new_addr + new > addr:
        raise LinuxError(EINVAL, "the old and the new range overlap")
    if task.mm.map_count + 2 >= task.mm.max_map_count - 3:
        raise LinuxError(ENOMEM, f"vm.max_map_count: there are {task.mm.map_count} mappings")


@syscall
def remap_file_pages(
    task: Task, addr: Addr, size: Size, prot: ProtFlags, pgoff: Size, flags: MapFlags
) -> int:
    """remap_file_pages(2), which Linux emulates by a mapping over the old one since 4.0."""
    mm = task.mm
    start, length = addr & ~4095, size & ~4095
    if prot:
        raise LinuxError(EINVAL, "prot must be 0")
    if start + length & U64 <= start or pgoff + (length >> 12) > U64:
        raise LinuxError(EINVAL, "the range is empty or wraps around")
    vma = mm.vmas.find(start)
    if vma is None or not vma.flags & vm.SHARED or vma.mappable is None:
        raise LinuxError(EINVAL, "not a shared mapping")
    end, at = start + length, vma.end
    while at < end:
        beside = mm.vmas.find(at)
        if beside is None or beside.file is not vma.file or beside.flags != vma.flags:
            raise LinuxError(EINVAL, "the range is not one mapping of one file")
        at = beside.end
    if vma.file is not vma.mappable and pgoff + (length >> 12) > (1 << 63) - 1 >> 12:
        raise LinuxError(EOVERFLOW, "the offset is past the largest file")
    locked, content = vma.flags & vm.LOCKED, vma.mappable
    if locked and not mm.privileged and not mm.limits.cur[RLIMIT_MEMLOCK]:
        raise LinuxError(EPERM, "RLIMIT_MEMLOCK is 0")
    mm_map.check_mlock_future(mm, vma.flags | mm.def_flags, length)
    vm_flags = vma.flags & (vm.ACCESS | vm.MAY | vm.SHARED | vm.MAYSHARE | vm.LOCKED) | mm.def_flags
    if isinstance(vma.file, File):
        vm_flags = _sealed(vma.file, vm_flags)
    held = vm.Vma(start, start, 0, content)  # get_file(): the mapping that goes may be the last one
    content.added(mm, held)
    try:
        mm_map.mmap_region(mm, start, end, vm_flags, content, pgoff, vma.file)
    finally:
        content.removed(mm, held)
    if locked or mm.def_flags & vm.LOCKED or not flags & Map.NONBLOCK:
        populate(mm, start, end)
    return 0


@syscall
def madvise(task: Task, addr: Addr, length: Size, advice: MadvChoice) -> int:
    """madvise(2). Holes make it ENOMEM, but only after the mapped parts were advised."""
    do_madvise(task.mm, addr, length, advice)
    return 0


@syscall
def mseal(task: Task, addr: Addr, length: Size, flags: ULong) -> int:
    """mseal(2)."""
    if flags:
        raise LinuxError(EINVAL, "flags must be 0")
    seal(task.mm, addr, checked_end(addr, length))
    return 0


@syscall
def memfd_secret(task: Task, flags: UInt) -> int:
    """memfd_secret(2), as where secretmem.enable is off."""
    raise LinuxError(ENOSYS, "secret memory is off (secretmem.enable=0)")


@syscall
def map_shadow_stack(task: Task, addr: Addr, size: Size, flags: UInt) -> int:
    """map_shadow_stack(2), as where CONFIG_X86_USER_SHADOW_STACK is off: this CPU has no shadow stacks."""
    raise LinuxError(ENOSYS, "this CPU has no shadow stacks")


@syscall
def userfaultfd(task: Task, flags: UffdFlags) -> int:
    """userfaultfd(2), as where CONFIG_USERFAULTFD is off."""
    raise LinuxError(ENOSYS, "faults are not delivered to user space")
