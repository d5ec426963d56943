"""The project as a stranger meets it: what the README says is what happens, and a wheel runs without a compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
import toolchain

REPO = Path(__file__).resolve().parent.parent
README = (REPO / "README.md").read_text()
HEAVY = ("numpy", "rich", "capstone", "pyarrow", "elftools", "dataclasses", "inspect", "subprocess", "threading")


def fenced(marker: str) -> str:
    """The fenced block that follows `<!-- marker… -->` in the README."""
    found = re.search(rf"<!-- {marker}.*?-->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no block after <!-- {marker} -->"
    return found[1]


def without_wall_time(text: str) -> str:
    return re.sub(r"(?m)^(.*wall.*?)[\d.]+ ?m?s\b.*$", r"\1…", text)


@pytest.fixture(scope="module")
def hello() -> Path:
    return toolchain.build("task/hello", "musl")


def test_the_transcript_in_the_readme_is_what_the_demo_prints() -> None:
    demo = [sys.executable, "scripts/demo.py"]
    printed = subprocess.run(demo, cwd=REPO, capture_output=True, text=True, timeout=300, check=True).stdout
    assert without_wall_time(printed) == without_wall_time(fenced("make demo"))


def test_the_worked_example_in_the_readme_is_a_syscall() -> None:
    from kernel.abi.errno import EINVAL, EPERM
    from kernel.abi.nr import NR
    from kernel.events import SyscallExit
    from kernel.probes import Probes
    from kernel.syscalls import load
    from kernel.syscalls.table import TABLE, dispatch

    load()
    nr = NR["iopl"]
    assert nr not in TABLE, "it exists by now: the README needs another example"
    seen: list[SyscallExit] = []
    probes = Probes()
    probes.listen(SyscallExit, seen.append)
    task = SimpleNamespace(
        tid=1, system=SimpleNamespace(probes=probes, clock=SimpleNamespace(monotonic_ns=lambda: 0, slept=0))
    )
    try:
        exec(compile(fenced("worked example"), "README.md", "exec", dont_inherit=True), {"__name__": "readme"})
        assert [dispatch(task, nr, level, 0, 0, 0, 0, 0) for level in (0, 3, 4)] == [0, -EPERM, -EINVAL]  # type: ignore[arg-type]
    finally:
        TABLE.pop(nr, None)
    lines = [f"{e.text.ljust(39)} = {e.shown}" + (f" /* {e.why} */" if e.why else "") for e in seen]
    assert "\n".join(lines) + "\n" in README


def test_what_the_readme_quotes_is_what_the_files_say() -> None:
    quotes = re.findall(r"<!-- from (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert len(quotes) >= 5
    for path, text in quotes:
        assert text in (REPO / path).read_text(), path


def test_a_plain_run_imports_nothing_heavy(hello: Path) -> None:
    program = f"""
import sys
from emu.cli import main
status = main(["run", "-q", {str(hello)!r}])
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_the_readme_has_every_option_of_run_and_no_other() -> None:
    run = [sys.executable, "-m", "emu", "run", "--help"]
    helped = subprocess.run(run, cwd=REPO, capture_output=True, text=True, check=True).stdout
    option = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
    described = {word for row in re.findall(r"^  (-.*?)(?:  |$)", helped, re.MULTILINE) for word in option.findall(row)}
    table = README.partition("| option | does |")[2].partition("\n\n")[0]
    listed = {word for row in table.splitlines() for cell in row.split("|")[1:2] for word in option.findall(cell)}
    assert listed == described - {"-h", "--help"}


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    phony = re.findall(r"^\.PHONY: (.*)$", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make ([\w-]+) ", listed, re.MULTILINE) == phony[0].split()


def test_the_dockerfile_has_only_steps_that_the_image_check_can_take() -> None:
    sys.path.insert(0, str(REPO / "scripts"))
    try:
        import image_check
    finally:
        sys.path.pop(0)
    steps = image_check.steps((REPO / "Dockerfile").read_text())
    assert {verb for verb, _ in steps} == {"FROM", "COPY", "RUN", "ENTRYPOINT", "CMD"}
    verbs = re.findall(r"^(\w+)\)$", (REPO / "scripts/image.sh").read_text(), re.MULTILINE)
    called = [word for verb, rest in steps if verb == "RUN" for word in re.findall(r"image\.sh (\w+)", rest)]
    assert called == verbs


@pytest.mark.slow
def test_a_wheel_runs_a_guest_where_there_is_no_compiler(tmp_path: Path, hello: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    source = tmp_path / "source"
    for part in ("emu", "kernel"):
        shutil.copytree(REPO / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(REPO / part, source)
    subprocess.run([*build, source], check=True)
    (wheel,) = tmp_path.glob("heapscope-*.whl")
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    # The dependencies are those that we run with ourselves: nothing is downloaded.
    own = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(own + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    home = {"HOME": str(tmp_path), "PATH": "/nonexistent"}
    run = [str(tmp_path / "venv/bin/python"), "-m", "emu", "run", "-q", str(hello)]
    done = subprocess.run(run, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60)
    native = subprocess.run([hello], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (native.returncode, native.stdout), done.stderr
