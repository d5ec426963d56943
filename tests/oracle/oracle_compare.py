"""When two sides' outputs of a script are the same. Each exclusion stands here by name, with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

EXCLUDED_FIELDS = {
    "Referenced": "set late, when a per-CPU batch of pages is full",
    "LazyFree": "set late, when a per-CPU batch of pages is full",
    "ProtectionKey": "there on CPUs that have protection keys",
}
EXCLUDED_OF_FILES = {
    **EXCLUDED_FIELDS,
    **dict.fromkeys(
        ("Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty"),
        "which pages of a file are dirty is the page cache's matter; their sums are compared (Rss, Pss)",
    ),
}
EXCLUDED_NUMA = {"active": "counts pages of the active list, which they enter by per-CPU batches"}
EXCLUDED_NUMA_OF_FILES = {
    **EXCLUDED_NUMA,
    **dict.fromkeys(("dirty", "mapped"), "which pages of a file are dirty is the page cache's matter; their sum is N0"),
}
COMPARED_STATUS = ("VmSize", "VmLck", "VmPin", "VmData", "VmStk", "VmExe", "VmLib", "VmPTE", "VmSwap")
EXCLUDED_STATUS = {
    "VmPeak": "the host's process began with a vdso, which the player unmaps",
    "VmHWM VmRSS RssAnon RssFile RssShmem": "per-CPU approximations; smaps is exact",
    "all others": "say nothing of memory",
}
EXCLUDED_MAPPINGS = {
    "the player's image, stack": "what of a program file is resident depends on the host's page cache",
    "[vsyscall]": "a host may be configured without",
    "inode numbers": "count what the whole host has made",
}
NOT_ASKED = {
    "pkey_alloc, PROT_EXEC alone": "ours is a CPU without protection keys, the host's may have them",
    "memfd_secret, userfaultfd, map_shadow_stack": "ours is a Linux without them, the host's may have them",
    "a hole punched inside a file's first page": "unmaps all the others: a quirk of shmem_fallocate",
    "mincore of a GiB and more": "its vector would be written over the player's own state, behind the scratch pages",
    "MADV_PAGEOUT after MREMAP_DONTUNMAP of locked memory": "what stays is locked in Linux, though its mapping is not",
    "memory pressure": "the host's RAM is not ours; tests/kernel/mm/test_mm_reclaim.py has it full",
    "a second process": "there is no fork yet",
}

IMAGE = range(0x100_0000, 0x200_0000)  # where the player is linked to; the heap lies above its bss
SECTIONS = ("maps", "smaps", "status", "numa_maps", "limits", "statm")
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+) *(.*)")
_ARENA = (1 << 44) - 0x8000


def steps(said: Sequence[str]) -> Iterator[str]:
    """What each operation printed, one text for each, with what is not compared taken out."""
    lines = iter(said)
    for line in lines:
        if line not in SECTIONS:
            yield line
            continue
        body: list[str] = []
        for inner in lines:
            if inner == ".":
                break
            body.append(inner)
        yield "\n".join(_FILTER.get(line, _same)(body))


def _same(body: list[str]) -> list[str]:
    return body


def _maps(body: list[str]) -> list[str]:
    """maps or smaps: the mappings that a script can have made, their inodes' numbers left out."""
    kept: list[str] = []
    shown = of_file = False
    for line in body:
        head = _HEAD.fullmatch(line)
        if head is None:
            if shown and line.split(":")[0] not in (EXCLUDED_OF_FILES if of_file else EXCLUDED_FIELDS):
                kept.append(line)
            continue
        low, high, perms, offset, device, _, name = head.groups()
        shown = not (name in ("[stack]", "[vsyscall]") or (int(low, 16) in IMAGE and name != "[heap]"))
        of_file = name.startswith("/")
        if shown:
            kept.append(f"{_place(int(low, 16))} {_place(int(high, 16))} {perms} {offset} {device} {name}".rstrip())
    return kept


def _place(va: int) -> str:
    """An address, as the player prints it."""
    distance = va - _ARENA
    return f"a{'-' if distance < 0 else '+'}{abs(distance):x}" if abs(distance) < 1 << 32 else f"{va:x}"


def _status(body: list[str]) -> list[str]:
    return [line for line in body if line.split(":")[0] in COMPARED_STATUS]


def _numa_maps(body: list[str]) -> list[str]:
    kept: list[str] = []
    for line in body:
        low, *words = line.split(" ")
        va = int(low, 16)
        if "stack" in words or (va in IMAGE and "heap" not in words):
            continue
        excluded = EXCLUDED_NUMA_OF_FILES if any(word.startswith("file=") for word in words) else EXCLUDED_NUMA
        kept.append(" ".join([_place(va), *(word for word in words if word.split("=")[0] not in excluded)]))
    return kept


_FILTER = {"maps": _maps, "smaps": _maps, "status": _status, "numa_maps": _numa_maps}


def difference(script: Sequence[str], theirs: Sequence[str], ours: Sequence[str]) -> str:
    """"" if both are the same, else the first operation after which they are not, and how."""
    if theirs == ours:
        return ""
    left, right = list(steps(theirs)), list(steps(ours))
    for n in range(max(len(left), len(right))):
        a = left[n] if n < len(left) else "(nothing)"
        b = right[n] if n < len(right) else "(nothing)"
        if a != b:
            operation = script[n] if n < len(script) else "(the end)"
            return f"step {n}: {operation}\n" + _side_by_side(a.split("\n"), b.split("\n"))
    return ""


def _side_by_side(a: list[str], b: list[str]) -> str:
    if len(a) == len(b) == 1:
        return f"  Linux: {a[0]}\n  ours:  {b[0]}"
    lines, at = [], ["", ""]
    for n in range(max(len(a), len(b))):
        pair = [side[n] if n < len(side) else "" for side in (a, b)]
        at = [text if _is_head(text) else old for text, old in zip(pair, at, strict=True)]
        if pair[0] != pair[1]:
            lines.append(f"  Linux: {pair[0]:40} in {at[0]}\n  ours:  {pair[1]:40} in {at[1]}")
    return "\n".join(lines[:6])


def _is_head(text: str) -> bool:
    return len(text.split()) > 4 and ":" not in text.split()[0]
