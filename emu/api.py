"""Run guests from Python: `emu.run("./a.out", ["1"]).stdout`. One at a time; as many after each other as you like."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from emu.analysis.syscalls import SyscallCounts
from emu.config import ConfigError, RunConfig, env_pairs, parse_mount, parse_size
from emu.interrupts import Interrupts
from emu.machine import Machine, Stopped
from emu.outcome import Death, Run, SyscallCount, Syscalls
from emu.stdio import Announced, Capture, FileSource, FileTarget, Source, host_stream, terminals_kept
from emu.trace.events import Note, PageFault, SyscallExit
from emu.trace.recorder import TRACED, Listed, Recorder, Sink
from kernel.abi.errno import LinuxError
from kernel.config import Mount
from kernel.fs.stream import Stream
from kernel.probes import Probes

if TYPE_CHECKING:
    from emu.calls import HeapOptions
    from emu.trace.alloc_rules import Paths
    from emu.tracing import HeapTrace

PROGRAM_LIMIT = 1 << 32


class ProgramError(Exception):
    """The program cannot be run: no such file, not an ELF, dynamic, truncated … One line says why."""


class SyscallState(NamedTuple):
    """One row of the x86-64 table. `state` is "yes", "partly" or "no"; `missing` says what a partial one lacks."""

    nr: int
    name: str
    state: str
    missing: str


def syscall_table() -> list[SyscallState]:
    """Every x86-64 syscall by number, and how far it is implemented."""
    from kernel.abi.nr import NR
    from kernel.syscalls import load
    from kernel.syscalls.table import TABLE

    load()
    rows = []
    for name, nr in sorted(NR.items(), key=lambda item: item[1]):
        entry = TABLE.get(nr)
        state = "no" if entry is None else "partly" if entry.partly else "yes"
        rows.append(SyscallState(nr, name, state, entry.partly if entry else ""))
    return rows


def refusal_of(content: bytes) -> str:
    """Why no program can be made of the ELF file `content`; "" where its headers are those of one that runs here."""
    from kernel.task.elf import ExecError, parse

    try:
        parse(lambda at, size: content[at : at + size], len(content))
    except ExecError as refused:
        return refused.why
    return ""


def run(
    program: str | os.PathLike[str],
    argv: Iterable[str | bytes] = (),
    *,
    argv0: str | None = None,
    stdin: bytes | BinaryIO | int | None = b"",
    stdout: BinaryIO | int | None = None,
    stderr: BinaryIO | int | None = None,
    env: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    memory: int | str = 4 << 30,
    swap: int | str = 0,
    hugepages: int = 0,
    nodes: int = 1,
    overcommit: int = 0,
    mounts: Iterable[Mount | str] = (),
    trace: str | None = None,
    page_faults: bool = False,
    count_syscalls: bool = False,
    sinks: Sequence[Sink] = (),
    seed: int = 0,
    aslr: int | None = None,
    epoch: float = 1_750_000_000,
    uid: int = 1000,
    gid: int | None = None,
    hostname: str = "heapscope",
    cwd: str = "/",
    rlimits: Mapping[str, tuple[int, int]] | None = None,
    timeout: float | None = None,
    max_instructions: int | None = None,
    interactive: bool = False,
    native: bool | None = None,
    heap: HeapOptions | bool = False,
    alloc: str | Iterable[str] = (),
    alloc_file: Paths = (),
    alloc_from: Paths = (),
) -> Run:
    """Run the static x86-64 Linux program at host path `program`, with `argv` after `argv0` (`program`), to its end.

    `stdin` is bytes, a binary file, or a descriptor; `stdout` and `stderr` are captured unless a binary file or
    descriptor is given. `env` is the whole environment, empty by default. `memory` is guest RAM in bytes or as "64M";
    `mounts` are `Mount`s or "HOST:GUEST[:rw]". `trace` (as after `strace -e trace=`: "all", "memory", "!brk") collects
    events and counts syscalls; `page_faults` adds kernel.events.PageFault; `sinks` get the same events, live;
    `count_syscalls` counts all of them without `trace`.
    `timeout` is in wall seconds, `max_instructions` is exact. The rest is as the options of `heapscope run`.
    `heap` traces each call of the program's allocator. What that is `alloc` tells by rules ("my_alloc=malloc:rdi"), as
    do the TOML files `alloc_file`, and, of a program without symbols, the code of the static libraries `alloc_from`;
    one or several of each, as after --alloc, --alloc-file and --alloc-from.

    Raises ProgramError when the program cannot be run, ConfigError for a knob that cannot be. A guest's own failure is
    no exception: look at the Run.
    """
    config = RunConfig(
        memory=parse_size(memory) if isinstance(memory, str) else memory,
        swap=parse_size(swap) if isinstance(swap, str) else swap,
        hugepages=hugepages,
        nodes=nodes,
        overcommit=overcommit,
        seed=seed,
        aslr=aslr,
        epoch=epoch,
        env=env_pairs(env),
        mounts=tuple(parse_mount(mount) if isinstance(mount, str) else mount for mount in mounts),
        uid=uid,
        gid=uid if gid is None else gid,
        hostname=hostname,
        cwd=cwd,
        rlimits=tuple((name, soft, hard) for name, (soft, hard) in (rlimits or {}).items()),
        timeout=timeout,
        max_instructions=max_instructions,
        interactive=interactive,
        native=native,
        trace="none" if trace is None else trace,
        argv0=argv0,
        page_faults=page_faults,
        count_syscalls=count_syscalls,
    )
    options = _heap_options(heap, alloc, alloc_file, alloc_from)
    return run_config(program, argv, config, stdin=stdin, stdout=stdout, stderr=stderr, sinks=sinks, heap=options)


def _heap_options(
    heap: HeapOptions | bool, alloc: str | Iterable[str], alloc_file: Paths, alloc_from: Paths
) -> HeapOptions | None:
    """`heap`, and what the others add to it; None: no heap is traced."""
    if heap is False:
        for name, given in (("alloc", alloc), ("alloc_file", alloc_file), ("alloc_from", alloc_from)):
            if given:
                raise ConfigError(f"{name} needs heap=True")
        return None
    from emu.calls import HeapOptions, RuleError
    from emu.trace.alloc_rules import told

    options = HeapOptions() if heap is True else heap
    try:
        rules, libraries = told(alloc, alloc_file, alloc_from)
    except RuleError as wrong:
        raise ConfigError(str(wrong)) from None
    return options._replace(rules=(*options.rules, *rules), libraries=(*options.libraries, *libraries))


def __getattr__(name: str) -> object:
    """HeapOptions, when it is first asked for: a run that traces no heap does without emu/calls."""
    if name != "HeapOptions":
        raise AttributeError(f"module 'emu.api' has no attribute {name!r}")
    from emu.calls import HeapOptions

    return HeapOptions


_busy = False


def run_config(
    program: str | os.PathLike[str],
    argv: Iterable[str | bytes],
    config: RunConfig,
    *,
    stdin: bytes | BinaryIO | int | None = b"",
    stdout: BinaryIO | int | None = None,
    stderr: BinaryIO | int | None = None,
    sinks: Sequence[Sink] = (),
    attended: bool = False,
    heap: HeapOptions | None = None,
) -> Run:
    """`run` with a ready RunConfig. `attended` is the command line's: events go to `sinks` only, and a sink whose
    reader has gone away (a closed pipe) ends the run."""
    global _busy
    if _busy:
        raise RuntimeError("a guest is running already: one process runs one guest at a time")
    _busy = True
    try:
        path = os.fspath(program)
        content = read_program(path)
        arguments = [os.fsencode(config.argv0 or path), *(os.fsencode(word) for word in argv)]
        fds = {stream for stream in (stdin, stdout, stderr) if config.interactive and isinstance(stream, int)}
        with terminals_kept(fds), Interrupts(config.timeout, interactive=config.interactive) as interrupts:
            streams = _Streams(stdin, stdout, stderr, interrupts)
            if heap is not None and heap.record:
                streams.announce()
            return _one_run(path, content, arguments, config, streams, interrupts, sinks, attended, heap)
    finally:
        _busy = False


class _Streams:
    """The guest's three standard streams, and what was captured of them."""

    def __init__(
        self,
        stdin: bytes | BinaryIO | int | None,
        stdout: BinaryIO | int | None,
        stderr: BinaryIO | int | None,
        interrupts: Interrupts,
    ) -> None:
        self.captured = (Capture(), Capture())
        self.all: tuple[Stream, Stream, Stream] = (
            _source(stdin, interrupts),
            _target(stdout, self.captured[0], interrupts),
            _target(stderr, self.captured[1], interrupts),
        )
        self.before: Callable[[], None] = lambda: None

    def announce(self) -> None:
        """From now on `before` is called ahead of each read and write."""
        stdin, stdout, stderr = (Announced(each, lambda: self.before()) for each in self.all)
        self.all = stdin, stdout, stderr


