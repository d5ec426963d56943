"""SigInfo: why a signal was sent, as the 128 bytes of siginfo_t that a handler gets."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kernel.abi.siginfo import siginfo_text
from kernel.abi.signal import Si

SIGINFO_SIZE = 128
_FAULT = struct.Struct("<iiiiQ104x")


class SigInfo(NamedTuple):
    """One signal on its way. `raw` is siginfo_t whole; `sig` and `code` are its si_signo and si_code."""

    sig: int
    code: int
    raw: bytes

    @property
    def addr(self) -> int:
        """si_addr: the faulting address of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP."""
        return int.from_bytes(self.raw[16:24], "little")

    @property
    def from_user(self) -> bool:
        """kill(2), sigqueue(3) and kin, not the kernel (Linux: SI_FROMUSER)."""
        return self.code <= 0

    @property
    def text(self) -> str:
        """As strace prints it."""
        return siginfo_text(self.raw)


def sent(sig: int, code: int, pid: int, uid: int) -> SigInfo:
    """By a process: kill (SI_USER), tgkill (SI_TKILL)."""
    return SigInfo(sig, code, struct.pack("<iiiiiI", sig, 0, code, 0, pid, uid).ljust(SIGINFO_SIZE, b"\0"))


def fault(sig: int, code: int, addr: int) -> SigInfo:
    """By an instruction; `addr` as Linux gives it (the data address, or the instruction's own)."""
    return SigInfo(sig, code, _FAULT.pack(sig, 0, code, 0, addr))


def kernel(sig: int) -> SigInfo:
    """By the kernel, without details (SEND_SIG_PRIV): SI_KERNEL and zeros."""
    return fault(sig, Si.KERNEL, 0)


def from_user(sig: int, raw: bytes) -> SigInfo:
    """rt_sigqueueinfo(2): the caller's own siginfo, with si_signo overwritten."""
    raw = struct.pack("<i", sig) + raw[4:SIGINFO_SIZE]
    return SigInfo(sig, int.from_bytes(raw[8:12], "little", signed=True), raw)
