"""Random oracle scripts, biased to boundaries, neighbours, overlaps, unaligned and huge values, and limits.

The source of choices is a `random.Random`, seeded, or one that hypothesis gives (strategies.randoms), which can shrink
what it chose. What guest/oracle/play.c must not be asked (to unmap itself) is avoided here.
"""

from __future__ import annotations

import re
from random import Random

ADVICES = [0, 1, 2, 3, 4, 4, 4, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 102, 103, 102]
BYTES = (0xC3, 0xC3, 0x90, 0xF4, 0x06)  # ret, nop, hlt, an invalid opcode: what `call` may meet does no harm
EDGES = ("0", "1", "10000", "a+1", "t-1", "t+0", "7ffffffff000", "800000000000", "8000000000000000", "-1000", "-1")
M64 = (1 << 64) - 1
MIB = 1 << 20
CONTENTS = ("smaps", "status", "faults")  # smaps has the lines of maps


def _hex(value: int) -> str:
    return f"{value:x}" if value >= 0 else f"-{-value:x}"


class Writer:
    """Writes one script; remembers nothing of what happens, but where things are likely to be."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.vast = self.locks_all = False  # not both: nobody wants to wait for terabytes to be made present
        self.files_too = rng.random() < 0.3
        self.seals_too = rng.random() < 0.2  # a write to a sealed file from a bad address: EPERM or EFAULT, in fs
        self.numa_too = rng.random() < 0.15
        self.others_too = rng.random() < 0.3
        if self.files_too:
            self.lines += ["memfd 5", "memfd 2"]
        if self.numa_too:
            self.lines += ["poke s+0 1", "poke s+10 2", "poke s+20 3", "poke s+38 1"]

    def start(self) -> None:
        """Some scripts run without privileges, some of those near a limit."""
        rng = self.rng
        if rng.random() < 0.6:
            return
        for resource, lowest, spread in ((8, 0, 40), (9, 0x40, 0x80), (2, 0x28, 0x40), (3, 8, 40)):
            if rng.random() < 0.3:
                soft = (lowest + rng.randrange(spread)) * 4096 + rng.choice([0, 100])
                self.lines.append(f"limit {resource:x} {soft:x}")
        self.lines.append("drop")

    def va(self) -> str:
        rng = self.rng
        odds = rng.random()
        if odds < 0.02:
            return rng.choice(EDGES)
        if odds < 0.08:
            return f"t-{rng.randrange(0, 14) * 4096:x}"
        if odds < 0.11:
            return f"h+{rng.randrange(0, 6) * 4096:x}"
        return f"a+{rng.randrange(16) * 4096:x}"

    def size(self, va: str, *, huge: bool = True, beyond: bool = True) -> int:
        """A length; none that would reach the player or its stack. `beyond`: may it end past the address space, for
        a call that refuses this?"""
        rng = self.rng
        if rng.random() < 0.03:
            sizes = [0, 1, 4095, 4097, M64]
            if beyond:
                sizes += [1 << 63, M64 - 4095]
            if huge and va[0] == "a":
                sizes += [1 << 21, 1 << 30, 1 << 46]
            return rng.choice(sizes)
        return rng.choice([1, 1, 1, 2, 2, 3, 4, 6, 9]) * 4096

    def _sane(self, size: int) -> int:
        """The length of a new mapping."""
        if 1 << 20 < size < 1 << 47:
            if self.locks_all:
                return 4096
            self.vast = True
        return size

    def call(self, name: str, *args: int | str) -> None:
        self.lines.append(" ".join([name, *[arg if isinstance(arg, str) else _hex(arg) for arg in args]]))

    def step(self) -> None:
        rng = self.rng
        kinds = ["mmap"] * 8 + ["touch"] * 8 + ["munmap"] * 3 + ["mprotect"] * 5 + ["mremap"] * 5 + ["madvise"] * 5
        kinds += ["mlock"] * 2 + ["rare", "resident", "brk", "look"] + ["numa"] * 4 * self.numa_too
        kinds += ["file"] * 8 * self.files_too + ["other"] * 4 * self.others_too
        getattr(self, rng.choice(kinds))()

    def look(self) -> None:
        """Observe in the middle: the short ones more often."""
        texts = ["maps", "maps", "faults", "status", "smaps"]
        self.lines.append(self.rng.choice(texts + ["numa_maps"] * self.numa_too))

    def mmap(self) -> None:
        rng = self.rng
        prot = rng.choice([0, 1, 1, 2, 3, 3, 3, 3, 3, 3, 5, 7])
        flags = 0x20 | rng.choice([2, 2, 2, 2, 2, 1])
        addr = "0"
        if rng.random() < 0.75:
            flags |= rng.choice([0x10, 0x10, 0x10, 0x100000, 0])
            addr = self.va()
        for bit, odds in ((0x100, 0.06), (0x2000, 0.05), (0x4000, 0.05), (0x8000, 0.08), (0x20000, 0.05), (0x40, 0.04)):
            if rng.random() < odds:
                flags |= bit
        size = self._sane(self.size(addr))
        if size > 1 << 24:
            flags &= ~0xA000  # nobody wants to wait for it
        if rng.random() < 0.03:
            flags ^= rng.choice([1, 2, 3, 0x80000, 8])
        self.call("mmap", addr, size, prot, flags, -1, rng.choice([0] * 30 + [4096, 1, M64 & ~4095]))

    def touch(self) -> None:
        rng, va = self.rng, self.va()
        odds = rng.random()
        if odds < 0.4:
            self.lines.append(f"load {va}")
        elif odds < 0.9:
            self.lines.append(f"store {va} {rng.choice(BYTES):x}")
        else:
            self.lines.append(f"call {va}")

    def munmap(self) -> None:
        va = self.va()
        self.call("munmap", va, self.size(va))

    def mprotect(self) -> None:
        rng, va = self.rng, self.va()
        prot = rng.choice([0, 1, 1, 3, 3, 3, 3, 5, 7, 2, 8, 16, 0x1000000, 0x2000001, 0x1000003, 0x3000001])
        if rng.random() < 0.1:
            self.call("pkey_mprotect", va, self.size(va), prot, rng.choice([-1, -1, 5, 16]))
        else:
            self.call("mprotect", va, self.size(va), prot)

    def mremap(self) -> None:
        rng, va = self.rng, self.va()
        flags = rng.choice([0, 1, 1, 3, 3, 3, 5, 7, 2, 4, 8])
        old = self.size(va) if rng.random() < 0.93 else 0
        to = self.va()
        new = old if rng.random() < 0.5 else self.size(to)
        if new in (1 << 30, 1 << 46):
            new = 1 << 21
        new = self._sane(new)
        self.call("mremap", va, old, new, flags, to)

    def madvise(self) -> None:
        rng, va = self.rng, self.va()
        advice = rng.choice(ADVICES) if rng.random() < 0.97 else rng.choice([5, 26, 99, M64])
        size = self.size(va, beyond=False)
        if advice in (22, 23, 102) and size > 1 << 22:
            size = 4096
        self.call("madvise", va, size, self._mlocked(advice))

    def _mlocked(self, advice: int) -> int:
        """The advice, or another where pages may be locked whose mapping is not: NOT_ASKED."""
        if advice != 21 or not any(re.match(r"mremap \S+ \S+ \S+ [4567] ", line) for line in self.lines):
            return advice
        locks = self.locks_all or any(line.startswith("mlock") or self._maps_locked(line) for line in self.lines)
        return 20 if locks else advice

    @staticmethod
    def _maps_locked(line: str) -> bool:
        words = line.split()
        return words[0] == "mmap" and bool(int(words[4], 16) & 0x2000)

    def mlock(self) -> None:
        rng, va = self.rng, self.va()
        name = rng.choice(["mlock", "munlock", "mlock2"])
        size = self.size(va, huge=False)
        self.call(name, va, size, *([rng.choice([0, 1, 1, 2])] if name == "mlock2" else []))

    def rare(self) -> None:
        rng, va = self.rng, self.va()
        name = rng.choice(["mseal", "msync", "remap_file_pages", "mlockall", "munlockall"])
        if name == "mseal":
            self.call(name, va, self.size(va), rng.choice([0, 0, 0, 1]))
        elif name == "msync":
            self.call(name, va, self.size(va), rng.choice([0, 1, 2, 4, 5, 6, 8]))
        elif name == "remap_file_pages":
            self.call(name, va, self.size(va), rng.choice([0, 0, 0, 1]), rng.randrange(6), rng.choice([0, 0x10000]))
        elif name == "mlockall" and not self.vast:
            self.locks_all = True
            self.call(name, rng.choice([1, 2, 3, 3, 6, 7, 4, 0, 8]))
        else:
            self.call("munlockall")

    def resident(self) -> None:
        rng, va = self.rng, self.va()
        if rng.random() < 0.7:
            self.lines.append(f"resident {va} {rng.randrange(1, 12):x}")
        else:
            size = self.size(va)
            if size in (1 << 30, 1 << 46):
                size = 1 << 21  # a longer vector would be written over the player's own state, behind its scratch pages
            self.call("mincore", va, size, rng.choice(["s+800", "s+800", self.va(), "0", "-1000"]))

    def brk(self) -> None:
        rng = self.rng
        base = rng.choice(["h+0", "h+1", "h+1000", "h+2000", "h+4e20", "h-1000", "h+11170", "h+5000", "0", "a+0"])
        self.call("brk", base)

    def file(self) -> None:
        """Map one of two memfds, or do something to one."""
        rng = self.rng
        fd = rng.choice([3, 3, 4])
        which = rng.randrange(10)
        if which < 5:
            prot, flags = rng.choice([0, 1, 1, 3, 3, 3, 5, 7]), rng.choice([1, 1, 2, 2, 2, 3, 0])
            flags |= rng.choice([0x10, 0x10, 0x10, 0])
            flags |= rng.choice([0] * 6 + [0x8000, 0x2000, 0x100, 0x80000, 0x100000])
            offset = rng.choice([0, 0, 0, 1, 2, 3, 6]) * 4096
            if rng.random() < 0.05:
                offset = rng.choice([1, 1 << 62, 1 << 63])
            va = self.va()
            size = self._sane(min(self.size(va), 1 << 40))
            self.call("mmap", va, size, prot, flags, rng.choice([fd] * 12 + [9]), offset)
        elif which == 5:
            self.call("ftruncate", fd, rng.choice([0, 1, 100, 4096, 5000, 8192, 20000, 40000]))
        elif which == 6:
            self.call("fallocate", fd, 3, rng.choice([0, 0, 4096, 8192]), rng.choice([0, 4096, 8192, 9000]))
        elif which < 9:
            name = rng.choice(["pread64", "pwrite64"] if not self.seals_too else ["pread64"])
            va = "s+0" if name == "pwrite64" else self.va()  # a failed write leaves pages in Linux's page cache
            self.call(name, fd, va, rng.choice([1, 100, 900, 5000]), rng.choice([0, 100, 4000, 8192]))
        elif self.seals_too:
            self.call("fcntl", fd, 1033, rng.choice([2, 4, 8, 16]))

    def numa(self) -> None:
        rng = self.rng
        mask = rng.choice(["0", "s+0", "s+0", "s+0", "s+8", "s+10", "s+20", "s+30", "s+ffc", "1000"])
        maxnode = rng.choice([0, 1, 2, 2, 3, 8, 64, 65, 129, 32769, 32770, M64])
        mode = rng.choice([0, 1, 2, 2, 3, 4, 5, 6, 7]) | rng.choice([0, 0, 0, 0x8000, 0x4000, 0xC000, 0x2000])
        which = rng.randrange(7)
        va = self.va()
        if which < 3:
            size = self.size(va, beyond=False)
            self.call("mbind", va, size, mode, mask, maxnode, rng.choice([0, 0, 0, 1, 2, 3, 4, 8]))
        elif which == 3:
            self.call("set_mempolicy", mode, mask, maxnode)
        elif which == 4:
            flags = rng.choice([0, 0, 1, 2, 2, 2, 3, 4, 5, 8])
            out, room = rng.choice(["0", "s+200"]), rng.choice([0, 1, 2, 64, 65, 200])
            addr = va if flags & 2 or rng.random() < 0.1 else "0"
            self.call("get_mempolicy", "s+100", out, room, addr, flags)
            self.lines += [f"peek s+{at:x}" for at in (0x100, 0x200, 0x208)]
        elif which == 5:
            size, node = self.size(va), rng.choice([0, 0, 0, 1, 64])
            self.call("set_mempolicy_home_node", va, size, node, rng.choice([0, 0, 0, 1]))
        else:
            self.lines += [f"poke s+400 {va}", f"poke s+408 {self.va()}", "poke s+480 0", "poke s+500 5555555555555555"]
            nodes = rng.choice(["0", "0", "s+480", "s+480", self.va()])
            self.call("move_pages", 0, rng.choice([0, 1, 2, 2, 3]), "s+400", nodes, rng.choice(["s+500", "s+500", "0"]),
                      rng.choice([0, 0, 2, 2, 4, 1]))  # fmt: skip
            self.lines.append("peek s+500")

    def other(self) -> None:
        """Calls that move data or advise by vectors, prctl's name for a mapping, limits in the middle."""
        rng, va = self.rng, self.va()
        which = rng.randrange(9)
        if which == 0:
            self.lines += [f"poke s+600 {va}", f"poke s+608 {_hex(self.size(va, huge=False, beyond=False))}"]
            advice = self._mlocked(rng.choice([20, 21, 3, 25, 4, 8, 0, 99]))
            pidfd, count = rng.choice([-10000, -10001, -10001, 3, -1]), rng.choice([0, 1, 1, 1, 2])
            self.call("process_madvise", pidfd, "s+600", count, advice, rng.choice([0, 0, 0, 1]))
        elif which == 1:
            self.call("prctl", 0x53564D41, 0, va, self.size(va), rng.choice(["0", "s+700", "s+700", "1000"]))
        elif which == 2:
            self.call("munmap", self.va(), rng.choice([4096, 8192]))
            self.call("mmap", "0", self._sane(self.size("0")), 3, 0x22, -1, 0)
        elif which == 3:
            self.lines.append(f"poke {va} {self.va()}")
        elif which == 4:
            self.lines.append(f"pagemap {va} {rng.randrange(1, 12):x}")
        elif which == 5:
            here, n = rng.choice(["s+0", self.va()]), rng.choice([0, 1, 100, 4096, 5000, 8192])
            self.call(*rng.choice([("vmread", here, va, n), ("vmwrite", va, here, n)]))
        elif which == 6:
            self.call("pkey_free", rng.choice([5, 16, -1]))
        elif which == 7:
            resource, pages = rng.choice([(8, 8), (9, 0x60), (2, 0x40), (3, 0x20)])
            self.lines.append(f"limit {resource:x} {rng.choice([0, pages << 12, (pages << 13) + 100]):x}")
        else:
            self.lines.append(f"peek {va}")


def script(rng: Random, steps: int = 0) -> list[str]:
    """A script of 20 to 60 operations (or so many), which ends with all observations."""
    writer = Writer(rng)
    writer.start()
    wanted = steps or rng.randrange(17, 57)
    while len(writer.lines) < wanted:
        writer.step()
    return [*writer.lines, *["numa_maps"] * writer.numa_too, *CONTENTS]


def seeded(seed: int, steps: int = 0) -> list[str]:
    """The script of a seed."""
    return script(Random(seed), steps)
