"""The heap report of `heapscope run --heap`: aligned plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from emu.analysis.heap import Cost
    from emu.analysis.heapresult import Heap, Leak, Site
    from emu.analysis.rounding import Rounding
    from emu.analysis.space import Space
    from emu.analysis.strict import Strictness
    from emu.analysis.suppressions import Suppressed
    from emu.analysis.timeline import Timeline

T = TypeVar("T")
SHOWN = 10  # leaks and sites
ROWS = 12  # moments


def render(heap: Heap, why: bool = False) -> str:
    """Several lines, ending in a newline. `why` says which suppression let how much pass, and which let nothing."""
    several = len(heap.all) > 1
    pages = (_lines(each, why, f" of {each.program}" if several else "") for each in heap.all)
    return "\n".join("".join(f"{line}\n" for line in page) for page in pages)


def _lines(heap: Heap, why: bool, whose: str) -> Iterator[str]:
    if not heap.functions:
        reason = f": {heap.learned}" if heap.learned else "; name them by --alloc"
        yield f"=== heap{whose}: no allocator function was found{reason}"
        return
    yield f"=== heap{whose}"
    yield from _aligned(list(_totals(heap)))
    yield from _misuses(heap)
    yield from _violations(heap.strict)
    yield from _leaks(heap.leaks)
    yield from _suppressed(heap.suppressed, why)
    yield from _sites(heap.sites)
    yield from _over_time(heap.timeline)
    yield from _costs(heap)


def _misuses(heap: Heap) -> Iterator[str]:
    if not heap.misuse_count:
        return
    from emu.analysis.misuse import lines

    yield from _findings(heap.misuse, lines, heap.misuse_count, "misuses")


def _violations(strict: Strictness | None) -> Iterator[str]:
    if strict is None:
        return
    from emu.analysis.strict import lines

    yield from _findings(strict.violations, lines, strict.count, "broken promises")


def _findings(found: Sequence[T], lines: Callable[[T], Iterable[str]], count: int, what: str) -> Iterator[str]:
    """Those that were kept, and how many more of the `count` there were."""
    for each in found:
        yield ""
        yield from lines(each)
    if count > len(found):
        yield f"… and {count - len(found):,} more {what}"


def _totals(heap: Heap) -> Iterator[tuple[str, str]]:
    if heap.learned:
        yield "traced", heap.learned
    others = _more(heap.reallocs, f"call{'s' * (heap.reallocs != 1)} of realloc") + _more(heap.failed, "failed")
    yield "allocations", f"{heap.allocations:,} of {heap.allocated_bytes:,} bytes{others}"
    inner = _more(heap.inner, f"call{'s' * (heap.inner != 1)} inside the allocator itself")
    yield "frees", f"{heap.frees:,}{_back(heap)}{inner}"
    when = f" at instruction {heap.peak.instructions:,}" if heap.peak.bytes else ""
    near = heap.timeline.near(heap.peak.instructions) if heap.peak.bytes else None
    rss = f"; RSS {near.rss:,} at {near.instructions:,}" if near else ""
    yield "peak live", f"{heap.peak.bytes:,} bytes in {heap.peak.blocks:,} blocks{when}{rss}"
    then = "execve" if heap.replaced else "the end"
    yield f"live at {then}", f"{heap.live_bytes:,} bytes in {heap.live_blocks:,} blocks"
    yield "held", _held(heap.space)
    yield "page faults", f"{heap.faults['malloc']:,} in allocations, {heap.faults['free']:,} in frees"
    yield "syscalls", f"{heap.syscalls['malloc']:,} in allocations, {heap.syscalls['free']:,} in frees"
    yield "misuse", f"{heap.misuse_count:,}" if heap.misuse_count else "none"
    if heap.strict:
        yield "promises", _promises(heap.strict)
    if heap.overlaps:
        yield "overlaps", f"{heap.overlaps:,} blocks were handed out while they were live"
    if heap.unreturned or heap.lost:
        untold = ": nothing that was found after the first of them is told" if heap.lost else ""
        how = ": the run ended inside, or longjmp or an exception left it" if heap.unreturned else ""
        calls = f"{heap.unreturned:,} call{'s' * (heap.unreturned != 1)}{how}"
        yield "not returned", calls + _more(heap.lost, "not traced: too many inside each other") + untold
    if heap.ended_early:
        yield "not traced", f"the rest of the run: {heap.ended_early}"


def _back(heap: Heap) -> str:
    """Frees may be of NULL, or misuse, or of a pool with all its blocks, and realloc gives blocks back, too."""
    back = heap.allocations - heap.live_blocks
    if back == heap.frees and not heap.swept:
        return ""
    pooled = _more(heap.swept, "of them with their pools")
    return f" call{'s' * (heap.frees != 1)}; {back:,} block{'s' * (back != 1)} given back in all{pooled}"


def _promises(strict: Strictness) -> str:
    errno = "" if strict.errno_checked else "; errno was not checked: where it is was not found"
    left = f"; {strict.unchecked:,} checks left out: blocks in swap or in files" if strict.unchecked else ""
    return (f"{strict.count:,} broken" if strict.count else "all kept") + errno + left


def _held(space: Space) -> str:
    """What the allocator got from the kernel, and what became of it."""
    if not space.peak.bytes:
        return "nothing that was mapped inside its functions" + _elsewhere(space)
    ranges = f"{len(space.ranges):,} range{'s' * (len(space.ranges) != 1)}"
    parts = f"{space.live:,} live, {space.freed:,} freed, {space.own:,} its own or never handed out"
    most = f"; at most {space.peak.bytes:,}" if space.peak.bytes != space.held else ""
    resident = "" if space.resident is None else f"; {space.resident:,} resident"
    return f"{space.held:,} bytes in {ranges}: {parts}{resident}{most}{_elsewhere(space)}"


def _elsewhere(space: Space) -> str:
    return f"; {space.elsewhere:,} live bytes lie in memory that it got elsewhere" if space.elsewhere else ""


def _more(count: int, what: str) -> str:
    return f", {count:,} {what}" if count else ""


def _aligned(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(len(name) for name, _ in rows)
    return (f"  {name:<{width}}  {value}" for name, value in rows)


def leak_lines(leak: Leak) -> Iterator[str]:
    """One place's leak, its call stack a frame a line."""
    yield f"  {leak.bytes:,} bytes in {leak.blocks:,} blocks"
    yield from (f"    {place}" for place in leak.calls)


