"""The one door to pyelftools. Behind it a hostile file may raise anything or loop for hours; before it there is only an
answer, or none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
CALLS = 20_000_000  # of Python functions: several seconds. A count, not a time: equal runs print equal bytes


@cache
def _load() -> None:
    """Uncounted: what is called to import the library is no question's, and counting makes it half as slow again."""
    from elftools.dwarf import callframe, constants, dwarfinfo, ranges  # noqa: F401


class TooLong(Exception):
    """The questions about one file took more function calls than they may."""


class Patience:
    """Asks pyelftools about one file, as long as its `left` calls of Python functions last."""

    def __init__(self, left: int = CALLS) -> None:
        self.left = left
        self._asking = False

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """What `question` returns; `otherwise` where the library cannot read the file, or not in reasonable time.

        pyelftools documents ELFError and DWARFError, and on a mutated file raises AssertionError, KeyError, TypeError,
        OverflowError, struct.error and more; a count of 2^60 entries in a header is a loop of as many rounds.
        """
        _load()
        before = sys.gettrace()
        outermost, self._asking = not self._asking, True
        try:
            if outermost:
                sys.settrace(self._count)
            return question()
        except TooLong:
            if not outermost:
                raise
            return otherwise
        except Exception:
            return otherwise
        finally:
            if outermost:
                self._asking = False
                sys.settrace(before)

    def _count(self, _frame: FrameType, _event: str, _argument: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooLong
