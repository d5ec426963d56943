"""Seeded randomness: every random byte of a run follows from a seed and the name of its stream."""

from _random import Random  # the generator alone: `random` costs five milliseconds of start-up


class Rng:
    """A deterministic byte stream. Streams of different names are independent: reading one never moves another."""

    __slots__ = ("_random",)

    def __init__(self, seed: int, stream: str) -> None:
        self._random = Random(int.from_bytes(stream.encode() + b"\0", "big") << 128 | seed % (1 << 128))

    def bytes(self, n: int) -> bytes:
        """The next `n` bytes."""
        return self._random.getrandbits(8 * n).to_bytes(n, "little") if n else b""

    def below(self, limit: int) -> int:
        """An int in [0, limit)."""
        return self._random.getrandbits(limit.bit_length() + 64) % limit