def _source(stdin: bytes | BinaryIO | int | None, interrupts: Interrupts) -> Stream:
    if isinstance(stdin, int):
        return host_stream(stdin, interrupts)
    if stdin is None or isinstance(stdin, (bytes, bytearray, memoryview)):
        return Source(bytes(stdin or b""))
    return FileSource(stdin)


def _target(target: BinaryIO | int | None, capture: Capture, interrupts: Interrupts) -> Stream:
    if target is None:
        return capture
    return host_stream(target, interrupts) if isinstance(target, int) else FileTarget(target)


def _one_run(
    path: str,
    content: bytes,
    argv: list[bytes],
    config: RunConfig,
    streams: _Streams,
    interrupts: Interrupts,
    sinks: Sequence[Sink],
    attended: bool,
    heap: HeapOptions | None,
) -> Run:
    probes = Probes()
    recorder = Recorder(probes)
    notes, listed, counts = Listed(), Listed(), SyscallCounts()
    recorder.attach(notes, (Note,))
    shown = config.filter
    kinds = (*TRACED, PageFault) if config.page_faults else TRACED
    for sink in sinks if attended or shown.nothing else (*sinks, listed):
        recorder.attach(sink, kinds, shown)
    if config.count_syscalls or not (attended or shown.nothing):
        recorder.attach(counts, (SyscallExit,), None if config.count_syscalls else shown)
    machine = _machine(config, streams, probes)
    try:
        _boot(machine, path, content, argv)
        traced = _trace_heap(machine, path, argv, heap) if heap else None
        if traced is not None:
            streams.before = traced.catch_up
        stopped = machine.run(interrupts, (lambda: recorder.unread) if attended else None)
        counters, death = machine.counters(), _death(machine)
        found = traced.end(stopped, counters) if traced else None
    finally:
        recorder.close()
        machine.close()
    status = machine.kernel.exit_status
    return Run(
        exit_status=status.code if status and not status.sig else None,
        signal=status.sig if status and status.sig else None,
        stopped=stopped,
        stdout=bytes(streams.captured[0].written),
        stderr=bytes(streams.captured[1].written),
        counters=counters,
        syscalls=Syscalls({name: SyscallCount(*count) for name, count in counts.by_name().items()}),
        events=listed.events,
        notes=[note.text for note in notes.events if isinstance(note, Note)],
        death=death,
        core_dumped=bool(status and status.core),
        not_modelled=dict(sorted(machine.kernel.system.not_modelled.items())),
        failures=(*recorder.failures, *(traced.failures if traced else ())),
        heap=found,
    )


