"""Random oracle scripts, biased to boundaries, neighbours and overlaps."""

from __future__ import annotations

from random import Random

NR = {"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "msync": 26, "madvise": 28,
      "mlock": 149, "munlock": 150, "mlock2": 325, "mlockall": 151, "munlockall": 152, "mseal": 462,
      "remap_file_pages": 216, "mbind": 237, "set_mempolicy": 238, "get_mempolicy": 239, "home": 450, "ftruncate": 77,
      "fallocate": 285, "pread64": 17, "fcntl": 72}  # fmt: skip
ARENA = 0x1000_0000_0000 - 0x8000  # a boundary of all table levels lies 8 pages in
MASKS = 0x2000_0000_0000  # a page of node masks
ADVICES = [0, 1, 2, 3, 4, 4, 4, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 102, 103, 102]
M64 = (1 << 64) - 1


class Writer:
    """Writes one script; remembers nothing of what happens, but where things are likely to be."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.lines: list[str] = []
        self.files_too = self.rng.random() < 0.3
        self.numa_too = self.rng.random() < 0.2
        if self.files_too:
            self.lines += ["f 5", "f 2"]
        if self.numa_too:
            self.call("mmap", MASKS, 4096, 3, 0x32, M64, 0)
            self.lines += [f"w {MASKS + offset:x} {byte:x}" for offset, byte in ((0, 1), (16, 2), (32, 3), (56, 1))]

    def limits(self) -> None:
        """Half of the scripts run without privileges, and near a limit."""
        rng = self.rng
        if rng.random() < 0.5:
            return
        for resource, lowest, spread in ((8, 0, 40), (9, 0x2A00, 0x80), (2, 0x2600, 0x60), (3, 8, 40)):
            if rng.random() < 0.3:
                self.lines.append(f"l {resource:x} {(lowest + rng.randrange(spread)) * 4096 + rng.choice([0, 100]):x}")
        self.lines.append("i 3e8")

    def va(self) -> int:
        rng = self.rng
        if rng.random() < 0.02:
            return rng.choice([0, 1, 0x10000, ARENA + 1, 0x7FFFFFFFF000, 1 << 47, 1 << 63, M64 & ~4095, M64])
        if rng.random() < 0.08:
            return 0x7FFFF7FF7000 - rng.randrange(10, 22) * 4096
        return ARENA + rng.randrange(16) * 4096

    def size(self) -> int:
        rng = self.rng
        if rng.random() < 0.03:
            return rng.choice([0, 1, 4095, 4097, 1 << 21, 1 << 30, 1 << 47, 1 << 63, M64, M64 - 4095])
        return rng.choice([1, 1, 1, 2, 2, 3, 4, 6, 9]) * 4096

    def call(self, name: str, *args: int) -> None:
        self.lines.append(" ".join(["s", f"{NR[name]:x}", *[f"{arg & M64:x}" for arg in args]]))

    def step(self) -> None:
        rng = self.rng
        kinds = ["mmap"] * 8 + ["touch"] * 8 + ["munmap"] * 3 + ["mprotect"] * 5 + ["mremap"] * 5 + ["madvise"] * 5
        kinds += ["mlock"] * 2 + ["rare", "kernel", "mincore", "brk"] + ["numa"] * 4 * self.numa_too
        kinds += ["file"] * 8 * self.files_too
        getattr(self, rng.choice(kinds))()

    def mmap(self) -> None:
        rng = self.rng
        prot = rng.choice([0, 1, 1, 2, 3, 3, 3, 3, 5, 7])
        flags = 0x20 | rng.choice([2, 2, 2, 2, 2, 1])
        where = rng.random()
        if where < 0.75:
            flags |= rng.choice([0x10, 0x10, 0x10, 0x100000, 0])
            addr = self.va()
        else:
            addr = 0
        for bit, odds in ((0x100, 0.06), (0x2000, 0.05), (0x4000, 0.05), (0x8000, 0.08), (0x20000, 0.05), (0x40, 0.04)):
            if rng.random() < odds:
                flags |= bit
        size = self.size()
        if size > 1 << 24:
            flags &= ~0xA000  # nobody wants to wait for it
        if rng.random() < 0.03:
            flags ^= rng.choice([1, 2, 3, 0x80000, 8])
        self.call("mmap", addr, size, prot, flags, M64, rng.choice([0] * 30 + [4096, 1, M64 & ~4095]))

    def touch(self) -> None:
        va = self.va()
        if self.rng.random() < 0.5:
            self.lines.append(f"r {va:x}")
        else:
            self.lines.append(f"w {va:x} {self.rng.randrange(256):x}")

    def munmap(self) -> None:
        self.call("munmap", self.va(), self.size())

    def mprotect(self) -> None:
        prot = self.rng.choice([0, 1, 1, 3, 3, 3, 5, 7, 2, 8, 16, 0x1000000, 0x2000001, 0x1000003])
        self.call("mprotect", self.va(), self.size(), prot)

    def mremap(self) -> None:
        rng = self.rng
        flags = rng.choice([0, 1, 1, 3, 3, 3, 5, 7, 2, 4, 8])
        old = self.size() if rng.random() < 0.93 else 0
        new = old if rng.random() < 0.5 else self.size()
        if new == 1 << 30:
            new = 1 << 21
        self.call("mremap", self.va(), old, new, flags, self.va())

    def madvise(self) -> None:
        advice = self.rng.choice(ADVICES) if self.rng.random() < 0.97 else self.rng.choice([5, 26, 99, M64])
        size = self.size()
        if advice in (22, 23, 102) and size > 1 << 22:
            size = 4096
        self.call("madvise", self.va(), size, advice)

    def mlock(self) -> None:
        rng = self.rng
        name = rng.choice(["mlock", "munlock", "mlock2"])
        args = [self.va(), self.size()] + ([rng.choice([0, 1, 1, 2])] if name == "mlock2" else [])
        self.call(name, *args)

    def rare(self) -> None:
        rng = self.rng
        name = rng.choice(["mseal", "msync", "remap_file_pages", "mlockall", "munlockall"])
        if name == "mseal":
            self.call(name, self.va(), self.size(), rng.choice([0, 0, 0, 1]))
        elif name == "msync":
            self.call(name, self.va(), self.size(), rng.choice([0, 1, 2, 4, 5, 6, 8]))
        elif name == "remap_file_pages":
            prot, flags = rng.choice([0, 0, 0, 1]), rng.choice([0, 0x10000])
            self.call(name, self.va(), self.size(), prot, rng.randrange(6), flags)
        elif name == "munlockall":
            self.call(name)

    def kernel(self) -> None:
        self.lines.append(f"k {self.va():x} {self.rng.choice([1, 4096, 4097, 9000, 20000]):x}")

    def mincore(self) -> None:
        self.lines.append(f"m {self.va() & ~4095:x} {self.rng.randrange(1, 12):x}")

    def brk(self) -> None:
        self.lines.append(f"b {self.rng.choice([0, 1, 4096, 8192, 20000, -4096, 70000]) & M64:x}")


    def file(self) -> None:
        """Map one of two memfds, or do something to one."""
        rng = self.rng
        fd = rng.choice([4, 4, 5])
        which = rng.randrange(10)
        if which < 5:
            prot, flags = rng.choice([0, 1, 1, 3, 3, 3, 5, 7]), rng.choice([1, 1, 2, 2, 2, 3, 0])
            flags |= rng.choice([0x10, 0x10, 0x10, 0])
            flags |= rng.choice([0] * 6 + [0x8000, 0x2000, 0x100, 0x80000, 0x100000])
            offset = rng.choice([0, 0, 0, 1, 2, 3, 6]) * 4096
            if rng.random() < 0.05:
                offset = rng.choice([1, 1 << 62, 1 << 63])
            size = min(self.size(), 1 << 40)
            self.call("mmap", self.va(), size, prot, flags, rng.choice([fd] * 12 + [9]), offset)
        elif which == 5:
            self.call("ftruncate", fd, rng.choice([0, 1, 100, 4096, 5000, 8192, 20000, 40000]))
        elif which == 6:
            # A hole inside the first page alone unmaps all the others (a quirk of shmem_fallocate): not asked for.
            at = rng.choice([0, 100, 4096, 8192])
            self.call("fallocate", fd, 3, at, rng.choice([0, 4096, 9000]))
        elif which < 9:
            self.call("pread64", fd, self.va(), rng.choice([1, 100, 5000]), rng.choice([0, 100, 4000, 8192]))
        elif rng.random() < 0.3:
            self.call("fcntl", fd, 1033, rng.choice([2, 4, 8, 16]))

    def numa(self) -> None:
        rng = self.rng
        mask = rng.choice([0, MASKS, MASKS, MASKS, MASKS + 8, MASKS + 16, MASKS + 32, MASKS + 48, MASKS + 4092, 4096])
        maxnode = rng.choice([0, 1, 2, 2, 3, 8, 64, 65, 129, 32769, 32770, M64])
        mode = rng.choice([0, 1, 2, 2, 3, 4, 5, 6, 7]) | rng.choice([0, 0, 0, 0x8000, 0x4000, 0xC000, 0x2000])
        which = rng.randrange(6)
        if which < 3:
            self.call("mbind", self.va(), self.size(), mode, mask, maxnode, rng.choice([0, 0, 0, 1, 2, 3, 4, 8]))
        elif which == 3:
            self.call("set_mempolicy", mode, mask, maxnode)
        elif which == 4:
            flags = rng.choice([0, 0, 1, 2, 2, 2, 3, 4, 5, 8])
            out, room = rng.choice([0, MASKS + 512]), rng.choice([0, 1, 2, 64, 65, 200])
            addr = self.va() if flags & 2 or rng.random() < 0.1 else 0
            self.call("get_mempolicy", MASKS + 256, out, room, addr, flags)
            self.lines += [f"r {MASKS + at:x}" for at in (256, 257, 512, 520)]
        else:
            self.call("home", self.va(), self.size(), rng.choice([0, 0, 0, 1, 64]), rng.choice([0, 0, 0, 1]))


def script(seed: int, steps: int = 40) -> list[str]:
    writer = Writer(seed)
    writer.limits()
    while len(writer.lines) < steps:
        writer.step()
    return writer.lines
