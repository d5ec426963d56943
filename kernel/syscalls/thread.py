"""Thread syscalls: what belongs to one thread, futexes, and the CPU's own registers."""

from __future__ import annotations

from kernel.abi.args import Addr, Addr0, Hex, Pid, Size, UIntHex
from kernel.abi.errno import (
    EAGAIN,
    EBUSY,
    EDEADLK,
    EFAULT,
    EINVAL,
    ENODEV,
    ENOSYS,
    EPERM,
    ESRCH,
    ETIMEDOUT,
    Errno,
    LinuxError,
)
from kernel.abi.limits import TASK_SIZE
from kernel.abi.memargs import MembarrierCpu, MembarrierFlag, MembarrierFlags
from kernel.abi.prctlargs import ArchAddr, ArchCommand
from kernel.abi.sched import (
    FUTEX_BITSET_MATCH_ANY,
    FUTEX_CLOCK_REALTIME,
    FUTEX_CMD_MASK,
    FUTEX_OWNER_DIED,
    FUTEX_PRIVATE_FLAG,
    FUTEX_TID_MASK,
    Arch,
    Futex,
    Membarrier,
    MembarrierChoice,
)
from kernel.abi.structs import RobustListHead
from kernel.abi.taskargs import (
    CloneChildTid,
    CloneFlags,
    CloneParentTid,
    CloneStack,
    CloneTls,
    FutexAddr2,
    FutexOp,
    FutexTimeout,
    FutexVal,
    FutexVal3,
    MembarrierResult,
)
from kernel.abi.words import OutInt, OutLong, OutPointer
from kernel.syscalls.table import Outcome, syscall
from kernel.syscalls.time import read_timespec
from kernel.task import futex as futexes
from kernel.task.rseq import RSEQ_CS, write_ids
from kernel.task.task import Rseq, Task
from kernel.wait import Block, Interrupted

RSEQ_SIZE = 32  # the original struct rseq, and its alignment
RSEQ_UNREGISTER = 1
LATER = "one process of one thread is what is modelled so far"
TIMED = (Futex.WAIT, Futex.LOCK_PI, Futex.LOCK_PI2, Futex.WAIT_BITSET, Futex.WAIT_REQUEUE_PI)
REALTIME = (Futex.WAIT_BITSET, Futex.WAIT_REQUEUE_PI, Futex.LOCK_PI2)


@syscall
def gettid(task: Task) -> int:
    """gettid(2)."""
    return task.tid


@syscall
def set_tid_address(task: Task, tidptr: Addr) -> int:
    """set_tid_address(2)."""
    task.clear_child_tid = tidptr
    return task.tid


@syscall
def set_robust_list(task: Task, head: Addr, len: Size) -> int:
    """set_robust_list(2)."""
    if len != RobustListHead.SIZE:
        raise LinuxError(EINVAL, f"a robust_list_head has {RobustListHead.SIZE} bytes")
    task.robust_list = head
    return 0


@syscall
def get_robust_list(task: Task, pid: Pid, head_ptr: OutPointer, len_ptr: OutLong) -> int:
    """get_robust_list(2)."""
    target = task if pid == 0 else find_task(task, pid)
    task.mm.copy_to_user(len_ptr, RobustListHead.SIZE.to_bytes(8, "little"))
    task.mm.copy_to_user(head_ptr, target.robust_list.to_bytes(8, "little"))
    return 0


@syscall
def rseq(task: Task, rseq: Addr0, rseq_len: UIntHex, flags: Hex, sig: Hex) -> int:
    """rseq(2), with the checks of kernel/rseq.c."""
    flags, sig, now = flags & 0xFFFFFFFF, sig & 0xFFFFFFFF, task.rseq
    if flags & RSEQ_UNREGISTER:
        return _rseq_unregister(task, rseq, rseq_len, flags, sig)
    if flags:
        raise LinuxError(EINVAL, "unknown flags")
    if now.addr:
        if now.addr != rseq or now.length != rseq_len:
            raise LinuxError(EINVAL, "another area is registered")
        if now.sig != sig:
            raise LinuxError(EPERM, "the signature differs from the registered one")
        raise LinuxError(EBUSY, "the area is registered already")
    if rseq_len < RSEQ_SIZE or rseq % RSEQ_SIZE:
        raise LinuxError(EINVAL, f"an area has at least {RSEQ_SIZE} bytes and is aligned to as many")
    if rseq + rseq_len > TASK_SIZE:
        raise LinuxError(EFAULT, "the area lies outside user space")
    task.mm.copy_to_user(rseq + RSEQ_CS, bytes(8))
    write_ids(task, rseq, cpu_id=0)
    task.rseq = Rseq(rseq, rseq_len, sig)
    return 0


