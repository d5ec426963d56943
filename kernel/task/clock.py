"""Virtual time: retired instructions plus slept time. 1 instruction is 1 ns; nobody looks at the host's clock."""

from collections.abc import Callable


class Clock:
    """CLOCK_MONOTONIC = boot_ns + instructions + slept; it never goes back, and only `sleep_until` makes it jump."""

    __slots__ = ("_insns", "boot_ns", "epoch_ns", "slept")

    def __init__(self, insns: Callable[[], int], boot_ns: int, epoch_ns: int) -> None:
        """`insns` gives the instructions retired; `boot_ns` is uptime, `epoch_ns` CLOCK_REALTIME at the start."""
        self._insns = insns
        self.boot_ns = boot_ns
        self.epoch_ns = epoch_ns
        self.slept = 0

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME (this machine never suspends)."""
        return self.boot_ns + self._insns() + self.slept

    def realtime_ns(self) -> int:
        """CLOCK_REALTIME: ns since 1970."""
        return self.epoch_ns + self._insns() + self.slept

    def cpu_ns(self) -> int:
        """CPU time used so far by all tasks: one instruction, one ns; sleeping costs none."""
        return self._insns()

    def sleep_until(self, monotonic_ns: int) -> None:
        """Nobody can run before `monotonic_ns`: be there. A deadline in the past changes nothing."""
        self.slept += max(0, monotonic_ns - self.monotonic_ns())

    def insns_at(self, monotonic_ns: int) -> int:
        """The instruction count at which CLOCK_MONOTONIC shows `monotonic_ns`, if nobody sleeps before."""
        return monotonic_ns - self.boot_ns - self.slept
