"""Take the Dockerfile's steps by hand, without a daemon: each stage is a debootstrap folder, each RUN a chroot.

    make image-check        (as root, with debootstrap and the network; a few minutes)

The Dockerfile is the only list of steps: its FROM, COPY, RUN, ENTRYPOINT and CMD lines are read and obeyed here. The
Debian mirror is the one in this machine's apt sources, and Python packages are downloaded by this machine's pip.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
SUITE = "bookworm"  # Debian 12, as the Dockerfile's debian:12-slim
WHEELS = "/wheels"  # inside a stage: where pip finds what this machine downloaded
CLEAN_ENV = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": WHEELS,
}


def main() -> int:
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        print("image-check: needs root and debootstrap", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="heapscope-image-") as scratch:
        image, entrypoint = build(Path(scratch), (REPO / "Dockerfile").read_text())
        size = sum(f.lstat().st_size for f in image.rglob("*") if f.is_file() and not f.is_symlink())
        print(f"image-check: built; {size >> 20} MiB, the bare Debian included")
        return try_it(image, entrypoint)


def build(scratch: Path, dockerfile: str) -> tuple[Path, list[str]]:
    """Obey the Dockerfile; the last stage's folder, and its ENTRYPOINT."""
    bare = bare_debian(scratch / "bare")
    stages: dict[str, Path] = {}
    stage, entrypoint = bare, []
    for verb, rest in steps(dockerfile):
        print(f"image-check: {verb} {rest}", flush=True)
        if verb == "FROM":
            _, _, name = rest.partition(" AS ")
            name = name or f"stage{len(stages)}"
            stage = stages[name] = scratch / name
            run("cp", "-a", bare, stage)
        elif verb == "COPY":
            copy(rest, stage, stages)
        elif verb == "RUN":
            in_chroot(stage, ["sh", "-c", rest])
        elif verb == "ENTRYPOINT":
            entrypoint = json.loads(rest)
        elif verb != "CMD":
            raise SystemExit(f"image-check: no way to obey {verb}; add it here or leave it out of the Dockerfile")
    return stage, entrypoint


def steps(dockerfile: str) -> list[tuple[str, str]]:
    """(verb, rest of the line) of each instruction, continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    return [(verb, rest) for verb, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def copy(rest: str, stage: Path, stages: dict[str, Path]) -> None:
    """COPY [--from=STAGE] SOURCE TARGET; without --from the source is this tree, less what .dockerignore names."""
    *options, source, target = shlex.split(rest)
    goal = stage / target.lstrip("/")
    goal.parent.mkdir(parents=True, exist_ok=True)
    if options:
        run("cp", "-a", stages[options[0].removeprefix("--from=")] / source.lstrip("/"), goal)
    elif source == ".":
        ignored = [line.removeprefix("**/") for line in (REPO / ".dockerignore").read_text().split()]
        shutil.copytree(REPO, goal, symlinks=True, ignore=shutil.ignore_patterns(*ignored))
    else:
        shutil.copy2(REPO / source, goal)


def bare_debian(root: Path) -> Path:
    """What `FROM debian:12-slim` gives, near enough: minbase, plus this machine's way to its mirror and wheels."""
    run("debootstrap", "--variant=minbase", SUITE, root, mirror())
    for part in ("sources.list", "sources.list.d"):
        goal, own = root / "etc/apt" / part, Path("/etc/apt") / part
        if own.is_dir():
            shutil.copytree(own, goal, dirs_exist_ok=True)
        elif own.exists():
            shutil.copy2(own, goal)
        else:
            goal.unlink(missing_ok=True)
    shutil.copy2("/etc/resolv.conf", root / "etc/resolv.conf")
    platforms = [f"--platform=manylinux{tag}_x86_64" for tag in ("2014", "_2_17", "_2_28", "_2_36")]
    requirements = subprocess.check_output(
        [
            sys.executable,
            "-c",
            "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\\n')",
        ],
        cwd=REPO,
        text=True,
    ).split("\n")
    run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary=:all:",
        "--python-version=3.11",
        *platforms,
        "--dest",
        root / WHEELS.lstrip("/"),
        "setuptools>=68",
        *filter(None, requirements),
    )
    return root


def mirror() -> str:
    """The first Debian mirror of this machine's apt sources (either format)."""
    texts = [p.read_text() for p in sorted(Path("/etc/apt").glob("sources.list*")) if p.is_file()]
    texts += [
        p.read_text() for p in sorted(Path("/etc/apt/sources.list.d").glob("*")) if p.suffix in (".list", ".sources")
    ]
    for text in texts:
        found = re.search(r"^(?:URIs:|deb\s+(?:\[.*?\])?)\s*(\S+/debian)/?(?:\s|$)", text, re.MULTILINE)
        if found:
            return found[1]
    raise SystemExit("image-check: no Debian mirror in /etc/apt; this check needs a Debian machine")


def try_it(image: Path, entrypoint: list[str]) -> int:
    """`docker run -v PROG:/prog heapscope run /prog`, less the docker."""
    program = image / "prog"
    source = program.with_suffix(".c")
    source.write_text('#include <stdio.h>\nint main(void) { puts("hello from the image"); return 7; }\n')
    target = ["-target", "x86_64-linux-musl", "-static", "-O2", "-o", str(program), str(source)]
    run(sys.executable, "-m", "ziglang", "cc", *target)
    done = in_chroot(image, [*entrypoint, "run", "-q", "--stats", "/prog"], check=False)
    ok = done.returncode == 7 and done.stdout == "hello from the image\n"
    print(done.stdout + done.stderr, end="")
    print("image-check: the image runs a mounted program" if ok else f"image-check: FAILED, status {done.returncode}")
    return 0 if ok else 1


def in_chroot(root: Path, argv: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    stdout = None if check else subprocess.PIPE
    return subprocess.run(
        ["chroot", root, *argv],
        env=CLEAN_ENV,
        text=True,
        check=check,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stdout,
    )


def run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
