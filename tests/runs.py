"""Two ways to run a static ELF, for tests that compare them: on this host's Linux, and on ours.

Both get the same argv, an environment of exactly what is asked, a fresh working folder, umask 022, no ASLR, no core
files, and pipes (or /dev/null) as standard streams. Neither runs without a limit.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import pytest
import toolchain

import emu
from emu.machine import Stopped
from emu.sinks.text import TextSink
from kernel.config import Mount

INSTRUCTIONS = 2_000_000_000  # of any guest in the tests; none needs as many
SECONDS = 120.0
CWD = "/tmp"  # ours
MEMORY_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # tmpfs: what our ramfs is modelled on


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `status` is negative for a signal, as subprocess has it. `trace` is strace's text, or ours."""

    status: int
    stdout: bytes
    stderr: bytes
    trace: str = ""


def unavailable(why: str) -> NoReturn:
    """Skip the test; on CI, where everything is installed, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have it: {why}")
    pytest.skip(why)


def program(name: str, package: str = "") -> str:
    """The path of a host program, or the test is skipped."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return path or unavailable(f"needs {name} (Debian package {package or name})")


def elf(name: str, kind: str = "musl") -> Path:
    """The guest `name` built in `kind`, or the test is skipped."""
    if why := toolchain.missing(kind):
        unavailable(why)
    return toolchain.build(name, kind)


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER, prefix="heapscope-") as folder:
        os.chmod(folder, 0o1777)  # as /tmp is, which ours runs in
        yield Path(folder)


def _limits() -> None:
    """In the child: what our kernel has by default."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, hard))


def native(
    path: Path | str,
    argv: tuple[str, ...] = (),
    *,
    env: tuple[str, ...] = (),
    stdin: bytes = b"",
    cwd: Path | None = None,
    before: tuple[str, ...] = (),
) -> Outcome:
    """Run it on the host. `before` is put in front of it (strace and its options)."""
    with contextlib.nullcontext(cwd) if cwd else fresh_folder() as folder:
        done = subprocess.run(
            [program("setarch", "util-linux"), "-R", *before, str(path), *argv],
            cwd=folder,
            env=dict(word.split("=", 1) for word in env),
            input=stdin,
            capture_output=True,
            umask=0o022,
            timeout=SECONDS,
            preexec_fn=_limits,
        )
    return Outcome(done.returncode, done.stdout, done.stderr)


def straced(
    path: Path | str, argv: tuple[str, ...] = (), *, env: tuple[str, ...] = (), stdin: bytes = b""
) -> tuple[Outcome, str]:
    """Run it on the host under strace; the outcome, and the folder it ran in."""
    strace = program("strace")
    with fresh_folder() as log_folder, fresh_folder() as cwd:
        log = log_folder / "log"
        taskset = (program("taskset", "util-linux"), "-c", str(min(os.sched_getaffinity(0))))
        outcome = native(path, argv, env=env, stdin=stdin, cwd=cwd, before=(*taskset, strace, "-o", str(log)))
        return Outcome(outcome.status, outcome.stdout, outcome.stderr, log.read_text(errors="surrogateescape")), str(
            cwd
        )


def emulated(
    path: Path | str,
    argv: tuple[str, ...] = (),
    *,
    env: tuple[str, ...] = (),
    stdin: bytes = b"",
    max_instructions: int = INSTRUCTIONS,
    cwd: str = CWD,
    traced: bool = False,
    **knobs: Any,
) -> Outcome:
    """Run it here, under the uid and hostname of the host. `knobs` are further ones of emu.run."""
    text = StringIO()
    if traced:
        knobs |= {"trace": "all", "sinks": [TextSink(text)]}
    run = emu.run(
        path,
        argv,
        env=[(name, value) for name, _, value in (word.partition("=") for word in env)],
        stdin=stdin,
        cwd=cwd,
        uid=os.getuid(),
        gid=os.getgid(),
        hostname=os.uname().nodename,
        max_instructions=max_instructions,
        timeout=SECONDS,
        **knobs,
    )
    assert run.stopped is Stopped.EXITED, f"ended by {run.stopped.value}: {run.notes}"
    status = -run.signal if run.signal is not None else run.exit_status
    assert status is not None
    return Outcome(status, run.stdout, run.stderr, text.getvalue())


def mount(host: Path | str, guest: str, writable: bool = False) -> Mount:
    """A host folder or file that the guest is to see."""
    return Mount(str(host), guest, writable)


def any_guest(guest: toolchain.Guest) -> bool:
    return True


KNOWN_GAPS = {
    ("task/fp_faults", "sse"): "Unicorn never raises #XM: an unmasked SSE exception goes unnoticed",
}


def cases(of: Callable[[toolchain.Guest], bool] = any_guest) -> list[Any]:
    """pytest parameters (name, kind, case): every guest that `of` holds for, in each of its kinds, each run of it.
    What we are known to get wrong must fail, so that it is noticed when it no longer does."""
    return [
        pytest.param(guest.name, kind, case, id=_id(guest.name, kind, case.label), marks=_marks(guest.name, case.label))
        for guest in toolchain.guests()
        if of(guest)
        for kind in guest.kinds
        for case in guest.cases
    ]


def _id(name: str, kind: str, label: str) -> str:
    return "-".join(filter(None, (name, kind, label.replace(" ", ",")[:40])))


def _marks(name: str, label: str) -> list[pytest.MarkDecorator]:
    gap = KNOWN_GAPS.get((name, label))
    return [pytest.mark.xfail(reason=gap, strict=True)] if gap else []
