"""The report of a death by signal: plain text, in colour only where asked for."""

from __future__ import annotations

from collections.abc import Iterator

from emu.outcome import BACKTRACE_LIMIT, Call, Death

ROWS = (
    ("rax", "rbx", "rcx", "rdx"),
    ("rsi", "rdi", "rbp", "rsp"),
    ("r8", "r9", "r10", "r11"),
    ("r12", "r13", "r14", "r15"),
)
_FLAGS = ((0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (10, "DF"), (11, "OF"))
BOLD, RED, DIM, PLAIN = "\x1b[1m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"


def render(death: Death, colour: bool = False) -> str:
    """The report, several lines, ending in a newline."""
    lines = list(_lines(death))
    if colour:
        lines[0] = f"{RED}{lines[0]}{PLAIN}"
    return "\n".join(lines) + "\n"


def _lines(death: Death) -> Iterator[str]:
    yield f"=== killed by {death.name}" + (f" ({death.code}): {death.meaning}" if death.meaning else f" ({death.code})")
    if death.addr is not None:
        yield f"  address      {death.addr:#x}" + (f": {death.where}" if death.where else "")
    yield f"  at           {death.pc:#x}" + (f" {death.place}" if death.place else "")
    if death.instruction:
        yield f"  instruction  {death.instruction}  [{death.code_bytes.hex(' ')}]"
    if death.remedy:
        yield f"  remedy       {death.remedy}"
    yield "  registers"
    yield from _registers(death.registers)
    if death.backtrace:
        yield "  backtrace"
        yield from _calls(death.backtrace)


def _registers(registers: dict[str, int]) -> Iterator[str]:
    for row in ROWS:
        yield "    " + "  ".join(f"{name:>3} {registers[name]:#018x}" for name in row)
    flags = registers["rflags"]
    names = " ".join(name for bit, name in _FLAGS if flags >> bit & 1)
    yield f"    rip {registers['rip']:#018x}  rflags {flags:#x}" + (f" [{names}]" if names else "")


_HOW = {"stack": " (guessed from the stack)", "signal": " (interrupted by the signal)"}


def _calls(calls: tuple[Call, ...]) -> Iterator[str]:
    """Numbered; a run of equal frames, as endless recursion makes it, is told once."""
    i = 0
    while i < len(calls):
        same = i
        while same + 1 < len(calls) and calls[same + 1][:2] == calls[i][:2]:
            same += 1
        call = calls[i]
        yield f"    #{i:<3} {call.pc:#018x} {call.place or '?'}{_HOW.get(call.how, '')}"
        if same > i + 1:
            yield f"         … {same - i} more of the same"
            i = same
        i += 1
    if len(calls) >= BACKTRACE_LIMIT:
        yield f"         … and what lies further out than {BACKTRACE_LIMIT} frames"
