"""What a run left behind, as plain values: counters, and the facts of a death. No machine is needed to read them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Counters(NamedTuple):
    """What a run cost the guest. Bytes unless the name says otherwise; taken when the guest ended, before its memory
    was given back."""

    instructions: int = 0
    faults: Mapping[str, int] = MappingProxyType({})  # page faults by kind, as Linux and mm/fault.py name them
    minor_faults: int = 0
    major_faults: int = 0
    rss: int = 0
    peak_rss: int = 0
    vsz: int = 0
    peak_vsz: int = 0
    start_brk: int = 0
    brk: int = 0
    mappings: int = 0  # VMAs
    ram_used: int = 0  # frames in use at the end, page tables included
    virtual_ns: int = 0  # instructions plus time slept


BACKTRACE_LIMIT = 64  # frames; what lies further out is not looked at


class Call(NamedTuple):
    """One frame of a dead guest's backtrace. `how` is how it was found (emu/unwind.py); "stack" is a guess."""

    pc: int
    place: str
    how: str


class Death(NamedTuple):
    """Why a signal killed the guest, and where it stood."""

    sig: int
    name: str  # "SIGSEGV"
    code: str  # "SEGV_MAPERR"
    siginfo: str  # as strace prints it
    addr: int | None  # si_addr of a fault
    meaning: str  # the si_code in words
    where: str  # what lies at addr
    pc: int
    place: str  # function+offset (file:line) of pc
    instruction: str  # "" where none could be read
    code_bytes: bytes
    remedy: str  # what to do about it, "" where nothing is known
    registers: dict[str, int]
    backtrace: tuple[Call, ...]
