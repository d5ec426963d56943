"""Locks: advisory record locks (fcntl(2)) and whole-file locks (flock(2)) of one inode."""

from __future__ import annotations

from typing import NamedTuple

END = (1 << 63) - 1  # OFFSET_MAX: to the end, however far it moves


class Range(NamedTuple):
    """Bytes [start, last] held by `owner`: a process's descriptor table, or an open file description."""

    start: int
    last: int
    exclusive: bool
    owner: object
    pid: int  # as F_GETLK tells it; -1 for an open file description


class Locks:
    """What is locked. Ranges of one owner never overlap; ranges of two overlap only where both are shared."""

    __slots__ = ("ranges", "whole")

    def __init__(self) -> None:
        self.ranges: list[Range] = []
        self.whole: dict[object, bool] = {}  # flock: open file description → exclusive?

    def conflict(self, start: int, last: int, exclusive: bool, owner: object) -> Range | None:
        """The first lock of another owner that stands in the way."""
        for held in self.ranges:
            overlaps = held.start <= last and start <= held.last
            if overlaps and held.owner is not owner and (exclusive or held.exclusive):
                return held
        return None

    def release(self, start: int, last: int, owner: object) -> None:
        """Unlock a part; what is left of a range on either side stays."""
        kept: list[Range] = []
        for held in self.ranges:
            if held.owner is not owner or held.last < start or last < held.start:
                kept.append(held)
                continue
            if held.start < start:
                kept.append(held._replace(last=start - 1))
            if last < held.last:
                kept.append(held._replace(start=last + 1))
        self.ranges = kept

    def acquire(self, start: int, last: int, exclusive: bool, owner: object, pid: int) -> None:
        """Lock a part, in place of what the owner held there; the caller saw that nothing conflicts."""
        self.release(start, last, owner)
        new = Range(start, last, exclusive, owner, pid)
        for held in [held for held in self.ranges if held.owner is owner and held.exclusive == exclusive]:
            if held.last + 1 == new.start or new.last + 1 == held.start:
                self.ranges.remove(held)
                new = new._replace(start=min(held.start, new.start), last=max(held.last, new.last))
        self.ranges.append(new)
        self.ranges.sort(key=lambda held: held.start)

    def forget(self, owner: object) -> None:
        """The owner is gone, or a process closed the file (fcntl(2): any close drops all its locks)."""
        self.ranges = [held for held in self.ranges if held.owner is not owner]
        self.whole.pop(owner, None)

    def flock_conflict(self, owner: object, exclusive: bool) -> bool:
        return any((exclusive or held) and other is not owner for other, held in self.whole.items())
