"""The syscall table: @syscall enters a handler; its signature decodes the registers, calls it, and prints the call.

Nothing is inspected at call time: an entry's decoder and text are compiled at its first use (render.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from kernel.abi.args import Call, Kind, Result
from kernel.abi.errno import EINTR, ENOSYS, Errno, LinuxError
from kernel.abi.nr import NAME, NR
from kernel.events import SyscallExit
from kernel.syscalls.render import REFUSALS, Text, caller, decoder, scalar
from kernel.wait import Block, Interrupted

if TYPE_CHECKING:
    from kernel.task.task import Task

Sleep = Generator[Block, None, "int | None"]
Outcome = int | None | Sleep
Handler = Callable[..., Outcome]
H = TypeVar("H", bound=Handler)
M64 = (1 << 64) - 1


class Restored(int):
    """A handler's value when it has set the registers itself (execve, rt_sigreturn): only the trace shows it."""


class _Hexadecimal(Result):
    def show(self, call: Call, value: int) -> str:
        return hex(value & M64)


Decimal = Result()
Hexadecimal = _Hexadecimal()  # mmap, brk: the value is an address
Never = Result()  # exit: traced before the handler runs, since nothing comes after it


class Entry:
    """One implemented syscall. `partly` says what is missing, "" when nothing is; `doc` is its first line."""

    __slots__ = (
        "call", "decode", "doc", "handler", "kinds", "module", "name", "names", "nr", "partly", "ready", "result",
        "scalar", "shows", "text", "traced",
    )  # fmt: skip
    decode: Callable[..., tuple[int, ...]]
    scalar: Callable[..., str] | None
    text: Text

    def __init__(self, handler: Handler, partly: str, result: Result, shows: Callable[[Call], str] | None) -> None:
        code = handler.__code__
        self.handler = handler
        self.name = handler.__name__.rstrip("_")
        self.nr = NR[self.name]
        self.module = handler.__module__
        self.partly = partly
        self.result = result
        self.shows = shows
        self.doc = (handler.__doc__ or "").strip().partition("\n")[0]
        names = code.co_varnames[1 : code.co_argcount]
        self.names = {name: i for i, name in enumerate(names)}
        self.kinds = [_kind(handler, name) for name in names]
        self.call: Callable[..., Outcome] = self._first_call
        self.traced: Callable[..., Outcome] = self._first_traced
        self.ready = False

    def _first_call(self, task: Task, *raw: int) -> Outcome:
        self.call = caller(self.kinds, self.handler)
        outcome: Outcome = self.call(task, *raw)
        return outcome

    def _first_traced(self, task: Task, *raw: int) -> Outcome:
        if not self.ready:
            self.compile()
        self.call = caller(self.kinds, self.handler)
        self.traced = _tracer(self) if self.scalar is None else _scalar_tracer(self, self.scalar)
        outcome: Outcome = self.traced(task, *raw)
        return outcome

    def compile(self) -> None:
        """Make what a trace needs; `ready` from then on."""
        self.decode = decoder(self.kinds)
        self.text = Text(self.name, self.kinds)
        plain = self.result in (Decimal, Hexadecimal)
        self.scalar = scalar(self.name, self.kinds) if plain and self.shows is None else None
        self.ready = True


TABLE: dict[int, Entry] = {}


@overload
def syscall(handler: H, /) -> H: ...
@overload
def syscall(
    *, partly: str = "", result: Result = Decimal, shows: Callable[[Call], str] | None = None
) -> Callable[[H], H]: ...
def syscall(
    handler: Any = None,
    /,
    *,
    partly: str = "",
    result: Result = Decimal,
    shows: Callable[[Call], str] | None = None,
) -> Any:
    """Enter a handler under its name's number.

    `partly` says what is missing. `result` says how its value is printed. `shows` prints what no register says
    (rt_sigreturn's mask). TypeError when a parameter has no kind, or the number has a handler already."""

    def enter(handler: H) -> H:
        entry = Entry(handler, partly, result, shows)
        if entry.nr in TABLE:
            raise TypeError(f"{entry.name} is already in the table")
        TABLE[entry.nr] = entry
        return handler

    return enter if handler is None else enter(handler)


