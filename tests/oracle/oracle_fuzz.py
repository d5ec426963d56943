"""The long run: seeded scripts on the host's Linux and on ours. A difference is shrunk and stored in found/.

    make fuzz                     10,000 scripts
    make fuzz N=100000 SEED=7     so many, from this seed on
    python tests/oracle/oracle_fuzz.py play FILE      one script on both sides, step by step
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from oracle_compare import difference, steps  # noqa: E402
from oracle_scripts import seeded  # noqa: E402
from oracle_shrink import kind_of, shrink  # noqa: E402
from oracle_sides import Ours, lacking, linux  # noqa: E402

FOUND = HERE / "found"
BATCH = 200
CHECKED = 8  # every so manieth batch has its address spaces recounted, at twice the cost


def fuzz(count: int, seed: int, keep: int) -> int:
    """Play `count` scripts; the number of those that differed. At most `keep` differences are shrunk and stored, one
    of a kind. The rate of CPU that is told is of the batches that are played without a recount."""
    ours, checked = Ours(checked=False), Ours()
    bad, clean = 0, 0
    kinds: set[tuple[str, ...]] = set()
    began, cpu, timed = time.monotonic(), 0.0, 0
    for first in range(seed, seed + count, BATCH):
        seeds = range(first, min(first + BATCH, seed + count))
        scripts = [seeded(n) for n in seeds]
        theirs = linux(scripts)
        before = time.process_time()
        if first // BATCH % CHECKED:
            mine = ours(scripts)
            cpu += time.process_time() - before
            timed += len(scripts)
        else:
            mine = checked(scripts)
        bad += _recount(checked, scripts)
        for n, script, a, b in zip(seeds, scripts, theirs, mine, strict=True):
            how = difference(script, a, b)
            clean = 0 if how else clean + 1
            if not how:
                continue
            bad += 1
            print(f"\nseed {n}, {how}", flush=True)
            if kind_of(how) not in kinds and len(kinds) < keep:
                kinds.add(kind_of(how))
                store(shrink(script, linux, ours), how)
        played = seeds.stop - seed
        rate = played / (time.monotonic() - began)
        tail = f"{bad} differed, the last {clean} did not"
        own = f", ours {timed / cpu:.0f}/s of CPU" if timed else ""
        print(f"{played} scripts, {tail}; {rate:.0f}/s{own}", flush=True)
    return bad


def _recount(ours: Ours, scripts: Sequence[Sequence[str]]) -> int:
    """Say which of the scripts broke an invariant, if one did."""
    if not ours.broken:
        return 0
    for script in scripts:
        ours.broken.clear()
        ours([script])
        if ours.broken:
            print("\n".join([*script, *ours.broken]), flush=True)
    ours.broken.clear()
    return 1


def store(script: list[str], how: str) -> None:
    """Keep a minimal script for good; tests/oracle/test_oracle_found.py plays it from now on."""
    text = "".join(f"{line}\n" for line in script)
    path = FOUND / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}.txt"
    comment = "".join(f"# {line}\n" for line in how.splitlines()[:3])
    path.write_text(comment + text)
    print(f"stored as {path.name}:\n{text}", flush=True)


def read(path: Path) -> list[str]:
    """A stored script; lines that begin with # say what it was."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def play(path: Path) -> int:
    """Show a script with what both sides say."""
    script = read(path)
    theirs, mine = linux([script])[0], Ours()([script])[0]
    for line, a, b in zip(script, steps(theirs), steps(mine), strict=False):
        print(f"{line}\n    {a}" if a == b else f"{line}\n  Linux: {a}\n  ours:  {b}")
    return bool(difference(script, theirs, mine))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("play", nargs="*", help="play FILE")
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=10, help="how many differences to shrink and store")
    chosen = parser.parse_args()
    if why := lacking():
        print(why, file=sys.stderr)
        return 2
    if chosen.play:
        return play(Path(chosen.play[1]))
    return 1 if fuzz(chosen.n, chosen.seed, chosen.keep) else 0


if __name__ == "__main__":
    sys.exit(main())
