"""NUMA memory policies: which of the machine's nodes a page should come from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, as set: equal policies merge VMAs. `nodes` is a bit mask of node numbers."""

    mode: int
    flags: int
    nodes: int
    home: int = -1
