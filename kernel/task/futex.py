"""futex(2): waiting on a word of memory, and robust lists.

Waiters are queued by key: (address space, address), which is what a private futex is; a shared mapping's futex is the
same thing as long as there is one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import LinuxError
from kernel.abi.sched import FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS

if TYPE_CHECKING:
    from kernel.task.task import Task

ROBUST_LIST_LIMIT = 2048
ROBUST_HEAD_SIZE = 24


class Waiter:
    """One sleeper. `woken` turns true once, when a FUTEX_WAKE chose it."""

    __slots__ = ("bitset", "key", "woken")

    def __init__(self, key: tuple[int, int], bitset: int) -> None:
        self.key = key
        self.bitset = bitset
        self.woken = False


def key_of(task: Task, uaddr: int) -> tuple[int, int]:
    return task.mm.cr3, uaddr


def load(task: Task, uaddr: int) -> int:
    """The futex word. Raises EFAULT."""
    return int.from_bytes(task.mm.copy_from_user(uaddr, 4), "little")


def store(task: Task, uaddr: int, value: int) -> None:
    task.mm.copy_to_user(uaddr, (value & 0xFFFFFFFF).to_bytes(4, "little"))


def wake(task: Task, uaddr: int, count: int, bitset: int) -> int:
    """Wake at most `count` waiters whose bitset meets `bitset`; how many."""
    futexes = task.system.futexes
    key = key_of(task, uaddr)
    chosen = [waiter for waiter in futexes if waiter.key == key and waiter.bitset & bitset][: max(count, 0)]
    for waiter in chosen:
        waiter.woken = True
        futexes.remove(waiter)
    return len(chosen)


def requeue(task: Task, source: int, target: int, count: int) -> int:
    """Move at most `count` waiters from one word to another; how many."""
    old, new = key_of(task, source), key_of(task, target)
    moved = [waiter for waiter in task.system.futexes if waiter.key == old][: max(count, 0)]
    for waiter in moved:
        waiter.key = new
        task.system.futexes.remove(waiter)
        task.system.futexes.append(waiter)
    return len(moved)


def exit_robust_list(task: Task) -> None:
    """A dying (or exec'ing) task leaves its robust futexes to others: FUTEX_OWNER_DIED (kernel/futex/core.c)."""
    head = task.robust_list
    if not head:
        return
    task.robust_list = 0
    try:
        entry, offset, pending = (_word(task, head + at) for at in (0, 8, 16))
        for _ in range(ROBUST_LIST_LIMIT):
            if entry & ~1 == head:
                break
            if entry != pending:
                _owner_died(task, (entry & ~1) + offset)
            entry = _word(task, entry & ~1)
        if pending & ~1:
            _owner_died(task, (pending & ~1) + offset)
    except LinuxError:
        return  # a broken list ends where it breaks


def _word(task: Task, va: int) -> int:
    return int.from_bytes(task.mm.copy_from_user(va & (1 << 64) - 1, 8), "little")


def _owner_died(task: Task, uaddr: int) -> None:
    uaddr &= (1 << 64) - 1
    word = load(task, uaddr)
    if word & FUTEX_TID_MASK == task.tid & FUTEX_TID_MASK:
        store(task, uaddr, word & FUTEX_WAITERS | FUTEX_OWNER_DIED)
        if word & FUTEX_WAITERS:
            wake(task, uaddr, 1, 0xFFFFFFFF)
