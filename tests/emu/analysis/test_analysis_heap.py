"""The heap folds against a naive count, call by call, on random streams in random batches."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from emu.analysis.heap import HeapFold, class_name, size_class
from emu.calls import CLASSES, INNER
from emu.trace.heap import EVENT

MALLOC, REALLOC, FREE, USABLE = 1, 3, 4, 10


def stream(rng: random.Random, count: int) -> Any:
    """Calls of a program that frees what it made, some inside each other, some that fail."""
    events = np.zeros(count, np.dtype(list(EVENT)))
    live: dict[int, tuple[int, int]] = {}
    for number, event in enumerate(events, 1):
        event["entry"], event["cost"] = number * 10_000, rng.choice((rng.randrange(900), rng.randrange(1, 9000)))
        event["site"], event["faults"], event["syscalls"] = rng.randrange(1, 9), rng.randrange(3), rng.randrange(2)
        kind = rng.choice((MALLOC, MALLOC, REALLOC, FREE, FREE, USABLE))
        event["kind"] = kind
        if rng.random() < 0.2:
            event["flags"], event["size"], event["result"] = INNER, 5, 1 << 40
            continue
        if kind != MALLOC and live:
            event["pointer"] = rng.choice(list(live))
            if kind == USABLE:
                event["result"] = 99
                continue
            event["born"], event["freed"] = live.pop(int(event["pointer"]))
        if kind in (MALLOC, REALLOC):
            event["size"] = rng.choice((0, rng.randrange(200), rng.randrange(1 << 20), 1 << 40))
            if rng.random() < 0.9 or kind == REALLOC:
                event["result"] = number * 16
                live[number * 16] = (number, int(event["size"]))
    return events


def test_folds_equal_a_naive_count() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        events = stream(rng, rng.randrange(1, 400))
        fold = HeapFold(by_stack=False)
        at = 0
        while at < len(events):
            step = rng.randrange(1, 100)
            fold.batch(events[at : at + step])
            at += step
        _compare(fold, events)


def _compare(fold: HeapFold, events: Any) -> None:
    live = blocks = peak = allocated = allocations = frees = 0
    peak_event = 0
    sites: dict[int, list[int]] = {}
    costs: list[int] = []
    for number, event in enumerate(events, 1):
        if event["flags"] & INNER:
            continue
        kind, size = int(event["kind"]), int(event["size"])
        made = kind in (MALLOC, REALLOC) and int(event["result"]) != 0
        frees += kind == FREE
        if kind in (MALLOC, REALLOC):
            costs.append(int(event["cost"]))
        if made:
            allocations, allocated = allocations + 1, allocated + size
            site = sites.setdefault(int(event["site"]), [0, 0])
            site[0], site[1] = site[0] + 1, site[1] + size
        live += size * made - int(event["freed"])
        blocks += int(made) - (int(event["born"]) != 0)
        if live > peak:
            peak, peak_event = live, number
    assert (fold.live, fold.live_blocks, fold.peak.bytes, fold.peak.event) == (live, blocks, peak, peak_event)
    assert (fold.allocated, fold.allocations, fold.frees) == (allocated, allocations, frees)
    assert {site.key: [site.calls, site.bytes] for site in fold.sites()} == sites
    told = fold.cost("malloc")
    if costs:
        costs.sort()
        ranks = [costs[-(-len(costs) * share // 100) - 1] for share in (50, 99)]
        assert told == (len(costs), *ranks, costs[-1], sum(costs))
    else:
        assert told is None


def test_size_classes_are_powers_of_two() -> None:
    assert [size_class(size) for size in (0, 1, 16, 17, 32, 33, 64, 65)] == [0, 1, 1, 2, 2, 3, 3, 4]
    assert [class_name(number) for number in (0, 1, 2, 3)] == ["0", "1-16", "17-32", "33-64"]
    assert size_class((1 << 64) - 1) < CLASSES
    rng = np.random.default_rng(1)
    fold = HeapFold(by_stack=False)
    events = np.zeros(5000, np.dtype(list(EVENT)))
    events["kind"], events["result"] = MALLOC, 1
    events["size"] = (1 << rng.integers(0, 46, 5000)) + rng.integers(-1, 2, 5000)
    fold.batch(events)
    counts = np.bincount([size_class(int(size)) for size in events["size"]], minlength=CLASSES)
    assert fold.sizes == counts.tolist()
