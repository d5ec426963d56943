"""Guest-physical RAM: one anonymous host mapping, seen as bytes and as u64 words. Owns nothing in it: see frames.py."""

from __future__ import annotations

import mmap

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
LOW = 1 << 20  # physical [0, LOW) is the CPU's own (VMCB, entry code); frames start here
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def lazy(length: int) -> mmap.mmap:
    """At least `length` bytes of zeroed memory that the host backs when it is touched."""
    length = max(1, -(-length // PAGE_SIZE)) * PAGE_SIZE
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)


class Ram:
    """`size` bytes of physical memory. The host backs a page when it is first touched, so unused RAM costs nothing.

    `buffer`, `bytes` and `words` are three views of the same memory for as long as the Ram lives; `words[pa >> 3]` is
    the little-endian u64 at physical address `pa`.
    """

    __slots__ = ("buffer", "bytes", "size", "words")

    def __init__(self, size: int) -> None:
        if size % PAGE_SIZE or size <= LOW:
            raise ValueError(f"RAM of {size} bytes: it must be a multiple of 4096 above 1 MiB")
        self.size = size
        self.buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
        self.bytes = memoryview(self.buffer)
        self.words = self.bytes.cast("Q")

    def discard(self, pa: int, length: int) -> None:
        """Give page-aligned [pa, pa + length) back to the host: it reads zero from now on."""
        advise = getattr(self.buffer, "madvise", None)
        if advise is not None and hasattr(mmap, "MADV_DONTNEED"):
            advise(mmap.MADV_DONTNEED, pa, length)
        else:
            self.bytes[pa : pa + length] = bytes(length)
