"""The one truth of how guests are built: compilers, flags, sources. guest/Makefile and the tests ask here.

A build is kept in `build/guest/<kind>/<group>/<name>.elf` beside a `.key` file, a hash of everything that went into it
(sources, flags, compiler version): made again only when the hash differs, and equal bytes for equal input.

    python tests/toolchain.py                 every guest in every kind this machine can build
    python tests/toolchain.py --kind musl     one kind
    python tests/toolchain.py task/hello      one guest; prints the paths
    python tests/toolchain.py --packages      which Debian packages are missing here
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUEST = ROOT / "guest"
BUILD = ROOT / "build"
PACKAGES = ROOT / "tests" / "debian-packages.txt"
DEFAULT_KINDS = ("musl", "glibc")
COMMON = (
    "-O2",
    "-g",
    "-fno-omit-frame-pointer",
    "-fno-delete-null-pointer-checks",
    f"-ffile-prefix-map={ROOT}=.",
    "-Iguest",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-warning-option",
    "-Wno-unused-result",
    # what guests do on purpose: overruns, wild lengths, endless recursion
    "-Wno-array-bounds",
    "-Wno-stringop-overflow",
    "-Wno-stringop-overread",
    "-Wno-infinite-recursion",
)
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")


class Unavailable(Exception):
    """This machine lacks what a build needs; the text says what, and the package that has it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to make a static ELF: a C and a C++ compiler (None: it has none), flags before and after the source."""

    name: str
    cc: tuple[str, ...]
    cxx: tuple[str, ...] | None
    needs: tuple[tuple[str, str], ...]  # (path or program, Debian package)
    before: tuple[str, ...] = ("-static",)
    after: tuple[str, ...] = ()


ZIG = (sys.executable, "-m", "ziglang")
MUSL_TARGET = ("-target", "x86_64-linux-musl")
GCC = (("gcc", "gcc"), ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"))
_JEMALLOC = str(LIBRARIES / "libjemalloc.a")
_TCMALLOC = str(LIBRARIES / "libtcmalloc_minimal.a")
_MIMALLOC = str(BUILD / "mimalloc" / "src" / "static.c")

_MIMALLOC_FLAGS = ("-DMI_MALLOC_OVERRIDE=1", "-Ibuild/mimalloc/include")
_WHOLE_TCMALLOC = ("-Wl,--whole-archive", _TCMALLOC, "-Wl,--no-whole-archive", "-lm", "-lstdc++", "-lpthread")
_DIET = ("diet", "-Os", "gcc", "-nostdinc", "-isystem", "/usr/include/diet")
_PLAIN = ("-static", "-no-pie")
_MALLOC = (*_PLAIN, "-fno-builtin")

KINDS = {
    kind.name: kind
    for kind in (
        Kind("musl", (*ZIG, "cc", *MUSL_TARGET), (*ZIG, "c++", *MUSL_TARGET), ()),
        Kind("musl-pie", (*ZIG, "cc", *MUSL_TARGET), (*ZIG, "c++", *MUSL_TARGET), (), ("-static", "-pie", "-fPIE")),
        Kind("musl-gcc", ("musl-gcc",), None, (("musl-gcc", "musl-tools"),)),
        Kind("glibc", ("gcc",), ("g++",), GCC, _PLAIN),
        Kind("glibc-pie", ("gcc",), ("g++",), GCC, ("-static-pie", "-fPIE")),
        Kind("diet", _DIET, None, (("diet", "dietlibc-dev"),), _PLAIN),
        Kind(
            "jemalloc",
            ("gcc",),
            ("g++",),
            (*GCC, (_JEMALLOC, "libjemalloc-dev"), ("g++", "g++")),
            (*_MALLOC, "-DALLOCATOR_jemalloc"),
            (_JEMALLOC, "-lm", "-lstdc++", "-ldl", "-lpthread"),
        ),
        Kind(
            "tcmalloc",
            ("gcc",),
            ("g++",),
            (*GCC, (_TCMALLOC, "libgoogle-perftools-dev"), ("g++", "g++")),
            _MALLOC,
            _WHOLE_TCMALLOC,
        ),
        Kind(
            "mimalloc",
            ("gcc",),
            ("g++",),
            (*GCC, (_MIMALLOC, "mimalloc (its source: make packages)")),
            (*_MALLOC, "-DALLOCATOR_mimalloc", "-w", *_MIMALLOC_FLAGS, "build/mimalloc/src/static.c"),
            ("-lpthread",),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a guest: `env` NAME=VALUE words, `argv` without argv[0], `stdin` bytes."""

    env: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    stdin: bytes = b""

    @property
    def label(self) -> str:
        return " ".join(self.env + self.argv)


