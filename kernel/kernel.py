"""Kernel: the composition root, and the ways in: boot, syscall, page_fault, handle.

A harness does: `kernel = Kernel(...)`, `kernel.boot(...)`, then `while kernel.running: kernel.handle(cpu.run(kernel,
kernel.until))`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from kernel.abi.errno import ENOMEM, LinuxError
from kernel.abi.signal import SIGBUS, SIGKILL, SIGSEGV
from kernel.abi.taskargs import execve_text
from kernel.cpu import Access, Trap, TrapKind
from kernel.fs.fdtable import FdTable
from kernel.fs.stream import NullStream
from kernel.fs.vfs import Vfs
from kernel.mm.fault import Fault, handle_mm_fault, settle
from kernel.mm.frames import Frames, OutOfMemory
from kernel.mm.hugetlb import HugePool
from kernel.mm.numa import NumaFrames
from kernel.mm.reclaim import Clock
from kernel.mm.windows import TOLD
from kernel.probes import Probes
from kernel.procfs.mount import mount_procfs
from kernel.rlimit import Rlimits
from kernel.syscalls import load
from kernel.syscalls.table import dispatch, started
from kernel.task import delivery, exit, signal, timer, traps
from kernel.task.elf import ExecError
from kernel.task.exec import execve
from kernel.task.oom import kill_message, panic_message
from kernel.task.siginfo import SigInfo, kernel
from kernel.task.system import System
from kernel.task.task import Cred, ExitStatus, Process, Task
from kernel.wait import Block, Interrupted

if TYPE_CHECKING:
    from collections.abc import Generator

    from kernel.config import KernelConfig
    from kernel.cpu import Cpu
    from kernel.fs.dentry import Path
    from kernel.fs.vfs import Streams
    from kernel.mm.ram import Ram


class Outcome(Enum):
    """How the run stands."""

    RUNNING = "running"
    EXITED = "exited"  # exit_group: see exit_status.code
    KILLED = "killed"  # by a signal: see exit_status.sig and fatal
    DEADLOCK = "deadlock"  # every task sleeps and nothing will ever wake one: see why
    PANIC = "panic"  # memory is gone, and nobody may be killed: see why


class Kernel:
    """One machine and its first process. `current` is the task whose registers are in the CPU; it never changes
    while there is one task. `outcome` is RUNNING exactly as long as `handle` may be called."""

    def __init__(self, config: KernelConfig, cpu: Cpu, ram: Ram, probes: Probes | None = None,
                 streams: Streams | None = None) -> None:  # fmt: skip
        """`streams` are the host's stdin, stdout, stderr (kernel/fs/stream.py); without them /dev/null."""
        load()
        self.config = config
        self.cpu = cpu
        self.probes = probes if probes is not None else Probes()
        swap = config.swap_bytes >> 12
        if config.nodes > 1:
            frames: Frames = NumaFrames(ram, config.overcommit, swap, config.nodes)
        else:
            frames = Frames(ram, config.overcommit, swap)
        frames.reclaim = Clock(frames)
        frames.invalidate = cpu.invalidate_code
        frames.huge = HugePool(frames, config.hugepages)
        self.system = system = System(config, cpu, ram, frames, self.probes)
        system.vfs = Vfs(config, ram, frames, system.clock.realtime_ns, system.rng.bytes, streams or _silence())
        self.outcome = Outcome.RUNNING
        self.why = ""  # of a DEADLOCK: who waits for what; of a PANIC: its text
        self.current = self._first_task()
        mount_procfs(system, lambda: self.current)
        self._nr: int | None = None  # the syscall that `current` is leaving the kernel from
        self._fault = Fault.OK

    def _first_task(self) -> Task:
        config, system = self.config, self.system
        cred = Cred(config.uid, config.gid)
        limits = Rlimits(config.rlimits)
        process = Process(config.pid, limits, cred, signal.Pending())
        process.sid = config.ppid  # a shell's job: it leads its process group, the shell leads the session
        process.start_ns = system.clock.monotonic_ns()
        files = FdTable(lambda: limits.soft("NOFILE"))
        system.vfs.install_std(files)
        task = Task(config.pid, process, system, files, system.vfs.context(), signal.Pending())
        process.tasks.append(task)
        system.tasks[task.tid] = task
        system.processes[process.pid] = process
        return task

    def boot(
        self, image: bytes, name: bytes, argv: list[bytes], envp: list[bytes], execfn: bytes | None = None
    ) -> None:
        """Put a program at the absolute guest path `name` and start it; `execfn` is what AT_EXECFN shows.

        A file that is there already (a mount) is run itself. Raises ExecError, with a line for a human."""
        vfs = self.system.vfs
        try:
            path = self._there(name) or vfs.write_file(name, image, 0o755)
            execve(self.current, path, execfn or name, argv, envp, vfs.find)
        except OutOfMemory as error:
            raise ExecError(f"the program does not fit: {error}", ENOMEM) from None
        environ = self.cpu.read_regs().rsp + 8 * (len(argv) + 2)
        started(self.current, execve_text(execfn or name, argv, environ, len(envp)))

    # the two hot ways in, called while the CPU runs

    def syscall(self, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int, /) -> int | None:
        """`kernel.cpu.Traps.syscall`."""
        task = self.current
        if task.mm.windows.table[TOLD]:
            settle(task.mm)
        try:
            value = dispatch(task, nr, a0, a1, a2, a3, a4, a5)
        except OutOfMemory:
            self._abandon(task)
            return None
        if value.__class__ is int and not task.signals_due:
            return value
        return self._leave(task, nr, value)

    def page_fault(self, va: int, access: Access, /) -> bool:
        """`kernel.cpu.Traps.page_fault`."""
        mm = self.current.mm
        if mm.windows.table[TOLD]:
            settle(mm)
        try:
            fault = handle_mm_fault(mm, va, access)
        except OutOfMemory:
            self._oom_kill(self.current)
            return False
        if fault is Fault.OK:
            return True
        self._fault = fault
        return False

    # the trap loop's way in, with the CPU stopped

    @property
    def running(self) -> bool:
        return self.outcome is Outcome.RUNNING

    @property
    def until(self) -> int | None:
        """The instruction count at which the kernel wants control (a timer), for `Cpu.run`."""
        return timer.next_insns(self.current.process, self.system.clock)

    @property
    def exit_status(self) -> ExitStatus | None:
        """How the first process ended; None while it runs, or after a DEADLOCK or a PANIC."""
        return self.current.process.exit_status

    @property
    def fatal(self) -> SigInfo | None:
        """The signal that killed the first process, if one did. Registers and memory are as they were then."""
        return self.current.process.fatal

    def handle(self, trap: Trap) -> bool:
        """Do what a Trap asks for; True while there is something left to run."""
        task = self.current
        if not self.running:
            return False  # it panicked while the CPU ran
        if task.mm.windows.table[TOLD]:
            settle(task.mm)
        kind = trap.kind
        nr = None
        if kind is TrapKind.SYSCALL:
            nr, self._nr = self._nr, None
        elif kind is TrapKind.FAULT:
            if not task.signals_due or self._fault is not Fault.OK:
                fault = self._fault
                sig = SIGBUS if fault is Fault.BUS else SIGSEGV
                traps.page_fault(task, trap, sig, 1 if fault is Fault.MAPERR else 2)
            self._fault = Fault.OK
        elif kind is TrapKind.EXCEPTION:
            traps.exception(task, trap)
        self._fire_timers()
        if not task.ended:
            delivery.deliver(task, nr)
        self._settle(task)
        return self.running

    def interrupt(self, sig: int) -> None:
        """A signal from outside (Ctrl-C is SIGINT), as a terminal would send it. Then call `handle` with any SLICE."""
        signal.send(self.current.process, kernel(sig))

    def close(self) -> None:
        """Nobody will look at the machine any more, booted or not: free what it holds, files of the host included."""
        self.current.files.close_all()  # of a process that a limit of the run ended
        exit.release(self.current.process)
        self.system.vfs.close()

    # leaving a syscall the slow way

    def _leave(self, task: Task, nr: int, value: int | Generator[Block, None, int | None] | None) -> int | None:
        """A value while signals are due, no value at all, or a handler that goes to sleep."""
        if value is not None and not isinstance(value, int):
            try:
                value = self._sleep(task, value)
                self.cpu.stop()  # time went on without instructions: a timer's deadline is nearer
            except OutOfMemory:
                self._abandon(task)
                return None
        if value is not None and not task.signals_due:
            return value
        self._nr = nr if value is not None else None
        self.cpu.stop()
        return value

    def _sleep(self, task: Task, handler: Generator[Block, None, int | None]) -> int | None:
        """Drive a sleeping handler to its end. With nobody else to run, time jumps to what wakes it first."""
        try:
            block = next(handler)
            while True:
                if task.signals_due:
                    block = handler.throw(Interrupted())
                elif (block.ready is not None and block.ready()) or self._pass_time(block):
                    block = next(handler)
                else:
                    self._deadlock(task, handler, block)
                    return None
        except StopIteration as done:
            result: int | None = done.value
            return result

    def _pass_time(self, block: Block) -> bool:
        """Jump to the sleeper's deadline, or to a timer before it, and fire that. False: nothing will ever happen."""
        clock = self.system.clock
        alarm = self.current.process.itimers[timer.REAL].expires
        times = [at for at in (block.deadline, alarm or None) if at is not None]
        if not times:
            return False
        clock.sleep_until(min(times))
        self._fire_timers()
        return True

    def _deadlock(self, task: Task, handler: Generator[Block, None, int | None], block: Block) -> None:
        handler.close()
        self.why = f"deadlock: task {task.tid} waits {block.why or 'for ever'}, and nothing is left to wake it"
        self.system.note(task.tid, self.why)
        self.outcome = Outcome.DEADLOCK

    def _fire_timers(self) -> None:
        process = self.current.process
        if process.itimers != timer.DISARMED:
            timer.expire(process, self.system.clock)
        timer.enforce_cpu_limit(process, self.system.clock)

    def _settle(self, task: Task) -> None:
        """Did the first process end?"""
        status = task.process.exit_status
        if status is not None and self.running:
            self.outcome = Outcome.KILLED if status.sig else Outcome.EXITED

    # memory is gone

    def _abandon(self, task: Task) -> None:
        """Out of memory in a syscall, which is abandoned where it stands: the task dies before it would see that."""
        self._oom_kill(task)
        self._nr = None
        self.cpu.stop()

    def _oom_kill(self, task: Task) -> None:
        """Linux's OOM killer has one candidate here."""
        why = panic_message(task)
        if why:
            self.why = why
            self.system.note(task.tid, why)
            self.outcome = Outcome.PANIC
            return
        self.system.note(task.tid, kill_message(task))
        signal.send(task.process, kernel(SIGKILL))

    def _there(self, name: bytes) -> Path | None:
        try:
            path = self.system.vfs.find(name)
        except LinuxError:
            return None
        return path if path.inode.is_regular else None


def _silence() -> Streams:
    return NullStream(), NullStream(), NullStream()
