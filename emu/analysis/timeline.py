"""A heap over virtual time: what is live, what the allocator holds for it, and what is in RAM.

However long a run is, at most POINTS samples are kept, evenly spaced by instructions: when there are more, every second
one goes, and from then on half as many are taken.
"""

from __future__ import annotations

from typing import NamedTuple

POINTS, EVERY = 32, 1 << 14  # samples that are kept, each a stop of the CPU; instructions between two of the first


class Sample(NamedTuple):
    """One moment. In bytes, unless the name says otherwise."""

    instructions: int
    live: int  # asked for by the program
    blocks: int
    held: int  # got from the kernel by the allocator's functions
    rss: int

    @property
    def unused(self) -> int:
        """Held and not live: headers, rounding, free blocks, and what was never handed out."""
        return max(self.held - self.live, 0)


class Timeline:
    """The samples of one run, in order. `next`: at which instruction the next one is due."""

    def __init__(self, start: int = 0) -> None:
        """The run began at instruction `start`."""
        self.samples: list[Sample] = []
        self._every = EVERY
        self.next = start + EVERY & -EVERY

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        if len(self.samples) > POINTS:
            self.samples = self.samples[1::2]
            self._every *= 2
        self.next = self.next + self._every & -self._every

    def near(self, instructions: int) -> Sample | None:
        """The sample nearest to this moment; None: there is none."""
        return min(self.samples, key=lambda sample: abs(sample.instructions - instructions), default=None)

    def rows(self, most: int) -> list[Sample]:
        """At most so many of them, evenly spaced; the last is the run's end."""
        step = -(-len(self.samples) // most) if self.samples else 1
        return self.samples[::-1][::step][::-1]
