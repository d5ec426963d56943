"""The syscall table: @syscall enters a handler; its signature decodes the registers, calls it, and prints the call.

Nothing is inspected at call time: an entry's decoder and renderer are compiled at its first use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from kernel.abi.args import Call, Kind, Result
from kernel.abi.errno import EINTR, ENOSYS, TEXT, Errno, LinuxError
from kernel.abi.nr import NAME, NR
from kernel.events import Note, SyscallExit
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


class HexResult(Result):
    def show(self, call: Call, value: int) -> str:
        return hex(value & M64)


Decimal = Result()
Hexadecimal = HexResult()
Never = Result()  # exit: traced before the handler runs, since nothing comes after it


class Entry:
    """One implemented syscall. `partly` says what is missing, "" when nothing is."""

    __slots__ = (
        "call", "doc", "enter", "handler", "kinds", "leave", "module", "name", "names", "nr", "partly", "result",
    )  # fmt: skip

    def __init__(self, handler: Handler, partly: str, result: Result) -> None:
        self.handler = handler
        self.name = handler.__name__.rstrip("_")
        self.nr = NR[self.name]
        self.module = handler.__module__
        self.partly = partly
        self.result = result
        self.doc = (handler.__doc__ or "").strip().partition("\n")[0]
        names = handler.__code__.co_varnames[1 : handler.__code__.co_argcount]
        self.names = {name: i for i, name in enumerate(names)}
        self.kinds = [_kind(handler, name, handler.__annotations__.get(name)) for name in names]
        self.call: Callable[..., Outcome] = self._first_call
        self.enter: Callable[[Call], str] = self._first_enter
        self.leave: Callable[[Call, str], str] | None = None

    def _first_call(self, task: Task, *raw: int) -> Outcome:
        self.call = _compile_call(self)
        return self.call(task, *raw)

    def _first_enter(self, call: Call) -> str:
        self.enter, self.leave = _compile_text(self)
        return self.enter(call)


TABLE: dict[int, Entry] = {}


@overload
def syscall(handler: H, /) -> H: ...
@overload
def syscall(*, partly: str = "", result: Result = Decimal) -> Callable[[H], H]: ...
def syscall(handler: Any = None, /, *, partly: str = "", result: Result = Decimal) -> Any:
    """Enter a handler under its name's number. TypeError when a parameter has no kind, or the entry exists."""

    def enter(handler: H) -> H:
        entry = Entry(handler, partly, result)
        if entry.nr in TABLE:
            raise TypeError(f"{entry.name} is already in the table")
        TABLE[entry.nr] = entry
        return handler

    return enter if handler is None else enter(handler)


def _kind(handler: Handler, name: str, annotation: Any) -> Kind:
    if isinstance(annotation, str):
        annotation = eval(annotation, sys.modules[handler.__module__].__dict__)
    kind = getattr(annotation, "__metadata__", (None,))[-1]
    if not isinstance(kind, Kind):
        raise TypeError(f"{handler.__name__}: parameter {name} has no argument kind")
    return kind


_FACTORIES: dict[str, Any] = {}


def _factory(source: str) -> Any:
    """The compiled expression; calls with the same shape share one."""
    made = _FACTORIES.get(source)
    if made is None:
        made = _FACTORIES[source] = eval(source)
    return made


def _compile_call(entry: Entry) -> Callable[..., Outcome]:
    decoded = [kind.decode.format(f"a{i}") for i, kind in enumerate(entry.kinds)]
    source = f"lambda f: lambda task, a0, a1, a2, a3, a4, a5: f({', '.join(['task', *decoded])})"
    made: Callable[..., Outcome] = _factory(source)(entry.handler)
    return made


def _compile_decode(entry: Entry) -> Callable[..., tuple[int, ...]]:
    decoded = "".join(kind.decode.format(f"a{i}") + ", " for i, kind in enumerate(entry.kinds))
    made: Callable[..., tuple[int, ...]] = _factory(f"lambda a0, a1, a2, a3, a4, a5: ({decoded})")
    return made


def _compile_text(entry: Entry) -> tuple[Callable[[Call], str], Callable[[Call, str], str] | None]:
    """Two functions: the text up to the first argument that the call fills in, and the rest."""
    first_after = next((i for i, kind in enumerate(entry.kinds) if kind.after), len(entry.kinds))
    before = _compile_part(entry, range(first_after))
    if first_after == len(entry.kinds):
        return (lambda call: entry.name + "(" + before(call) + ")"), None
    after = _compile_part(entry, range(first_after, len(entry.kinds)))
    kept = [(i, kind.keeps) for i, kind in enumerate(entry.kinds) if kind.keeps]

    def enter(call: Call) -> str:
        for i, size in kept:
            call.keep(call.args[i], size)
        return entry.name + "(" + before(call)

    def leave(call: Call, text: str) -> str:
        rest = after(call)
        return text + (", " if rest and not text.endswith("(") else "") + rest + ")"

    return enter, leave


