"""The two sides that play oracle scripts (guest/oracle/play.c): the host's Linux, and ours. A side takes scripts and
gives what each printed, as lines; what cannot be compared is taken out by name in `oracle_compare`."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import toolchain

from emu.config import RunConfig
from emu.interrupts import Interrupts
from emu.machine import Machine
from emu.stdio import Capture, Source
from kernel.abi.nr import NR
from kernel.kernel import Kernel
from kernel.mm.check import check
from kernel.probes import Probes

Script = Sequence[str]
DEAD = "(the player died)"
OLDEST = (6, 17)  # mremap of several mappings at once
EXECVE = NR["execve"]


@cache
def player() -> Path:
    """The guest, built."""
    return toolchain.build("oracle/play")


@cache
def lacking() -> str:
    """Why the host cannot be the oracle; "" if it can. Scripts begin as root, and follow the newest mainline."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "the oracle is an x86-64 Linux kernel"
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if release < OLDEST:
        return f"Linux {platform.release()} is older than {OLDEST[0]}.{OLDEST[1]}, whose mremap we follow"
    if os.geteuid():
        return "the scripts begin as root"
    if why := toolchain.missing("musl"):
        return why
    said = linux([["mmap a+0 1000 3 32 -1 0"]])[0]
    return "" if said[:1] == ["= a+0"] else f"the player cannot play here: {said}"


def batch(scripts: Sequence[Script]) -> bytes:
    """What the player reads from its standard input."""
    texts = ["\n".join([*script, ""]) for script in scripts]
    return "".join(f"{len(text):08x}\n{text}" for text in texts).encode()


def parted(said: bytes, count: int) -> list[list[str]]:
    """The output of `count` scripts, apart. The last one of a player that died ends with DEAD."""
    parts = [part.split("\n")[:-1] for part in said.decode("utf-8", "replace").split("end\n")]
    if len(parts) == count + 1 and not parts[-1]:
        return parts[:-1]
    return [*parts[:-1], [*parts[-1], DEAD]][:count]


def _all(scripts: Sequence[Script], some: Callable[[Sequence[Script]], list[list[str]]]) -> list[list[str]]:
    """Play all, going on after one at which the player died."""
    done: list[list[str]] = []
    while len(done) < len(scripts):
        done += some(scripts[len(done) :])
    return done


def linux(scripts: Sequence[Script]) -> list[list[str]]:
    """What the host's kernel does."""
    return _all(scripts, _linux)


def _linux(scripts: Sequence[Script]) -> list[list[str]]:
    with tempfile.TemporaryFile() as text:
        text.write(batch(scripts))
        text.seek(0)
        command = ["setarch", "-R", str(player())]
        try:
            said = subprocess.run(command, stdin=text, stdout=subprocess.PIPE, timeout=60 + len(scripts) / 10).stdout
        except subprocess.TimeoutExpired as stuck:
            said = stuck.stdout or b""
    return parted(said, len(scripts))


class CheckedKernel(Kernel):
    """Recounts the address space (kernel/mm/check.py) at the end of each script; `broken` says what is not true."""

    broken: list[str]

    def syscall(self, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int, /) -> int | None:
        if nr == EXECVE:
            try:
                check(self.current.mm)
            except AssertionError as broken:
                self.broken.append(f"check: {broken}")
        return super().syscall(nr, a0, a1, a2, a3, a4, a5)


class Ours:
    """Our side: one machine for each call, one exec for each script."""

    def __init__(self, checked: bool = True, native: bool | None = None) -> None:
        self.checked = checked
        self.broken: list[str] = []  # what kernel/mm/check.py has found since this was emptied
        self.frames_used = 0  # after the last run
        self.config = RunConfig(memory=4 << 30, uid=0, gid=0, native=native)
        self.content = player().read_bytes()

    def __call__(self, scripts: Sequence[Script]) -> list[list[str]]:
        return _all(scripts, self._some)

    def _some(self, scripts: Sequence[Script]) -> list[list[str]]:
        return parted(self.run(batch(scripts)), len(scripts))

    def run(self, stdin: bytes) -> bytes:
        """What the player prints."""
        said = Capture()
        with Interrupts(120 + len(stdin) / 1000, interactive=False) as interrupts:  # for hangs, not for slow machines
            machine = Machine(self.config, (Source(stdin), said, Capture()), Probes())
            if self.checked:
                machine.kernel.__class__ = CheckedKernel
                vars(machine.kernel)["broken"] = self.broken
            try:
                machine.boot(str(player()), self.content, [b"play"])
                machine.run(interrupts)
            finally:
                machine.close()
                self.frames_used = machine.kernel.system.frames.used
        return bytes(said.written)
