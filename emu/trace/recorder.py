"""Hands the kernel's events to sinks. One that fails is dropped and remembered with its error; the guest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from emu.trace.events import Note, SignalDelivered, SyscallExit, TaskExit
from emu.trace.filter import Filter
from kernel.probes import Probes


class Sink(Protocol):
    """Whoever takes events: a trace writer, a fold, a list."""

    def write(self, event: object, /) -> None: ...

    def close(self) -> None: ...


class Failure(NamedTuple):
    """A sink that could not write."""

    sink: object
    error: OSError


TRACED: tuple[type, ...] = (SyscallExit, SignalDelivered, TaskExit, Note)


class Recorder:
    """Listens to `probes` for its sinks, until closed. `failures` grows by one for each sink that raised OSError."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._listening: list[tuple[type, Sink, Callable[[object], None]]] = []
        self._sinks: list[Sink] = []
        self.failures: list[Failure] = []

    def attach(self, sink: Sink, kinds: Iterable[type] = TRACED, shown: Filter | None = None) -> None:
        """Send events of `kinds` to `sink`; of SyscallExit only those that `shown` holds."""
        self._sinks.append(sink)
        for kind in kinds:
            if kind is SyscallExit and shown is not None and shown.nothing:
                continue
            narrowed = shown if kind is SyscallExit and shown is not None and not shown.everything else None
            listener = self._listener(sink, narrowed)
            self._listening.append((kind, sink, listener))
            self._probes.listen(kind, listener)

    @property
    def unread(self) -> bool:
        """Did a sink's reader go away?"""
        return any(isinstance(failure.error, BrokenPipeError) for failure in self.failures)

    def _listener(self, sink: Sink, shown: Filter | None) -> Callable[[object], None]:
        write, drop = sink.write, self._drop
        if shown is None:

            def listener(event: object) -> None:
                try:
                    write(event)
                except OSError as error:
                    drop(sink, error)

            return listener
        names = shown.names

        def filtered(event: object) -> None:
            if isinstance(event, SyscallExit) and event.name in names:
                try:
                    write(event)
                except OSError as error:
                    drop(sink, error)

        return filtered

    def _drop(self, sink: Sink, error: OSError) -> None:
        self._forget(sink)
        self.failures.append(Failure(sink, error))

    def _forget(self, sink: Sink) -> None:
        for kind, listening, listener in self._listening:
            if listening is sink:
                self._probes.forget(kind, listener)
        self._listening = [entry for entry in self._listening if entry[1] is not sink]
        self._sinks = [each for each in self._sinks if each is not sink]

    def close(self) -> None:
        """Stop listening, and close every sink (which writes what it held back)."""
        for sink in tuple(self._sinks):
            self._forget(sink)
            try:
                sink.close()
            except OSError as error:
                self.failures.append(Failure(sink, error))


class Listed:
    """A sink that keeps the events in a list."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def write(self, event: object, /) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass
