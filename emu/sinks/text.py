"""TextSink: events as strace's lines, live.

What a script reads in strace's output it finds here: `name(args) = result`, `--- SIGSEGV {…} ---`, `+++ exited … +++`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

from emu.trace.events import Note, SignalDelivered, SyscallExit, TaskExit
from kernel.abi.signal import signame

COLUMN = 40  # strace -a: where the result begins


class TextSink:
    """Writes to `out`, a line an event. `error` is the OSError that ended it, None while it works.

    `why` adds the reason of each refusal as a C comment; `pids` begins each line with the thread, as `strace -f -o`;
    `colour` marks errors, signals and reasons with ANSI colours."""

    def __init__(self, out: TextIO, *, why: bool = False, pids: bool = False, colour: bool = False) -> None:
        self._out = out
        self._put = out.write
        self._pids = pids
        self._red, self._dim, self._bold, self._end = ("\33[31m", "\33[2m", "\33[1m", "\33[m") if colour else ("",) * 4
        self._why = why
        self._plain = not (why or pids or colour)
        self.error: OSError | None = None
        self._by_kind: dict[type, Callable[[Any], str]] = {
            SyscallExit: self._syscall,
            SignalDelivered: self._signal,
            TaskExit: self._exit,
            Note: self._note,
        }

    def write(self, event: object, /) -> None:
        """One line. Raises OSError (and remembers it) when the disk is full or the pipe closed."""
        try:
            if event.__class__ is SyscallExit and self._plain:
                put = self._put
                put(f"{event.text:<39} = {event.shown}\n")
                return
            line = self._by_kind.get(event.__class__)
            if line is not None:
                self._put(self._prefix(event) + line(event) + "\n")
        except OSError as error:
            self.error = error
            raise

    def close(self) -> None:
        """Flush; `out` itself belongs to whoever opened it."""
        if self.error is None:
            try:
                self._out.flush()
            except OSError as error:
                self.error = error
                raise

    def _prefix(self, event: object) -> str:
        return f"{event.tid:<5} " if self._pids else ""  # type: ignore[attr-defined]

    def _syscall(self, event: SyscallExit) -> str:
        shown = f"{self._red}{event.shown}{self._end}" if event.errno else event.shown
        why = f" {self._dim}/* {event.why} */{self._end}" if self._why and event.why else ""
        return f"{event.text:<39} = {shown}{why}"

    def _signal(self, event: SignalDelivered) -> str:
        return f"{self._bold}--- {signame(event.sig)} {event.text} ---{self._end}"

    def _exit(self, event: TaskExit) -> str:
        if event.sig:
            core = " (core dumped)" if event.core else ""
            return f"{self._red}+++ killed by {signame(event.sig)}{core} +++{self._end}"
        return f"{self._bold}+++ exited with {event.status} +++{self._end}"

    def _note(self, event: Note) -> str:
        return f"{self._dim}heapscope: {event.text}{self._end}"
