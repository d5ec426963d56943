"""Files of /proc/sys: numbers that are read and written whole (fs/proc/proc_sysctl.c, kernel/sysctl.c)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, EINVAL, LinuxError
from kernel.procfs.tree import Text, TextFile

if TYPE_CHECKING:
    from kernel.fs.dentry import Path

NUMBER = re.compile(rb"[ \t\n\r\v\f]*(-?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)(?:[ \t\n\r\v\f]+|$)")
LONGEST = 20  # digits, of a number that strtoul() is asked about


def number(data: bytes) -> tuple[int, int]:
    """(the number that `data` begins with, how many bytes were it and the space around it), as proc_dointvec has it:
    decimal, 0x… or 0…; what follows behind a space is left unread. Raises LinuxError(EINVAL)."""
    match = NUMBER.match(data)
    if match is None or len(match[2]) > LONGEST:
        raise LinuxError(EINVAL, "not a number")
    digits = match[2].decode()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    value = int(digits, base)
    return -value if match[1] else value, match.end()


class Setting(Text):
    """One file. Its mode binds root too (sysctl_perm)."""

    def open(self, path: Path, flags: int) -> TextFile:
        file = SettingFile(path, flags, self)
        if (file.readable and not self.mode & 0o400) or (file.writable and not self.mode & 0o200):
            raise LinuxError(EACCES, "not even root may: the mode of a setting is kept")
        return file


class SettingFile(TextFile):
    """An open one. A number is there at position 0 only."""

    __slots__ = ()

    def pread(self, n: int, pos: int) -> bytes:
        data = super().pread(n, pos)
        return b"" if pos and re.fullmatch(rb"[-\d\s]*", data) else data

    def pwrite(self, data: bytes, pos: int) -> int:
        return len(data) if pos or not data else super().pwrite(data, pos)
