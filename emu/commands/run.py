"""Run a static x86-64 Linux program on the emulated machine.

Its syscalls are printed to stderr as strace prints them. Without --env its environment is empty, without --mount it
sees no file of the host: two runs with equal options print equal bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TextIO, TypeVar

from emu.api import ProgramError, Run, Stopped, run_config
from emu.commands import Refusal, colour, run_heap
from emu.config import ConfigError, RunConfig, env_pairs, parse_env, parse_mount, parse_size

if TYPE_CHECKING:
    from emu.analysis.syscalls import SyscallCounts
    from emu.calls import HeapOptions
    from emu.sinks.base import Sink

T = TypeVar("T")
EPILOG = """\
exit status:
  the program's own; 128+n if signal n killed it; 124 if --timeout or --max-instructions ended it;
  2 if it cannot be run here, or its trace could not be written; 70 for a bug in heapscope

examples:
  heapscope run ./hello
  heapscope run -o trace.txt -e trace=memory ./churn 1000
  heapscope run -q --stats --memory 256M ./churn 1000
  heapscope run --mount /usr/share/dict:/dict -- ./busybox sort /dict/words
  heapscope run --max-instructions 1000000 --seed 7 --aslr 7 ./a.out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "heapscope run [OPTIONS] [--] PROGRAM [ARG…]"
    parser.epilog = EPILOG
    parser.add_argument("command", metavar="PROGRAM [ARG…]", nargs=argparse.REMAINDER, help="a static ELF file")
    _trace_arguments(parser.add_argument_group("trace"))
    run_heap.add_arguments(parser.add_argument_group("heap"))
    _machine_arguments(parser.add_argument_group("machine"))
    _limit_arguments(parser.add_argument_group("limits"))


def _trace_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-o", dest="output", metavar="FILE", help="write the trace to FILE instead of stderr")
    add(
        "-e",
        dest="expressions",
        metavar="EXPR",
        action="append",
        default=[],
        help="trace=CALL,… or trace=!CALL,…: which syscalls, by name or class (memory, file, desc, process, signal, …)",
    )
    add("-c", dest="count", action="store_true", help="instead of a trace: calls, errors and time at the end")
    add("-C", dest="count_too", action="store_true", help="that as well as the trace")
    add("-f", dest="follow", action="store_true", help="follow children (accepted; there is one process by now)")
    add("-q", dest="quiet", action="store_true", help="no trace")
    add(
        "--why",
        action=argparse.BooleanOptionalAction,
        help="say in a comment why a call was refused (default: if the trace goes to a terminal)",
    )
    add("--stats", action="store_true", help="print instructions, page faults, memory and time at the end")


def _machine_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--memory", metavar="SIZE", type=_of(parse_size), help="guest RAM: 64M, 4G (default 4G)")
    add("--swap", metavar="SIZE", type=_of(parse_size), help="where pages go when RAM is full (default 0)")
    add("--hugepages", metavar="N", type=_number, help="2 MiB pages kept for MAP_HUGETLB (default 0)")
    add("--overcommit", metavar="N", type=_number, help="vm.overcommit_memory: 0 guess, 1 always, 2 never (default 0)")
    add("--nodes", metavar="N", type=_number, help="NUMA nodes, 1 to 8, that RAM is split into (default 1)")
    add(
        "--mount",
        metavar="HOST:GUEST[:rw]",
        action="append",
        type=_of(parse_mount),
        default=[],
        help="show a host folder or file to the guest; read-only unless :rw",
    )
    add(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        type=_of(parse_env),
        default=[],
        help="an environment variable; NAME alone takes its value from here",
    )
    add("--cwd", metavar="DIR", help="the guest's working directory (default /)")
    add("--uid", metavar="N", type=_number, help="its user and group id (default 1000; 0 is root)")
    add("--hostname", metavar="NAME", help="what uname says (default heapscope)")
    add("--seed", metavar="N", type=_number, help="seed of all random bytes that the guest gets (default 0)")
    add("--aslr", metavar="SEED", type=_number, help="randomise the layout, reproducibly (default: fixed)")
    add("--epoch", metavar="SECONDS", type=_seconds, help="time of day at the start (default 1750000000)")
    add("--interactive", action="store_true", help="terminals are terminals: their size and modes are the host's")
    add("--no-native", action="store_true", help="do without the C hooks: slower, equal results")


def _limit_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--timeout", metavar="SECONDS", type=_seconds, help="end the run after so much wall time")
    add("--max-instructions", metavar="N", type=_number, help="end it after exactly N instructions")


def _number(text: str) -> int:
    try:
        return int(text.replace("_", ""), 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; write one as 7, 1_000 or 0x7") from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; write one as 2 or 2.5") from None


