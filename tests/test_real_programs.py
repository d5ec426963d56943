"""Programs that nobody wrote for us: allocators at work, busybox, bash, gpgv, ldconfig. Outputs equal the host's."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import Outcome, elf, emulated, mount, native, program, unavailable

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(__file__).resolve().parent / "data"
UTC = ("TZ=UTC0",)
MIB = 1 << 20


def static(name: str, package: str) -> str:
    return os.path.realpath(program(name, package))


def text_of(size: int) -> bytes:
    """`size` bytes that compress about as text does."""
    rng = random.Random(1)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(2000)]
    chunk = b" ".join(rng.choices(words, k=60_000))
    return (chunk * (size // len(chunk) + 1))[:size]


def assert_equal(ours: Outcome, theirs: Outcome) -> None:
    assert (ours.status, ours.stderr.decode(errors="replace")) == (
        theirs.status,
        theirs.stderr.decode(errors="replace"),
    )
    assert hashlib.sha256(ours.stdout).digest() == hashlib.sha256(theirs.stdout).digest(), (
        ours.stdout[:2000].decode(errors="replace"),
        theirs.stdout[:2000].decode(errors="replace"),
    )


# allocators


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["musl", "musl-gcc", "glibc", "diet", "jemalloc", "tcmalloc"])
def test_two_million_mallocs_and_frees(kind: str) -> None:
    path = elf("heap/churn", kind)
    ours = emulated(path, ("2000000",))
    assert_equal(ours, native(path, ("2000000",)))
    assert ours.stdout.startswith(b"2000000 operations")


# busybox


@pytest.fixture(scope="module")
def busybox() -> str:
    return static("busybox", "busybox-static")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files with fixed times, modes, sizes and, where we may, owners."""
    for number, (name, size, mode) in enumerate(
        [
            ("small", 5, 0o644),
            ("empty", 0, 0o600),
            ("script.sh", 1234, 0o755),
            ("big", 70_000, 0o440),
            (".hidden", 1, 0o4711),
        ]
    ):
        file = tmp_path / name
        file.write_bytes(b"x" * size)
        if os.getuid() == 0:
            os.chown(file, 1000 + number, 2000 + number)
        file.chmod(mode)
        os.utime(file, (10**9 + number * 86_400, 10**9 + number * 86_400))
    (tmp_path / "link").symlink_to("small")
    (tmp_path / "dir").mkdir(mode=0o750)
    for path in (tmp_path / "dir", tmp_path / "link", tmp_path):
        os.utime(path, (10**9, 10**9), follow_symlinks=False)
    return tmp_path


@pytest.mark.parametrize("options", ["-ln", "-lna", "-lnaR", "-1F"])
def test_busybox_lists_a_mounted_folder(busybox: str, folder: Path, options: str) -> None:
    argv = ("ls", options, str(folder))
    ours = emulated(busybox, argv, env=UTC, mounts=[mount(folder, str(folder))])
    theirs = native(busybox, argv, env=UTC)
    if "a" in options:  # `..` lies outside of the mount: another folder there than here
        ours, theirs = (without_dotdot(outcome) for outcome in (ours, theirs))
    assert_equal(ours, theirs)


def without_dotdot(outcome: Outcome) -> Outcome:
    lines = [
        line for line in outcome.stdout.splitlines() if not line.endswith(b" ..") and not line.startswith(b"total")
    ]
    return Outcome(outcome.status, b"\n".join(lines), outcome.stderr)


def test_busybox_lists_proc_self(busybox: str) -> None:
    """What we implement of /proc/self is a part of what Linux has there, and no name is ours alone."""
    ours = emulated(busybox, ("ls", "-1", "/proc/self"))
    theirs = native(busybox, ("ls", "-1", "/proc/self"))
    assert ours.status == 0
    names = set(ours.stdout.split())
    assert {b"maps", b"status", b"statm", b"exe"} <= names <= set(theirs.stdout.split())


def test_busybox_sorts_100_000_lines(busybox: str) -> None:
    rng = random.Random(2)
    lines = [b"%d line %d\n" % (rng.randrange(10**6), number) for number in range(100_000)]
    for options, count in (((), 100_000), (("-n",), 10_000)):
        argv, stdin = ("sort", *options), b"".join(lines[:count])
        assert_equal(emulated(busybox, argv, stdin=stdin), native(busybox, argv, stdin=stdin))


