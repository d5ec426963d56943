"""Builds hooks.c into a shared object named by the hash of its source, so that a stale one is never loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = (HERE / "hooks.c", HERE / "hooks.h")
FLAGS = ("-O2", "-shared", "-fPIC", "-std=c99", "-fvisibility=hidden", "-Wall", "-Wextra")


def name() -> str:
    """The shared object's file name: source hash, machine, system."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES) + " ".join(FLAGS).encode())
    suffix = "dll" if sys.platform == "win32" else "so"
    return f"hooks-{digest.hexdigest()[:12]}-{sys.platform}-{platform.machine().lower()}.{suffix}"


def folders() -> list[Path]:
    """Where it may stand, best first: beside the source, else in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return [HERE, Path(cache) / "heapscope"]


def find() -> Path | None:
    """The shared object of just this source, if it was built."""
    return next((path for folder in folders() if (path := folder / name()).is_file()), None)


def compilers(zig: bool) -> list[list[str]]:
    """Compilers to try: $CC, cc, gcc, clang, and, if `zig`, the one in the ziglang package."""
    found = [[path] for tool in (os.environ.get("CC"), "cc", "gcc", "clang") if tool and (path := shutil.which(tool))]
    if zig and importlib.util.find_spec("ziglang"):
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


def build(zig: bool = True) -> tuple[Path | None, str]:
    """Build it unless it is there, the ziglang package's compiler last. The path and "", or None and why not."""
    path = find()
    if path is not None:
        return path, ""
    reason = "no C compiler found (cc, or pip install ziglang)"
    for compiler in compilers(zig):
        for folder in folders():
            reason = _compile(compiler, folder)
            if not reason:
                return folder / name(), ""
    return None, reason


def _compile(compiler: list[str], folder: Path) -> str:
    """Compile into `folder`, atomically. "" or what went wrong."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            out = Path(scratch) / "hooks.so"
            command = [*compiler, *FLAGS, "-o", str(out), str(SOURCES[0])]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode:
                return f"{' '.join(compiler)}: {done.stderr.strip()[-500:] or 'failed'}"
            out.replace(folder / name())
    except (OSError, subprocess.SubprocessError) as error:
        return f"{' '.join(compiler)}: {error}"
    for old in folder.glob("hooks-*-*.*"):
        if old.name != name() and old.suffix in (".so", ".dll"):
            old.unlink(missing_ok=True)
    return ""


def main() -> int:
    """Build, and say in one line what will serve."""
    path, reason = build()
    if path is None:
        print(f"heapscope: no native hooks, the Python twin serves (slower, same results): {reason}", file=sys.stderr)
    else:
        print(f"native hooks: {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
