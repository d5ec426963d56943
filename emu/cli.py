"""The command line: one parser a verb, and every way to end turned into an exit code and at most a few plain lines.

Exit codes of `run`: the guest's own; 128+n when signal n killed it; 124 when a limit of the run ended it. Of all verbs:
2 for what we refuse, 70 for a bug of ours (EX_SOFTWARE), 141 when nobody reads our output any more.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from typing import NoReturn, Protocol, cast

from emu.commands import Refusal

VERSION = "0.1.0"
COMMANDS = {
    "run": "run a static x86-64 Linux program, and trace it",
    "summary": "what a recorded run (run --heap --record) did with its heap",
    "syscalls": "list every x86-64 syscall: implemented, partly, or not",
    "info": "what an ELF file is: segments, symbols, libc, allocator functions",
    "disasm": "disassemble a program, or one function of it",
}
REFUSED, LIMIT, BUG, CLOSED_PIPE, INTERRUPTED = 2, 124, 70, 141, 130
BROKEN_PIPE_SIGNAL = 13

DESCRIPTION = """\
Run static x86-64 Linux programs on an emulated CPU over a Linux kernel written in Python, and see what they do: every
syscall as strace prints it, with the reason of each refusal, page faults, memory, and a report where a program dies.
"""
EXAMPLES = """\
examples:
  heapscope run ./a.out                       run it, its syscalls on stderr
  heapscope run -o trace.txt ./a.out 1 2 3    the trace into a file
  heapscope run -q --stats ./a.out            no trace; what it cost at the end
  heapscope info ./a.out                      is it one that can run here?
  heapscope syscalls --partly                 what is not complete yet

`heapscope COMMAND --help` tells the rest.
"""


class Command(Protocol):
    """What each module of emu.commands offers."""

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def main(self, options: argparse.Namespace, /) -> int: ...


argparse._ = str  # type: ignore[attr-defined]  # it translates its words, for which Python has no translations: 2 ms


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that refuses in one line."""

    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message} (see {self.prog} --help)")


def main(argv: list[str] | None = None) -> int:
    """Run one command. Never raises, and shows no traceback unless HEAPSCOPE_DEBUG is set."""
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except Refusal as refusal:
        _say(f"heapscope: {refusal}")
        return REFUSED
    except BrokenPipeError:
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _say(f"heapscope: {error.filename or 'cannot write the output'}: {error.strerror or error}")
        return REFUSED
    except Exception as bug:
        return _internal_error(bug)
    finally:
        _silence_closed_streams()


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if argv else REFUSED
    if argv[0] in ("-V", "--version"):
        print(f"heapscope {VERSION}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        hint = f"; did you mean `heapscope run {name}`?" if os.path.exists(name) else f": {', '.join(COMMANDS)}"
        raise Refusal(f"there is no command {name!r}{hint}" if not name.startswith("-") else f"no option {name!r} here")
    command = cast(Command, importlib.import_module(f"emu.commands.{name}"))
    parser = Parser(
        prog=f"heapscope {name}",
        description=(sys.modules[f"emu.commands.{name}"].__doc__ or "").replace("`", ""),
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    try:
        options = parser.parse_args(rest)
    except SystemExit as done:  # --help
        return int(done.code or 0)
    return command.main(options)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """argparse makes one for each argument that is added, and asks shutil for a width where none is given: importing
    that costs more than parsing."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size().columns
    except (OSError, ValueError):
        columns = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(columns - 2, 40))


def _help() -> str:
    verbs = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    return f"usage: heapscope COMMAND [OPTIONS] …\n\n{DESCRIPTION}\ncommands:\n{verbs}\n\n{EXAMPLES}".rstrip()


def _internal_error(bug: Exception) -> int:
    if os.environ.get("HEAPSCOPE_DEBUG"):
        import traceback

        traceback.print_exc()
    _say(
        f"heapscope: internal error: {type(bug).__name__}: {str(bug).partition(chr(10))[0]}; please report it "
        "(HEAPSCOPE_DEBUG=1 shows where)"
    )
    return BUG


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody is there to read it
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _silence_closed_streams() -> None:
    """What is still buffered for a reader that went away must not fail once more at interpreter exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def entry() -> NoReturn:
    """The process `heapscope`: `main`, then the end at once. Python's own way out takes every module and object apart
    first, which is a seventh of a short run and helps nobody: `main` has flushed the streams and closed the files."""
    _open_standard_streams()
    gc.set_threshold(50_000, 20, 100)  # looking at what the imports make is for nothing: it stays
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's, which is asked for no algebra: 20 ms of a --heap run
    code = main()
    os._exit(code)


def _open_standard_streams() -> None:
    """What we open must not take the number of a standard stream that we were started without (`<&-`): the guest would
    read and write it. /dev/null, opened the other way round, answers EBADF as the closed descriptor would."""
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    entry()
