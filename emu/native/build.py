"""Builds the C files into a shared object named by a checksum of its source, so that a stale one is never loaded; and
the Python files into byte code, which Python itself leaves undone under PYTHONDONTWRITEBYTECODE."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from emu.native import place


def compilers(zig: bool) -> list[list[str]]:
    """Compilers to try: $CC, cc, gcc, clang, and, if `zig`, the one in the ziglang package."""
    found = [[path] for tool in (os.environ.get("CC"), "cc", "gcc", "clang") if tool and (path := shutil.which(tool))]
    if zig and importlib.util.find_spec("ziglang"):
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


def build(zig: bool = True) -> tuple[str, str]:
    """Build it unless it is there, the ziglang package's compiler last. Its path and "", or "" and why not."""
    path = place.find()
    if path:
        return path, ""
    reason = "no C compiler found (cc, or pip install ziglang)"
    for compiler in compilers(zig):
        for folder in place.folders():
            reason = _compile(compiler, Path(folder))
            if not reason:
                return place.find(), ""
    return "", reason


def _compile(compiler: list[str], folder: Path) -> str:
    """Compile into `folder`, atomically. "" or what went wrong."""
    name = place.name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            out = Path(scratch) / "hooks.so"
            command = [
                *compiler,
                *place.FLAGS,
                "-o",
                str(out),
                *(source for source in place.SOURCES if source.endswith(".c")),
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode:
                return f"{' '.join(compiler)}: {done.stderr.strip()[-500:] or 'failed'}"
            out.replace(folder / name)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{' '.join(compiler)}: {error}"
    for old in folder.glob(f"hooks-*-{name.partition('-')[2].partition('-')[2]}"):
        if old.name != name:
            old.unlink(missing_ok=True)
    return ""


def compile_python() -> None:
    """Byte code for all of `emu` and `kernel`, where the folders may be written: without it each run compiles them, in
    0.4 s of CPU time. What is up to date is left alone."""
    for package in ("emu", "kernel"):
        compileall.compile_dir(Path(__file__).resolve().parents[2] / package, quiet=2)


def main() -> int:
    """Build, and say in one line what will serve."""
    compile_python()
    path, reason = build()
    if path:
        print(f"native hooks: {os.path.relpath(path)}")
    else:
        print(f"heapscope: no native hooks, the Python twin serves (slower, same results): {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
