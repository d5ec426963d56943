"""The heap options of `heapscope run`: what they ask for, and what is printed at the end."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from emu.commands import Refusal

if TYPE_CHECKING:
    from emu.analysis.suppressions import Suppression
    from emu.api import Run
    from emu.calls import HeapOptions

ERROR_CODE = 99  # as valgrind's users have it


def add_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--heap", action="store_true", help="trace each malloc and free: leaks, misuse, sizes and costs at the end")
    add(
        "--memcheck",
        action="store_true",
        help="check each load and store too, and what syscalls read and write: use after free, overflow and underflow "
        "of blocks; and syscalls that read bytes of a block which nobody has written (copies of them count as "
        "written); implies --heap",
    )
    add(
        "--uninitialised",
        action="store_true",
        help="with --memcheck: tell loads of never-written bytes, too. Not exact: programs may copy such bytes, in "
        "structures, so only loads of nothing else are told, and none of memcpy and the string functions",
    )
    add("--stack", metavar="N", type=int, help="tell places by N frames of the call stack, at most 64 (with --heap)")
    add(
        "--alloc",
        metavar="RULE",
        action="append",
        default=[],
        help="[PROGRAM:]NAME=KIND[:REGISTER,…]: another allocator function, by name or address, as in "
        "my_alloc=malloc:rdi; of a pool, whose blocks go together: arena_alloc=malloc:rsi,rdi and "
        "arena_free=destroy:rdi; with PROGRAM, of a program that execve starts. KIND is what it is like: malloc, "
        "calloc, realloc, reallocarray, free, free_sized, memalign, posix_memalign, new, new[], delete, delete[], "
        "malloc_usable_size, destroy",
    )
    add(
        "--alloc-file",
        metavar="FILE",
        action="append",
        default=[],
        help="such rules, and libraries as after --alloc-from, kept in a TOML file",
    )
    add(
        "--alloc-from",
        metavar="FILE",
        action="append",
        default=[],
        help="find the allocator of a program without symbols by the code of the static library FILE.a; the host's "
        "libc.a is tried unasked",
    )
    add(
        "--record",
        metavar="DIR",
        help="keep the heap's events in the new folder DIR, for `heapscope summary DIR` (with --heap)",
    )
    add(
        "--suppressions",
        metavar="FILE",
        action="append",
        default=[],
        help="leaks and misuse to let pass, a line KIND:GLOB each, as in leak:make_table; KIND is leak, what the "
        "report calls a misuse, or * for all, GLOB any frame's function or file (with --heap)",
    )
    add(
        "--no-default-suppressions",
        action="store_true",
        help="tell also of what the C and C++ runtimes keep for themselves: stdio's buffers, locales, … (with --heap)",
    )
    add(
        "--strict",
        action="store_true",
        help="check the allocator too: overlaps, alignment, calloc's zeroes, realloc's bytes, errno … (with --heap); "
        f"exit with {ERROR_CODE}, or --error-exitcode, if it breaks a promise",
    )
    add(
        "--error-exitcode",
        metavar="N",
        nargs="?",
        const=ERROR_CODE,
        type=_exit_code,
        help=f"exit with N ({ERROR_CODE}) if the heap was misused or blocks were never freed (with --heap)",
    )


def options_of(options: argparse.Namespace) -> HeapOptions | None:
    """What to trace; None: nothing. Raises Refusal."""
    names = ["stack", "alloc", "alloc_file", "alloc_from", "record", "strict", "suppressions"]
    names += ["no_default_suppressions", "error_exitcode"]
    if options.uninitialised and not options.memcheck:
        raise Refusal("--uninitialised needs --memcheck")
    asked = [name for name in names if getattr(options, name) not in (None, False, [])]
    if not options.heap and not options.memcheck:
        if asked:
            raise Refusal(f"--{asked[0].replace('_', '-')} needs --heap")
        return None
    if options.record == "":
        raise Refusal("--record '': which folder?")
    from emu.calls import HeapOptions, RuleError
    from emu.trace.alloc_rules import told

    try:
        rules, libraries = told(options.alloc, options.alloc_file, options.alloc_from)
        suppressions = tuple(rule for path in options.suppressions for rule in _suppressions(path))
        return HeapOptions(
            rules,
            options.stack or 0,
            record=options.record or "",
            suppressions=suppressions,
            strict=options.strict,
            default_suppressions=not options.no_default_suppressions,
            memcheck=options.memcheck,
            uninitialised=options.uninitialised,
            libraries=libraries,
        )
    except RuleError as wrong:
        raise Refusal(str(wrong)) from None


def _suppressions(path: str) -> tuple[Suppression, ...]:
    from emu.analysis.suppressions import parse
    from emu.trace.alloc_rules import read

    return parse(read("--suppressions", path), path)


def _exit_code(text: str) -> int:
    if not text.isdecimal() or not int(text) <= 255:
        raise argparse.ArgumentTypeError(
            f"{text!r}: an exit code is 0 to 255; before a program write --error-exitcode={ERROR_CODE}"
        )
    return int(text)


def report(run: Run, why: bool = False) -> None:
    """Print what the heap did, if it was traced. `why` tells of each suppression."""
    if run.heap is not None:
        from emu.report import heap

        sys.stderr.write(heap.render(run.heap, why))


def exit_code(options: argparse.Namespace, run: Run) -> int | None:
    """The code that --error-exitcode or --strict asks for; None: the run's own."""
    heaps = () if run.heap is None else run.heap.all
    if any(heap.strict is not None and heap.strict.count for heap in heaps):
        return ERROR_CODE if options.error_exitcode is None else int(options.error_exitcode)
    if options.error_exitcode is None:
        return None
    return options.error_exitcode if any(heap.misuse_count or heap.leaked_blocks for heap in heaps) else None
