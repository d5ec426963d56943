"""Sizes and limits of the x86-64 address space, RLIMIT_ numbers, AT_ (auxiliary vector) keys.

Sources: arch/x86/include/asm/page_64_types.h, asm-generic/resource.h, uapi/linux/auxvec.h.
"""

from typing import Annotated

from kernel.abi.args import Choice, Option

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = ~(PAGE_SIZE - 1) & (1 << 64) - 1
HPAGE_SIZE = 2 << 20
TASK_SIZE = (1 << 47) - PAGE_SIZE  # TASK_SIZE_MAX with 4-level paging
MMAP_MIN_ADDR = 65536  # /proc/sys/vm/mmap_min_addr
MAX_MAP_COUNT = 65530  # /proc/sys/vm/max_map_count
STACK_GUARD_GAP = 256 * PAGE_SIZE
MAX_RW_COUNT = 0x7FFFF000  # the most one read or write transfers
PATH_MAX = 4096
NAME_MAX = 255
PIPE_BUF = 4096
IOV_MAX = UIO_MAXIOV = 1024
MAX_ARG_STRLEN = 32 * PAGE_SIZE
HOST_NAME_MAX = 64
NGROUPS_MAX = 65536
MAXSYMLINKS = 40
CLK_TCK = 100
RLIM_INFINITY = (1 << 64) - 1
U64 = (1 << 64) - 1


class Rlimit(Option, prefix="RLIMIT_"):
    """getrlimit(2): which limit."""

    CPU = 0
    FSIZE = 1
    DATA = 2
    STACK = 3
    CORE = 4
    RSS = 5
    NPROC = 6
    NOFILE = 7
    MEMLOCK = 8
    AS = 9
    LOCKS = 10
    SIGPENDING = 11
    MSGQUEUE = 12
    NICE = 13
    RTPRIO = 14
    RTTIME = 15


RlimitChoice = Annotated[int, Choice(Rlimit)]
RLIM_NLIMITS = 16
RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE = range(8)
RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE = range(8, 14)
RLIMIT_RTPRIO, RLIMIT_RTTIME = 14, 15

AT_NULL = 0
AT_IGNORE = 1
AT_EXECFD = 2
AT_PHDR = 3
AT_PHENT = 4
AT_PHNUM = 5
AT_PAGESZ = 6
AT_BASE = 7
AT_FLAGS = 8
AT_ENTRY = 9
AT_NOTELF = 10
AT_UID = 11
AT_EUID = 12
AT_GID = 13
AT_EGID = 14
AT_PLATFORM = 15
AT_HWCAP = 16
AT_CLKTCK = 17
AT_SECURE = 23
AT_BASE_PLATFORM = 24
AT_RANDOM = 25
AT_HWCAP2 = 26
AT_RSEQ_FEATURE_SIZE = 27
AT_RSEQ_ALIGN = 28
AT_HWCAP3 = 29
AT_HWCAP4 = 30
AT_EXECFN = 31
AT_SYSINFO = 32
AT_SYSINFO_EHDR = 33
AT_MINSIGSTKSZ = 51
