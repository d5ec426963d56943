"""siginfo_t as strace prints it (strace: printsiginfo)."""

from __future__ import annotations

from kernel.abi.args import Option, pointer
from kernel.abi.signal import (
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    BusCode,
    CldCode,
    FpeCode,
    IllCode,
    SegvCode,
    Si,
    TrapCode,
    signame,
)

_CODES: dict[int, type[Option]] = {
    SIGSEGV: SegvCode, SIGBUS: BusCode, SIGILL: IllCode, SIGFPE: FpeCode, SIGTRAP: TrapCode, SIGCHLD: CldCode
}  # fmt: skip
_FAULTS = (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP)


def siginfo_text(raw: bytes) -> str:
    """`{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}`, from at least 32 bytes."""
    sig, errno, code, pid, uid = (_int(raw, at) for at in (0, 4, 8, 16, 20))
    words = [f"si_signo={signame(sig)}", f"si_code={code_name(sig, code)}"]
    if errno:
        words.append(f"si_errno={errno}")
    if code > 0 and sig in _FAULTS:
        words.append(f"si_addr={pointer(int.from_bytes(raw[16:24], 'little'))}")
    else:
        words += _sender(raw, code, pid, uid)
    return "{" + ", ".join(words) + "}"


def _sender(raw: bytes, code: int, pid: int, uid: int) -> list[str]:
    named = code in (Si.USER, Si.TKILL)
    words = [f"si_pid={pid}", f"si_uid={uid & 0xFFFFFFFF}"] if named or code <= 0 or pid or uid else []
    value = int.from_bytes(raw[24:32], "little")
    if value and not named:
        words += [f"si_int={_int(raw, 24)}", f"si_ptr={pointer(value)}"]
    return words


def _int(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little", signed=True)


def code_name(sig: int, code: int) -> str:
    """The si_code's name (`SEGV_MAPERR`, `SI_USER`); a number in hex where it has none."""
    option = _CODES.get(sig)
    for known in (Si, option) if option else (Si,):
        for value, name in known.words():
            if value == code:
                return name
    return f"{code & 0xFFFFFFFF:#x}"