def _rseq_unregister(task: Task, addr: int, length: int, flags: int, sig: int) -> int:
    now = task.rseq
    if flags & ~RSEQ_UNREGISTER:
        raise LinuxError(EINVAL, "unknown flags")
    if not now.addr or now.addr != addr or now.length != length:
        raise LinuxError(EINVAL, "this area is not registered")
    if now.sig != sig:
        raise LinuxError(EPERM, "the signature differs from the registered one")
    write_ids(task, addr, cpu_id=0xFFFFFFFF)
    task.rseq = Rseq()
    return 0


# futex


@syscall
def futex(
    task: Task, uaddr: Addr, op: FutexOp, val: FutexVal, timeout: FutexTimeout, uaddr2: FutexAddr2, val3: FutexVal3
) -> Outcome:
    """futex(2), in the order of kernel/futex/syscalls.c."""
    command = op & FUTEX_CMD_MASK
    deadline = None
    if timeout and command in TIMED:
        deadline = _futex_deadline(task, op, command, timeout)
    if op & FUTEX_CLOCK_REALTIME and command not in REALTIME:
        raise LinuxError(ENOSYS, "FUTEX_CLOCK_REALTIME does not go with this operation")
    private = bool(op & FUTEX_PRIVATE_FLAG)
    if command in (Futex.WAIT, Futex.WAIT_BITSET):
        return _futex_wait(task, uaddr, val, val3 if command == Futex.WAIT_BITSET else FUTEX_BITSET_MATCH_ANY, deadline)
    if command in (Futex.WAKE, Futex.WAKE_BITSET):
        bitset = val3 if command == Futex.WAKE_BITSET else FUTEX_BITSET_MATCH_ANY
        if not bitset:
            raise LinuxError(EINVAL, "the bitset is empty")
        _check_futex(task, uaddr, private)
        return futexes.wake(task, uaddr, _signed(val), bitset)
    if command in (Futex.REQUEUE, Futex.CMP_REQUEUE):
        expected = val3 if command == Futex.CMP_REQUEUE else None
        return _futex_requeue(task, uaddr, uaddr2, val, timeout, expected, private)
    if command == Futex.WAKE_OP:
        return _futex_wake_op(task, uaddr, uaddr2, val, timeout & 0xFFFFFFFF, val3, private)
    if command in (Futex.LOCK_PI, Futex.LOCK_PI2, Futex.TRYLOCK_PI):
        return _futex_lock_pi(task, uaddr)
    if command == Futex.UNLOCK_PI:
        return _futex_unlock_pi(task, uaddr)
    raise LinuxError(ENOSYS, f"operation {command} is not modelled")


def _futex_deadline(task: Task, op: int, command: int, timeout: int) -> int:
    """The CLOCK_MONOTONIC time at which the wait ends."""
    clock = task.system.clock
    ns = read_timespec(task, timeout)
    if command == Futex.WAIT:
        return clock.monotonic_ns() + ns
    if op & FUTEX_CLOCK_REALTIME or command == Futex.LOCK_PI:
        return ns - clock.realtime_ns() + clock.monotonic_ns()
    return ns


def _check_futex(task: Task, uaddr: int, private: bool) -> None:
    """get_futex_key(): alignment, user space, and for a shared futex the page itself."""
    if uaddr % 4:
        raise LinuxError(EINVAL, "a futex word is aligned to four bytes")
    if uaddr + 4 > TASK_SIZE:
        raise LinuxError(EFAULT, "the futex word lies outside user space")
    if not private:
        futexes.load(task, uaddr)


def _futex_wait(task: Task, uaddr: int, val: int, bitset: int, deadline: int | None) -> Outcome:
    if not bitset:
        raise LinuxError(EINVAL, "the bitset is empty")
    _check_futex(task, uaddr, True)
    found = futexes.load(task, uaddr)
    if found != val:
        raise LinuxError(EAGAIN, f"the word is {found}, not {val}")
    return _futex_sleep(task, futexes.Waiter(futexes.key_of(task, uaddr), bitset), uaddr, deadline)


