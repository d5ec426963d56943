"""Address ↔ function, file and line of one program, from its own symbol table and line tables.

All questions are asked with addresses of the running guest; `bias` (0 unless static-PIE) is taken off here.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from emu.dwarf.lines import LineTables
from emu.elf import STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, Elf, Symbol


class Place(NamedTuple):
    """A guest address in words. `function` is "" where no symbol covers it, `line` is 0 where no line is known."""

    va: int
    function: str
    offset: int
    file: str
    line: int

    def __str__(self) -> str:
        """`main+0x1b (churn.c:12)`, `0x401234` where nothing is known."""
        name = f"{self.function}+{self.offset:#x}" if self.offset else self.function
        where = f" ({self.file}:{self.line})" if self.line else ""
        return (name or f"{self.va:#x}") + where


def _rank(symbol: Symbol) -> tuple[bool, bool, int, str]:
    """Among symbols of one address: functions first, then global ones, then the plainest name."""
    return (symbol.type not in (STT_FUNC, STT_GNU_IFUNC), symbol.bind == 0, len(symbol.name), symbol.name)


class Symbols:
    """The functions of one program, sorted by address; at most one name an address."""

    def __init__(self, elf: Elf, bias: int = 0) -> None:
        self.elf, self.bias = elf, bias
        self._lines = LineTables(elf)
        named: dict[int, Symbol] = {}
        for symbol in elf.symbols():
            if self._is_code(symbol):
                other = named.setdefault(symbol.value, symbol)
                if other is not symbol and _rank(symbol) < _rank(other):
                    named[symbol.value] = symbol
        self._symbols = [named[value] for value in sorted(named)]
        self._starts = [symbol.value for symbol in self._symbols]

    def _is_code(self, symbol: Symbol) -> bool:
        if symbol.type in (STT_FUNC, STT_GNU_IFUNC):
            return True
        # assembler labels have no type; those of x86-64's own register names and of data do not count
        return symbol.type == STT_NOTYPE and any(s.vaddr <= symbol.value < s.end for s in self.elf.executable)

    def function(self, va: int) -> Symbol | None:
        """The function whose bytes hold `va`; its `value` is without bias. A symbol without a size reaches as far as
        the next one."""
        at = va - self.bias
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return None
        symbol = self._symbols[index]
        if symbol.size:
            return symbol if at < symbol.value + symbol.size else self._around(index, at)
        inside = any(s.vaddr <= at < s.end and s.vaddr <= symbol.value for s in self.elf.executable)
        return symbol if inside else None

    def _around(self, index: int, at: int) -> Symbol | None:
        """A sized function that starts before a smaller one inside it (hand-written assembly has such)."""
        for symbol in self._symbols[max(0, index - 8) : index]:
            if symbol.size and symbol.value <= at < symbol.value + symbol.size:
                return symbol
        return None

    def place(self, va: int) -> Place:
        """What stands at `va`."""
        symbol = self.function(va)
        line = self._lines.find(va - self.bias)
        name, offset = (symbol.name, va - self.bias - symbol.value) if symbol else ("", 0)
        file, number = line or ("", 0)
        return Place(va, name, offset, file, number)

    def find(self, name: str) -> Symbol | None:
        """The function called `name`, by any of its names."""
        return next((s for s in self.elf.symbols() if s.name == name and self._is_code(s)), None)

    def name_of(self, va: int) -> str:
        """`main+0x1b`, "" where no function covers `va`. No line is looked up."""
        symbol = self.function(va)
        if symbol is None:
            return ""
        offset = va - self.bias - symbol.value
        return f"{symbol.name}+{offset:#x}" if offset else symbol.name

    def data_at(self, va: int) -> str | None:
        """`table+0x10` where `va` lies within a named object."""
        at = va - self.bias
        for symbol in self.elf.symbols():
            if symbol.type == STT_OBJECT and symbol.value <= at < symbol.value + symbol.size:
                return f"{symbol.name}+{at - symbol.value:#x}" if at > symbol.value else symbol.name
        return None

    @property
    def functions(self) -> list[Symbol]:
        """All functions by address, each once."""
        return self._symbols
