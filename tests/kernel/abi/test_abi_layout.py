"""Layouts follow C's rules, and structs come back as they went."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kernel.abi import structs
from kernel.abi.layout import I8, I64, U16, Layout, struct
from kernel.abi.structs import Itimerval, Sigaction, Stat, Sysinfo, Timespec, Timeval, Utsname

C_NAMES = {
    "Timespec": "struct timespec", "Timeval": "struct timeval", "Itimerval": "struct itimerval", "Tms": "struct tms",
    "Iovec": "struct iovec", "Stat": "struct stat", "Statx": "struct statx", "StackT": "stack_t",
    "SiginfoKill": "siginfo_t", "SiginfoFault": "siginfo_t", "SiginfoChld": "siginfo_t", "SiginfoTimer": "siginfo_t",
    "Utsname": "struct utsname", "Rusage": "struct rusage", "Rlimit64": "struct rlimit", "Pollfd": "struct pollfd",
    "Sysinfo": "struct sysinfo", "Winsize": "struct winsize", "Flock": "struct flock", "Statfs": "struct statfs",
}  # fmt: skip
HEADERS = "time sys/time sys/times sys/uio sys/stat signal sys/utsname sys/resource poll sys/sysinfo sys/ioctl "
HEADERS += "sys/vfs fcntl"


@struct
class Odd(Layout):
    a: I8
    b: I64
    c: U16


def test_fields_are_aligned_as_a_c_compiler_aligns_them() -> None:
    assert Odd.SIZE == 24
    assert Odd(1, 2, 3).pack() == bytes([1, *[0] * 7, 2, *[0] * 7, 3, *[0] * 7])


def test_what_is_packed_is_unpacked() -> None:
    timer = Itimerval(Timeval(1, 2), Timeval(3, 4))
    assert Itimerval.unpack(timer.pack()) == timer
    info = Sysinfo(5, (1, 2, 3), 4, 5, 6, 7, 8, 9, 10, 0, 11, 12, 13)
    assert Sysinfo.unpack(info.pack()) == info


def test_a_field_left_out_is_zero() -> None:
    assert Timespec(5) == Timespec(5, 0)  # type: ignore[call-arg]
    assert Stat(st_mode=0o100644).st_size == 0  # type: ignore[call-arg]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="seconds"):
        Timespec(seconds=5)  # type: ignore[call-arg]


def test_a_value_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Timespec(1, 2).tv_sec = 3  # type: ignore[misc]


def test_texts_are_those_of_strace() -> None:
    assert Timespec(1, 2).text() == "{tv_sec=1, tv_nsec=2}"
    null = Stat(st_mode=0o20666, st_rdev=0x103)  # type: ignore[call-arg]
    assert null.text() == "{st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}"
    assert Sigaction(0, 0, 0, 0).text() == "{sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}"
    name = Utsname(sysname=b"Linux", nodename=b"n")  # type: ignore[call-arg]
    assert name.text() == '{sysname="Linux", nodename="n", ...}'


def test_sizes_are_those_of_the_c_headers(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    lines = "".join(f'printf("{name} %zu\\n", sizeof({c}));' for name, c in C_NAMES.items())
    includes = "".join(f"#include <{name}.h>\n" for name in HEADERS.split())
    source = tmp_path / "sizes.c"
    source.write_text(f"#define _GNU_SOURCE\n#include <stdio.h>\n{includes}int main(void) {{ {lines} }}\n")
    subprocess.run([compiler, "-o", tmp_path / "sizes", source], check=True, timeout=60)
    output = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout
    theirs = {name: int(size) for name, size in (line.split() for line in output.splitlines())}
    ours = {name: getattr(structs, name).SIZE for name in C_NAMES}
    assert ours == theirs
