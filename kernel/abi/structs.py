"""The structs that cross the syscall boundary, x86-64 layout (uapi headers), each with strace's text.

Annotations must stay real objects here: `@struct` reads them.
"""

from typing import Annotated

from kernel.abi.fcntl import Lock, Poll, Seek
from kernel.abi.layout import (
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    X32,
    X64,
    Array,
    Chars,
    Layout,
    Ptr,
    Scalar,
    struct,
)
from kernel.abi.limits import RLIM_INFINITY
from kernel.abi.signal import SIG_DFL, SIG_IGN, Sa, Ss, sigset_text
from kernel.abi.statstructs import OpenHow as OpenHow
from kernel.abi.statstructs import Stat as Stat
from kernel.abi.statstructs import Statfs as Statfs
from kernel.abi.statstructs import Statx as Statx
from kernel.abi.statstructs import StatxTimestamp as StatxTimestamp
from kernel.abi.text import quote


@struct
class Timespec(Layout):
    tv_sec: I64
    tv_nsec: Annotated[int, Scalar("q", lambda v: str(v & (1 << 64) - 1))]  # printed unsigned, as strace does


@struct
class Timeval(Layout):
    tv_sec: I64
    tv_usec: Annotated[int, Scalar("q", lambda v: str(v & (1 << 64) - 1))]


@struct
class Timezone(Layout):
    tz_minuteswest: I32
    tz_dsttime: I32


@struct
class Itimerval(Layout):
    it_interval: Timeval
    it_value: Timeval


@struct
class Itimerspec(Layout):
    it_interval: Timespec
    it_value: Timespec


Ticks = Annotated[int, Scalar("q", lambda v: f"{v} /* {v // 100}.{v % 100:02} s */" if v else "0")]  # clock_t


@struct
class Tms(Layout):
    tms_utime: Ticks
    tms_stime: Ticks
    tms_cutime: Ticks
    tms_cstime: Ticks


@struct
class Iovec(Layout):
    iov_base: Ptr
    iov_len: U64


def _handler(value: int) -> str:
    return {SIG_DFL: "SIG_DFL", SIG_IGN: "SIG_IGN"}.get(value) or hex(value)


@struct
class Sigaction(Layout):
    """struct sigaction as rt_sigaction(2) takes it: handler, flags, restorer, 64-bit mask."""

    sa_handler: U64
    sa_flags: U64
    sa_restorer: U64
    sa_mask: U64

    def text(self) -> str:
        words = f"{{sa_handler={_handler(self.sa_handler)}, sa_mask={sigset_text(self.sa_mask)}"
        words += f", sa_flags={Sa.text(self.sa_flags)}"
        if self.sa_flags & Sa.RESTORER:
            words += f", sa_restorer={hex(self.sa_restorer) if self.sa_restorer else 'NULL'}"
        return words + "}"


@struct
class StackT(Layout):
    """stack_t of sigaltstack(2)."""

    ss_sp: Ptr
    ss_flags: Annotated[int, Scalar("i", lambda v: Ss.text(v & 0xFFFFFFFF))]
    ss_size: U64


@struct
class SiginfoKill(Layout):
    """siginfo of kill, tgkill, sigqueue (si_value for the last)."""

    si_signo: I32
    si_errno: I32
    si_code: I32
    _pad: I32
    si_pid: I32
    si_uid: U32
    si_value: U64
    _rest: Annotated[bytes, Chars(96)]


@struct
class SiginfoFault(Layout):
    """siginfo of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP."""

    si_signo: I32
    si_errno: I32
    si_code: I32
    _pad: I32
    si_addr: U64
    si_addr_lsb: I16
    _pad2: U16
    si_pkey: U32
    _rest: Annotated[bytes, Chars(96)]


@struct
class SiginfoChld(Layout):
    si_signo: I32
    si_errno: I32
    si_code: I32
    _pad: I32
    si_pid: I32
    si_uid: U32
    si_status: I32
    _pad2: I32
    si_utime: I64
    si_stime: I64
    _rest: Annotated[bytes, Chars(80)]


@struct
class SiginfoTimer(Layout):
    si_signo: I32
    si_errno: I32
    si_code: I32
    _pad: I32
    si_timerid: I32
    si_overrun: I32
    si_value: U64
    _rest: Annotated[bytes, Chars(96)]


def _chars(raw: bytes) -> str:
    return quote(raw.split(b"\0")[0], 65)


@struct
class Utsname(Layout):
    sysname: Annotated[bytes, Chars(65)]
    nodename: Annotated[bytes, Chars(65)]
    release: Annotated[bytes, Chars(65)]
    version: Annotated[bytes, Chars(65)]
    machine: Annotated[bytes, Chars(65)]
    domainname: Annotated[bytes, Chars(65)]

    def text(self) -> str:
        return f"{{sysname={_chars(self.sysname)}, nodename={_chars(self.nodename)}, ...}}"


