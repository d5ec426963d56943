"""Who listens to which kernel event. Free when nobody does: `if probes.wants(PageFault): probes.emit(PageFault(…))`."""

from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E")


class Probes:
    """A registry of listeners, by event type. A listener sees facts; it cannot change the run."""

    def __init__(self) -> None:
        self._listeners: dict[type, list[Callable[[Any], None]]] = {}

    def listen(self, kind: type[E], listener: Callable[[E], None]) -> None:
        self._listeners.setdefault(kind, []).append(listener)

    def forget(self, kind: type[E], listener: Callable[[E], None]) -> None:
        listeners = self._listeners.get(kind, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(kind, None)

    def wants(self, kind: type) -> bool:
        return kind in self._listeners

    def emit(self, event: object) -> None:
        for listener in tuple(self._listeners.get(type(event), ())):
            listener(event)
