"""heapscope: run static x86-64 Linux programs on an emulated CPU over a Linux kernel in Python.

import emu
done = emu.run("./a.out", ["1", "2"], trace="memory")
print(done.exit_status, done.stdout, done.counters.peak_rss, done.events[0].text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.api import ProgramError, Run, run
    from emu.config import ConfigError, RunConfig

__all__ = ["ConfigError", "ProgramError", "Run", "RunConfig", "run"]
_HOME = {"ConfigError": "config", "RunConfig": "config"}


def __getattr__(name: str) -> object:
    """The public names, imported when first used: `import emu` alone starts no emulator."""
    if name not in __all__:
        raise AttributeError(f"module 'emu' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"emu.{_HOME.get(name, 'api')}"), name)
    globals()[name] = value
    return value
