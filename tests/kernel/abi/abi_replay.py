"""The real strace as an oracle of our texts: one script of raw syscalls is played on the host under strace, then each
call is printed by our table from the same registers, the same memory before and after, and the same value."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from kernel.abi.args import Call
from kernel.abi.errno import EFAULT, LinuxError
from kernel.abi.nr import NR
from kernel.syscalls.render import REFUSALS
from kernel.syscalls.table import TABLE, Entry

ARENA, SIZE = 0x10000000, 16384
M64 = (1 << 64) - 1
AT_FDCWD = -100
GOLDEN = Path(__file__).with_name("strace61.json")
EXCEPT = {
    "mseal",  # newer than strace 6.1, which prints its number
    "ptrace",  # always refused here: its words are not worth having
    "restart_syscall",  # strace names the call before it, which the recorder has not interrupted
}


@dataclass
class Arena:
    """The memory of one call while it is written down; `put` gives addresses from the bottom up."""

    inits: list[tuple[int, bytes]] = field(default_factory=list)
    top: int = 0

    def put(self, data: bytes, align: int = 16) -> int:
        at = -(-self.top // align) * align
        self.inits.append((at, data))
        self.top = at + len(data)
        return ARENA + at

    def s(self, text: str) -> int:
        return self.put(text.encode() + b"\0")

    def ints(self, form: str, *values: int) -> int:
        return self.put(struct.pack("<" + form, *values))

    def room(self, size: int = 256) -> int:
        return self.put(bytes(size))

    def iov(self, *parts: bytes | tuple[int, int]) -> int:
        """iovecs over the given bytes, or (base, length) as they are."""
        pairs = [part if isinstance(part, tuple) else (self.put(part), len(part)) for part in parts]
        return self.put(b"".join(struct.pack("<QQ", base & M64, length) for base, length in pairs))


EDGE = ARENA + SIZE  # the first byte that is not mapped
Build = Callable[[Arena], tuple[Any, ...]]


class Memory:
    """Just enough of an Mm for the kinds: the arena, and EFAULT around it."""

    def __init__(self, image: bytes) -> None:
        self.image = image

    def peek(self, va: int, length: int) -> bytes:
        at = va - ARENA
        if not 0 <= at <= at + length <= SIZE:
            raise LinuxError(EFAULT, "not in the arena")
        return self.image[at : at + length]


class Row(NamedTuple):
    """One call as it happened on a host: strace's line, the registers, the memory around it, and rax."""

    line: str
    nr: int
    raw: tuple[int, ...]
    before: bytes
    value: int
    after: bytes


def record(builds: list[Build], where: Path, recorder: Path) -> list[Row]:
    """Play the calls under strace, in `where` (a scratch folder)."""
    script, calls = [struct.pack("<Q", len(builds))], []
    for build in builds:
        arena = Arena()
        name, *args = build(arena)
        nr = name if isinstance(name, int) else NR[name]
        raw = tuple((arg & M64) for arg in [*args, 0, 0, 0, 0, 0, 0][:6])
        script.append(struct.pack("<8Q", nr, *raw, len(arena.inits)))
        before = bytearray(SIZE)
        for at, data in arena.inits:
            script.append(struct.pack("<QQ", at, len(data)) + data + bytes(-len(data) % 8))
            before[at : at + len(data)] = data
        calls.append((nr, raw, bytes(before)))
    (where / "script").write_bytes(b"".join(script))
    (where / "results").write_bytes(bytes(len(builds) * (SIZE + 8)))
    trace = where / "trace"
    subprocess.run(
        ["strace", "-o", trace, recorder, where / "script", where / "results"],
        check=True, timeout=60, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    lines = trace.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if '"BEGIN"' in line) + 1
    last = next(i for i, line in enumerate(lines) if '"END"' in line)
    results = (where / "results").read_bytes()
    rows = []
    for i, (line, call) in enumerate(zip(lines[first:last], calls, strict=True)):
        chunk = results[i * (SIZE + 8) : (i + 1) * (SIZE + 8)]
        rows.append(Row(line, *call, struct.unpack("<q", chunk[:8])[0], chunk[8:]))
    return rows


def save(rows: list[Row], path: Path) -> None:
    """The rows as JSON, a line each; memory as its runs of bytes that are not zero."""

    def runs(image: bytes) -> list[list[object]]:
        return [[run.start(), run.group().hex()] for run in re.finditer(rb"[^\0](?:.{,7}[^\0])*", image, re.DOTALL)]

    lines = [json.dumps([r.line, r.nr, r.raw, runs(r.before), r.value, runs(r.after)]) for r in rows]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def load(path: Path) -> list[Row]:
    def image(runs: list[tuple[int, str]]) -> bytes:
        whole = bytearray(SIZE)
        for at, text in runs:
            data = bytes.fromhex(text)
            whole[at : at + len(data)] = data
        return bytes(whole)

    rows = json.loads(path.read_text())
    return [Row(line, nr, tuple(raw), image(old), value, image(new)) for line, nr, raw, old, value, new in rows]


def ours(entry: Entry, row: Row) -> str:
    """The line that our table prints for the same call."""
    if not entry.ready:
        entry.compile()
    task: Any = SimpleNamespace(mm=Memory(row.before))
    call = Call(task, entry.names, entry.decode(*row.raw))
    text = entry.text.enter(call)
    task.mm = Memory(row.after)
    call.value = value = row.value
    text = entry.text.leave(call, text)
    if entry.scalar is not None:
        assert text == entry.scalar(*row.raw)
    if -4096 < value < 0:
        shown = REFUSALS[value][0]
    else:
        shown = entry.result.show(call, value)
    return f"{text:<39} = {shown}"


def differences(rows: list[Row]) -> list[str]:
    """strace's line and ours, for each call that we print otherwise. Calls without a handler are not looked at."""
    out = []
    for row in rows:
        entry = TABLE.get(row.nr)
        if entry is not None and entry.name not in EXCEPT:
            text = ours(entry, row)
            if text != row.line:
                out.append(f"strace: {row.line}\nours:   {text}")
    return out


def build_recorder(where: Path) -> Path | None:
    """The recorder, compiled; None where there is no compiler or no strace of the version compared with."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or shutil.which("strace") is None:
        return None
    version = subprocess.run(["strace", "-V"], capture_output=True, text=True, check=False).stdout
    if "version 6.1\n" not in version:
        return None
    out = where / "recorder"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run([compiler, "-O1", "-static", "-w", "-o", out, source], check=True, timeout=120)
    return out


if __name__ == "__main__":  # record the golden file anew, on a machine with strace 6.1
    import tempfile

    from abi_cases import CASES

    with tempfile.TemporaryDirectory() as folder:
        built = build_recorder(Path(folder))
        assert built is not None, "needs gcc and strace 6.1"
        save(record(CASES, Path(folder), built), GOLDEN)
