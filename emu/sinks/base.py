"""Sink: who turns events into bytes."""

from __future__ import annotations

from typing import Protocol


class FolderError(Exception):
    """A folder that no trace can be written to, or read from. One line."""


class Sink(Protocol):
    """A writer of events. One that cannot write raises OSError: it is dropped then, and the guest goes on."""

    def write(self, event: object, /) -> None:
        """Take one event. Kinds it does not know are none of its business."""

    def close(self) -> None:
        """Write what was held back. Raises OSError when that fails."""
