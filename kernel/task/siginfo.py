"""SigInfo: why a signal was sent, as the 128 bytes of siginfo_t that a handler gets, and as strace's text."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kernel.abi.args import Option, pointer
from kernel.abi.signal import (
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    BusCode,
    FpeCode,
    IllCode,
    SegvCode,
    Si,
    TrapCode,
    signame,
)

SIGINFO_SIZE = 128
_CODES: dict[int, type[Option]] = {
    SIGSEGV: SegvCode, SIGBUS: BusCode, SIGILL: IllCode, SIGFPE: FpeCode, SIGTRAP: TrapCode
}  # fmt: skip


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
        """`{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}` (strace: printsiginfo)."""
        errno, pid, uid = (int.from_bytes(self.raw[at : at + 4], "little", signed=True) for at in (4, 16, 20))
        value = int.from_bytes(self.raw[24:32], "little")
        words = [f"si_signo={signame(self.sig)}", f"si_code={code_name(self.sig, self.code)}"]
        if errno:
            words.append(f"si_errno={errno}")
        if not self.from_user and self.sig in (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP):
            words.append(f"si_addr={pointer(self.addr)}")
        else:
            named = self.code in (Si.USER, Si.TKILL)
            if named or self.from_user or pid or uid:
                words += [f"si_pid={pid}", f"si_uid={uid}"]
            if value and not named:
                number = int.from_bytes(self.raw[24:28], "little", signed=True)
                words += [f"si_int={number}", f"si_ptr={pointer(value)}"]
        return "{" + ", ".join(words) + "}"


def code_name(sig: int, code: int) -> str:
    """The si_code's name (`SEGV_MAPERR`, `SI_USER`); a number in hex where it has none."""
    option = _CODES.get(sig)
    for known in (Si, option) if option else (Si,):
        for value, name in known.words():
            if value == code:
                return name
    return f"{code & 0xFFFFFFFF:#x}"


def sent(sig: int, code: int, pid: int, uid: int) -> SigInfo:
    """By a process: kill (SI_USER), tgkill (SI_TKILL)."""
    return SigInfo(sig, code, struct.pack("<iiiiiI", sig, 0, code, 0, pid, uid).ljust(SIGINFO_SIZE, b"\0"))


def fault(sig: int, code: int, addr: int) -> SigInfo:
    """By an instruction; `addr` as Linux gives it (the data address, or the instruction's own)."""
    return SigInfo(sig, code, struct.pack("<iiiiQ", sig, 0, code, 0, addr).ljust(SIGINFO_SIZE, b"\0"))


def kernel(sig: int) -> SigInfo:
    """By the kernel, without details (SEND_SIG_PRIV): SI_KERNEL and zeros."""
    return fault(sig, Si.KERNEL, 0)


def from_user(sig: int, raw: bytes) -> SigInfo:
    """rt_sigqueueinfo(2): the caller's own siginfo, with si_signo overwritten."""
    raw = struct.pack("<i", sig) + raw[4:SIGINFO_SIZE]
    return SigInfo(sig, int.from_bytes(raw[8:12], "little", signed=True), raw)