def _futex_sleep(task: Task, waiter: futexes.Waiter, uaddr: int, deadline: int | None) -> Outcome:
    queue = task.system.futexes
    queue.append(waiter)
    try:
        yield Block(lambda: waiter.woken, deadline, f"on the futex at {uaddr:#x}")
        while not waiter.woken:
            if deadline is not None and task.system.clock.monotonic_ns() >= deadline:
                raise LinuxError(ETIMEDOUT, "nobody woke it in time")
            yield Block(lambda: waiter.woken, deadline, f"on the futex at {uaddr:#x}")
    except Interrupted:
        if waiter.woken:
            return 0
        raise LinuxError(Errno.ERESTARTSYS if deadline is None else Errno.EINTR, "a signal arrived") from None
    finally:
        if not waiter.woken and waiter in queue:
            queue.remove(waiter)
    return 0


def _futex_requeue(
    task: Task, uaddr: int, uaddr2: int, wake: int, move: int, expected: int | None, private: bool
) -> int:
    if _signed(wake) < 0 or _signed(move) < 0:
        raise LinuxError(EINVAL, "a count is negative")
    _check_futex(task, uaddr, private)
    _check_futex(task, uaddr2, private)
    if expected is not None and futexes.load(task, uaddr) != expected:
        raise LinuxError(EAGAIN, "the word is not what the caller expects")
    woken = futexes.wake(task, uaddr, _signed(wake), FUTEX_BITSET_MATCH_ANY)
    return woken + futexes.requeue(task, uaddr, uaddr2, _signed(move))


def _futex_wake_op(task: Task, uaddr: int, uaddr2: int, wake: int, wake2: int, op: int, private: bool) -> int:
    """FUTEX_WAKE_OP: change *uaddr2, wake at uaddr, and at uaddr2 if its old value compares so."""
    _check_futex(task, uaddr, private)
    _check_futex(task, uaddr2, private)
    kind, compare = op >> 28 & 7, op >> 24 & 15
    arg, against = _signed12(op >> 12), _signed12(op)
    if op >> 31:
        arg = 1 << (arg & 31)
    old = _signed(futexes.load(task, uaddr2))
    changes = (lambda: arg, lambda: old + arg, lambda: old | arg, lambda: old & ~arg, lambda: old ^ arg)
    if kind >= len(changes):
        raise LinuxError(ENOSYS, f"FUTEX_OP {kind} is unknown")
    futexes.store(task, uaddr2, changes[kind]())
    tests = (old == against, old != against, old < against, old <= against, old > against, old >= against)
    if compare >= len(tests):
        raise LinuxError(ENOSYS, f"FUTEX_OP_CMP {compare} is unknown")
    woken = futexes.wake(task, uaddr, _signed(wake), FUTEX_BITSET_MATCH_ANY)
    return woken + (futexes.wake(task, uaddr2, _signed(wake2), FUTEX_BITSET_MATCH_ANY) if tests[compare] else 0)


def _futex_lock_pi(task: Task, uaddr: int) -> int:
    _check_futex(task, uaddr, True)
    word = futexes.load(task, uaddr)
    owner = word & FUTEX_TID_MASK
    if owner == task.tid:
        raise LinuxError(EDEADLK, "the caller holds the lock already")
    if owner:
        raise LinuxError(ESRCH, f"task {owner}, which holds the lock, does not exist")
    futexes.store(task, uaddr, word & FUTEX_OWNER_DIED | task.tid)
    return 0


def _futex_unlock_pi(task: Task, uaddr: int) -> int:
    _check_futex(task, uaddr, True)
    if futexes.load(task, uaddr) & FUTEX_TID_MASK != task.tid:
        raise LinuxError(EPERM, "the caller does not hold the lock")
    futexes.store(task, uaddr, 0)
    return 0


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def _signed12(value: int) -> int:
    return (value & 0xFFF ^ 0x800) - 0x800


# the CPU


