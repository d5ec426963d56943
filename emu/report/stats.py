"""`--stats`: what a run cost, as aligned text."""

from __future__ import annotations

from collections.abc import Iterator

from emu.outcome import Counters


def render(counters: Counters, wall: float) -> str:
    """Several lines. `wall` is in seconds, the only figure that differs between equal runs."""
    rows = list(_rows(counters, wall))
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows)


def _rows(counters: Counters, wall: float) -> Iterator[tuple[str, str]]:
    yield "instructions", f"{counters.instructions:,}"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counters.faults.items() if count)
    yield "page faults", f"{counters.minor_faults:,} minor" + (f" ({kinds})" if kinds else "") + _major(counters)
    yield "RSS", f"{kib(counters.rss)} at the end, {kib(counters.peak_rss)} at its peak"
    yield "VSZ", f"{kib(counters.vsz)} at the end, {kib(counters.peak_vsz)} at its peak"
    size = counters.brk - counters.start_brk
    yield "brk", f"{counters.start_brk:#x}-{counters.brk:#x} ({kib(size)})"
    yield "mappings", f"{counters.mappings:,}"
    yield "RAM in use", f"{kib(counters.ram_used)}, page tables included"
    yield "virtual time", f"{counters.virtual_ns / 1e9:.9f} s"
    speed = counters.instructions / wall / 1e6 if wall > 0 else 0.0
    yield "wall time", f"{wall:.3f} s ({speed:.1f} Minsn/s)"


def _major(counters: Counters) -> str:
    return f", {counters.major_faults:,} major" if counters.major_faults else ""


def kib(size: int) -> str:
    """`4 KiB`, `1,234 KiB`."""
    return f"{-(-size // 1024):,} KiB"
