"""`make demo`: three C programs, built for musl by zig, run on our CPU and kernel. README.md shows what it prints.

python scripts/demo.py              run it
python scripts/demo.py --readme     put what it prints into README.md
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests"))

import toolchain  # noqa: E402  (the guests' compilers and flags; tests/ is no package)

COMMANDS = (
    ("demo/tour", "heapscope run --why --stats {elf}"),
    ("demo/crash", "heapscope run --why -e trace=memory {elf}"),
    ("demo/leaky", "heapscope run -q --heap --stack 2 --error-exitcode=99 {elf}"),
)


def main() -> int:
    for guest, command in COMMANDS:
        try:
            elf = toolchain.build(guest, "musl").relative_to(REPO)
        except toolchain.Unavailable as why:
            print(f"demo: cannot build {guest}: {why}", file=sys.stderr)
            return 1
        if guest != COMMANDS[0][0]:
            print()
        show(command.format(elf=elf))
    return 0


def into_readme() -> int:
    """Replace the README's transcript by a fresh one."""
    fresh = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, text=True, check=True).stdout
    readme = REPO / "README.md"
    block = re.compile(r"(<!-- make demo -->\n```text\n).*?(```\n)", re.DOTALL)
    readme.write_text(block.sub(lambda found: found[1] + fresh + found[2], readme.read_text(), count=1))
    return 0


def show(command: str) -> None:
    """Type `command` and what it prints: the guest's output and the trace in the order in which they came."""
    print(f"$ {command}", flush=True)
    _, *arguments = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "emu", *arguments],
        cwd=REPO,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    print(f"$ echo $?\n{done.returncode}", flush=True)


if __name__ == "__main__":
    sys.exit(into_readme() if sys.argv[1:] == ["--readme"] else main())
