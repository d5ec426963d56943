"""One module a verb of the command line: NAME, HELP, add_arguments(parser), main(options) → exit code."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.elf import Elf


class Refusal(Exception):
    """We will not do what was asked. The message is one line for the user; the exit code is 2."""


def open_elf(path: str) -> Elf:
    """The ELF file at `path`, or a Refusal that says what is wrong with it."""
    from emu.elf import ElfError, read_elf

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refusal(f"{path}: a directory" if os.path.isdir(path) else f"{path}: not a regular file")
        return read_elf(path)
    except ElfError as wrong:
        raise Refusal(f"{path}: {wrong}") from None
    except (OSError, ValueError) as error:
        raise Refusal(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def colour(stream: object) -> bool:
    """May `stream` be coloured? Only a terminal, and not where NO_COLOR is set (no-color.org)."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
