"""Resource limits of a process (getrlimit(2)): soft and hard, by RLIMIT_ number or name."""

from __future__ import annotations

from collections.abc import Mapping

INFINITY = (1 << 64) - 1
NAMES = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
    "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
INDEX = {name: i for i, name in enumerate(NAMES)}
# include/asm-generic/resource.h, with the NOFILE and process limits of a usual login (hard NOFILE: systemd's).
DEFAULTS: dict[str, tuple[int, int]] = {
    "STACK": (8 << 20, INFINITY),
    "CORE": (0, INFINITY),
    "NPROC": (15_000, 15_000),
    "NOFILE": (1024, 524_288),
    "MEMLOCK": (8 << 20, 8 << 20),
    "SIGPENDING": (15_000, 15_000),
    "MSGQUEUE": (819_200, 819_200),
    "NICE": (0, 0),
    "RTPRIO": (0, 0),
}


class Rlimits:
    """The limits of one process. Always: `cur[i] <= max[i]`, both u64, by RLIMIT_ number."""

    __slots__ = ("cur", "max")

    def __init__(self, overrides: Mapping[str, tuple[int, int]] | None = None) -> None:
        pairs = [DEFAULTS.get(name, (INFINITY, INFINITY)) for name in NAMES]
        self.cur = [soft for soft, _ in pairs]
        self.max = [hard for _, hard in pairs]
        for name, (soft, hard) in (overrides or {}).items():
            self.set(name, soft, hard)

    def soft(self, name: str) -> int:
        return self.cur[INDEX[name]]

    def hard(self, name: str) -> int:
        return self.max[INDEX[name]]

    def set(self, name: str, soft: int, hard: int) -> None:
        """Raises KeyError for an unknown name, ValueError where soft exceeds hard."""
        if not 0 <= soft <= hard <= INFINITY:
            raise ValueError(f"RLIMIT_{name}: soft {soft} must not exceed hard {hard}")
        self.cur[INDEX[name]] = soft
        self.max[INDEX[name]] = hard

    def copy(self) -> Rlimits:
        """For a child (fork(2): limits are inherited)."""
        other = Rlimits()
        other.cur = self.cur.copy()
        other.max = self.max.copy()
        return other