@struct
class Rusage(Layout):
    ru_utime: Timeval
    ru_stime: Timeval
    ru_maxrss: I64
    ru_ixrss: I64
    ru_idrss: I64
    ru_isrss: I64
    ru_minflt: I64
    ru_majflt: I64
    ru_nswap: I64
    ru_inblock: I64
    ru_oublock: I64
    ru_msgsnd: I64
    ru_msgrcv: I64
    ru_nsignals: I64
    ru_nvcsw: I64
    ru_nivcsw: I64

    def text(self) -> str:
        return f"{{ru_utime={self.ru_utime.text()}, ru_stime={self.ru_stime.text()}, ...}}"


def rlim_text(value: int) -> str:
    """`8192*1024` for whole KiB above one, RLIM64_INFINITY, else the number."""
    if value == RLIM_INFINITY:
        return "RLIM64_INFINITY"
    return f"{value // 1024}*1024" if value > 1024 and value % 1024 == 0 else str(value)


@struct
class Rlimit64(Layout):
    """struct rlimit and rlimit64, which are one on x86-64."""

    rlim_cur: Annotated[int, Scalar("Q", rlim_text)]
    rlim_max: Annotated[int, Scalar("Q", rlim_text)]


@struct
class Sysinfo(Layout):
    uptime: I64
    loads: Annotated[tuple[int, ...], Array(U64, 3)]
    totalram: U64
    freeram: U64
    sharedram: U64
    bufferram: U64
    totalswap: U64
    freeswap: U64
    procs: U16
    _pad: U16
    totalhigh: U64
    freehigh: U64
    mem_unit: U32

    def text(self) -> str:
        shown = [f for f in self.FIELDS if not f.startswith("_")]
        return "{" + ", ".join(f"{f}={list(v) if isinstance(v := getattr(self, f), tuple) else v}" for f in shown) + "}"


@struct
class Pollfd(Layout):
    fd: I32
    events: Annotated[int, Scalar("h", lambda v: Poll.text(v & 0xFFFF))]
    revents: Annotated[int, Scalar("h", lambda v: Poll.text(v & 0xFFFF))]


@struct
class Dirent64(Layout):
    """The fixed head of struct linux_dirent64 (19 bytes; SIZE is padded: use HEAD); the name follows."""

    d_ino: U64
    d_off: I64
    d_reclen: U16
    d_type: U8

    HEAD = 19


@struct
class Winsize(Layout):
    ws_row: U16
    ws_col: U16
    ws_xpixel: U16
    ws_ypixel: U16


@struct
class Termios(Layout):
    """struct termios of TCGETS (the kernel's, NCCS 19)."""

    c_iflag: X32
    c_oflag: X32
    c_cflag: X32
    c_lflag: X32
    c_line: U8
    c_cc: Annotated[bytes, Chars(19)]


@struct
class Flock(Layout):
    l_type: Annotated[int, Scalar("h", Lock.text)]
    l_whence: Annotated[int, Scalar("h", Seek.text)]
    l_start: I64
    l_len: I64
    l_pid: I32


@struct
class FOwnerEx(Layout):
    type: I32
    pid: I32


@struct
class RobustListHead(Layout):
    list: Ptr
    futex_offset: I64
    list_op_pending: Ptr


@struct
class CloneArgs(Layout):
    """struct clone_args, all versions' fields (88 bytes)."""

    flags: X64
    pidfd: Ptr
    child_tid: Ptr
    parent_tid: Ptr
    exit_signal: U64
    stack: Ptr
    stack_size: X64
    tls: Ptr
    set_tid: Ptr
    set_tid_size: U64
    cgroup: U64


@struct
class SchedParam(Layout):
    sched_priority: I32

    def text(self) -> str:
        return f"[{self.sched_priority}]"


@struct
class Utimbuf(Layout):
    actime: I64
    modtime: I64


@struct
class RseqArea(Layout):
    cpu_id_start: U32
    cpu_id: U32
    rseq_cs: Ptr
    flags: X32
    node_id: U32
    mm_cid: U32


_CAP_VERSIONS = {0x19980330: "_LINUX_CAPABILITY_VERSION_1", 0x20071026: "_LINUX_CAPABILITY_VERSION_2",
                 0x20080522: "_LINUX_CAPABILITY_VERSION_3"}  # fmt: skip


def _cap_version(value: int) -> str:
    return _CAP_VERSIONS.get(value) or f"{hex(value) if value else '0'} /* _LINUX_CAPABILITY_VERSION_??? */"


@struct
class CapHeader(Layout):
    version: Annotated[int, Scalar("I", _cap_version)]
    pid: I32
