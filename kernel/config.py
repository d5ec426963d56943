"""KernelConfig: everything about the simulated machine that is decided before it boots. Frozen; no hidden inputs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Mount(NamedTuple):
    """A host folder (or file) shown to the guest at `guest`; nothing outside it is reachable."""

    host: str
    guest: str
    writable: bool = False
    noexec: bool = False


class KernelConfig(NamedTuple):
    ram_bytes: int = 4 << 30
    seed: int = 0  # AT_RANDOM, getrandom, /dev/urandom
    aslr: int | None = None  # None: off (as `setarch -R`); else a seed
    epoch_ns: int = 1_750_000_000 * 1_000_000_000  # CLOCK_REALTIME at boot
    boot_ns: int = 1_000 * 1_000_000_000  # CLOCK_BOOTTIME and CLOCK_MONOTONIC when the guest starts
    hostname: str = "heapscope"
    release: str = "6.18.0"
    version: str = "#1 SMP PREEMPT_DYNAMIC heapscope"
    pid: int = 1000
    ppid: int = 999
    uid: int = 1000
    gid: int = 1000
    cpus: int = 1
    cwd: str = "/"
    nodes: int = 1
    swap_bytes: int = 0
    hugepages: int = 0
    overcommit: int = 0
    hwcap: int = 0x078B_E9FF  # AT_HWCAP: CPUID leaf 1, EDX, as the CPU answers it
    hwcap2: int = 2  # AT_HWCAP2: HWCAP2_FSGSBASE
    interactive: bool = False  # streams that are host terminals answer TCGETS, TCSETS and TIOCGWINSZ
    mounts: tuple[Mount, ...] = ()
    rlimits: Mapping[str, tuple[int, int]] = MappingProxyType({})  # name without RLIMIT_ → (soft, hard)
