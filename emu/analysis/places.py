"""Return addresses in words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence


class Places:
    """Return addresses in words, and the call sites and stacks of a finished trace."""

    def __init__(self, place: Callable[[int], str], sites: Sequence[int], stacks: Sequence[tuple[int, ...]]) -> None:
        self.call = functools.cache(place)  # in words: the call that returns to an address
        self.sites, self.stacks = sites, stacks

    def stack(self, number: int, site: int) -> tuple[str, ...]:
        """A call stack by number; without one, the call site."""
        return tuple(self.call(pc) for pc in self.stacks[number] or (self.sites[site],))
