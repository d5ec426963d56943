"""The syscalls. Importing this package's modules fills `table.TABLE`; `load()` imports them all."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def load() -> None:
    """Import every subsystem: each enters its handlers into the table."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
