"""The one normaliser between a real `strace` log of the host's run and our trace of the same program.

What it takes away, and nothing else:

| what                                          | becomes                                                    |
| --------------------------------------------- | ---------------------------------------------------------- |
| an address within a mapping made in the trace | `m1+0x10`: the mapping by order of birth, and the offset   |
| the same as rt_sigreturn's decimal result     | likewise: it is rax, where an address may be               |
| a page of the heap                            | `brk+0x1000`: from the first break                         |
| another address within the heap               | `heap`: static glibc puts an object for the vDSO there     |
| an address of the stack                       | `stack` (where it starts depends on the auxv's size)       |
| an address of a static-pie's image            | `image+0x10`: from the first such address, by page         |
| the process, its thread, its parent           | `PID`, `PPID`                                              |
| what clocks read (not what a program asks)    | `CLOCK`                                                    |
| random bytes                                  | `RANDOM`                                                   |
| prlimit, getrlimit, setrlimit and sysinfo     | the call, without values                                   |
| the program's own path, the working folder    | `EXE`, `CWD` (and the lengths of those strings)            |
| calls that the host may serve from its vDSO   | dropped on both sides where they succeed                   |
| notes of ours (`heapscope: …`)                | dropped: strace has no such lines                          |

strace shows st_dev, st_ino and times only with -v, which neither side uses.
Use one Normaliser for one trace, in order: mappings are learnt from the lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STACK = range(0x7FFF_F800_0000, 0x7FFF_FFFF_F000)
IMAGES = (range(0x5555_5555_4000, 0x5655_5555_4000), range(0x7FFF_F000_0000, 0x7FFF_F7FF_F000))  # static-pie, by kernel
HEAP_ROOM = 64 << 20
VDSO = {"clock_gettime", "gettimeofday", "time", "getcpu", "clock_getres"}
CPU_CLOCKS = re.compile(r"CLOCK_(PROCESS|THREAD)_CPUTIME_ID")
ADDRESS = re.compile(r"\b0x[0-9a-f]{5,16}\b")
CALL = re.compile(r"(?s)(\w+)\((.*)\)\s+= (.*)")
PIDS = re.compile(r"(?<=si_pid=)\d+")
TIMES = re.compile(r"tv_(sec|nsec|usec)=-?\d+")
OWN_PID = {"getpid", "gettid", "set_tid_address"}
ON_A_PROCESS = {"pidfd_open", "process_vm_readv", "process_vm_writev", "move_pages", "migrate_pages"}
LIMITS = {"prlimit64", "getrlimit", "setrlimit"}
RANDOM_FILES = ("/dev/urandom", "/dev/random")


@dataclass(slots=True)
class Region:
    start: int
    end: int
    name: str
    live: bool = True

    def holds(self, address: int) -> bool:
        return self.start <= address < self.end


class Normaliser:
    """One trace, line by line. `exe` is the program's path, `cwd` its first working folder, as this side has them."""

    def __init__(self, exe: str, cwd: str) -> None:
        self._exe, self._cwd = exe, cwd.rstrip("/")
        self._regions: list[Region] = []
        self._brk: int | None = None
        self._image: int | None = None
        self._pid = self._ppid = ""
        self._random: set[str] = set()

    def line(self, text: str) -> str | None:
        """The line as both sides must have it; None for one that only one side may have."""
        if text.startswith("heapscope: "):
            return None
        call = CALL.fullmatch(text)
        if call is None:
            return PIDS.sub(self._pid_of, ADDRESS.sub(self._named, text))
        name, arguments, result = call.groups()
        if name in VDSO and not result.startswith("-1") and not CPU_CLOCKS.search(arguments):
            return None
        self._learn(name, arguments, result)
        arguments, result = self._values(name, arguments, result)
        arguments, result = (PIDS.sub(self._pid_of, ADDRESS.sub(self._named, part)) for part in (arguments, result))
        self._forget(name, call[2], call[3])
        return f"{name}({arguments}) = {result}"

    def _learn(self, name: str, arguments: str, result: str) -> None:
        """What this line tells of the address space and of descriptors."""
        if name == "brk" and self._brk is None:
            self._brk = int(result.split()[0], 16)
        elif name in ("mmap", "mremap") and result.startswith("0x"):
            words = arguments.split(", ")
            start, length = int(result.split()[0], 16), int(words[2 if name == "mremap" else 1])
            if name == "mremap" and (old := self._region(int(words[0], 16))) and old.start == start:
                old.end = max(old.end, start + -(-length // 4096) * 4096)  # it grew where it was
            elif not any(region.live and region.holds(start) for region in self._regions):
                count = len(self._regions) + 1
                self._regions.append(Region(start, start + -(-length // 4096) * 4096, f"m{count}"))
        elif name in OWN_PID:
            self._pid = result
        elif name == "getppid":
            self._ppid = result
        elif name in ("open", "openat") and result.isdigit():
            (self._random.add if any(f'"{file}"' in arguments for file in RANDOM_FILES) else self._random.discard)(
                result
            )

    def _forget(self, name: str, arguments: str, result: str) -> None:
        """A mapping that went away as a whole is not found again by its addresses, unless nothing else is there."""
        words = arguments.split(", ")
        if name in ("munmap", "mremap") and not result.startswith("-1") and words[0].startswith("0x"):
            start, length = int(words[0], 16), int(words[1])
            if name == "mremap" and int(result.split()[0], 16) == start:
                return
            for region in self._regions:
                if start <= region.start and region.end <= start + length:
                    region.live = False

    def _region(self, address: int) -> Region | None:
        """The mapping of an address: a live one, else one that ends there, else a dead one."""
        newest = self._regions[::-1]
        return next(
            (
                region
                for found in (
                    (r for r in newest if r.live and r.holds(address)),
                    (r for r in newest if r.live and r.end == address),
                    (r for r in newest if r.holds(address)),
                )
                for region in found
            ),
            None,
        )

    def _named(self, match: re.Match[str]) -> str:
        address = int(match[0], 16)
        if region := self._region(address):
            return f"{region.name}+{address - region.start:#x}"
        if self._brk is not None and self._brk <= address < self._brk + HEAP_ROOM:
            return "heap" if address % 4096 else f"brk+{address - self._brk:#x}"
        if address in STACK:
            return "stack"
        if any(address in image for image in IMAGES):
            self._image = address & -4096 if self._image is None else self._image
            return f"image+{address - self._image:#x}"
        return match[0]

    def _pid_of(self, match: re.Match[str]) -> str:
        return {self._pid: "PID", self._ppid: "PPID"}.get(match[0], match[0])

    def _values(self, name: str, arguments: str, result: str) -> tuple[str, str]:
        """The values of one call that no two machines share."""
        if name == "execve":
            return arguments.replace(f'"{self._exe}"', '"EXE"'), result
        if name in OWN_PID or name == "getppid":
            return arguments, "PPID" if name == "getppid" else "PID"
        if name in ("getpgid", "getsid", "getpgrp"):
            return re.sub(r"^[1-9]\d*", "PID", arguments), "PID"
        if name in ("kill", "tgkill", "tkill", "sched_getaffinity", "rt_sigqueueinfo", "prlimit64", *ON_A_PROCESS):
            arguments = re.sub(rf"\b{self._pid or 'none'}\b", "PID", arguments)
        if name in LIMITS:
            return re.sub(r"\{[^}]*\}", "{}", arguments), result
        if name == "rt_sigreturn" and result.isdigit() and int(result) > 0xFFFF:
            return arguments, f"{int(result):#x}"  # rax as it was: strace takes it for a number
        if name == "sysinfo":
            return re.sub(r"\{.*\}", "{}", arguments), result
        if name == "getrandom" and result.isdigit():
            return re.sub(r'"(\\.|[^"])*"(\.\.\.)?', "RANDOM", arguments), result
        if name == "read" and arguments.split(",")[0] in self._random:
            return re.sub(r'"(\\.|[^"])*"(\.\.\.)?', "RANDOM", arguments), result
        if name in (*VDSO, "getrusage", "times") or (name == "clock_nanosleep" and "TIMER_ABSTIME" in arguments):
            return TIMES.sub("CLOCK", arguments), result if name != "times" else "CLOCK"
        if name == "readlink" and "/proc/self/exe" in arguments and result.isdigit():
            return '"/proc/self/exe", "EXE", ' + arguments.rsplit(", ", 1)[1], "LENGTH"
        if name == "getcwd" and result.isdigit() and arguments.startswith(f'"{self._cwd}'):
            shown = int(result) - len(self._cwd)
            return arguments.replace(f'"{self._cwd}', '"CWD', 1), f"CWD+{shown}"
        return arguments, result


def normalised(trace: str, exe: str, cwd: str) -> list[str]:
    """All lines of a trace, normalised. A line break within a string is escaped by strace, so lines are lines."""
    normaliser = Normaliser(exe, cwd)
    return [line for line in map(normaliser.line, trace.splitlines()) if line is not None]
