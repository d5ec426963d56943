"""RunConfig: every knob of one run, frozen and checked once, and how its values are written on a command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from kernel.config import KernelConfig, Mount

if TYPE_CHECKING:
    from emu.trace.filter import Filter

MIN_MEMORY = 4 << 20
MAX_MEMORY = 256 << 30
MAX_NODES = 8
_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


class ConfigError(ValueError):
    """A knob has a value that no run can have. The message is one line, for the person who set it."""


def parse_size(text: str) -> int:
    """Bytes from `64M`, `4G`, `4GiB`, `65536` (units are powers of 1024)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a size; write a number and K, M, G or T, as in 64M")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_mount(text: str) -> Mount:
    """`HOST:GUEST[:rw|:ro]`. The last colons count, so that a host path may hold colons."""
    body, writable = text, False
    for suffix in (":rw", ":ro"):
        if text.endswith(suffix):
            body, writable = text[: -len(suffix)], suffix == ":rw"
    host, colon, guest = body.rpartition(":")
    if not colon or not host:
        raise ConfigError(f"mount {text!r} is not HOST:GUEST[:rw]")
    return Mount(host, guest, writable)


def parse_env(text: str) -> tuple[str, str]:
    """`NAME=VALUE`; a bare `NAME` takes the value that our own environment has."""
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise ConfigError(f"env {text!r} is not NAME=VALUE, and our own environment has no {text}")
    return name, os.environ[name]


class _Knobs(NamedTuple):
    """The fields of RunConfig."""

    memory: int = 4 << 30  # bytes of guest RAM; backed lazily
    swap: int = 0  # bytes
    hugepages: int = 0  # pages of 2 MiB, kept apart from the rest of memory
    nodes: int = 1  # NUMA nodes that memory is split into
    overcommit: int = 0  # vm.overcommit_memory
    seed: int = 0  # AT_RANDOM, getrandom(2), /dev/urandom
    aslr: int | None = None  # None: addresses as under `setarch -R`; else a seed of the layout
    epoch: float = 1_750_000_000  # CLOCK_REALTIME at the start, seconds
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    uid: int = 1000
    gid: int = 1000
    hostname: str = "heapscope"
    cwd: str = "/"
    rlimits: tuple[tuple[str, int, int], ...] = ()  # (name without RLIMIT_, soft, hard)
    timeout: float | None = None  # wall seconds
    max_instructions: int | None = None
    interactive: bool = False
    native: bool | None = None  # None: the C hooks if they are there; False: never; True: or fail
    trace: str = "none"  # as after strace's `-e trace=`
    argv0: str | None = None  # argv[0] and AT_EXECFN; None: the program's path
    page_faults: bool = False  # record PageFault events too
    count_syscalls: bool = False  # all of them, whatever `trace` says


