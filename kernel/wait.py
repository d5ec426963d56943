"""What a sleeping handler yields.

A blocking handler is a generator: `yield Block(...)` is where the task sleeps, the suspended generator *is* its kernel
stack. A signal is thrown in as `Interrupted`, and becomes EINTR (or the handler's own value, or one of the restart
errnos below, which the guest never sees: kernel/task/delivery.py turns them into EINTR or a second try).
"""

from collections.abc import Callable
from typing import NamedTuple


class Interrupted(Exception):
    """A signal woke the sleeper before what it waited for."""


class Block(NamedTuple):
    """Sleep until `ready()` is true or virtual time reaches `deadline` (ns of CLOCK_MONOTONIC; None: for ever)."""

    ready: Callable[[], bool] | None = None
    deadline: int | None = None
    why: str = ""  # what it waits for, in words: a deadlock names it
