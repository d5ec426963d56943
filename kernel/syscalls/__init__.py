"""The syscalls. Importing this package's modules fills `table.TABLE`; `load()` imports them all."""

from __future__ import annotations

from importlib import import_module

SUBSYSTEMS = (
    "attributes", "cred", "descriptors", "file", "filesystem", "io", "memory", "mempolicy", "names", "pipe", "prctl",
    "process", "remote", "residency", "sched", "signal", "system", "thread", "time", "xattr",
)  # fmt: skip


def load() -> None:
    """Import every subsystem: each enters its handlers into the table."""
    for name in SUBSYSTEMS:
        import_module(f"{__name__}.{name}")
