"""From a script on which two sides differ to a minimal one: fewer lines, then smaller numbers. Candidates are played a
batch at a time, since a batch costs little more than a script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from oracle_compare import difference

Side = Callable[[Sequence[Sequence[str]]], list[list[str]]]
BATCH = 60


def differences(scripts: Sequence[Sequence[str]], left: Side, right: Side) -> list[str]:
    """For each script "", or how the sides differ."""
    played = zip(scripts, left(scripts), right(scripts), strict=True)
    return [difference(script, a, b) for script, a, b in played]


def kind_of(how: str) -> tuple[str, ...]:
    """What a difference is about: the operation and the first words of both sides, without values."""
    words = re.findall(r"step \d+: (\w+)|(?:Linux|ours): +(\w+:?|[!=] ?-?\w*)", how)[:3]
    return tuple(operation or said for operation, said in words)


def shrink(script: Sequence[str], left: Side, right: Side) -> list[str]:
    """A script none of whose lines can go, on which the sides still differ."""

    kind = kind_of(differences([script], left, right)[0])

    def smaller(candidates: list[list[str]]) -> list[str] | None:
        for at in range(0, len(candidates), BATCH):
            some = candidates[at : at + BATCH]
            for candidate, how in zip(some, differences(some, left, right), strict=True):
                if how and kind_of(how) == kind:
                    return candidate
        return None

    best = list(script)
    size = max(len(best) // 2, 1)
    while True:
        found = smaller([best[:n] + best[n + size :] for n in range(0, len(best), size)])
        if found is not None:
            best = found
            size = min(size, max(len(best) // 2, 1))
        elif size == 1:
            break
        else:
            size = max(size // 2, 1)
    while (found := smaller(list(_simpler(best)))) is not None:
        best = found
    return best


def _simpler(script: list[str]) -> Iterator[list[str]]:
    """The script with one number of one line made simpler."""
    for n, line in enumerate(script):
        words = line.split()
        for k in range(1, len(words)):
            for word in _smaller(words[k]):
                yield [*script[:n], " ".join([*words[:k], word, *words[k + 1 :]]), *script[n + 1 :]]


def _smaller(word: str) -> Iterator[str]:
    """Simpler words first; each is simpler than `word`, so that this comes to an end."""
    region, sign, digits = word.rpartition("+") if "+" in word else ("", "", word)
    if digits.startswith("-") or not digits or "-" in digits:
        return
    value = int(digits, 16)
    nearby = value - 0x1000 if value <= 0x10000 else 0
    for less in sorted({0, 0x1000, value & (value - 1), nearby, value & ~0xFFF}):
        if 0 <= less < value and less != 4:  # PROT_EXEC alone, or a length that stops being one
            yield f"{region}{sign}{less:x}"