def _of(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` as argparse wants it, so that a ConfigError's own words are shown."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ConfigError as wrong:
            raise argparse.ArgumentTypeError(str(wrong)) from None

    return parsed


def main(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise Refusal("run: which program? (see heapscope run --help)")
    try:
        config = config_of(options)
    except ConfigError as wrong:
        raise Refusal(str(wrong)) from None
    heap = run_heap.options_of(options)
    began = time.monotonic()
    with _trace_file(options.output) as target:
        outcome = _run(options, config, command, target, heap)
        _report(options, outcome, target, time.monotonic() - began)
    code = run_heap.exit_code(options, outcome.run)
    return _exit_code(outcome.run) if code is None else code


def config_of(options: argparse.Namespace) -> RunConfig:
    """The RunConfig that the options describe; what is not given keeps its default. Raises ConfigError."""
    uid = options.uid
    given = {
        "memory": options.memory,
        "swap": options.swap,
        "hugepages": options.hugepages,
        "nodes": options.nodes,
        "overcommit": options.overcommit,
        "seed": options.seed,
        "aslr": options.aslr,
        "epoch": options.epoch,
        "uid": uid,
        "gid": uid,
        "hostname": options.hostname,
        "cwd": options.cwd,
        "timeout": options.timeout,
        "max_instructions": options.max_instructions,
        "interactive": options.interactive or None,
        "native": False if options.no_native else None,
        "mounts": tuple(options.mount),
        "env": env_pairs(options.env),
        "trace": _expression(options),
    }
    return RunConfig(**{name: value for name, value in given.items() if value is not None})


def _expression(options: argparse.Namespace) -> str:
    """The last `-e trace=…`; `-e memory` is short for it, as with strace."""
    expression = "all"
    for text in options.expressions:
        name, equals, value = text.partition("=")
        if not equals or name.startswith("!"):
            name, value = "trace", text
        if name not in ("trace", "t"):
            raise ConfigError(f"-e {text}: only trace=… is known here")
        expression = value
    if options.quiet and not (options.count or options.count_too):
        RunConfig(trace=expression)  # a wrong one is told even where it changes nothing
        return "none"
    return expression


@contextlib.contextmanager
def _trace_file(path: str | None) -> Iterator[TextIO]:
    """Where trace, count and statistics go: FILE, or our stderr."""
    if path is None:
        yield sys.stderr
        return
    try:
        file = open(path, "w", encoding="utf-8", errors="surrogateescape", buffering=1 << 16)  # noqa: SIM115
    except OSError as error:
        raise Refusal(f"-o {path}: {error.strerror}") from None
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # told where it happened: the recorder flushes before
            file.close()


class Outcome(NamedTuple):
    """A finished run, with the counts of -c."""

    run: Run
    counts: SyscallCounts | None


def _run(
    options: argparse.Namespace, config: RunConfig, command: list[str], target: TextIO, heap: HeapOptions | None
) -> Outcome:
    sinks: list[Sink] = []
    counts = _counts(options)
    if counts is not None:
        sinks.append(counts)
    if not config.filter.nothing and not options.quiet and (options.count_too or not options.count):
        sinks.append(_text_sink(options, target))
    try:
        done = run_config(
            command[0], command[1:], config, stdin=0, stdout=1, stderr=2, sinks=sinks, attended=True, heap=heap
        )
    except (ProgramError, ConfigError) as refused:
        raise Refusal(str(refused)) from None
    return Outcome(done, counts)


def _counts(options: argparse.Namespace) -> SyscallCounts | None:
    if not (options.count or options.count_too):
        return None
    from emu.analysis.syscalls import SyscallCounts

    return SyscallCounts()


def _text_sink(options: argparse.Namespace, target: TextIO) -> Sink:
    from emu.sinks.text import TextSink

    why = options.why if options.why is not None else target.isatty()
    return TextSink(target, why=why, colour=colour(target))


def _report(options: argparse.Namespace, outcome: Outcome, target: TextIO, wall: float) -> None:
    """All that stands after the trace."""
    done = outcome.run
    say = sys.stderr.write
    for note in _notes(options, done, beside=target is sys.stderr and not options.quiet and not options.count):
        say(f"heapscope: {note}\n")
    for line in _endings(options, done):
        say(f"heapscope: {line}\n")
    if done.death is not None:
        from emu.report import death

        say(death.render(done.death, colour(sys.stderr)))
    if outcome.counts is not None:
        target.write(outcome.counts.text())
        target.flush()
    if options.stats:
        from emu.report import stats

        say(stats.render(done.counters, wall))
    run_heap.report(done, bool(options.why))
    sys.stderr.flush()


def _notes(options: argparse.Namespace, done: Run, *, beside: bool) -> Iterator[str]:
    """What the trace would say, where none stands beside it, or one that leaves calls out."""
    if not beside:
        yield from dict.fromkeys(done.notes)
    if beside and _expression(options) == "all":
        return
    calls = {what: f"{what} ({count}×)" if count > 1 else str(what) for what, count in done.not_modelled.items()}
    if absent := [text for what, text in calls.items() if not what.why]:
        yield f"not implemented and answered ENOSYS: {', '.join(absent)}"
    if refused := [text for what, text in calls.items() if what.why]:
        yield f"answered ENOSYS: {'; '.join(refused)}"


def _endings(options: argparse.Namespace, done: Run) -> Iterator[str]:
    """What the user must know of how it ended."""
    if done.stopped is Stopped.INSTRUCTIONS:
        yield f"stopped after exactly {done.counters.instructions:,} instructions (--max-instructions)"
    elif done.stopped is Stopped.TIMEOUT:
        yield f"stopped after {options.timeout:g} s (--timeout), at {done.counters.instructions:,} instructions"
    elif done.stopped is Stopped.HARD:
        yield "interrupted twice: ended without asking the guest"
    for failure in done.failures:
        if not isinstance(failure.error, BrokenPipeError):
            where = failure.error.filename or options.output or "standard error"
            yield f"the trace is incomplete: {where}: {failure.error.strerror or failure.error}"


def _exit_code(done: Run) -> int:
    if done.stopped is Stopped.HARD:
        return 128 + signal.SIGINT  # whichever it was: the guest had no say
    if done.stopped is Stopped.UNREAD:
        return 128 + signal.SIGPIPE
    return done.returncode or (2 if done.failures else 0)
