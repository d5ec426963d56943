"""Which syscalls a trace shows: the expression after strace's `-e trace=`, over classes, names and patterns."""

from __future__ import annotations

import re

from kernel.abi.nr import NAME, NR


class UnknownSyscall(ValueError):
    """The expression names a syscall or class that x86-64 has not."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Which calls a class holds is strace 6.1's own answer (a test asks it again where it is installed); calls newer than
# that stand where later releases put them.
_FILE = _names(
    "open stat lstat access execve truncate getcwd chdir rename mkdir rmdir creat link unlink symlink "
    "readlink chmod chown lchown utime mknod uselib statfs pivot_root chroot acct mount umount2 swapon "
    "swapoff quotactl setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr "
    "utimes inotify_add_watch openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat "
    "symlinkat readlinkat fchmodat faccessat utimensat fanotify_mark name_to_handle_at renameat2 execveat "
    "statx open_tree move_mount fsconfig fspick openat2 faccessat2 mount_setattr fchmodat2 setxattrat "
    "getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr"
)
_DESC = _names(
    "read write open close fstat poll lseek mmap ioctl pread64 pwrite64 readv writev pipe select dup dup2 "
    "sendfile fcntl flock fsync fdatasync ftruncate getdents fchdir creat fchmod fchown fstatfs readahead "
    "fsetxattr fgetxattr flistxattr fremovexattr epoll_create getdents64 fadvise64 epoll_wait epoll_ctl "
    "mq_open mq_timedsend mq_timedreceive mq_notify mq_getsetattr inotify_init inotify_add_watch "
    "inotify_rm_watch openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat "
    "readlinkat fchmodat faccessat pselect6 ppoll splice tee sync_file_range vmsplice utimensat epoll_pwait "
    "signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime signalfd4 eventfd2 "
    "epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev perf_event_open fanotify_init fanotify_mark "
    "name_to_handle_at open_by_handle_at syncfs setns finit_module renameat2 memfd_create kexec_file_load bpf "
    "execveat userfaultfd copy_file_range preadv2 pwritev2 statx pidfd_send_signal io_uring_setup "
    "io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount fspick pidfd_open openat2 "
    "pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset "
    "landlock_add_rule landlock_restrict_self memfd_secret process_mrelease cachestat fchmodat2 setxattrat "
    "getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr"
)
_MEMORY = _names(
    "mmap mprotect munmap brk mremap msync mincore madvise shmat shmdt mlock munlock mlockall munlockall "
    "io_setup io_destroy remap_file_pages mbind set_mempolicy get_mempolicy migrate_pages move_pages mlock2 "
    "pkey_mprotect io_uring_register set_mempolicy_home_node map_shadow_stack mseal"
)
CLASSES: dict[str, frozenset[str]] = {
    "all": frozenset(NR),
    "none": frozenset(),
    "file": _FILE,
    "desc": _DESC,
    "memory": _MEMORY,
    "process": _names(
        "clone fork vfork execve exit wait4 kill rt_sigqueueinfo tkill exit_group tgkill waitid "
        "rt_tgsigqueueinfo execveat pidfd_send_signal clone3"
    ),
    "signal": _names(
        "rt_sigaction rt_sigprocmask rt_sigreturn pause kill rt_sigpending rt_sigtimedwait rt_sigqueueinfo "
        "rt_sigsuspend sigaltstack tkill tgkill signalfd signalfd4 rt_tgsigqueueinfo pidfd_send_signal "
        "io_uring_enter"
    ),
    "ipc": _names(
        "shmget shmat shmctl semget semop semctl shmdt msgget msgsnd msgrcv msgctl semtimedop"
    ),
    "network": _names(
        "sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname "
        "getpeername socketpair setsockopt getsockopt getpmsg putpmsg accept4 recvmmsg sendmmsg"
    ),
}
PERCENT: dict[str, frozenset[str]] = {
    **{f"%{name}": calls for name, calls in CLASSES.items() if name not in ("all", "none")},
    "%net": CLASSES["network"],
    "%creds": _names(
        "getuid getgid setuid setgid geteuid getegid setreuid setregid getgroups setgroups setresuid "
        "getresuid setresgid getresgid setfsuid setfsgid capget capset prctl"
    ),
    "%clock": _names("gettimeofday adjtimex settimeofday time clock_settime clock_gettime clock_getres clock_adjtime"),
    "%pure": _names("getpid getuid getgid geteuid getegid getppid getpgrp gettid"),
    "%stat": _names("stat"),
    "%lstat": _names("lstat"),
    "%fstat": _names("fstat newfstatat statx"),
    "%%stat": _names("stat lstat fstat newfstatat statx"),
    "%statfs": _names("statfs"),
    "%fstatfs": _names("fstatfs"),
    "%%statfs": _names("ustat statfs fstatfs"),
}


class Filter:
    """A set of syscall names, all known. `everything` lets an unimplemented or unknown number through as well."""

    __slots__ = ("names",)

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    @classmethod
    def parse(cls, expression: str) -> Filter:
        """`all`, `none`, `memory,file`, `%memory`, `!brk,mmap`, `/^mem`, `?maybe_unknown`. Raises UnknownSyscall."""
        bare = expression.lstrip("!")
        negated = (len(expression) - len(bare)) % 2 == 1
        names: set[str] = set()
        for word in bare.split(","):
            names |= _meaning(word.strip())
        return cls(CLASSES["all"] - names if negated else frozenset(names))

    @property
    def everything(self) -> bool:
        return self.names >= CLASSES["all"]

    @property
    def nothing(self) -> bool:
        return not self.names

    def __contains__(self, name: str) -> bool:
        return name in self.names


def _meaning(word: str) -> frozenset[str]:
    """The syscalls that one word of the expression stands for."""
    if word.startswith("/"):
        return _matching(word[1:])
    lenient, bare = word.startswith("?"), word.removeprefix("?")
    if bare in PERCENT:
        return PERCENT[bare]
    if bare in CLASSES:
        return CLASSES[bare]
    if bare in NR:
        return frozenset((bare,))
    if bare.isdigit() and int(bare) in NAME:
        return frozenset((NAME[int(bare)],))
    if lenient:
        return frozenset()
    classes = ", ".join(sorted((*CLASSES, *PERCENT)))
    raise UnknownSyscall(f"trace={word!r}: no such syscall or class; classes are {classes}")


def _matching(pattern: str) -> frozenset[str]:
    try:
        expression = re.compile(pattern)
    except re.error as wrong:
        raise UnknownSyscall(f"trace=/{pattern}: not a regular expression: {wrong}") from None
    return frozenset(name for name in NR if expression.search(name))
