"""Seeded randomness: every random byte of a run follows from the config's seed and the name of its stream."""

from hashlib import shake_128


class Rng:
    """A deterministic byte stream. Streams of different names are independent: reading one never moves another."""

    __slots__ = ("_drawn", "_pool", "_stream")

    def __init__(self, seed: int, stream: str) -> None:
        self._stream = f"{seed}/{stream}/".encode()
        self._drawn = 0
        self._pool = b""

    def bytes(self, n: int) -> bytes:
        """The next `n` bytes."""
        while len(self._pool) < n:
            want = max(256, n - len(self._pool))
            self._pool += shake_128(self._stream + str(self._drawn).encode()).digest(want)
            self._drawn += 1
        taken, self._pool = self._pool[:n], self._pool[n:]
        return taken

    def below(self, limit: int) -> int:
        """An int in [0, limit), `limit` at most 2^64."""
        return int.from_bytes(self.bytes(16), "little") % limit
