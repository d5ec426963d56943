"""What ends a run from outside: Ctrl-C and its kin, and the time limit. The trap loop and waiting streams look here."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
ERESTARTSYS = 512  # what a syscall that a signal cut short returns inside the kernel


def _nothing() -> None:
    pass


class Interrupts:
    """One run's host signals and time limit. Within `with interrupts:` (main thread only) FORWARDED signals
    are kept here for the guest instead of ending us; a second one asks for a hard end, unless the run is interactive.

    The trap loop sets `stop` (make the CPU come back soon; called at any time, from any thread) and `give` (send the
    guest a signal). `wake_fd` becomes readable when a signal arrives, so that a poll() on a guest's stdin returns.
    """

    def __init__(self, timeout: float | None = None, *, catch: bool = True, interactive: bool = False) -> None:
        self.stop: Callable[[], None] = _nothing
        self.give: Callable[[int], None] = lambda _: None
        self.hard = False
        self.last = 0  # the latest signal of all
        self._timeout = timeout
        self._deadline: float | None = None
        self._timer: threading.Timer | None = None
        self._arrived: list[int] = []  # not yet given to the guest
        self._seen = 0
        self._interactive = interactive
        self._catch = catch
        self._before: list[tuple[signal.Signals, signal._HANDLER]] = []
        self.wake_fd, self._wake = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._wake, False)

    def __enter__(self) -> Interrupts:
        if self._catch:
            with contextlib.suppress(ValueError):  # another thread than the main one: signals are not for it
                self._catch_signals()
        if self._timeout is not None:
            import threading

            self._deadline = time.monotonic() + self._timeout
            self._timer = threading.Timer(self._timeout, lambda: self.stop())
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop = _nothing
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self.wake_fd)
        os.close(self._wake)

    def _catch_signals(self) -> None:
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                self._before.append((number, signal.signal(number, self._on_signal)))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.hard = self.hard or bool(self._arrived if self._interactive else self._seen)
        self._seen += 1
        self._arrived.append(number)
        self.last = number
        with contextlib.suppress(BlockingIOError):  # full: it is readable already
            os.write(self._wake, b"!")
        self.stop()

    def forward(self) -> None:
        """Give the guest what has arrived for it."""
        if self._arrived:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake_fd, 4096)
        while self._arrived:
            self.give(self._arrived.pop(0))

    @property
    def timed_out(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def due(self) -> bool:
        """Is there a reason for the guest to stop waiting?"""
        return bool(self._arrived) or self.hard or self.timed_out

    @property
    def remaining(self) -> float | None:
        """Seconds to the time limit, for poll(); None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def cut(self) -> OSError:
        """A guest's wait on the host ends early: hand over its signals; the error for the syscall that waited."""
        if not self.hard:
            self.forward()
        self.stop()
        return InterruptedError(ERESTARTSYS, "a signal arrived while it waited for the host")
