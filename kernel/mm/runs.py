"""Runs: neighbouring PTEs that differ in their frames alone, of which each is the next. What is done to a range of
pages is done to its runs: memory that was touched in order is one run a page table."""

from __future__ import annotations

from kernel.mm.pte import HERE, SPECIAL, SWAP

FEW = 64  # PTEs that are looked at one by one sooner than as runs
FANOUT = 512
ZEROS = memoryview(bytes(8 * FANOUT)).cast("Q")
EACH = sum(1 << 64 * n for n in range(FANOUT))  # times x: a page table of x
RISING = sum(n << 64 * n + 12 for n in range(FANOUT))  # a page table of the frames 0, 1, 2 …


def runs(words: memoryview, i: int, j: int) -> list[tuple[int, int, int]]:
    """(k, n, entry) of each run in PTEs [i, j) of one table, ascending: n of them from number k on, the first of which
    is `entry`. Empty ones are left out; markers, and entries of the zero page, make a run if they are equal."""
    first = words[i]
    if j - i == 1:
        return [(i, 1, first)] if first else []
    step = 4096 if _rises(first) else 0
    n = j - i
    if n > FEW and words[j - 1] == first + step * (n - 1) and words[i:j].tobytes() == _table(first)[: 8 * n]:
        return [(i, n, first)] if first else []
    found: list[tuple[int, int, int]] = []
    first = at = wanted = step = 0
    for k, entry in enumerate(words[i:j].tolist(), i):
        if entry != wanted:
            if first:
                found.append((at, k - at, first))
            first, at = entry, k
            step = 4096 if entry & (HERE | SWAP) and not entry & SPECIAL else 0
        elif not entry:
            continue
        wanted = entry + step
    if first:
        found.append((at, j - at, first))
    return found


def fill(words: memoryview, k: int, n: int, entry: int) -> None:
    """Write a run of n PTEs that begins with `entry`."""
    if n == 1:
        words[k] = entry
    else:
        words[k : k + n] = memoryview(_table(entry)).cast("Q")[:n]


def _table(entry: int) -> bytes:
    """A whole page table, one run that begins with `entry`: made as one number, of 512 digits of 64 bits."""
    return (entry * EACH + (RISING if _rises(entry) else 0)).to_bytes(8 * FANOUT, "little")


def _rises(entry: int) -> bool:
    """Has the next entry of a run the next frame (or slot of swap)?"""
    return bool(entry & (HERE | SWAP)) and not entry & SPECIAL
