"""The members of a static library: ar(5) as System V and GNU write it, `libc.a`. A hostile file raises ArError only.

Source: `struct ar_hdr` of <ar.h>: 60 bytes of text before each member, which begins at an even offset; a member called
`//` holds the names that are longer than 15 characters, each ending in "/\\n".
"""

from __future__ import annotations

from collections.abc import Iterator

MAGIC, THIN = b"!<arch>\n", b"!<thin>\n"
_INDEXES = ("/", "/SYM64/", "__.SYMDEF", "__.SYMDEF SORTED")


class ArError(Exception):
    """The file is not an archive that can be read; the message is one line."""


def members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each member in its order, the indexes left out; several may have one name."""
    if content[:8] == THIN:
        raise ArError("a thin archive: its members are files elsewhere; make a whole one of them by `ar rcs`")
    if content[:8] != MAGIC:
        raise ArError("not a static library (an ar archive)")
    at, long_names = len(MAGIC), b""
    while at < len(content):
        header = content[at : at + 60]
        digits = header[48:58].strip()
        if len(header) < 60 or header[58:60] != b"`\n" or not digits.isdigit():
            raise ArError(f"no header of a member at offset {at}")
        start, size = at + 60, int(digits)
        if start + size > len(content):
            raise ArError(f"the member at offset {at} is cut off")
        name, body = header[:16].decode("latin-1").rstrip(), content[start : start + size]
        at = start + size + size % 2
        if name == "//":
            long_names = body
        elif name.startswith("#1/") and name[3:].isdigit():  # BSD's: the name stands before the bytes
            yield body[: int(name[3:])].rstrip(b"\0").decode("latin-1"), body[int(name[3:]) :]
        elif name not in _INDEXES:
            yield _name(name, long_names), body


def _name(name: str, long_names: bytes) -> str:
    if name[:1] == "/" and name[1:].isdigit():
        return long_names[int(name[1:]) :].split(b"\n", 1)[0].decode("latin-1").removesuffix("/")
    return name.removesuffix("/")