def _compile_part(entry: Entry, positions: range) -> Callable[[Call], str]:
    """`call → "a, b, c"` for those arguments."""
    env: dict[str, Any] = {}
    pieces: list[tuple[str, bool]] = []
    for i in positions:
        kind = entry.kinds[i]
        if kind.expr:
            for name, value in kind.env().items():
                env[f"{name}{i}"] = value
            pieces.append((kind.expr.format(value=f"a[{i}]", **{n: f"{n}{i}" for n in kind.env()}), False))
        else:
            env[f"show{i}"] = kind.show
            pieces.append((f"show{i}(call, a[{i}])", True))
    if not any(shown for _, shown in pieces):
        body = ", ".join("{" + text.replace('"', "'") + "}" for text, _ in pieces)
        source = f'lambda a: f"{body}"'
        part = eval(source, env)
        return lambda call: part(call.args)
    listed = eval(f"lambda call, a: ({''.join(text + ', ' for text, _ in pieces)})", env)

    def joined(call: Call) -> str:
        return ", ".join([str(word) for word in listed(call, call.args) if word is not None])

    return joined


_ERRORS: dict[int, str] = {}


def error_text(value: int) -> str:
    """`-1 EINVAL (Invalid argument)` for a negative rax."""
    text = _ERRORS.get(value)
    if text is None:
        text = _ERRORS[value] = f"-1 {Errno(-value).name} ({TEXT.get(-value, '')})"
    return text


def dispatch(task: Task, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> Outcome:
    """Answer one syscall from its registers (unsigned 64 bits): rax as an int, None where registers must not be
    touched, or a generator that yields Blocks and returns one of the two."""
    probes = task.system.probes
    entry = TABLE.get(nr)
    if entry is None:
        return _unknown(task, nr, (a0, a1, a2, a3, a4, a5))
    if probes.wants(SyscallExit):
        return _traced(task, entry, (a0, a1, a2, a3, a4, a5))
    try:
        value = entry.call(task, a0, a1, a2, a3, a4, a5)
    except LinuxError as error:
        return -error.errno
    if value.__class__ is int:
        return value
    return _settle(value, None)


class _Trace:
    """One call being traced, from its entry to its SyscallExit."""

    __slots__ = ("call", "entry", "raw", "started", "task", "text", "why")

    def __init__(self, task: Task, entry: Entry, raw: tuple[int, ...]) -> None:
        self.task = task
        self.entry = entry
        self.raw = raw
        self.why = ""
        self.call = Call(task, entry.names, _decode(entry)(*raw))
        self.text = entry.enter(self.call)
        self.started = task.system.clock.monotonic_ns()

    def finish(self, value: int | None) -> None:
        """Print the result, and tell the listeners."""
        entry, call, errno = self.entry, self.call, None
        call.value = value
        text = entry.leave(call, self.text) if entry.leave else self.text
        if value is None:
            shown = "?"
        elif -4096 < value < 0:
            shown, errno = error_text(value), Errno(-value)
        else:
            shown = entry.result.show(call, value)
        now = self.task.system.clock.monotonic_ns()
        self.task.system.probes.emit(SyscallExit(
            now, self.task.tid, entry.nr, entry.name, self.raw, text, shown, value, errno, self.why, now - self.started
        ))


_DECODERS: dict[int, Callable[..., tuple[int, ...]]] = {}


def _decode(entry: Entry) -> Callable[..., tuple[int, ...]]:
    made = _DECODERS.get(entry.nr)
    if made is None:
        made = _DECODERS[entry.nr] = _compile_decode(entry)
    return made


def _traced(task: Task, entry: Entry, raw: tuple[int, ...]) -> Outcome:
    trace = _Trace(task, entry, raw)
    if entry.result is Never:
        trace.finish(None)
        entry.call(task, *raw)
        return None
    try:
        value = entry.call(task, *raw)
    except LinuxError as error:
        trace.why = error.why
        value = -error.errno
    if value.__class__ is not int:
        return _settle(value, trace)
    trace.finish(value)
    return value


def _settle(value: Outcome, trace: _Trace | None) -> Outcome:
    """What is not a plain int: None, Restored, an int of a class of its own, or a generator."""
    if value is None or isinstance(value, int):
        if trace is not None:
            trace.finish(value)
        return None if value is None or isinstance(value, Restored) else int(value)
    try:
        block = next(value)
    except StopIteration as stop:
        return _settle(stop.value, trace)
    except LinuxError as error:
        return _refused(error, trace)
    return _asleep(value, block, trace)


def _refused(error: LinuxError, trace: _Trace | None) -> int:
    if trace is not None:
        trace.why = error.why
        trace.finish(-error.errno)
    return -error.errno


def _asleep(handler: Sleep, block: Block, trace: _Trace | None) -> Sleep:
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
        settled = _settle(stop.value, trace)
        assert settled is None or isinstance(settled, int)
        return settled
    except LinuxError as error:
        return _refused(error, trace)
    except Interrupted:
        return _refused(LinuxError(EINTR, "a signal arrived while the call was asleep"), trace)


def _unknown(task: Task, nr: int, raw: tuple[int, ...]) -> int:
    """No handler: ENOSYS, said in the trace."""
    probes = task.system.probes
    name = NAME.get(nr)
    why = f"{name} is not implemented" if name else f"there is no syscall {nr}"
    now = task.system.clock.monotonic_ns()
    if probes.wants(SyscallExit):
        shown = name or f"syscall_{nr:#x}"
        text = f"{shown}({', '.join(hex(a) if a else '0' for a in raw)})"
        probes.emit(SyscallExit(
            now, task.tid, nr, shown, raw, text, error_text(-ENOSYS), -ENOSYS, ENOSYS, why, 0
        ))
    elif probes.wants(Note):
        probes.emit(Note(now, task.tid, why))
    return -ENOSYS