class RunConfig(_Knobs):
    """What decides a run, besides the program and its input. Equal configurations give equal runs, byte for byte.

    Whoever holds one knows that each value is usable: making one raises ConfigError otherwise.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # the signature is that of _Knobs

        def __new__(cls, *args, **named):
            self = super().__new__(cls, *args, **named)
            self._check_machine()
            self._check_guest()
            self._check_limits()
            _ = self.filter
            return self

    def _check_machine(self) -> None:
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            raise ConfigError(f"memory of {self.memory} bytes is outside of 4M to {MAX_MEMORY >> 30}G")
        if self.memory % 4096:
            raise ConfigError(f"memory of {self.memory} bytes is not a whole number of 4 KiB pages")
        if not 0 <= self.swap <= MAX_MEMORY or self.swap % 4096:
            raise ConfigError(f"swap of {self.swap} bytes is not 0 to {MAX_MEMORY >> 30}G in whole 4 KiB pages")
        if not 0 <= self.hugepages << 21 <= self.memory // 2:
            raise ConfigError(f"{self.hugepages} huge pages of 2 MiB are more than half of memory")
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError(f"{self.nodes} nodes are not 1 to {MAX_NODES}")
        for name, value in (("seed", self.seed), ("aslr", self.aslr or 0)):
            if not 0 <= value < 1 << 64:
                raise ConfigError(f"{name} {value} is not within 0 and 2^64-1")
        if self.overcommit not in (0, 1, 2):
            raise ConfigError(f"overcommit {self.overcommit} is not 0 (guess), 1 (always) or 2 (never)")
        if not 0 <= self.epoch < 1 << 33:
            raise ConfigError(f"epoch {self.epoch} is not within 0 and 2^33 seconds")

    def _check_guest(self) -> None:
        for name, value in self.env:
            if not name or "=" in name or "\0" in name + value:
                raise ConfigError(f"environment entry {name!r} has no name, or a '=' or NUL byte that cannot be there")
        for number, identity in (("uid", self.uid), ("gid", self.gid)):
            if not 0 <= identity < (1 << 32) - 1:
                raise ConfigError(f"{number} {identity} is not within 0 and 2^32-2")
        if not 0 < len(self.hostname.encode()) <= 64 or "\0" in self.hostname:
            raise ConfigError(f"hostname {self.hostname!r} is not 1 to 64 bytes")
        if not self.cwd.startswith("/") or "\0" in self.cwd:
            raise ConfigError(f"cwd {self.cwd!r} is not an absolute path in the guest")
        for mount in self.mounts:
            _check_mount(mount)

    def _check_limits(self) -> None:
        if self.timeout is not None and not 0 < self.timeout < 1 << 31:
            raise ConfigError(f"timeout {self.timeout:g} is not within 0 and 2^31 seconds: give more than 0")
        if self.max_instructions is not None and not 0 < self.max_instructions < 1 << 63:
            raise ConfigError(f"max-instructions {self.max_instructions} is not within 1 and 2^63-1")

    @property
    def filter(self) -> Filter:
        """Which syscalls are traced; `trace` parsed."""
        from emu.trace.filter import Filter, UnknownSyscall

        try:
            return Filter.parse(self.trace)
        except UnknownSyscall as unknown:
            raise ConfigError(str(unknown)) from None

    @property
    def environ(self) -> list[bytes]:
        """envp as execve(2) takes it."""
        return [os.fsencode(f"{name}={value}") for name, value in self.env]

    def kernel(self) -> KernelConfig:
        """The part that the kernel is built from."""
        return KernelConfig(
            ram_bytes=self.memory,
            swap_bytes=self.swap,
            hugepages=self.hugepages,
            nodes=self.nodes,
            overcommit=self.overcommit,
            seed=self.seed,
            aslr=self.aslr,
            epoch_ns=round(self.epoch * 1_000_000_000),
            hostname=self.hostname,
            uid=self.uid,
            gid=self.gid,
            cwd=self.cwd,
            interactive=self.interactive,
            mounts=self.mounts,
            rlimits={name: (soft, hard) for name, soft, hard in self.rlimits},
        )


def _check_mount(mount: Mount) -> None:
    if not mount.guest.startswith("/") or "\0" in mount.guest:
        raise ConfigError(f"mount {mount.host}:{mount.guest}: {mount.guest!r} is not an absolute path in the guest")
    guest = os.path.normpath(mount.guest)
    if guest.startswith(("/proc", "/sys")) and guest.split("/")[1] in ("proc", "sys"):
        raise ConfigError(f"mount {mount.host}:{mount.guest}: /{guest.split('/')[1]} is the guest kernel's own")
    if "\0" in mount.host or not os.path.exists(mount.host):
        raise ConfigError(f"mount {mount.host}:{mount.guest}: the host has no {mount.host!r}")


def env_pairs(env: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """An environment in any usual shape → RunConfig.env. A later entry of the same name replaces the earlier."""
    pairs = env.items() if isinstance(env, Mapping) else env
    return tuple(dict(pairs).items())