def _leaks(leaks: Sequence[Leak]) -> Iterator[str]:
    if not leaks:
        return
    yield ""
    total, blocks = sum(leak.bytes for leak in leaks), sum(leak.blocks for leak in leaks)
    yield f"never freed: {total:,} bytes in {blocks:,} blocks, from {len(leaks):,} places"
    for leak in leaks[:SHOWN]:
        yield from leak_lines(leak)
    if len(leaks) > SHOWN:
        yield f"  … and {len(leaks) - SHOWN:,} more places"


def _suppressed(suppressed: Sequence[Suppressed], why: bool) -> Iterator[str]:
    used = [each for each in suppressed if each.used]
    unused = [each for each in suppressed if not each.used and each.rule.where]
    if used:
        yield ""
        yield f"suppressed: {_passed(used)}"
    if why and (used or unused):
        yield from (f"  {each.rule}: {_passed([each])}" for each in used)
        yield from (f"  {each.rule}: nothing; is it still needed?" for each in unused)


def _passed(suppressed: Sequence[Suppressed]) -> str:
    blocks, size = sum(each.blocks for each in suppressed), sum(each.bytes for each in suppressed)
    misuses = sum(each.misuses for each in suppressed)
    leaked = f"{size:,} bytes in {blocks:,} blocks never freed"
    return ", ".join([leaked] * bool(blocks) + [f"{misuses:,} misuses"] * bool(misuses))


def _sites(sites: Sequence[Site]) -> Iterator[str]:
    if not sites:
        return
    yield ""
    yield "largest sites"
    for site in sites[:SHOWN]:
        yield f"  {site.bytes:,} bytes in {site.allocations:,} allocations"
        yield from (f"    {place}" for place in site.calls)
    if len(sites) > SHOWN:
        yield f"  … and {len(sites) - SHOWN:,} more places"


def _over_time(timeline: Timeline) -> Iterator[str]:
    """Live bytes against what is held and what is in RAM."""
    samples = timeline.rows(ROWS)
    if len(samples) < 4:
        return
    rows: list[Sequence[str]] = [("instruction", "live", "blocks", "held", "of it not live", "RSS")]
    for sample in samples:
        share = f"{sample.unused:,} ({100 * sample.unused // sample.held:2} %)" if sample.held else "–"
        rows.append((*(f"{value:,}" for value in sample[:4]), share, f"{sample.rss:,}"))
    yield ""
    yield "over time, in bytes"
    yield from _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _costs(heap: Heap) -> Iterator[str]:
    """Sizes, and instructions by size class."""
    rows = [
        (row.name, f"{row.allocations:,}", *_rounded(row.rounded), *_cost(row.malloc), *_cost(row.free))
        for row in heap.classes()
    ]
    if not rows:
        return
    rounded = _rounded(heap.rounding.between(0, 1 << 47))
    rows.append(("all", f"{heap.allocations:,}", *rounded, *_cost(heap.cost("malloc")), *_cost(heap.cost("free"))))
    head = ("size", "count", "takes", "waste", "malloc p50", "p99", "max", "free p50", "p99", "max")
    yield ""
    yield "sizes asked for, what the allocator takes for them, and instructions of each call"
    yield from _table((head, *rows))


def _rounded(rounding: Rounding | None) -> tuple[str, str]:
    if rounding is None:
        return ("–", "–")
    least, most, waste = rounding
    return (f"{least:,}" if least == most else f"{least:,}-{most:,}", f"{waste:.0%}")


def _cost(cost: Cost | None) -> tuple[str, str, str]:
    return (f"{cost.p50:,}", f"{cost.p99:,}", f"{cost.max:,}") if cost and cost.calls else ("–", "–", "–")