@syscall
def arch_prctl(task: Task, option: ArchCommand, addr: ArchAddr) -> int:
    """arch_prctl(2)."""
    cpu = task.system.cpu
    if option in (Arch.SET_FS, Arch.SET_GS):
        if addr >= TASK_SIZE:
            raise LinuxError(EPERM, "the base is not a user address")
        (cpu.write_fs_base if option == Arch.SET_FS else cpu.write_gs_base)(addr)
        return 0
    if option in (Arch.GET_FS, Arch.GET_GS):
        base = cpu.read_fs_base() if option == Arch.GET_FS else cpu.read_gs_base()
        task.mm.copy_to_user(addr, base.to_bytes(8, "little"))
        return 0
    if option == Arch.GET_CPUID:
        return 1
    if option == Arch.SET_CPUID:
        raise LinuxError(ENODEV, "this CPU cannot make CPUID fault")
    raise LinuxError(EINVAL, "this CPU has no such feature (no XSAVE, no shadow stacks), or the option is unknown")


@syscall
def getcpu(task: Task, cpu: OutInt, node: OutInt, tcache: Addr) -> int:
    """getcpu(2): always CPU 0 of node 0."""
    for va in (cpu, node):
        if va:
            task.mm.copy_to_user(va, bytes(4))
    return 0


@syscall(result=MembarrierResult)
def membarrier(task: Task, cmd: MembarrierChoice, flags: MembarrierFlags, cpu_id: MembarrierCpu) -> int:
    """membarrier(2). One thread sees its own stores in order, so every barrier is done when it is asked for."""
    if flags and (cmd != Membarrier.PRIVATE_EXPEDITED_RSEQ or flags != MembarrierFlag.CPU):
        raise LinuxError(EINVAL, "the only flag is MEMBARRIER_CMD_FLAG_CPU, of MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ")
    if cmd == Membarrier.QUERY:
        return (Membarrier.GET_REGISTRATIONS << 1) - 1
    if cmd <= 0 or cmd & cmd - 1 or cmd > Membarrier.GET_REGISTRATIONS:
        raise LinuxError(EINVAL, "unknown command")
    process = task.process
    if cmd == Membarrier.GET_REGISTRATIONS:
        private = process.membarriers & (SYNC_CORE_READY | RSEQ_READY)  # each of these says that one is expedited
        return process.membarriers | (Membarrier.REGISTER_PRIVATE_EXPEDITED if private else 0)
    if cmd in _REGISTRATIONS:
        process.membarriers |= cmd
    elif cmd in _NEEDS and not process.membarriers & _NEEDS[cmd]:
        raise LinuxError(EPERM, "the process has not registered for this barrier")
    return 0


SYNC_CORE_READY = Membarrier.REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
RSEQ_READY = Membarrier.REGISTER_PRIVATE_EXPEDITED_RSEQ
_REGISTRATIONS = (
    Membarrier.REGISTER_GLOBAL_EXPEDITED, Membarrier.REGISTER_PRIVATE_EXPEDITED, SYNC_CORE_READY, RSEQ_READY,
)  # fmt: skip
_NEEDS = {
    Membarrier.PRIVATE_EXPEDITED: Membarrier.REGISTER_PRIVATE_EXPEDITED,
    Membarrier.PRIVATE_EXPEDITED_SYNC_CORE: SYNC_CORE_READY,
    Membarrier.PRIVATE_EXPEDITED_RSEQ: RSEQ_READY,
}


def find_task(task: Task, tid: int) -> Task:
    """The task `tid`, the caller for 0. Raises ESRCH."""
    found = task.system.tasks.get(tid) if tid else task
    if found is None:
        raise LinuxError(ESRCH, f"there is no task {tid}")
    return found


# more threads


@syscall(partly="always refused: processes and threads come with a later version")
def clone(
    task: Task, flags: CloneFlags, stack: CloneStack, parent_tid: CloneParentTid, child_tid: CloneChildTid,
    tls: CloneTls,
) -> int:  # fmt: skip
    """clone(2)."""
    raise LinuxError(ENOSYS, LATER)


@syscall(partly="always refused: processes come with a later version")
def fork(task: Task) -> int:
    """fork(2)."""
    raise LinuxError(ENOSYS, LATER)


@syscall(partly="always refused: processes come with a later version")
def vfork(task: Task) -> int:
    """vfork(2)."""
    raise LinuxError(ENOSYS, LATER)
