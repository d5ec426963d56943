"""A cursor over DWARF's bytes: fixed and LEB128 numbers, strings. Reading past the end raises Malformed."""


class Malformed(Exception):
    """A table does not follow the format; what was read of it before stands."""


class Bytes:
    """A cursor over a byte string. Reading past the end raises Malformed."""

    def __init__(self, raw: bytes, at: int = 0, end: int | None = None) -> None:
        self.raw, self.at, self.end = raw, at, len(raw) if end is None else min(end, len(raw))

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > self.end:
            raise Malformed("cut off")
        self.at += size
        return self.raw[self.at - size : self.at]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def int8(self) -> int:
        return int.from_bytes(self.take(1), "little", signed=True)

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
            if shift > 70:
                raise Malformed("a LEB128 number that does not end")

    def sleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if byte & 0x40 else value
            if shift > 70:
                raise Malformed("a LEB128 number that does not end")

    def string(self) -> str:
        end = self.raw.find(b"\0", self.at, self.end)
        if end < 0:
            raise Malformed("a string that does not end")
        text = self.raw[self.at : end].decode("utf-8", "backslashreplace")
        self.at = end + 1
        return text
