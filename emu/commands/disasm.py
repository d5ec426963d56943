"""`heapscope disasm PROGRAM [FUNCTION]`: a listing of code with symbols."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from emu.commands import Refusal, open_elf
from emu.disassembly import annotate, listing
from emu.elf import EM_X86_64, Elf
from emu.symbols import Symbols

NAME, HELP = "disasm", "disassemble a program, or one function of it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="PROGRAM", help="an x86-64 ELF file")
    parser.add_argument("function", metavar="FUNCTION", nargs="?", help="a function's name, or an address in it (0x…)")
    parser.add_argument("--no-bytes", action="store_true", help="leave the bytes of each instruction away")


def main(options: argparse.Namespace) -> int:
    elf = open_elf(options.program)
    if elf.machine != EM_X86_64:
        raise Refusal(f"{options.program}: it is not for x86-64")
    symbols = Symbols(elf)
    for start, code in _ranges(elf, symbols, options.function):
        for line in _lines(symbols, start, code, not options.no_bytes):
            print(line)
    return 0


def _ranges(elf: Elf, symbols: Symbols, function: str | None) -> Iterator[tuple[int, bytes]]:
    """(address, code) of each piece to list."""
    if function is None:
        sections = [s for s in elf.sections if s.flags & 4 and s.type == 1]  # SHF_EXECINSTR, SHT_PROGBITS
        pieces = [(s.addr, s.size) for s in sections] or [(s.vaddr, s.filesz) for s in elf.executable]
        if not pieces:
            raise Refusal("there is no code in it")
        for va, size in pieces:
            yield va, elf.read(va, size)
        return
    start, size = _extent(elf, symbols, function)
    yield start, elf.read(start, size)


def _extent(elf: Elf, symbols: Symbols, function: str) -> tuple[int, int]:
    """Address and size of a function given by name or by an address in it."""
    symbol = symbols.find(function)
    if symbol is None and function.lower().startswith("0x"):
        try:
            symbol = symbols.function(int(function, 16))
        except ValueError:
            raise Refusal(f"{function!r} is not an address") from None
        if symbol is None and (code := elf.read(int(function, 16), 256)):
            return int(function, 16), len(code)
    if symbol is None:
        why = "it has no function symbols" if not symbols.functions else _similar(symbols, function)
        raise Refusal(f"no function {function!r}: {why}")
    size = symbol.size or _to_next(symbols, symbol.value)
    if not elf.read(symbol.value, 1):
        raise Refusal(f"{function!r} at {symbol.value:#x} lies in no loaded segment")
    return symbol.value, size


def _to_next(symbols: Symbols, va: int) -> int:
    """Up to the next symbol, for one without a size."""
    return next((s.value for s in symbols.functions if s.value > va), va + 256) - va


def _similar(symbols: Symbols, wanted: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(wanted, [symbol.name for symbol in symbols.functions], 3)
    return f"is it {' or '.join(close)}?" if close else "no such name in its symbol table"


def _lines(symbols: Symbols, start: int, code: bytes, with_bytes: bool) -> Iterator[str]:
    starts = {symbol.value: symbol.name for symbol in symbols.functions}
    for instruction in listing(code, start):
        name = starts.get(instruction.va) or (symbols.name_of(start) if instruction.va == start else "")
        if name:
            yield f"\n{instruction.va:016x} <{name}>:"
        raw = f"{instruction.raw.hex(' '):<30}  " if with_bytes else ""
        yield f"{instruction.va:>10x}:  {raw}{annotate(instruction, symbols)}"
