"""System: what all tasks of one simulated machine share. No global stands for it; every task holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel.events import Note
from kernel.task.clock import Clock
from kernel.task.rng import Rng

if TYPE_CHECKING:
    from kernel.config import KernelConfig
    from kernel.cpu import Cpu
    from kernel.fs.vfs import Vfs
    from kernel.mm.frames import Frames
    from kernel.mm.ram import Ram
    from kernel.probes import Probes
    from kernel.task.futex import Waiter
    from kernel.task.task import Process, Task


class NotModelled(NamedTuple):
    """What was answered ENOSYS: a call that is not implemented, or what an implemented one refused."""

    call: str
    why: str = ""  # of a call that is implemented

    def __str__(self) -> str:
        return f"{self.call}: {self.why}" if self.why else self.call


class System:
    """One machine. `tasks` (by tid) and `processes` (by pid) hold exactly those that have not been reaped.

    `rng` serves the guest (getrandom, /dev/urandom); a loader or the ASLR draws from streams of its own.
    """

    __slots__ = (
        "aslr", "at_random", "clock", "config", "cpu", "frames", "futexes", "hostname", "not_modelled", "probes",
        "processes", "ram", "rng", "sysctl", "tasks", "vfs",
    )  # fmt: skip
    vfs: Vfs  # set once by the Kernel, before the first task runs

    def __init__(self, config: KernelConfig, cpu: Cpu, ram: Ram, frames: Frames, probes: Probes) -> None:
        self.config = config
        self.cpu = cpu
        self.ram = ram
        self.frames = frames
        self.probes = probes
        self.clock = Clock(lambda: cpu.insns, config.boot_ns, config.epoch_ns)
        self.rng = Rng(config.seed, "random")
        self.at_random = Rng(config.seed, "AT_RANDOM")
        self.aslr = Rng(config.aslr or 0, "ASLR")
        self.hostname = config.hostname
        self.futexes: list[Waiter] = []  # everybody who waits on a futex, oldest first
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, Process] = {}
        self.sysctl: dict[str, int] = {}  # what was written to /proc/sys and only has to be remembered
        self.not_modelled: dict[NotModelled, int] = {}  # answered ENOSYS: how many times

    def refused(self, name: str, why: str = "") -> None:
        """A syscall was answered ENOSYS: whoever looks at the run must hear of it, traced or not."""
        what = NotModelled(name, why)
        self.not_modelled[what] = self.not_modelled.get(what, 0) + 1

    def note(self, tid: int, text: str) -> None:
        """Tell the trace's reader something that no syscall says."""
        if self.probes.wants(Note):
            self.probes.emit(Note(self.clock.monotonic_ns(), tid, text))
