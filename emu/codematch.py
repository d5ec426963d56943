"""Finds the code of a static library in a program without symbols. What it does not find for certain it does not name.

A section is found by itself where enough of its bytes are such as no linker changes, and they stand in the program
once. Each one found tells where that stands which it refers to: its fields hold the distances. So a smaller section is
found where others point, or where its own references lead to what they should. Of two that would stand at one place,
neither is taken unless one has more bytes to be known by.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emu.elf import STT_FUNC, Elf, Symbol
from emu.signatures import Code, Reference

ALONE = 32  # bytes by which a section is known without help: less may be anybody's
AIDED = 12  # and where its references lead to what they should
GLOBAL, WEAK = 1, 2  # Symbol.bind
ALIGNED, GRAM = 16, 8  # as compilers align functions; bytes that are looked up at each such address


class Found(NamedTuple):
    """A section that stands at address `va` of the file."""

    va: int
    end: int
    code: Code


class CodeMatch:
    """Which sections of `library` are in `elf`, and where: made at once, 0.2 s for a libc.a in a program of 2 MB.

    `found` is by address. `names` has where each global name stands, by what was found: by its definition and by those
    who refer to it. More than one address is a contradiction. `undecided` has by address the sections of equal code of
    which one is there."""

    def __init__(self, elf: Elf, library: Iterable[Code]) -> None:
        images = ((segment.vaddr, elf.read(segment.vaddr, segment.filesz)) for segment in elf.executable)
        self._images = [(start, image) for start, image in images if image]
        self.library = [code for code in library if not code.section.startswith(".text.unlikely")]  # all much alike
        self.found: list[Found] = []
        self.names: defaultdict[str, set[int]] = defaultdict(set)
        self.undecided: dict[int, list[Code]] = {}
        self._at: dict[Code, int] = {}
        self._shapes: dict[tuple[object, ...], list[int]] = {}
        self._often = Counter(byte for _, image in self._images for byte in image[::61])
        places = dict(_places(self._images, [code for code in self.library if code.fixed >= AIDED]))
        self._take({code: vas[0] for code, vas in places.items() if len(vas) == 1 and code.fixed >= ALONE})
        while self._take(self._by_help(places)):
            pass
        self.undecided = {va: codes for va, codes in self.undecided.items() if self._is_free(_standing(codes[0], va))}

    def thread_local(self, *names: str) -> int | None:
        """Where a thread-local variable is, from the FS base, by any of its names; None: none tells, or they differ."""
        told = {
            offset
            for va, end, code in self.found
            for name, offset in code.thread_locals(self._read(va, end - va))
            if name in names
        }
        return next(iter(told)) if len(told) == 1 else None

    def functions(self) -> Iterator[list[Symbol]]:
        """Those of each object file, at their addresses. A weak name that stands elsewhere is left out."""
        by_file: defaultdict[int, list[Symbol]] = defaultdict(list)
        for va, _, code in self.found:
            for symbol in code.functions:
                there = symbol._replace(value=va + symbol.value)
                if symbol.bind != WEAK or there.value in self.names.get(symbol.name, {there.value}):
                    by_file[code.file].append(there)
        yield from by_file.values()

    def _take(self, candidates: dict[Code, int]) -> int:
        """Those that nothing contradicts; how many."""
        by_weight = defaultdict(list)
        for code, va in candidates.items():
            by_weight[code.fixed].append(_standing(code, va))
        before = len(self.found)
        for _, equals in sorted(by_weight.items(), reverse=True):
            free = [each for each in equals if self._is_free(each)]
            for each in free:
                rivals = [one for one in free if one.va < each.end and each.va < one.end]
                if len(rivals) == 1:
                    self._accept(each)
                elif len({(one.va, one.end) for one in rivals}) == 1:
                    self.undecided[each.va] = [one.code for one in rivals]
        return len(self.found) - before

    def _is_free(self, wanted: Found) -> bool:
        at = bisect_left(self.found, wanted.end, key=lambda each: each.va) - 1
        return at < 0 or self.found[at].end <= wanted.va

    def _accept(self, found: Found) -> None:
        insort(self.found, found, key=lambda each: each.va)
        self._at[found.code] = found.va
        for symbol in found.code.functions:
            if symbol.bind == GLOBAL and symbol.type == STT_FUNC:  # who calls an IFUNC reaches a stub of the linker's
                self.names[symbol.name].add(found.va + symbol.value)
        for name, target in self._targets(found.code, found.va):
            self.names[name].add(target)

    def _targets(self, code: Code, va: int) -> Iterator[tuple[str, int]]:
        """What a section at `va` refers to in the program's code, by name, and where that is."""
        for reference in code.references:
            target = self._leads(va, reference)
            if self._read(target, 1):
                yield reference.name, target

    def _read(self, va: int, size: int) -> bytes:
        for start, image in self._images:
            if start <= va < start + len(image):
                return image[va - start : va - start + size]
        return b""

    def _by_help(self, places: dict[Code, list[int]]) -> dict[Code, int]:
        """Where those stand that are small, or there more than once, by what was found up to now."""
        by_name = {name: next(iter(vas)) for name, vas in self.names.items() if len(vas) == 1}
        found = {}
        for code, beside in _with_neighbours(self.library):
            if code not in self._at:
                ways = (self._pointed(code, by_name), self._beside(code, beside), self._leading(code, places, by_name))
                va = next((way[0] for way in ways if len(way) == 1), None)
                if va is not None:
                    found[code] = va
        return found

    def _pointed(self, code: Code, by_name: dict[str, int]) -> list[int]:
        """Where others refer to one of its functions."""
        vas = {by_name[s.name] - s.value for s in code.functions if s.bind and s.name in by_name}
        return [va for va in vas if self._stands(code, va) and self._agreeing(code, va) is not None]

    def _beside(self, code: Code, beside: tuple[Code | None, Code | None]) -> list[int]:
        """Before or after its neighbour in the object file: a linker keeps their order."""
        before, after = (self._at.get(each) if each else None for each in beside)
        vas = set()
        if before is not None and beside[0]:
            vas.add(-(-(before + len(beside[0].bytes)) // code.align) * code.align)
        if after is not None:
            vas.add((after - len(code.bytes)) // code.align * code.align)
        return [va for va in vas if self._stands(code, va) and self._agreeing(code, va)]

    def _leading(self, code: Code, places: dict[Code, list[int]], by_name: dict[str, int]) -> list[int]:
        """Where its references lead to what they should. A few bytes that do so may be anybody's, unless the name that
        they lead to is one that C reserves to its library."""
        if code.fixed >= AIDED:
            return [va for va in places.get(code, ()) if self._agreeing(code, va)]
        reserved = [each for each in code.references if each.name.startswith("__") and each.name in by_name]
        if not reserved or not code.fixed:
            return []
        return [
            va
            for va in self._like(code)
            if self._agreeing(code, va) and self._leads(va, reserved[0]) == by_name[reserved[0].name]
        ]

    def _like(self, code: Code) -> list[int]:
        """Where its bytes stand, aligned as it asks for. Many are a jump and nothing else: that is asked once."""
        shape = code.align, len(code.bytes), *((start, code.bytes[start:end]) for start, end in code.runs)
        if shape not in self._shapes:
            self._shapes[shape] = [
                start + at for start, image in self._images for at in _aligned(image, start, code, self._often)
            ]
        return self._shapes[shape]

    def _leads(self, va: int, reference: Reference) -> int:
        """Where a reference of a section at `va` leads to."""
        field = va + reference.offset
        return field - reference.addend + int.from_bytes(self._read(field, 4), "little", signed=True)

    def _stands(self, code: Code, va: int) -> bool:
        return any(code.stands_at(image, va - start) for start, image in self._images if start <= va)

    def _agreeing(self, code: Code, va: int) -> int | None:
        """How many of its references lead, from `va`, to what is known to stand there; None: one leads elsewhere."""
        known = [(target, self.names.get(name, set())) for name, target in self._targets(code, va)]
        if any(len(vas) == 1 and target not in vas for target, vas in known):
            return None
        return sum(len(vas) == 1 for _, vas in known)


def _standing(code: Code, va: int) -> Found:
    return Found(va, va + len(code.bytes), code)


def _with_neighbours(library: list[Code]) -> Iterator[tuple[Code, tuple[Code | None, Code | None]]]:
    """Each section, and those before and after it in its object file."""
    for before, code, after in zip([None, *library], library, [*library[1:], None], strict=False):
        same = (each if each is not None and each.file == code.file else None for each in (before, after))
        yield code, (next(same), next(same))


def _places(images: list[tuple[int, bytes]], library: list[Code]) -> Iterator[tuple[Code, list[int]]]:
    """(section, where its bytes stand) of those that do."""
    grams: defaultdict[bytes, list[tuple[Code, int]]] = defaultdict(list)
    found: defaultdict[Code, list[int]] = defaultdict(list)
    for code in library:
        at = _gram(code)
        if at is None:
            found[code] = [start + at for start, image in images for at in _search(image, code)]
        else:
            grams[code.bytes[at : at + GRAM]].append((code, at))
    for start, image in images:
        for at in range(-start % ALIGNED, len(image), ALIGNED):
            for code, offset in grams.get(image[at : at + GRAM], ()):
                if code.stands_at(image, at - offset):
                    found[code].append(start + at - offset)
    return ((code, vas) for code, vas in found.items() if vas)


def _gram(code: Code) -> int | None:
    """The offset of GRAM bytes that will be aligned and unchanged: the first that are all different."""
    if code.align % ALIGNED:
        return None
    usual = None
    for start, end in code.runs:
        for at in range(-(-start // ALIGNED) * ALIGNED, end - GRAM + 1, ALIGNED):
            if len(set(code.bytes[at : at + GRAM])) == GRAM:
                return at
            usual = at if usual is None else usual
    return usual


def _aligned(image: bytes, start: int, code: Code, often: Counter[int]) -> Iterator[int]:
    """Where the section stands, aligned, in an image that begins at address `start`. `often` counts bytes."""
    offset = min((at for run in code.runs for at in range(*run)), key=lambda at: often[code.bytes[at]])
    first, byte = offset + -start % code.align, code.bytes[offset]
    column = image[first :: code.align]
    at = column.find(byte)
    while at >= 0:
        if code.stands_at(image, first - offset + at * code.align):
            yield first - offset + at * code.align
        at = column.find(byte, at + 1)


def _search(image: bytes, code: Code) -> Iterator[int]:
    """Where the section stands, by its longest run of unchanged bytes."""
    start, end = max(code.runs, key=lambda run: run[1] - run[0])
    anchor = code.bytes[start:end]
    at = image.find(anchor) if len(anchor) >= 4 else -1
    while at >= 0:
        if code.stands_at(image, at - start):
            yield at - start
        at = image.find(anchor, at + 1)