@dataclass(frozen=True, slots=True)
class Guest:
    """One source under guest/, and what its `// RUN:`-like lines ask for (see guest/guest.h)."""

    name: str  # "task/hello"
    source: Path
    kinds: tuple[str, ...]
    cases: tuple[Case, ...]
    not_compared: str  # why its syscalls are not held against strace's; "" where they are
    not_on_a_host: str  # why it must not run on a real machine; "" where it may


def _directives(source: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in source.read_text().splitlines():
        if line.startswith("// ") and ":" in line:
            key, _, value = line[3:].partition(":")
            if key.isupper():
                found.setdefault(key, []).append(value.strip())
    return found


def _case(words: list[str], stdin: bytes) -> Case:
    split = next((i for i, word in enumerate(words) if not word.split("=")[0].isupper() or "=" not in word), len(words))
    return Case(tuple(words[:split]), tuple(words[split:]), stdin)


@functools.cache
def guest(name: str) -> Guest:
    """The guest `name` ("group/stem")."""
    source = next(p for p in (GUEST / f"{name}.c", GUEST / f"{name}.cc") if p.exists())
    said = _directives(source)
    stdin = "".join(said.get("STDIN", [])).encode().decode("unicode_escape").encode()
    kinds = tuple(" ".join(said.get("KINDS", [])).split()) or DEFAULT_KINDS
    cases = tuple(_case(words.split(), stdin) for words in said.get("RUN", [""]))
    not_compared, not_on_a_host = (" ".join(said.get(key, [])) for key in ("NOT COMPARED", "NOT ON A HOST"))
    return Guest(name, source, kinds, cases, not_compared, not_on_a_host)


def guests(group: str = "") -> list[Guest]:
    """All guests in name order, or those of one group (a folder of guest/)."""
    sources = sorted(p for p in GUEST.glob(f"{group or '*'}/*") if p.suffix in (".c", ".cc"))
    return [guest(f"{p.parent.name}/{p.stem}") for p in sources]


@functools.cache
def missing(kind: str) -> str:
    """Why this machine cannot build `kind`, naming the package to install; "" if it can."""
    if kind.startswith("musl") and kind != "musl-gcc" and not _zig_version():
        if kind == "musl" and shutil.which("musl-gcc"):
            return ""
        return "needs ziglang: pip install ziglang==0.15.2"
    lacking = [package for path, package in KINDS[kind].needs if not (Path(path).exists() or shutil.which(path))]
    return f"needs the Debian package{'s' * (len(lacking) > 1)} {' '.join(lacking)}" if lacking else ""


@functools.cache
def _zig_version() -> str:
    try:
        from importlib.metadata import version

        return version("ziglang")
    except ImportError:  # PackageNotFoundError is one
        return ""


@functools.cache
def _compiler_version(compiler: tuple[str, ...]) -> str:
    if compiler[: len(ZIG)] == ZIG:
        return f"ziglang {_zig_version()}"
    program = "gcc" if compiler[0] == "diet" else compiler[0]
    banner = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return banner.stdout.splitlines()[0] + _libc_versions()


@functools.cache
def _libc_versions() -> str:
    if not shutil.which("dpkg-query"):
        return ""
    query = ["dpkg-query", "-W", "libc6-dev", "musl-dev", "dietlibc-dev", "libjemalloc-dev", "libgoogle-perftools-dev"]
    return subprocess.run(query, capture_output=True, text=True).stdout


def _command(source: Path, kind: Kind) -> list[str]:
    compiler = kind.cc if source.suffix == ".c" else kind.cxx
    if compiler is None:
        raise Unavailable(f"{kind.name} has no C++ compiler")
    if compiler[: len(ZIG)] == ZIG and not _zig_version():
        compiler = ("musl-gcc",)  # the stand-in: `missing` has seen that it is there
    return [*compiler, *COMMON, *kind.before, str(source.relative_to(ROOT)), *kind.after]


def zig_folders() -> dict[str, str]:
    """Zig's caches and its libraries, all below ROOT: the paths that it writes into libc's debug information are then
    relative, and the same in every clone."""
    folder = (BUILD / "zig").relative_to(ROOT)
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return {}
    (BUILD / "zig").mkdir(parents=True, exist_ok=True)
    with _locked(BUILD / "zig" / "lib.lock"):
        link, target = BUILD / "zig" / "lib", Path(spec.origin).parent / "lib"
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    cache = str(folder / "cache")
    return {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache, "ZIG_LIB_DIR": str(folder / "lib")}


def _key(source: Path, command: list[str]) -> str:
    digest = hashlib.sha256()
    for part in (
        repr(command[1:]),
        _compiler_version(tuple(command[:3])),
        source.read_text(),
        *(header.read_text() for header in (GUEST / "guest.h", *sorted(source.parent.glob("*.h")))),
    ):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time for each file: test workers share the cache."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(name: str, kind: str = "musl") -> Path:
    """The ELF of guest `name` in `kind`, built if it is not there yet. Raises Unavailable; CalledProcessError with the
    compiler's words on stderr."""
    if why := missing(kind):
        raise Unavailable(why)
    return build_source(guest(name).source, KINDS[kind], BUILD / "guest" / kind / f"{name}.elf")


def build_source(source: Path, kind: Kind, output: Path) -> Path:
    """Compile `source` (under guest/) to `output` unless the key beside it says that it is up to date."""
    command = _command(source, kind)
    key, key_file = _key(source, command), output.with_suffix(".key")
    output.parent.mkdir(parents=True, exist_ok=True)
    with _locked(output.with_suffix(".lock")):
        if output.exists() and key_file.exists() and key_file.read_text() == key:
            return output
        scratch = output.with_suffix(".new")
        environment = {**os.environ, **zig_folders(), "LC_ALL": "C"}
        subprocess.run([*command, "-o", str(scratch)], cwd=ROOT, env=environment, check=True)
        scratch.replace(output)
        key_file.write_text(key)
    return output


def debian_packages() -> list[str]:
    """The packages that the tests and benches use, one a line in tests/debian-packages.txt; `#` starts a comment."""
    lines = (line.split("#")[0].strip() for line in PACKAGES.read_text().splitlines())
    return [line for line in lines if line]


def _missing_packages() -> list[str]:
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n"]
    listed = subprocess.run([*query, *debian_packages()], capture_output=True, text=True).stdout
    installed = {line.split()[0] for line in listed.splitlines() if line.split()[1:2] == ["ii"]}
    return [package for package in debian_packages() if package not in installed]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("guests", nargs="*", help="group/name; default: all")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--packages", action="store_true", help="print the Debian packages that are missing here")
    chosen = parser.parse_args(arguments)
    if chosen.packages:
        print(" ".join(_missing_packages()))
        return 0
    wanted = [
        (each.name, kind)
        for each in [guest(name) for name in chosen.guests] or guests()
        for kind in each.kinds
        if not chosen.kind or kind in chosen.kind
    ]
    for kind in {kind: None for _, kind in wanted if missing(kind)}:
        print(f"no {kind} guests: {missing(kind)}", file=sys.stderr)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in pool.map(lambda job: build(*job), [job for job in wanted if not missing(job[1])]):
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