def test_busybox_md5sums_8_mib(busybox: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(text_of(8 * MIB))
    ours = emulated(busybox, ("md5sum", "/data/file"), mounts=[mount(tmp_path, "/data")])
    assert ours.stdout == hashlib.md5(text_of(8 * MIB)).hexdigest().encode() + b"  /data/file\n"


@pytest.mark.slow
def test_busybox_gzips_8_mib_and_back(busybox: str) -> None:
    plain = text_of(8 * MIB)
    packed = emulated(busybox, ("gzip", "-c"), stdin=plain)
    assert_equal(packed, native(busybox, ("gzip", "-c"), stdin=plain))
    unpacked = emulated(busybox, ("gunzip", "-c"), stdin=packed.stdout)
    assert (unpacked.status, unpacked.stderr) == (0, b"")
    assert unpacked.stdout == plain


def test_busybox_gzips_a_file_in_place(busybox: str, tmp_path: Path) -> None:
    """It creates, writes, sets modes and unlinks: in a folder that is mounted for writing."""
    file = tmp_path / "file"
    file.write_bytes(text_of(100_000))
    file.chmod(0o640)
    run = emulated(busybox, ("gzip", "/data/file"), mounts=[mount(tmp_path, "/data", writable=True)])
    assert (run.status, run.stderr, [path.name for path in tmp_path.iterdir()]) == (0, b"", ["file.gz"])
    assert (tmp_path / "file.gz").stat().st_mode & 0o777 == 0o640
    assert native(busybox, ("gunzip", "-c", str(tmp_path / "file.gz"))).stdout == text_of(100_000)


def test_busybox_awk_allocates_50_mib(busybox: str) -> None:
    script = (
        'BEGIN { s = "0123456789abcdef"; while (length(s) < 50 * 2^20) s = s s; print length(s), substr(s, 9, 20) }'
    )
    assert_equal(emulated(busybox, ("awk", script)), native(busybox, ("awk", script)))


def test_busybox_awk_counts_words(busybox: str) -> None:
    script = '{ for (i = 1; i <= NF; i++) count[$i]++ } END { for (w in count) n++; print n, NR, count["no"] + 0 }'
    stdin = text_of(200_000).replace(b" ab", b"\nab")
    assert_equal(emulated(busybox, ("awk", script), stdin=stdin), native(busybox, ("awk", script), stdin=stdin))


@pytest.mark.parametrize(
    "script",
    [
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; echo $i; cd / && pwd; type cd",
        "echo a > f; read x < f; echo $x; [ -f f ] && echo there; for i in *; do echo $i; done",
        "trap 'echo bye' EXIT; set -- a b c; shift; echo \"$# $*\"; printf '%05d|%s\\n' 42 x; exit 3",
        "kill -USR1 $$; echo not reached",
    ],
)
def test_busybox_sh_builtins(busybox: str, script: str) -> None:
    assert_equal(emulated(busybox, ("sh", "-c", script)), native(busybox, ("sh", "-c", script)))


APPLETS = [
    ("cat", "/nowhere"),
    ("ls", "/nowhere"),
    ("expr", "6", "*", "7"),
    ("dd", "if=/dev/zero", "bs=4k", "count=10"),
    ("seq", "1000"),
    ("false",),
]


@pytest.mark.parametrize("argv", APPLETS, ids=[argv[0] for argv in APPLETS])
def test_busybox_small_applets(busybox: str, argv: tuple[str, ...]) -> None:
    ours, theirs = emulated(busybox, argv), native(busybox, argv)
    if argv[0] == "dd":  # its last line has the time it took
        ours, theirs = (Outcome(each.status, each.stdout, each.stderr.rsplit(b"\n", 2)[0]) for each in (ours, theirs))
    assert_equal(ours, theirs)


# others


def test_bash_runs_a_loop_with_arrays() -> None:
    bash = static("bash-static", "bash-static")
    script = """
        declare -A name; declare -a square
        for ((i = 0; i < 3000; i++)); do square[i]=$((i * i % 977)); name[key$((i % 100))]+=x; done
        sum=0; for v in "${square[@]}"; do ((sum += v)); done
        echo "$sum ${#square[@]} ${#name[@]} ${#name[key7]} ${square[@]: -3}"
        s=abc; printf '%s|' "${s^^}" "${s/b/-}" "${s:1:1}"; echo
    """
    ours = emulated(bash, ("-c", script))
    assert ours.stdout.startswith(b"1")
    assert_equal(ours, native(bash, ("-c", script)))


def test_gpgv_verifies_a_signature_and_refuses_a_forgery(tmp_path: Path) -> None:
    gpgv = static("gpgv-static", "gpgv-static")
    (tmp_path / "forged.txt").write_bytes((DATA / "message.txt").read_bytes().replace(b"tests", b"jests"))
    for folder, name, status in ((DATA, "message.txt", 0), (tmp_path, "forged.txt", 1)):
        argv = ("--keyring", f"{DATA}/key.gpg", f"{DATA}/message.txt.sig", f"{folder}/{name}")
        ours = emulated(gpgv, argv, env=UTC, mounts=[mount(path, str(path)) for path in (DATA, tmp_path)])
        assert ours.status == status
        assert_equal(ours, native(gpgv, argv, env=UTC))


def test_ldconfig_prints_the_hosts_cache() -> None:
    ldconfig = static("ldconfig", "libc-bin")
    if not Path("/etc/ld.so.cache").exists():
        unavailable("needs /etc/ld.so.cache (run ldconfig as root)")
    if b"ELF" not in Path(ldconfig).read_bytes()[:4]:
        unavailable("this host's ldconfig is a script")
    ours = emulated(ldconfig, ("-p",), mounts=[mount("/etc/ld.so.cache", "/etc/ld.so.cache")])
    assert b"libc.so.6" in ours.stdout
    assert_equal(ours, native(ldconfig, ("-p",)))


# reservations


def cost_of(run: Callable[[], list[str]]) -> tuple[float, int]:
    """CPU seconds and peak RSS in bytes of a process of its own."""
    pid = subprocess.Popen(run(), cwd=ROOT, stdout=subprocess.DEVNULL).pid
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def test_reserving_12_tib_and_256_gib_costs_nothing() -> None:
    heapscope = [sys.executable, "-m", "emu", "run", "-q"]
    hello_seconds, hello_rss = cost_of(lambda: [*heapscope, str(elf("task/hello"))])
    seconds, rss = cost_of(lambda: [*heapscope, str(elf("mm/reserve"))])
    assert rss - hello_rss < 32 * MIB  # 268 pages touched, and their tables
    assert seconds < hello_seconds + 2
