"""What ends a run from outside: Ctrl-C and its kin, and the time limit. The trap loop and waiting streams look here."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """One run's host signals. Within `with interrupts:` (main thread only) SIGINT, SIGTERM and SIGHUP are kept here
    for the guest instead of ending us; a second one asks for a hard end, unless the run is interactive.

    `wake_fd` becomes readable when one arrives, so that a select() on a guest's stdin returns.
    """

    def __init__(self, timeout: float | None = None, *, catch: bool = True, interactive: bool = False) -> None:
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.arrived: list[int] = []  # not yet given to the guest
        self.last = 0  # the latest of all
        self.hard = False
        self._seen = 0
        self._interactive = interactive
        self._catch = catch and threading.current_thread() is threading.main_thread()
        self._before: list[tuple[signal.Signals, signal._HANDLER]] = []
        self.wake_fd, self._wake = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._wake, False)

    def __enter__(self) -> Interrupts:
        if self._catch:
            for number in FORWARDED:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                    self._before.append((number, signal.signal(number, self._on_signal)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self.wake_fd)
        os.close(self._wake)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.hard = self.hard or bool(self.arrived if self._interactive else self._seen)
        self._seen += 1
        self.arrived.append(number)
        self.last = number
        with contextlib.suppress(BlockingIOError):  # full: it is readable already
            os.write(self._wake, b"!")

    def take(self) -> int | None:
        """The next signal for the guest, None when there is none."""
        if not self.arrived:
            return None
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, 4096)
        return self.arrived.pop(0)

    @property
    def timed_out(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def due(self) -> bool:
        """Is there a reason for the guest to stop waiting?"""
        return bool(self.arrived) or self.timed_out

    @property
    def remaining(self) -> float | None:
        """Seconds to the time limit, for select(); None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