def _kind(handler: Handler, name: str) -> Kind:
    annotation = handler.__annotations__.get(name)
    if isinstance(annotation, str):
        names = sys.modules[handler.__module__].__dict__
        annotation = names.get(annotation) or eval(annotation, names)  # most are one name: no need to compile it
    kind = getattr(annotation, "__metadata__", (None,))[-1]
    if not isinstance(kind, Kind):
        raise TypeError(f"{handler.__name__}: parameter {name} has no argument kind")
    return kind


def dispatch(task: Task, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> Outcome:
    """Answer one syscall from its registers (unsigned 64 bits): rax as an int, None where registers must not be
    touched, or a generator that yields Blocks and returns one of the two."""
    entry = TABLE.get(nr)
    if entry is None:
        return _unknown(task, nr, (a0, a1, a2, a3, a4, a5))
    if SyscallExit in task.system.probes.listeners:
        traced = entry.traced  # two steps, here and below: Python looks for a method first in `entry.traced(…)`
        return traced(task, a0, a1, a2, a3, a4, a5)
    call = entry.call
    try:
        value = call(task, a0, a1, a2, a3, a4, a5)
    except LinuxError as error:
        return _refused(task, entry, error, None)
    if value.__class__ is int:
        return value
    return _settle(task, entry, value, None)


class Trace:
    """One call being traced, from its entry to its SyscallExit. `why` is the reason of a refusal."""

    __slots__ = ("call", "entered", "entry", "raw", "slept", "task", "why")

    def __init__(self, task: Task, entry: Entry, raw: tuple[int, ...], text: str = "") -> None:
        """`text`: where the call needs no memory to be printed, and is printed already."""
        self.task = task
        self.entry = entry
        self.raw = raw
        self.why = ""
        self.slept = task.system.clock.slept
        if text:
            self.entered = text
            return
        self.call = Call(task, entry.names, entry.decode(*raw))
        self.entered = entry.text.enter(self.call)
        if entry.shows is not None:
            self.entered += entry.shows(self.call)

    def finish(self, value: int | None) -> None:
        """Print the result, and tell the listeners."""
        entry, text = self.entry, self.entered
        errno = None
        if entry.scalar is None:
            self.call.value = value
            text = entry.text.leave(self.call, text)
        if value is None:
            shown = "?"
        elif -4096 < value < 0:
            shown, errno = REFUSALS[value]
        elif entry.result is Decimal:
            shown = str(value)
        elif entry.result is Hexadecimal:
            shown = hex(value & M64)
        else:
            shown = entry.result.show(self.call, value)
        self._emit(text, shown, value, errno)

    def unfinished(self) -> None:
        """The task ended while the call slept."""
        entered, text = self.entered, self.entry.text
        entered = entered.removesuffix(")") if self.entry.scalar is not None else entered
        self._emit(text.unfinished(entered), "?", None, None)

    def _emit(self, text: str, shown: str, value: int | None, errno: Errno | None) -> None:
        task, entry = self.task, self.entry
        clock = task.system.clock
        task.system.probes.emit(_exit_event(SyscallExit, (
            clock.monotonic_ns(), task.tid, entry.nr, entry.name, self.raw, text, shown, value, errno, self.why,
            clock.slept - self.slept,
        )))  # fmt: skip


_exit_event = tuple.__new__  # a NamedTuple's own __new__ costs twice as much


def _tracer(entry: Entry) -> Callable[..., Outcome]:
    """`(task, six registers) → outcome` of a call that is being traced."""

    def traced(task: Task, *raw: int) -> Outcome:
        trace = Trace(task, entry, raw)
        if entry.result is Never:
            trace.finish(None)
            entry.call(task, *raw)
            return None
        try:
            value = entry.call(task, *raw)
        except LinuxError as error:
            return _refused(task, entry, error, trace)
        if value.__class__ is int:
            trace.finish(value)
            return value
        return _settle(task, entry, value, trace)

    return traced


def _scalar_tracer(entry: Entry, text: Callable[..., str]) -> Callable[..., Outcome]:
    """The same where `text` needs the registers alone: a call that does not sleep needs no Trace then."""
    nr, name, call, hexadecimal = entry.nr, entry.name, entry.call, entry.result is Hexadecimal

    def traced(task: Task, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> Outcome:
        system = task.system
        clock = system.clock
        slept = clock.slept
        errno, why = None, ""
        try:
            value = call(task, a0, a1, a2, a3, a4, a5)
        except LinuxError as error:
            value, why = _refused(task, entry, error, None), error.why
        if value.__class__ is not int:
            trace = Trace(task, entry, (a0, a1, a2, a3, a4, a5), text(a0, a1, a2, a3, a4, a5))
            return _settle(task, entry, value, trace)
        if -4096 < value < 0:
            shown, errno = REFUSALS[value]
        else:
            shown = hex(value & M64) if hexadecimal else str(value)
        event = _exit_event(SyscallExit, (
            clock.monotonic_ns(), task.tid, nr, name, (a0, a1, a2, a3, a4, a5), text(a0, a1, a2, a3, a4, a5), shown,
            value, errno, why, clock.slept - slept,
        ))  # fmt: skip
        for listener in system.probes.listeners.get(SyscallExit, ()):  # Probes.emit, without its call
            listener(event)
        return value

    return traced


def _settle(task: Task, entry: Entry, value: Outcome, trace: Trace | None) -> Outcome:
    """What is not a plain int: None, Restored, an int of a class of its own, or a generator."""
    if value is None or isinstance(value, int):
        if trace is not None:
            trace.finish(value)
        return None if value is None or isinstance(value, Restored) else int(value)
    try:
        block = next(value)
    except StopIteration as stop:
        return _settle(task, entry, stop.value, trace)
    except LinuxError as error:
        return _refused(task, entry, error, trace)
    return _asleep(task, entry, value, block, trace)


def _refused(task: Task, entry: Entry, error: LinuxError, trace: Trace | None) -> int:
    if error.errno is ENOSYS:
        task.system.refused(entry.name, error.why)
    if trace is not None:
        trace.why = error.why
        trace.finish(-error.errno)
    return -error.errno


def _asleep(task: Task, entry: Entry, handler: Sleep, block: Block, trace: Trace | None) -> Sleep:
    """Drive a handler that went to sleep; a signal (Interrupted) it does not catch is EINTR."""
    try:
        while True:
            try:
                yield block
            except Interrupted as signal:
                block = handler.throw(signal)
            else:
                block = next(handler)
    except StopIteration as stop:
        settled = _settle(task, entry, stop.value, trace)
        assert settled is None or isinstance(settled, int)
        return settled
    except LinuxError as error:
        return _refused(task, entry, error, trace)
    except Interrupted:
        return _refused(task, entry, LinuxError(EINTR, "a signal arrived while the call was asleep"), trace)
    except GeneratorExit:
        if trace is not None:
            trace.unfinished()
        raise


def started(task: Task, text: str) -> None:
    """The first program runs: as strace, begin the trace with the execve that nobody called."""
    system = task.system
    if system.probes.wants(SyscallExit):
        now, nr = system.clock.monotonic_ns(), NR["execve"]
        system.probes.emit(SyscallExit(now, task.tid, nr, "execve", (0,) * 6, text, "0", 0, None, "", 0))


def _unknown(task: Task, nr: int, raw: tuple[int, ...]) -> int:
    """No handler: ENOSYS, counted, and said in the trace; the arguments are shown as they came."""
    system, name = task.system, NAME.get(nr)
    why = f"{name} is not implemented" if name else f"there is no syscall {nr}"
    shown = name or f"syscall_{((nr & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)) & M64:#x}"  # Linux sign-extends eax
    system.refused(shown)
    if system.probes.wants(SyscallExit):
        now = system.clock.monotonic_ns()
        text = f"{shown}({', '.join(hex(a) if a else '0' for a in raw)})"
        system.probes.emit(SyscallExit(
            now, task.tid, nr, shown, raw, text, REFUSALS[-ENOSYS][0], -ENOSYS, ENOSYS, why, 0
        ))  # fmt: skip
    return -ENOSYS
