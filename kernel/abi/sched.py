"""CLONE_ FUTEX_ W* ARCH_ PR_ CLOCK_ RUSAGE_ and kin: threads, processes, time.

Sources: uapi/linux/{sched,futex,wait,prctl,time}.h. Members stand in the order in which strace prints them.
"""

from typing import Annotated

from kernel.abi.args import U32, Bits, Choice, Flags, Option


class Clone(Flags, prefix="CLONE_"):
    """clone(2); the low byte is the exit signal (CSIGNAL)."""

    VM = 0x100
    FS = 0x200
    FILES = 0x400
    SIGHAND = 0x800
    PIDFD = 0x1000
    PTRACE = 0x2000
    VFORK = 0x4000
    PARENT = 0x8000
    THREAD = 0x10000
    NEWNS = 0x20000
    SYSVSEM = 0x40000
    SETTLS = 0x80000
    PARENT_SETTID = 0x100000
    CHILD_CLEARTID = 0x200000
    DETACHED = 0x400000
    UNTRACED = 0x800000
    CHILD_SETTID = 0x1000000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    IO = 0x80000000
    NEWTIME = 0x80
    CLEAR_SIGHAND = 0x100000000
    INTO_CGROUP = 0x200000000


CSIGNAL = 0xFF


class Futex(Option, prefix="FUTEX_"):
    """futex(2) commands, without PRIVATE_FLAG and CLOCK_REALTIME."""

    WAIT = 0
    WAKE = 1
    FD = 2
    REQUEUE = 3
    CMP_REQUEUE = 4
    WAKE_OP = 5
    LOCK_PI = 6
    UNLOCK_PI = 7
    TRYLOCK_PI = 8
    WAIT_BITSET = 9
    WAKE_BITSET = 10
    WAIT_REQUEUE_PI = 11
    CMP_REQUEUE_PI = 12
    LOCK_PI2 = 13


FUTEX_PRIVATE_FLAG = 128
FUTEX_CLOCK_REALTIME = 256
FUTEX_CMD_MASK = ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
FUTEX_BITSET_MATCH_ANY = 0xFFFFFFFF
FUTEX_WAITERS = 0x80000000
FUTEX_OWNER_DIED = 0x40000000
FUTEX_TID_MASK = 0x3FFFFFFF


class Wait(Flags, prefix="W"):
    """wait4(2), waitid(2) options."""

    NOHANG = 1
    UNTRACED = 2
    EXITED = 4
    STOPPED = 2
    CONTINUED = 8
    NOWAIT = 0x01000000
    NOTHREAD = 0x20000000  # __WNOTHREAD, as the next two
    ALL = 0x40000000
    CLONE = 0x80000000


class Arch(Option, prefix="ARCH_", later="CET_STATUS CET_DISABLE CET_LOCK CET_EXEC CET_ALLOC_SHSTK CET_PUSH_SHSTK"):
    """arch_prctl(2)."""

    SET_GS = 0x1001
    SET_FS = 0x1002
    GET_FS = 0x1003
    GET_GS = 0x1004
    GET_CPUID = 0x1011
    SET_CPUID = 0x1012
    GET_XCOMP_SUPP = 0x1021
    GET_XCOMP_PERM = 0x1022
    REQ_XCOMP_PERM = 0x1023
    GET_XCOMP_GUEST_PERM = 0x1024
    REQ_XCOMP_GUEST_PERM = 0x1025
    MAP_VDSO_X32 = 0x2001
    MAP_VDSO_32 = 0x2002
    MAP_VDSO_64 = 0x2003
    CET_STATUS = 0x3001
    CET_DISABLE = 0x3002
    CET_LOCK = 0x3003
    CET_EXEC = 0x3004
    CET_ALLOC_SHSTK = 0x3005
    CET_PUSH_SHSTK = 0x3006


