"""ioctl(2): the commands' names and what their argument is, as strace shows them. Lazily used: most runs ask two."""

from __future__ import annotations

from typing import Annotated

from kernel.abi.args import U32, Call, Flags, Kind, Worded, number, pointer, read_struct
from kernel.abi.errno import LinuxError

TCGETS, TIOCGWINSZ, TIOCSWINSZ = 0x5401, 0x5413, 0x5414
NAMES = {
    0x5401: "TCGETS", 0x5402: "SNDCTL_TMR_START or TCSETS", 0x5403: "SNDCTL_TMR_STOP or TCSETSW",
    0x5404: "SNDCTL_TMR_CONTINUE or TCSETSF", 0x5405: "TCGETA", 0x5406: "TCSETA", 0x5407: "TCSETAW", 0x5408: "TCSETAF",
    0x5409: "TCSBRK", 0x540A: "TCXONC", 0x540B: "TCFLSH", 0x540C: "TIOCEXCL", 0x540D: "TIOCNXCL", 0x540E: "TIOCSCTTY",
    0x540F: "TIOCGPGRP", 0x5410: "TIOCSPGRP", 0x5411: "TIOCOUTQ", 0x5412: "TIOCSTI", 0x5413: "TIOCGWINSZ",
    0x5414: "TIOCSWINSZ", 0x5415: "TIOCMGET", 0x541B: "FIONREAD", 0x5421: "FIONBIO", 0x5422: "TIOCNOTTY",
    0x5423: "TIOCSETD", 0x5424: "TIOCGETD", 0x5425: "TCSBRKP", 0x5427: "TIOCSBRK", 0x5428: "TIOCCBRK",
    0x5429: "TIOCGSID", 0x5450: "FIONCLEX", 0x5451: "FIOCLEX", 0x5452: "FIOASYNC", 0x5460: "FIOQSIZE",
    0x80045430: "TIOCGPTN", 0x40045431: "TIOCSPTLCK", 0x80086601: "FS_IOC_GETFLAGS", 0x40086602: "FS_IOC_SETFLAGS",
    0x40049409: "BTRFS_IOC_CLONE or FICLONE",
}  # fmt: skip

_NO_ARG = {0x540C, 0x540D, 0x5422, 0x5427, 0x5428, 0x5450, 0x5451}
_GET_INT = {0x540F, 0x5411, 0x541B, 0x5424, 0x5429, 0x5415, 0x80045430}
_SET_INT = {0x5410, 0x5421, 0x5423, 0x5452, 0x40045431}
_QUEUES = {
    0x540A: ("TCOOFF", "TCOON", "TCIOFF", "TCION"),
    0x540B: ("TCIFLUSH", "TCOFLUSH", "TCIOFLUSH"),
}
_PLAIN = {0x5409, 0x540E, 0x5425}


def ioctl_name(cmd: int) -> str:
    """A known name, else strace's `_IOC(direction, type, nr, size)`."""
    name = NAMES.get(cmd)
    if name:
        return name
    directions = {0: "_IOC_NONE", 1: "_IOC_WRITE", 2: "_IOC_READ", 3: "_IOC_READ|_IOC_WRITE"}
    type_, nr, size = cmd >> 8 & 0xFF, cmd & 0xFF, cmd >> 16 & 0x3FFF
    return f"_IOC({directions[cmd >> 30]}, {_hex(type_)}, {_hex(nr)}, {_hex(size)})"


def _hex(value: int) -> str:
    return hex(value) if value else "0"


