"""PROT_ MAP_ MADV_ MREMAP_ MS_ MCL_ MPOL_ MFD_ PKEY_: the memory syscalls' words (uapi/linux/mman.h, mempolicy.h).

Members stand in the order in which strace prints them.
"""

from typing import Annotated

from kernel.abi.args import U32, Bits, Choice, Flags, HugeFlags, MmapFlags, Option
from kernel.abi.limits import HPAGE_SIZE as HPAGE_SIZE
from kernel.abi.limits import PAGE_SIZE as PAGE_SIZE


class Prot(Flags, prefix="PROT_"):
    NONE = 0
    READ = 1
    WRITE = 2
    EXEC = 4
    SEM = 8
    GROWSDOWN = 0x01000000
    GROWSUP = 0x02000000


ProtFlags = Annotated[int, Bits(Prot)]


class MapType(Option, prefix="MAP_"):
    """The values of the MAP_TYPE field: exactly one of them."""

    FILE = 0
    SHARED = 1
    PRIVATE = 2
    SHARED_VALIDATE = 3


class Map(Flags, prefix="MAP_", later="ABOVE4G DROPPABLE UNINITIALIZED"):
    """mmap(2). The first three are values of the TYPE field (mask 15), not bits."""

    SHARED = 1
    PRIVATE = 2
    SHARED_VALIDATE = 3
    FIXED = 0x10
    ANONYMOUS = 0x20
    _32BIT = 0x40
    ABOVE4G = 0x80
    NORESERVE = 0x4000
    POPULATE = 0x8000
    NONBLOCK = 0x10000
    GROWSDOWN = 0x100
    DENYWRITE = 0x800
    EXECUTABLE = 0x1000
    LOCKED = 0x2000
    STACK = 0x20000
    HUGETLB = 0x40000
    SYNC = 0x80000
    FIXED_NOREPLACE = 0x100000
    DROPPABLE = 8  # also a TYPE value (Linux 6.11)
    UNINITIALIZED = 0x4000000


MAP_TYPE = 0xF
MAP_HUGE_SHIFT = 26
MAP_HUGE_MASK = 0x3F
MapFlags = Annotated[int, MmapFlags(MapType, Map)]


class Madv(Option, prefix="MADV_", later="GUARD_INSTALL GUARD_REMOVE"):
    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    DONTNEED = 4
    FREE = 8
    REMOVE = 9
    DONTFORK = 10
    DOFORK = 11
    MERGEABLE = 12
    UNMERGEABLE = 13
    HUGEPAGE = 14
    NOHUGEPAGE = 15
    DONTDUMP = 16
    DODUMP = 17
    WIPEONFORK = 18
    KEEPONFORK = 19
    COLD = 20
    PAGEOUT = 21
    POPULATE_READ = 22
    POPULATE_WRITE = 23
    DONTNEED_LOCKED = 24
    COLLAPSE = 25
    HWPOISON = 100
    SOFT_OFFLINE = 101
    GUARD_INSTALL = 102
    GUARD_REMOVE = 103


MadvChoice = Annotated[int, Choice(Madv)]


class Mremap(Flags, prefix="MREMAP_"):
    MAYMOVE = 1
    FIXED = 2
    DONTUNMAP = 4


MremapFlags = Annotated[int, Bits(Mremap)]


class Ms(Flags, prefix="MS_"):
    """msync(2)."""

    SYNC = 4
    ASYNC = 1
    INVALIDATE = 2


MsFlags = Annotated[int, Bits(Ms, U32)]


class Mcl(Flags, prefix="MCL_"):
    """mlockall(2)."""

    CURRENT = 1
    FUTURE = 2
    ONFAULT = 4


MclFlags = Annotated[int, Bits(Mcl, U32)]


class Mlock2(Flags, prefix="MLOCK_"):
    ONFAULT = 1


Mlock2Flags = Annotated[int, Bits(Mlock2, U32)]


class Mpol(Option, prefix="MPOL_", later="WEIGHTED_INTERLEAVE"):
    """Memory policies: the value of a `mode` argument, less its MpolMode flags."""

    DEFAULT = 0
    PREFERRED = 1
    BIND = 2
    INTERLEAVE = 3
    LOCAL = 4
    PREFERRED_MANY = 5
    WEIGHTED_INTERLEAVE = 6


class MpolMode(Flags, prefix="MPOL_F_"):
    """Flags that are or-ed into a policy's mode."""

    STATIC_NODES = 1 << 15
    RELATIVE_NODES = 1 << 14
    NUMA_BALANCING = 1 << 13


class MpolGet(Flags, prefix="MPOL_F_", unknown="MPOL_???"):
    """get_mempolicy(2)."""

    NODE = 1
    ADDR = 2
    MEMS_ALLOWED = 4


class MpolMf(Flags, prefix="MPOL_MF_", unknown="MPOL_???"):
    """mbind(2), move_pages(2)."""

    STRICT = 1
    MOVE = 2
    MOVE_ALL = 4
    LAZY = 8


MpolGetFlags = Annotated[int, Bits(MpolGet)]
MpolMfFlags = Annotated[int, Bits(MpolMf, U32)]


class Mfd(Flags, prefix="MFD_", later="NOEXEC_SEAL EXEC"):
    """memfd_create(2)."""

    CLOEXEC = 1
    ALLOW_SEALING = 2
    HUGETLB = 4
    NOEXEC_SEAL = 8
    EXEC = 16


MfdFlags = Annotated[int, HugeFlags(Mfd, "MFD_HUGE_SHIFT")]


class PkeyAccess(Flags, prefix="PKEY_"):
    DISABLE_ACCESS = 1
    DISABLE_WRITE = 2


PkeyAccessFlags = Annotated[int, Bits(PkeyAccess)]
