"""/proc and /sys put together and mounted: the registered texts, and the directories that follow the tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kernel.fs.dentry import full_name
from kernel.fs.vfs import PROC as PROC_MINOR
from kernel.fs.vfs import SYSFS as SYSFS_MINOR
from kernel.procfs import (  # noqa: F401  (they enter their texts)
    ksm,
    nodes,
    pid,
    pidmem,
    sysctl,
    sysfs,
    system,
    vmctl,
    vmstat,
)
from kernel.procfs.registry import PID, PROC, RAW, SYS, PidFile, RawFile, SystemFile
from kernel.procfs.setting import Setting
from kernel.procfs.tree import Content, Folder, Link, Node, PseudoFs, Raw, Text

if TYPE_CHECKING:
    from kernel.fs.dentry import Path
    from kernel.task.system import System
    from kernel.task.task import Task

Owner = Callable[[], tuple[int, int]]
PROC_SUPER_MAGIC, SYSFS_MAGIC = 0x9FA0, 0x62656572


def mount_procfs(machine: System, current: Callable[[], Task]) -> None:
    """Mount /proc and /sys; `current` is the task that looks (for /proc/self)."""
    vfs = machine.vfs
    proc = PseudoFs("proc", PROC_SUPER_MAGIC, PROC_MINOR, vfs.now, ProcRoot(machine, current))
    vfs.mount(proc, proc.root, b"/proc", "proc")
    tree = Folder()
    config = machine.config
    for path, entry in (SYS | nodes.node_files(config.nodes)).items():
        tree.put(path, _system_text(machine, entry, size=4096))
    for cpu in range(config.cpus):
        tree.put(f"{sysfs.CPU}/cpu{cpu}/topology/core_id", _fixed(str(cpu)))
    sys = PseudoFs("sysfs", SYSFS_MAGIC, SYSFS_MINOR, vfs.now, tree)
    vfs.mount(sys, sys.root, b"/sys", "sysfs")


def _fixed(text: str) -> Text:
    return Text(lambda: text.encode() + b"\n", size=4096)


def _bytes(content: str | Content) -> Content:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content


def _system_text(machine: System, entry: SystemFile, size: int = 0, kind: type[Text] = Text) -> Text:
    store = None if entry.store is None else lambda data: entry.store(machine, data)  # type: ignore[misc]
    return kind(lambda: _bytes(entry.make(machine)), entry.mode, store=store, size=size)


class ProcRoot(Folder):
    """/proc: the registered texts, self and thread-self, and a folder for each process."""

    def __init__(self, machine: System, current: Callable[[], Task]) -> None:
        super().__init__()
        self.machine = machine
        for path, entry in PROC.items():
            self.put(path, _system_text(machine, entry, kind=Setting if path.startswith("sys/") else Text))
        self.put("mounts", Link(lambda: b"self/mounts"))
        self.put("self", Link(lambda: b"%d" % current().pid))
        self.put("thread-self", Link(lambda: b"%d/task/%d" % (current().pid, current().tid)))
        self.known: dict[bytes, PidFolder] = {}  # by number: of tasks that somebody has looked at

    def names(self) -> list[bytes]:
        return [*self.entries, *(b"%d" % number for number in sorted(self.machine.processes))]

    def find(self, name: bytes) -> Node | None:
        node = self.entries.get(name)
        if node is not None:
            return node
        task = _task_named(self.machine, name)
        if task is None:
            self.known.pop(name, None)
            return None
        folder = self.known.get(name)
        if folder is None or folder.task is not task:
            folder = self.known[name] = PidFolder(task, threads=True)
        return folder


def _task_named(machine: System, name: bytes) -> Task | None:
    if not name.isdigit() or name.startswith(b"0") or len(name) > 10:
        return None
    return machine.tasks.get(int(name))


class PidFolder(Folder):
    """/proc/[pid], or /proc/[pid]/task/[tid] (without `threads`). Its nodes are made as they are asked for."""

    def __init__(self, task: Task, *, threads: bool) -> None:
        super().__init__(owner=self._ids)
        self.task = task
        self.made: dict[bytes, Node] = {}  # nodes without a state of their own
        self.folders: dict[bytes, Callable[[Task, Owner], Folder]] = {b"fd": FdFolder, b"fdinfo": FdInfoFolder}
        if threads:
            self.folders[b"task"] = TaskFolder
        self.places: dict[bytes, Callable[[], Path | None]] = {
            b"cwd": lambda: task.fs.cwd, b"exe": lambda: task.process.exe, b"root": lambda: task.fs.root,
        }  # fmt: skip

    def _ids(self) -> tuple[int, int]:
        """A process that may not be dumped belongs to root (task_dump_owner)."""
        process = self.task.process
        return (process.cred.euid, process.cred.egid) if process.dumpable == 1 else (0, 0)

    def names(self) -> list[bytes]:
        return sorted([*map(str.encode, PID), *map(str.encode, RAW), *self.folders, *self.places])

    @property
    def subfolders(self) -> int:
        return len(self.folders)

    def find(self, name: bytes) -> Node | None:
        node = self.made.get(name)
        if node is None:
            node = self._make(name)
            if node is not None:
                self.made[name] = node
        return node

    def _make(self, name: bytes) -> Node | None:
        entry = PID.get(name.decode("latin-1"))
        if entry is not None:
            return _pid_text(self.task, entry, self._ids)
        raw = RAW.get(name.decode("latin-1"))
        if raw is not None:
            return _pid_raw(self.task, raw, self._ids)
        if name in self.folders:
            return self.folders[name](self.task, self._ids)
        if name in self.places:
            place = self.places[name]
            return Link(lambda: _name(self.task, place()), place, owner=self._ids)
        return None


def _pid_text(task: Task, entry: PidFile, owner: Owner) -> Text:
    store = None if entry.store is None else lambda data: entry.store(task, data)  # type: ignore[misc]
    return Text(lambda: _bytes(entry.make(task)), entry.mode, owner, store)


def _pid_raw(task: Task, entry: RawFile, owner: Owner) -> Raw:
    read, write = entry.read, entry.write
    return Raw(
        None if read is None else lambda n, pos: read(task, n, pos),
        None if write is None else lambda data, pos: write(task, data, pos),
        entry.mode,
        owner,
        entry.unsigned,
    )


def _name(task: Task, path: Path | None) -> bytes:
    return b"" if path is None else full_name(path, task.system.vfs.root)


def _fd_named(name: bytes) -> int:
    """The fd that a name says, -1 where it says none."""
    canonical = name.isdigit() and len(name) < 10 and (name == b"0" or name[:1] != b"0")
    return int(name) if canonical else -1


class FdFolder(Folder):
    """/proc/[pid]/fd: a magic link for each descriptor; its mode says how it is open."""

    def __init__(self, task: Task, owner: Owner) -> None:
        super().__init__(mode=0o500, owner=owner)
        self.task = task

    @property
    def size(self) -> int:
        return len(self.task.files.fds())

    def names(self) -> list[bytes]:
        return [b"%d" % fd for fd in self.task.files.fds()]

    def find(self, name: bytes) -> Node | None:
        file = self.task.files.find(_fd_named(name))
        if file is None:
            return None
        mode = (0o500 if file.readable else 0) | (0o300 if file.writable else 0)
        return Link(lambda: _name(self.task, file.path), lambda: file.path, mode, self.owner)


class FdInfoFolder(FdFolder):
    """/proc/[pid]/fdinfo."""

    def __init__(self, task: Task, owner: Owner) -> None:
        super().__init__(task, owner)
        self.mode = self.mode & ~0o7777 | 0o555

    @property
    def size(self) -> int:
        return 0

    def find(self, name: bytes) -> Node | None:
        file = self.task.files.find(_fd_named(name))
        if file is None:
            return None
        flags = file.flags | (0o2000000 if int(name) in self.task.files.cloexec else 0)
        text = f"pos:\t{file.pos}\nflags:\t0{flags:o}\nmnt_id:\t{file.path.mount.id}\nino:\t{file.inode.ino}\n"
        text += file.fdinfo()
        return Text(text.encode, owner=self.owner)


class TaskFolder(Folder):
    """/proc/[pid]/task."""

    def __init__(self, task: Task, owner: Owner) -> None:
        super().__init__(owner=owner)
        self.process = task.process

    def names(self) -> list[bytes]:
        return [b"%d" % task.tid for task in self.process.tasks]

    @property
    def subfolders(self) -> int:
        return len(self.process.tasks)

    def find(self, name: bytes) -> Node | None:
        for task in self.process.tasks:
            if b"%d" % task.tid == name:
                return PidFolder(task, threads=False)
        return None