class IoctlArgKind(Kind):
    """ioctl's third argument, by command; gets are shown after success."""

    after = True

    def show(self, call: Call, value: int) -> str | None:
        cmd = call.arg("cmd")
        if cmd in _NO_ARG:
            return None
        if cmd in _GET_INT:
            return self._int(call, value) if not call.failed else pointer(value)
        if cmd in _SET_INT:
            return self._int(call, value)
        if cmd in _PLAIN:
            return str((value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000)
        if cmd in _QUEUES:
            words = _QUEUES[cmd]
            return words[value] if value < len(words) else f"{value:#x} /* TC??? */"
        if cmd in (TIOCGWINSZ, TIOCSWINSZ):
            return self._winsize(call, value, cmd)
        if 0x5401 <= cmd <= 0x5404:
            return self._termios(call, value, cmd)
        return pointer(value) if cmd in NAMES else _hex(value)

    @staticmethod
    def _int(call: Call, value: int) -> str:
        try:
            return f"[{number(call, value, 4)}]"
        except LinuxError:
            return pointer(value)

    @staticmethod
    def _winsize(call: Call, value: int, cmd: int) -> str:
        from kernel.abi.structs import Winsize

        if cmd == TIOCGWINSZ and call.failed:
            return pointer(value)
        return read_struct(call, value, Winsize) if value else "NULL"

    @staticmethod
    def _termios(call: Call, value: int, cmd: int) -> str:
        if cmd == TCGETS and call.failed:
            return pointer(value)
        try:
            return termios_text(call.user(value, 36)) if value else "NULL"
        except LinuxError:
            return hex(value)


class Iflag(Flags, prefix=""):
    IGNBRK = 0o1
    BRKINT = 0o2
    IGNPAR = 0o4
    PARMRK = 0o10
    INPCK = 0o20
    ISTRIP = 0o40
    INLCR = 0o100
    IGNCR = 0o200
    ICRNL = 0o400
    IUCLC = 0o1000
    IXON = 0o2000
    IXANY = 0o4000
    IXOFF = 0o10000
    IMAXBEL = 0o20000
    IUTF8 = 0o40000


class Oflag(Flags, prefix=""):
    OPOST = 0o1
    OLCUC = 0o2
    ONLCR = 0o4
    OCRNL = 0o10
    ONOCR = 0o20
    ONLRET = 0o40
    OFILL = 0o100
    OFDEL = 0o200


class Cflag(Flags, prefix=""):
    CSTOPB = 0o100
    CREAD = 0o200
    PARENB = 0o400
    PARODD = 0o1000
    HUPCL = 0o2000
    CLOCAL = 0o4000
    CMSPAR = 0o10000000000
    CRTSCTS = 0o20000000000


class Lflag(Flags, prefix=""):
    ISIG = 0o1
    ICANON = 0o2
    XCASE = 0o4
    ECHO = 0o10
    ECHOE = 0o20
    ECHOK = 0o40
    ECHONL = 0o100
    NOFLSH = 0o200
    IEXTEN = 0o100000
    ECHOCTL = 0o1000
    ECHOPRT = 0o2000
    ECHOKE = 0o4000
    FLUSHO = 0o10000
    PENDIN = 0o40000
    TOSTOP = 0o400
    EXTPROC = 0o200000


_BAUDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_FAST = (57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000,
         3500000, 4000000)  # fmt: skip


def baud(cflag: int) -> str:
    """The CBAUD field: `B38400`."""
    speed = cflag & 15
    if not cflag & 0o10000:
        return f"B{_BAUDS[speed]}"
    return f"B{_FAST[speed - 1]}" if speed else "BOTHER"


def termios_text(raw: bytes) -> str:
    """`{c_iflag=ICRNL|IXON, c_oflag=NL0|CR0|…, c_cflag=B38400|CS8|CREAD, c_lflag=ISIG|…, ...}`."""
    iflag, oflag, cflag, lflag = (int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8, 12))
    tabs = ("TAB0", "TAB1", "TAB2", "XTABS")[oflag >> 11 & 3]
    delays = f"NL{oflag >> 8 & 1}|CR{oflag >> 9 & 3}|{tabs}|BS{oflag >> 13 & 1}"
    delays += f"|VT{oflag >> 14 & 1}|FF{oflag >> 15 & 1}"
    outputs = delays + "|" + _words(Oflag, oflag & ~0o177400)
    ibaud = f"{baud(cflag >> 16)}<<IBSHIFT|" if cflag >> 16 & 0o10017 else ""
    size = 5 + (cflag >> 4 & 3)
    controls = f"{baud(cflag)}|{ibaud}CS{size}|" + _words(Cflag, cflag & ~(0o10017 | 0o10017 << 16 | 0o60))
    inputs, locals_ = _words(Iflag, iflag), _words(Lflag, lflag)
    return f"{{c_iflag={inputs}, c_oflag={outputs}, c_cflag={controls}, c_lflag={locals_}, ...}}"


def _words(flags: type[Flags], value: int) -> str:
    return flags.text(value).partition(" ")[0] if value else ""


IoctlCommand = Annotated[int, Worded(ioctl_name, U32)]
IoctlArg = Annotated[int, IoctlArgKind()]

