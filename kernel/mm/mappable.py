"""What can be mapped. `mm` knows this Protocol, never files; `fs` (ramfs, memfd, hostfs, shared anonymous) provides it.

A Mappable owns pages by index (4 KiB each, from offset 0). Every mapping of it sees the same frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kernel.mm.mm import Mm
    from kernel.mm.vma import Vma


class Origin(Protocol):
    """What a mapping was made of, as /proc/[pid]/maps shows it."""

    @property
    def name(self) -> str:
        """The path that /proc/self/maps shows (may be "/memfd:x (deleted)", "/dev/zero (deleted)")."""

    @property
    def identity(self) -> tuple[int, int, int]:
        """(major, minor, inode) as /proc/self/maps shows them."""


class Mappable(Origin, Protocol):
    """The content behind a file or shared mapping (Linux: struct address_space)."""

    def frame(self, index: int, write: bool) -> int | None:
        """The pfn of page `index`, filled, with one reference taken for the caller (the PTE, or a copy in progress).

        None: the page lies wholly past the end of the file (SIGBUS). `write` marks it dirty: a store through a
        shared mapping is about to happen. Raises OutOfMemory when RAM is exhausted."""

    def resident(self, index: int) -> bool:
        """Is the page in the page cache (mincore(2))?"""

    def added(self, mm: Mm, vma: Vma) -> None:
        """`vma` of `mm` maps this object now (also after a split or a move): the object must be able to zap it on
        truncation (Linux: i_mmap)."""

    def removed(self, mm: Mm, vma: Vma) -> None:
        """`vma` no longer does."""

    def sync(self, start: int, end: int) -> None:
        """Write dirty pages [start, end) (page indices) back to where they belong (msync(2), MS_SYNC)."""
