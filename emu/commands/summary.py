"""Print what a recorded run did with its heap: what `heapscope run --heap --record DIR` printed when it ended.

DIR is read as far as it goes; of a run that was killed, or whose disk was full, that is up to its last whole batch, and
all that was found until then.
"""

from __future__ import annotations

import argparse
import sys
import time

from emu.commands import Refusal

EPILOG = """\
exit status:
  0, or 2 if DIR is not a trace

examples:
  heapscope run -q --heap --stack 8 --record trace ./churn 1000
  heapscope summary trace
"""
SILENT = 1.0  # seconds before a progress line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("folder", metavar="DIR", help="a trace folder")
    parser.add_argument("--why", action="store_true", help="say what each suppression of the run let pass")


def main(options: argparse.Namespace) -> int:
    from emu.report import heap
    from emu.sinks.base import FolderError
    from emu.sinks.folder import read

    progress = _Progress() if sys.stderr.isatty() else None
    try:
        recorded = read(options.folder, progress.told if progress else None)
    except FolderError as wrong:
        raise Refusal(str(wrong)) from None
    finally:
        if progress:
            progress.clear()
    sys.stdout.write(heap.render(recorded.heap, options.why))
    if recorded.cut:
        sys.stdout.flush()
        sys.stderr.write(f"heapscope: {options.folder}: {recorded.cut}\n")
    return 0


class _Progress:
    """One line on the terminal, of what takes long."""

    def __init__(self) -> None:
        self._began, self._shown = time.monotonic(), False

    def told(self, done: int, of: int) -> None:
        if time.monotonic() - self._began > SILENT:
            self._shown = True
            sys.stderr.write(f"\r{done:,} of {of:,} events")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