class Pr(Option, prefix="PR_"):
    """prctl(2)."""

    SET_PDEATHSIG = 1
    GET_PDEATHSIG = 2
    GET_DUMPABLE = 3
    SET_DUMPABLE = 4
    GET_UNALIGN = 5
    SET_UNALIGN = 6
    GET_KEEPCAPS = 7
    SET_KEEPCAPS = 8
    GET_FPEMU = 9
    SET_FPEMU = 10
    GET_FPEXC = 11
    SET_FPEXC = 12
    GET_TIMING = 13
    SET_TIMING = 14
    SET_NAME = 15
    GET_NAME = 16
    GET_ENDIAN = 19
    SET_ENDIAN = 20
    GET_SECCOMP = 21
    SET_SECCOMP = 22
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    GET_TSC = 25
    SET_TSC = 26
    GET_SECUREBITS = 27
    SET_SECUREBITS = 28
    SET_TIMERSLACK = 29
    GET_TIMERSLACK = 30
    TASK_PERF_EVENTS_DISABLE = 31
    TASK_PERF_EVENTS_ENABLE = 32
    MCE_KILL = 33
    MCE_KILL_GET = 34
    SET_MM = 35
    SET_CHILD_SUBREAPER = 36
    GET_CHILD_SUBREAPER = 37
    SET_NO_NEW_PRIVS = 38
    GET_NO_NEW_PRIVS = 39
    GET_TID_ADDRESS = 40
    SET_THP_DISABLE = 41
    GET_THP_DISABLE = 42
    MPX_ENABLE_MANAGEMENT = 43
    MPX_DISABLE_MANAGEMENT = 44
    SET_FP_MODE = 45
    GET_FP_MODE = 46
    CAP_AMBIENT = 47
    SVE_SET_VL = 50
    SVE_GET_VL = 51
    GET_SPECULATION_CTRL = 52
    SET_SPECULATION_CTRL = 53
    PAC_RESET_KEYS = 54
    SET_TAGGED_ADDR_CTRL = 55
    GET_TAGGED_ADDR_CTRL = 56
    SET_IO_FLUSHER = 57
    GET_IO_FLUSHER = 58
    SET_SYSCALL_USER_DISPATCH = 59
    PAC_SET_ENABLED_KEYS = 60
    PAC_GET_ENABLED_KEYS = 61
    SCHED_CORE = 62
    SME_SET_VL = 63
    SME_GET_VL = 64
    SET_PTRACER = 0x59616D61
    SET_VMA = 0x53564D41


class Clock(Option, prefix="CLOCK_"):
    REALTIME = 0
    MONOTONIC = 1
    PROCESS_CPUTIME_ID = 2
    THREAD_CPUTIME_ID = 3
    MONOTONIC_RAW = 4
    REALTIME_COARSE = 5
    MONOTONIC_COARSE = 6
    BOOTTIME = 7
    REALTIME_ALARM = 8
    BOOTTIME_ALARM = 9
    SGI_CYCLE = 10
    TAI = 11


ClockChoice = Annotated[int, Choice(Clock)]
TIMER_ABSTIME = 1


class TimerFlag(Flags, prefix="TIMER_"):
    ABSTIME = 1


TimerFlags = Annotated[int, Bits(TimerFlag, U32)]


class Rusage(Option, prefix="RUSAGE_"):
    SELF = 0
    CHILDREN = -1
    BOTH = -2
    THREAD = 1


RusageChoice = Annotated[int, Choice(Rusage)]


class Itimer(Option, prefix="ITIMER_"):
    REAL = 0
    VIRTUAL = 1
    PROF = 2


ItimerChoice = Annotated[int, Choice(Itimer)]


class Grnd(Flags, prefix="GRND_"):
    """getrandom(2)."""

    NONBLOCK = 1
    RANDOM = 2
    INSECURE = 4


GrndFlags = Annotated[int, Bits(Grnd, U32)]


class Rseq(Flags, prefix="RSEQ_FLAG_"):
    UNREGISTER = 1


RseqFlags = Annotated[int, Bits(Rseq, U32)]


class Policy(Option, prefix="SCHED_"):
    OTHER = 0
    FIFO = 1
    RR = 2
    BATCH = 3
    ISO = 4
    IDLE = 5
    DEADLINE = 6


PolicyChoice = Annotated[int, Choice(Policy)]


class Membarrier(Option, prefix="MEMBARRIER_CMD_", later="GET_REGISTRATIONS"):
    QUERY = 0
    GLOBAL = 1
    GLOBAL_EXPEDITED = 2
    REGISTER_GLOBAL_EXPEDITED = 4
    PRIVATE_EXPEDITED = 8
    REGISTER_PRIVATE_EXPEDITED = 16
    PRIVATE_EXPEDITED_SYNC_CORE = 32
    REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 64
    PRIVATE_EXPEDITED_RSEQ = 128
    REGISTER_PRIVATE_EXPEDITED_RSEQ = 256
    GET_REGISTRATIONS = 512


MembarrierChoice = Annotated[int, Choice(Membarrier)]


class Pidfd(Flags, prefix="PIDFD_", later="THREAD"):
    """pidfd_open(2)."""

    NONBLOCK = 0x800
    THREAD = 0x80


PidfdFlags = Annotated[int, Bits(Pidfd, U32)]