def _trace_heap(machine: Machine, path: str, argv: list[bytes], options: HeapOptions) -> HeapTrace:
    from emu.tracing import HeapTrace

    return HeapTrace(machine, path, argv, options)


def _machine(config: RunConfig, streams: _Streams, probes: Probes) -> Machine:
    try:
        return Machine(config, streams.all, probes)
    except LinuxError as refused:  # a mount that cannot be made
        raise ConfigError(refused.why or str(refused)) from None


def _boot(machine: Machine, path: str, content: bytes, argv: list[bytes]) -> None:
    try:
        machine.boot(path, content, argv)
    except LinuxError as refused:
        why = refused.why or refused.errno.name
        if content[:2] == b"#!":
            line = content[2:80].split(b"\n")[0].strip().decode("utf-8", "replace")
            why = why.removeprefix("a script; its interpreter ")
            why = f"a script, not an ELF file; its interpreter {line!r} cannot run in the guest: {why}"
        raise ProgramError(f"{path}: {why}") from None


def _death(machine: Machine) -> Death | None:
    info = machine.kernel.fatal
    if info is None:
        return None
    from emu.autopsy import EXAMINED, examine

    if info.sig not in EXAMINED:
        return None
    return examine(machine.kernel.current, info)


def read_program(path: str) -> bytes:
    """The bytes of the file to run. Raises ProgramError for what is no readable, executable, regular file."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ProgramError(f"{path}: a directory, not a program")
        if not stat.S_ISREG(status.st_mode):
            raise ProgramError(f"{path}: not a regular file")
        if status.st_size > PROGRAM_LIMIT:
            raise ProgramError(f"{path}: larger than {PROGRAM_LIMIT >> 30} GiB")
        if not status.st_mode & 0o111:
            raise ProgramError(f"{path}: not executable (chmod +x it)")
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ProgramError(f"{path or repr(path)}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL byte in the name
        raise ProgramError(f"{path!r}: {error}") from None
    if not content:
        raise ProgramError(f"{path}: the file is empty")
    return content


__all__ = [
    "ConfigError",
    "HeapOptions",
    "ProgramError",
    "Run",
    "RunConfig",
    "Stopped",
    "SyscallState",
    "run",
    "run_config",
    "syscall_table",
]
