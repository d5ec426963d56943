"""Who listens to which kernel event. Free when nobody does: `if probes.wants(PageFault): probes.emit(PageFault(…))`."""

from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E")


class Probes:
    """A registry of listeners, by event type. A listener sees facts; it cannot change the run."""

    def __init__(self) -> None:
        self.listeners: dict[type, tuple[Callable[[Any], None], ...]] = {}  # a kind that nobody wants is not in it

    def listen(self, kind: type[E], listener: Callable[[E], None]) -> None:
        self.listeners[kind] = (*self.listeners.get(kind, ()), listener)

    def forget(self, kind: type[E], listener: Callable[[E], None]) -> None:
        left = list(self.listeners.get(kind, ()))
        if listener in left:
            left.remove(listener)
        self.listeners[kind] = tuple(left)
        if not left:
            del self.listeners[kind]

    def wants(self, kind: type) -> bool:
        return kind in self.listeners

    def emit(self, event: object) -> None:
        for listener in self.listeners.get(event.__class__, ()):  # a tuple: they may come and go meanwhile
            listener(event)
