"""Argument kinds of personality, userfaultfd and capabilities: what a process may be and do."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import U32, Bits, Call, Flags, Kind, Result, Worded, number, pointer
from kernel.abi.errno import LinuxError
from kernel.abi.prctlargs import capability


class Persona(Flags, full=True, unknown="PER_???"):
    """personality(2)'s flags, above the byte that names the system."""

    UNAME26 = 0x0020000
    ADDR_NO_RANDOMIZE = 0x0040000
    FDPIC_FUNCPTRS = 0x0080000
    MMAP_PAGE_ZERO = 0x0100000
    ADDR_COMPAT_LAYOUT = 0x0200000
    READ_IMPLIES_EXEC = 0x0400000
    ADDR_LIMIT_32BIT = 0x0800000
    SHORT_INODE = 0x1000000
    WHOLE_SECONDS = 0x2000000
    STICKY_TIMEOUTS = 0x4000000
    ADDR_LIMIT_3GB = 0x8000000


def personality_text(value: int) -> str:
    """`PER_LINUX|ADDR_NO_RANDOMIZE`; 0xffffffff, which asks, as it is."""
    value &= 0xFFFFFFFF
    if value == 0xFFFFFFFF:
        return "0xffffffff"
    system, flags = value & 0xFF, value & ~0xFF
    names = {0: "PER_LINUX", 8: "PER_LINUX32"}
    word = names.get(system) or f"{system:#x} /* PER_??? */"
    return word + ("|" + Persona.text(flags).partition(" ")[0] if flags else "")


class PersonalityResultKind(Result):
    def show(self, call: Call, value: int) -> str:
        return f"{value:#x} ({personality_text(value)})" if value else f"0 ({personality_text(0)})"


Personality = Annotated[int, Worded(personality_text, U32)]
PersonalityResult = PersonalityResultKind()


class Uffd(Flags, full=True, unknown="UFFD_???"):
    UFFD_USER_MODE_ONLY = 1
    O_NONBLOCK = 0o4000
    O_CLOEXEC = 0o2000000


UffdFlags = Annotated[int, Bits(Uffd, U32)]


class CapDataKind(Kind):
    """capget's and capset's sets: one struct in version 1, two halves of 64 bits since."""

    def __init__(self, after: bool) -> None:
        self.after = after

    def show(self, call: Call, value: int) -> str:
        if not value or (self.after and call.failed):
            return pointer(value)
        try:
            halves = 2 if number(call, call.args[0], 4) in (0x20071026, 0x20080522) else 1
            raw = call.user(value, 12 * halves)
        except LinuxError:
            return hex(value)
        words = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]
        sets = [low | high << 32 for low, high in zip(words[:3], words[3:] or (0, 0, 0), strict=True)]
        names = ("effective", "permitted", "inheritable")
        return "{" + ", ".join(f"{name}={_capabilities(each)}" for name, each in zip(names, sets, strict=True)) + "}"


def _capabilities(mask: int) -> str:
    words = [f"1<<{capability(bit)}" for bit in range(41) if mask >> bit & 1]
    rest = mask >> 41 << 41
    return "|".join(words + ([hex(rest)] if rest else [])) or "0"


CapData = Annotated[int, CapDataKind(after=False)]
OutCapData = Annotated[int, CapDataKind(after=True)]
