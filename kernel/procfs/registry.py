"""@proc_file, @pid_file, @sys_file: a path, and the function that makes its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kernel.procfs.tree import Content
    from kernel.task.system import System
    from kernel.task.task import Task

SystemText = Callable[["System"], "str | Content"]
TaskText = Callable[["Task"], "str | Content"]
SystemStore = Callable[["System", bytes], int | None]  # how much was taken; None: all
TaskStore = Callable[["Task", bytes], None]


class SystemFile(NamedTuple):
    make: SystemText
    mode: int
    store: SystemStore | None


class PidFile(NamedTuple):
    make: TaskText
    mode: int
    store: TaskStore | None


RawRead = Callable[["Task", int, int], bytes]  # (whose, how much, where)
RawWrite = Callable[["Task", bytes, int], int]


class RawFile(NamedTuple):
    """A file of /proc/[pid] that is no text: read and written by position."""

    read: RawRead | None
    write: RawWrite | None
    mode: int
    unsigned: bool = False  # its positions are addresses


RAW: dict[str, RawFile] = {}
PROC: dict[str, SystemFile] = {}
SYS: dict[str, SystemFile] = {}
PID: dict[str, PidFile] = {}


def proc_file(path: str, mode: int = 0o444, store: SystemStore | None = None) -> Callable[[SystemText], SystemText]:
    """Enter a text of /proc; `path` is relative to it."""

    def enter(make: SystemText) -> SystemText:
        PROC[path] = SystemFile(make, mode, store)
        return make

    return enter


def sys_file(path: str, mode: int = 0o444, store: SystemStore | None = None) -> Callable[[SystemText], SystemText]:
    """Enter a text of /sys."""

    def enter(make: SystemText) -> SystemText:
        SYS[path] = SystemFile(make, mode, store)
        return make

    return enter


def pid_file(name: str, mode: int = 0o444, store: TaskStore | None = None) -> Callable[[TaskText], TaskText]:
    """Enter a text of /proc/[pid]."""

    def enter(make: TaskText) -> TaskText:
        PID[name] = PidFile(make, mode, store)
        return make

    return enter
