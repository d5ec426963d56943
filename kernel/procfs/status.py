"""/proc/[pid]/status and /proc/[pid]/stat: a task in figures (fs/proc/array.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.limits import CLK_TCK
from kernel.abi.signal import SIG_DFL, SIG_IGN
from kernel.mm.mm import HUGE, MAJ_FLT, MIN_FLT
from kernel.mm.stats import mm_stats
from kernel.procfs.registry import pid_file

if TYPE_CHECKING:
    from kernel.task.task import Task

TICK_NS = 1_000_000_000 // CLK_TCK
ALL_CAPS = (1 << 41) - 1  # CAP_LAST_CAP is 40
PF_RANDOMIZE = 0x400000
_VM = "".join(f"{name}:\t%8d kB\n" for name in (
    "VmPeak", "VmSize", "VmLck", "VmPin", "VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem", "VmData", "VmStk",
    "VmExe", "VmLib", "VmPTE", "VmSwap", "HugetlbPages",
))  # fmt: skip
_SETS = "".join(f"{name}:\t%016x\n" for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"))
_CAPS = "".join(f"{name}:\t%016x\n" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))


def _handled(task: Task) -> tuple[int, int]:
    """(ignored, caught) as sigsets."""
    ignored = caught = 0
    for sig, action in task.process.actions.items():
        if action.handler == SIG_IGN:
            ignored |= 1 << sig - 1
        elif action.handler != SIG_DFL:
            caught |= 1 << sig - 1
    return ignored, caught


def _fd_size(task: Task) -> int:
    """How large the table has grown (alloc_fdtable)."""
    top = max(task.files.fds(), default=0)
    return 64 if top < 64 else 128 << (top // 128).bit_length()


def _vm_lines(task: Task) -> str:
    stats = mm_stats(task.mm)
    return _VM % (
        stats.peak * 4, stats.size * 4, stats.locked * 4, 0, stats.hwm * 4, stats.rss * 4, stats.rss_anon * 4,
        stats.rss_file * 4, stats.rss_shmem * 4, stats.data * 4, stats.stack * 4, stats.exe_bytes >> 10,
        stats.lib_bytes >> 10, stats.table_bytes >> 10, stats.swap * 4, task.mm.counters[HUGE] * 4,
    )  # fmt: skip


def _id_lines(task: Task) -> str:
    cred, process = task.process.cred, task.process
    groups = " ".join(map(str, cred.groups))
    return (
        f"Uid:\t{cred.uid}\t{cred.euid}\t{cred.suid}\t{cred.fsuid}\nGid:\t{cred.gid}\t{cred.egid}\t{cred.sgid}\t"
        f"{cred.fsgid}\nFDSize:\t{_fd_size(task)}\nGroups:\t{groups} \nNStgid:\t{process.pid}\nNSpid:\t{task.tid}\n"
        f"NSpgid:\t{process.pgid}\nNSsid:\t{process.sid}\nKthread:\t0\n"
    )


def _signal_lines(task: Task) -> str:
    ignored, caught = _handled(task)
    process = task.process
    queued = len(process.pending.queue) + sum(len(each.pending.queue) for each in process.tasks)
    sets = task.pending.bits, process.pending.bits, task.blocked, ignored, caught
    return f"SigQ:\t{queued}/{task.rlimits.soft('SIGPENDING')}\n" + _SETS % sets


def _cap_lines(task: Task) -> str:
    held = ALL_CAPS if task.cred.privileged else 0
    return _CAPS % (0, held, held, ALL_CAPS, 0)


@pid_file("status")
def status(task: Task) -> str:
    process, config = task.process, task.system.config
    cpus, nodes = (1 << config.cpus) - 1, (1 << config.nodes) - 1
    masks = "00000000," * 31 + f"{nodes:08x}"
    return (
        f"Name:\t{task.comm}\nUmask:\t{task.fs.umask:04o}\nState:\tR (running)\nTgid:\t{process.pid}\nNgid:\t0\n"
        f"Pid:\t{task.tid}\nPPid:\t{process.ppid}\nTracerPid:\t0\n{_id_lines(task)}{_vm_lines(task)}"
        f"CoreDumping:\t0\nTHP_enabled:\t{0 if process.thp_disabled else 1}\nuntag_mask:\t0xffffffffffffffff\n"
        f"Threads:\t{len(process.tasks)}\n{_signal_lines(task)}{_cap_lines(task)}"
        f"NoNewPrivs:\t{int(process.no_new_privs)}\nSeccomp:\t0\nSeccomp_filters:\t0\n"
        f"Speculation_Store_Bypass:\tnot vulnerable\nSpeculationIndirectBranch:\tnot affected\n"
        f"Cpus_allowed:\t{cpus:x}\nCpus_allowed_list:\t{span(config.cpus)}\nMems_allowed:\t{masks}\n"
        f"Mems_allowed_list:\t{span(config.nodes)}\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n"
    )


def span(count: int) -> str:
    """`0` or `0-3`: a list of the first `count` CPUs or nodes."""
    return "0" if count == 1 else f"0-{count - 1}"


@pid_file("stat")
def stat(task: Task) -> str:
    """do_task_stat(): 52 fields. Processor time is all user time: the kernel takes none."""
    process, mm, counters = task.process, task.mm, task.mm.counters
    ignored, caught = _handled(task)
    bits = (1 << 31) - 1
    fields = [
        task.tid, f"({task.comm})", "R", process.ppid, process.pgid, process.sid, 0, -1,
        0 if task.system.config.aslr is None else PF_RANDOMIZE, counters[MIN_FLT], 0, counters[MAJ_FLT], 0,
        task.system.clock.cpu_ns() // TICK_NS, 0, 0, 0, 20 + process.nice, process.nice, len(process.tasks), 0,
        process.start_ns // TICK_NS, mm.total_vm << 12, mm.rss, task.rlimits.soft("RSS"), mm.start_code, mm.end_code,
        mm.start_stack, 0, 0, task.pending.bits & bits, task.blocked & bits, ignored & bits, caught & bits, 0, 0, 0, 17,
        0, 0, 0, 0, 0, 0, mm.start_data, mm.end_data, mm.start_brk, mm.arg_start, mm.arg_end, mm.env_start, mm.env_end,
        0,
    ]  # fmt: skip
    return " ".join(map(str, fields)) + "\n"
