"""Builder: C and C++ sources → a static ELF, compiled once. The cache is kept by content in pytest's cache folder.

    d/heapscope/guests/<hash of the command>/<name of the first source>     the ELF
                                            /made-of.json                   each file that went into it, and its hash
                                            /lock

Test workers and pytest runs may share it: one builds at a time, and files appear whole, by rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

C, CXX = (".c", ".S", ".s"), (".cc", ".cpp", ".cxx", ".C")
SOURCES = C + CXX
FLAGS = ("-O2", "-g", "-fno-omit-frame-pointer")
SHOWN = 60  # lines of a compiler's complaint


class BuildError(Exception):
    """Why there is no program, for the person who wrote the test: several lines."""


class Toolchain(NamedTuple):
    """A C and a C++ compiler (None: it has none), the flags that make a static ELF, and where to get it."""

    cc: tuple[str, ...]
    cxx: tuple[str, ...] | None
    flags: tuple[str, ...]
    source: str


_ZIG = (sys.executable, "-m", "ziglang")
_MUSL = ("-target", "x86_64-linux-musl", "-static")
TOOLCHAINS = {
    "zig-musl": Toolchain((*_ZIG, "cc"), (*_ZIG, "c++"), _MUSL, "pip install ziglang==0.15.2"),
    "musl-gcc": Toolchain(("musl-gcc",), None, ("-static",), "Debian package musl-tools"),
    "gcc": Toolchain(("gcc",), ("g++",), ("-static", "-no-pie"), "Debian packages gcc, g++, libc6-dev"),
}


class Builder:
    """One pytest process's way to the cache. A program is looked up on disk once, then known."""

    def __init__(self, root: Path, cache: Path, toolchain: str) -> None:
        """Compilers run in `root`; paths below it go into programs without it, so that clones build equal bytes."""
        self._root, self._cache, self._toolchain = root, cache, toolchain
        self._built: dict[tuple[str, ...], Path] = {}
        self._versions: dict[str, str] = {}

    @classmethod
    def of(cls, config: pytest.Config) -> Builder:
        """With pytest's own cache folder; without one (`-p no:cacheprovider`), one of the user's temporary folder."""
        cache = getattr(config, "cache", None)
        folder = cache.mkdir("heapscope") if cache else Path(tempfile.gettempdir(), f"heapscope-{os.getuid()}")
        return cls(config.rootpath, folder / "guests", config.getini("heapscope_toolchain"))

    def build(
        self, sources: Sequence[Path], cflags: Sequence[str], ldflags: Sequence[str], toolchain: str | None
    ) -> Path:
        """The ELF of `sources`. Raises BuildError."""
        name = toolchain or self._toolchain
        chain = self._chain(name, sources)
        paths = [self._relative(source) for source in sources]
        command = (name, self._version(name), *paths, "|", *cflags, "|", *ldflags)
        if command not in self._built:
            key = hashlib.sha256(repr(command).encode()).hexdigest()[:16]
            folder = self._cache / key
            folder.mkdir(parents=True, exist_ok=True)
            program, made_of = folder / sources[0].stem, folder / "made-of.json"
            with _locked(folder / "lock"):
                if not (program.exists() and self._unchanged(made_of)):
                    with tempfile.TemporaryDirectory(dir=folder) as scratch:
                        parts = _compile(chain, self._root, paths, cflags, ldflags, Path(scratch))
                        hashes = {part: self._hash(part) for part in parts}
                        Path(scratch, "made-of.json").write_text(json.dumps(hashes, indent=1))
                        made_of.unlink(missing_ok=True)
                        os.replace(Path(scratch, "program"), program)
                        os.replace(Path(scratch, "made-of.json"), made_of)
            self._built[command] = program
        return self._built[command]

    def _chain(self, name: str, sources: Sequence[Path]) -> Toolchain:
        if name not in TOOLCHAINS:
            raise BuildError(f"there is no toolchain {name!r}: {', '.join(TOOLCHAINS)}")
        if not sources:
            raise BuildError("there are no sources to build a guest of")
        for source in sources:
            if source.suffix not in SOURCES:
                raise BuildError(f"{source}: not a C or C++ source ({', '.join(SOURCES)})")
            if not source.is_file():
                raise BuildError(f"{source}: there is no such file")
        chain = TOOLCHAINS[name]
        if chain.cxx is None and any(source.suffix in CXX for source in sources):
            raise BuildError(f"{name} has no C++ compiler; take zig-musl or gcc")
        there = importlib.util.find_spec("ziglang") if chain.cc[:3] == _ZIG else shutil.which(chain.cc[0])
        if not there:
            raise BuildError(f"toolchain {name} is not here: {chain.source}; or name another one, by toolchain=…")
        return chain

    def _version(self, name: str) -> str:
        if name not in self._versions:
            chain = TOOLCHAINS[name]
            command = [*_ZIG, "version"] if chain.cc[:3] == _ZIG else [chain.cc[0], "--version"]
            self._versions[name] = subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]
        return self._versions[name]

    def _relative(self, source: Path) -> str:
        path = Path(os.path.normpath(source))
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)

    def _unchanged(self, made_of: Path) -> bool:
        try:
            known = json.loads(made_of.read_text())
            return all(self._hash(part) == digest for part, digest in known.items())
        except (OSError, ValueError, AttributeError):
            return False

    def _hash(self, part: str) -> str:
        return hashlib.sha256((self._root / part).read_bytes()).hexdigest()


def _compile(
    chain: Toolchain, root: Path, sources: Sequence[str], cflags: Sequence[str], ldflags: Sequence[str], scratch: Path
) -> list[str]:
    """Make `scratch`/program; the names of all files that were read, headers too."""
    flags = (*chain.flags, *FLAGS, f"-ffile-prefix-map={root}=.", *cflags)
    objects, parts = [], []
    for number, source in enumerate(sources):
        compiler = chain.cxx if chain.cxx and Path(source).suffix in CXX else chain.cc
        made, depends = scratch / f"{number}.o", scratch / f"{number}.d"
        _call([*compiler, *flags, "-c", source, "-o", str(made), "-MD", "-MF", str(depends), "-MT", "made"], root)
        objects.append(str(made))
        parts += _dependencies(depends) if depends.exists() else [source]
    linker = chain.cxx if chain.cxx and any(Path(source).suffix in CXX for source in sources) else chain.cc
    _call([*linker, *flags, *objects, "-o", str(scratch / "program"), *ldflags], root)
    return list(dict.fromkeys(parts))


def _call(command: list[str], root: Path) -> None:
    done = subprocess.run(command, cwd=root, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        more = [f"… and {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
        shown = " ".join(Path(word).name if word == sys.executable else word for word in command)
        raise BuildError("\n".join(["the guest does not compile", f"$ {shown}", *lines[:SHOWN], *more]))


def _dependencies(file: Path) -> list[str]:
    """The prerequisites in a Makefile rule, as -MD writes it."""
    rule = file.read_text().replace("\\\n", " ").partition(":")[2]
    return [word.replace("\\ ", " ") for word in re.findall(r"(?:\\ |\S)+", rule)]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
