"""Plays an oracle script (see oracle.c) on our address space and renders what happened as the oracle does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from kernel.cpu import Access
from kernel.fs import memfd
from kernel.mm import vma as vm
from kernel.mm.check import check
from kernel.mm.fault import Fault, handle_mm_fault
from kernel.mm.mm import Mm
from kernel.mm.residency import mincore
from kernel.mm.stats import MNEMONICS, vm_flags, vma_stats
from kernel.mm.uaccess import copy_to_user_partial
from kernel.mm.vma import Vma
from kernel.syscalls.table import dispatch

sys.path.append(str(Path(__file__).parents[2]))

from fakes import World

HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) (\S+) (\d+) *(.*)$")
SPECIAL = ("[stack]", "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]")
FLAG = {word: bit for bit, word in MNEMONICS}
M64 = (1 << 64) - 1
Row = tuple[Any, ...]


def parse(text: str) -> tuple[list[str], list[tuple[str, list[Row], str]]]:
    """(the fields of /proc/self/stat, for each step what it printed, its VMAs and its status line)."""
    stat, _, rest = text.partition("\n")
    steps: list[tuple[str, list[Row], str]] = []
    said, status = "", ""
    rows: list[Row] = []
    current: dict[str, Any] = {}
    for line in rest.split("\n"):
        if line == ".":
            steps.append((said, rows, status))
            said, rows, status = "", [], ""
        elif match := HEAD.match(line):
            current = {"head": match.groups()}
        elif line.startswith("VmFlags:"):
            lo, hi, perms, offset, _, _, name = current["head"]
            rows.append((int(lo, 16), int(hi, 16), perms, int(offset, 16), name, line[8:].split(), current))
        elif line.startswith("VmLck:"):
            status = " ".join(line.split())
        elif ":" in line:
            word, value = line.split(":")
            current[word] = int(value.split()[0])
        elif line:
            said = line
    return stat.rsplit(")", 1)[1].split(), steps


def host_rows(rows: list[Row], image: set[int]) -> list[str]:
    """The VMAs that a script can have changed, one line each."""
    lines = []
    for lo, hi, perms, offset, name, flags, counts in rows:
        if lo in image or name in SPECIAL:
            continue
        offset = offset if name.startswith("/") else 0
        flags = [flag for flag in flags if flag in FLAG]
        lines.append(_line(lo, hi, perms, offset, counts, " ".join(flags)))
    return lines


def _line(lo: int, hi: int, perms: str, offset: int, counts: dict[str, int], flags: str) -> str:
    # Not Referenced and LazyFree: Linux sets both late, when a per-CPU batch of pages is full.
    words = ("Rss", "Anonymous", "Locked")
    shown = " ".join(f"{word}={counts.get(word, 0)}" for word in words)
    return f"{lo:x}-{hi:x} {perms} {offset:x} {shown} {flags}"


class Replay:
    """Our side: an Mm with the host process's own mappings in it, so that placement is the same."""

    def __init__(self, stat: list[str], rows: list[Row]) -> None:
        self.world = World(uid=0, gid=0, ram_bytes=128 << 20)
        self.task = self.world.task
        self.limits = self.task.rlimits
        old = self.task.mm
        self.mm = self.task.mm = Mm(old.ram, old.frames, old.probes, self.limits, privileged=True)
        old.destroy()
        self.frames = self.mm.frames
        self.frames.commit.ram_pages = 6 << 20
        self.task.files.install(self.task.files.get(0))  # the oracle's /dev/zero
        self.image = set()
        for lo, hi, _, _, name, flags, _ in rows:
            if name == "[vsyscall]":
                continue
            bits = sum(FLAG[flag] for flag in flags if flag in FLAG)
            vma = Vma(lo, hi, bits, None, lo >> 12, file=object() if name.startswith("/") else None)
            self.mm.add(vma)
            self.mm.account(bits, vma.pages)
            if bits & vm.ACCOUNT:
                self.frames.commit.committed += vma.pages
            self.image.add(lo)
            if name == "[stack]":
                self.mm.start_stack = hi - 256
        self.mm.start_data, self.mm.end_data, self.mm.start_brk = (int(stat[n]) for n in (42, 43, 44))
        self.mm.brk = self.mm.start_brk

    def play(self, line: str) -> str:
        """One operation; what the oracle would print."""
        words = line.split()
        a = [int(word, 16) for word in words[1:]] + [0] * 7
        if words[0] == "s":
            return f"= {self.call(*a[:7]) & M64:x}"
        if words[0] == "m":
            return self.mincore(a[0], a[1])
        if words[0] == "b":
            return f"= {self.call(12, self.mm.start_brk + a[0] & M64):x}"
        if words[0] == "l":
            self.limits.cur[a[0]] = a[1]
            return "= 0"
        if words[0] == "i":
            return f"= {self.call(117, a[0], a[0], a[0]):x}"
        if words[0] == "f":
            file = memfd.make_memfd(self.task.system.vfs, self.task.cred, b"m", sealable=True, executable=True)
            fd = self.task.files.install(file)
            return f"= {self.call(77, fd, a[0] << 12) or fd:x}"
        if words[0] == "k":
            done = copy_to_user_partial(self.mm, a[0], bytes(a[1]))
            return f"= {done if done or not a[1] else -14 & M64:x}"
        return self.touch(words[0], a[0], a[1])

    def call(self, nr: int, *args: int) -> int:
        result = dispatch(self.task, nr, *[*args, 0, 0, 0, 0, 0, 0][:6])
        assert isinstance(result, int)
        return result

    def mincore(self, va: int, pages: int) -> str:
        vector = b""
        result = 0
        from kernel.abi.errno import LinuxError

        if va & 4095:
            result, vector = -22, bytes([7]) * pages
        else:
            while len(vector) < pages:
                try:
                    vector += mincore(self.mm, va + (len(vector) << 12), pages - len(vector))
                except LinuxError as error:
                    result = -error.errno
                    vector += bytes([7]) * (pages - len(vector))
        return " ".join([f"= {result & M64:x}", *map(str, vector)])

    def touch(self, kind: str, va: int, value: int) -> str:
        if 1 << 47 <= va < (1 << 64) - (1 << 47):
            return "sig 11 128 0"  # the CPU's #GP
        access = Access.WRITE if kind == "w" else Access.READ
        wanted = 3 if kind == "w" else 1
        while self.mm.page_table.entry(va) & wanted != wanted:
            fault = handle_mm_fault(self.mm, va, access)
            if fault is not Fault.OK:
                signal = {Fault.MAPERR: "11 1", Fault.ACCERR: "11 2", Fault.BUS: "7 2"}[fault]
                return f"sig {signal} {va:x}"
        if kind == "w":
            self.mm.copy_to_user(va, bytes([value & 255]))
            return "ok"
        return f"ok {self.mm.copy_from_user(va, 1)[0]:x}"

    def rows(self) -> list[str]:
        lines = []
        for vma in self.mm.vmas:
            if vma.start in self.image or vma.start < self.mm.start_stack < vma.end:
                continue
            stats = vma_stats(self.mm, vma)
            pss = stats.pss_bytes >> 10
            counts = {"Rss": stats.rss * 4, "Referenced": stats.referenced * 4, "Anonymous": stats.anonymous * 4,
                      "LazyFree": stats.lazyfree * 4, "Locked": pss if vma.flags & vm.LOCKED else 0}  # fmt: skip
            shown = vma.pgoff << 12 if vma.mappable is not None else 0
            flags = vm_flags(vma).strip()
            perms = "".join(c if vma.flags & b else "-" for c, b in (("r", 1), ("w", 2), ("x", 4)))
            lines.append(_line(vma.start, vma.end, perms + ("s" if vma.shared else "p"), shown, counts, flags))
        return lines

    def check(self) -> None:
        check(self.mm)


def compare(script: list[str], text: str) -> str:
    """"" if both sides agree, else where they first differ."""
    stat, steps = parse(text)
    ours = Replay(stat, steps[0][1])
    initial = {row[0] for row in steps[0][1]}
    for n, line in enumerate(script):
        said, rows, status = steps[n + 1]
        got = ours.play(line)
        if got != said:
            return f"step {n}: {line}\n  Linux: {said}\n  ours:  {got}"
        theirs, mine = host_rows(rows, initial), ours.rows()
        if theirs != mine:
            only = "\n".join([f"  Linux: {row}" for row in theirs if row not in mine]
                             + [f"  ours:  {row}" for row in mine if row not in theirs])  # fmt: skip
            return f"step {n}: {line}\n{only}"
        locked = f"VmLck: {ours.mm.locked_vm * 4} kB"
        if not status.startswith(locked):
            return f"step {n}: {line}\n  Linux: {status}\n  ours:  {locked}"
        ours.check()
    return ""
