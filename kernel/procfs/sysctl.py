"""/proc/sys/{kernel,fs}: the kernel's settings. What the machine really has can be read; only its config sets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.limits import NGROUPS_MAX
from kernel.procfs.registry import proc_file
from kernel.task.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.task.system import System


def _setting(path: str, value: Callable[[System], object], mode: int = 0o644) -> None:
    proc_file(f"sys/{path}", mode)(lambda system: f"{value(system)}\n")


def _constant(path: str, value: object, mode: int = 0o644) -> None:
    _setting(path, lambda _: value, mode)


_setting("kernel/osrelease", lambda system: system.config.release, 0o444)
_constant("kernel/ostype", "Linux", 0o444)
_setting("kernel/hostname", lambda system: system.hostname)
_constant("kernel/domainname", "(none)")
_setting("kernel/version", lambda system: system.config.version, 0o444)
_constant("kernel/pid_max", 32768)
_setting("kernel/threads-max", lambda system: system.frames.total // 64)
_setting("kernel/randomize_va_space", lambda system: 0 if system.config.aslr is None else 2)
_constant("kernel/cap_last_cap", 40, 0o444)
_constant("kernel/ngroups_max", NGROUPS_MAX, 0o444)
_constant("kernel/overflowuid", 65534)
_constant("kernel/overflowgid", 65534)
_constant("kernel/core_pattern", "core")
_constant("kernel/core_uses_pid", 0)
_constant("kernel/shmmax", 18446744073692774399)
_constant("kernel/shmall", 18446744073692774399)
_constant("kernel/shmmni", 4096)
_constant("kernel/perf_event_paranoid", 2)
_constant("kernel/yama/ptrace_scope", 0)
_constant("kernel/random/poolsize", 256, 0o444)
_constant("kernel/random/entropy_avail", 256, 0o444)
_setting("kernel/random/boot_id", lambda system: _uuid(Rng(system.config.seed, "boot_id").bytes(16)), 0o444)
_setting("kernel/random/uuid", lambda system: _uuid(system.rng.bytes(16)), 0o444)

_constant("fs/file-max", 1048576)
_constant("fs/nr_open", 1048576)
_setting("fs/file-nr", lambda system: f"{_open_files(system)}\t0\t1048576", 0o444)
_constant("fs/pipe-max-size", 1048576)
_constant("fs/protected_hardlinks", 0)
_constant("fs/protected_symlinks", 0)
_constant("fs/protected_fifos", 0)
_constant("fs/protected_regular", 0)


def _open_files(system: System) -> int:
    return sum(len(task.files.fds()) for task in system.tasks.values())


def _uuid(raw: bytes) -> str:
    """A random (version 4) UUID of these bytes."""
    from uuid import UUID

    return str(UUID(bytes=raw, version=4))
