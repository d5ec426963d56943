"""Flags and Option: named sets of ABI constants, and their words in a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

CACHE = 4096  # texts kept for a flag word; a guest that tries them all costs no more than that


class Words:
    """A named set of ABI constants: class attributes that are plain ints, in the order strace prints them.

    `_32BIT` stands for a name that starts with a digit."""

    PREFIX = ""
    _words: tuple[tuple[int, str], ...] | None = None

    _prefixed: ClassVar[bool] = True
    _comment: ClassVar[str] = "???"
    _later: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, prefix: str = "", full: bool = False, later: str = "", unknown: str = "") -> None:
        """`prefix` begins each name in a trace. `full`: members carry their whole name. `unknown` is the comment on a
        value that is none of them. `later`: members that strace 6.1 does not know yet, and so prints as numbers."""
        cls.PREFIX = prefix
        cls._prefixed = not full
        cls._comment = unknown or prefix + "???"
        cls._later = frozenset(later.split())

    @classmethod
    def words(cls) -> tuple[tuple[int, str], ...]:
        """(value, full name) for each member."""
        if cls._words is None:
            cls._words = tuple(
                (value, cls.PREFIX + name.removeprefix("_") if cls._prefixed else name)
                for name, value in vars(cls).items()
                if type(value) is int and name not in cls._later
            )
        return cls._words


class Flags(Words):
    """Bits that may be or-ed. Unknown bits are shown, never dropped."""

    @classmethod
    def text(cls, value: int) -> str:
        """`A|B|0x100`; `0x100 /* PREFIX??? */` when nothing is known; `0`, or the name of zero."""
        out: list[str] = []
        rest = value
        for bits, name in cls.words():
            if not rest and out:
                break
            if rest == bits or (bits and rest & bits == bits):
                out.append(name)
                rest &= ~bits
        if not out:
            return f"{rest:#x} /* {cls._comment} */" if rest else "0"
        return "|".join(out) + (f"|{rest:#x}" if rest else "")


class Option(Words):
    """One value of a list. An unknown one is kept and shown."""

    @classmethod
    def text(cls, value: int) -> str:
        for known, name in cls.words():
            if known == value:
                return name
        return f"{value & 0xFFFFFFFF:#x} /* {cls._comment} */"


class Cached(dict[int, str]):
    """Texts by value, made on first use, at most CACHE of them."""

    def __init__(self, text: Callable[[int], str]) -> None:
        super().__init__()
        self.text = text

    def __missing__(self, value: int) -> str:
        made = self.text(value)
        if len(self) < CACHE:
            self[value] = made
        return made
