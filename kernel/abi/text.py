"""strace's words for plain values: quoted strings, octal modes, device numbers. No memory, no tables of flags here."""

from __future__ import annotations

STRING_LIMIT = 32  # strace -s

_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x0B: "\\v", 0x0C: "\\f"}
_PLAIN = {byte: chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:o}" for byte in range(256)} | _ESCAPES
_TABLE = [_PLAIN[byte] for byte in range(256)]
_SIMPLE = bytes(byte for byte in range(0x20, 0x7F) if byte not in _ESCAPES)


def escape(raw: bytes) -> str:
    """The inside of a quoted string. An octal escape is short unless a digit follows it."""
    if not raw.translate(None, _SIMPLE):
        return raw.decode("ascii")
    out = []
    last = len(raw) - 1
    for i, byte in enumerate(raw):
        word = _TABLE[byte]
        if len(word) > 1 and word[1].isdigit() and i < last and 0x30 <= raw[i + 1] <= 0x39:
            word = f"\\{byte:03o}"
        out.append(word)
    return "".join(out)


def quote(raw: bytes, limit: int = STRING_LIMIT) -> str:
    """`"text"`, and `"text"...` where only the first `limit` bytes are shown."""
    if len(raw) > limit:
        return f'"{escape(raw[:limit])}"...'
    return f'"{escape(raw)}"'


def quote_hex(raw: bytes, limit: int = STRING_LIMIT) -> str:
    r"""`"\x12\x34"`: strace's form for bytes that are no text (getrandom)."""
    body = "".join(f"\\x{byte:02x}" for byte in raw[:limit])
    return f'"{body}"' + ("..." if len(raw) > limit else "")


def octal(mode: int) -> str:
    """`0644`; three digits at least, `022`, `000`."""
    return f"{f'0{mode:o}' if mode else '':0>3}"


def device(dev: int) -> str:
    """`makedev(0x1, 0x3)`."""
    major = (dev >> 8 & 0xFFF) | (dev >> 32 & ~0xFFF)
    minor = (dev & 0xFF) | (dev >> 12 & ~0xFF)
    return f"makedev({major:#x}, {minor:#x})"


_TYPES = {
    0o140000: "S_IFSOCK", 0o120000: "S_IFLNK", 0o100000: "S_IFREG", 0o060000: "S_IFBLK",
    0o040000: "S_IFDIR", 0o020000: "S_IFCHR", 0o010000: "S_IFIFO",
}  # fmt: skip


def mode_text(mode: int) -> str:
    """`S_IFREG|0644`, `S_IFDIR|S_ISVTX|0777`."""
    words = [_TYPES[mode & 0o170000]] if mode & 0o170000 in _TYPES else []
    words += [name for bit, name in ((0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")) if mode & bit]
    return "|".join([*words, octal(mode & 0o777)])
