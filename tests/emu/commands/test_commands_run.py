"""`heapscope run` as a user types it: where the trace goes, what else is printed, and the exit status."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import elf, program

from emu.cli import main

ROOT = Path(__file__).resolve().parents[3]
HELLO = b"Hello from a static ELF.\n"


def heapscope(*words: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "emu", "run", *words],
        **{"cwd": ROOT, "capture_output": True, "timeout": 120, "stdin": subprocess.DEVNULL, **options},
    )


@pytest.fixture(scope="module")
def hello() -> str:
    return str(elf("task/hello"))


@pytest.fixture(scope="module")
def die() -> str:
    return str(elf("task/die"))


def test_the_trace_goes_to_stderr_and_the_output_to_stdout(hello: str) -> None:
    done = heapscope(hello)
    assert (done.returncode, done.stdout) == (0, HELLO)
    lines = done.stderr.decode().splitlines()
    assert all(re.match(r"\w+\(.*\) += |\+\+\+ exited with 0 \+\+\+$", line) for line in lines), lines
    assert lines[-1] == "+++ exited with 0 +++"


def test_the_trace_into_a_file_leaves_stderr_to_the_guest(hello: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    done = heapscope("-o", trace, hello)
    assert (done.returncode, done.stdout, done.stderr) == (0, HELLO, b"")
    assert trace.read_text() == heapscope(hello).stderr.decode()


def test_quiet_is_nothing_but_the_guest(hello: str) -> None:
    done = heapscope("-q", hello)
    assert (done.returncode, done.stdout, done.stderr) == (0, HELLO, b"")


def test_a_filter_shows_only_what_it_names(hello: str) -> None:
    lines = heapscope("-e", "trace=write,writev,ioctl", hello).stderr.decode().splitlines()
    assert {line.partition("(")[0] for line in lines[:-1]} <= {"write", "writev", "ioctl"}
    assert len(lines) > 1
    assert b"write" not in heapscope("-e", "trace=!write,writev", hello).stderr
    assert heapscope("-e", "none", hello).stderr in (b"", b"+++ exited with 0 +++\n")


def test_count_replaces_the_trace_and_capital_c_adds_to_it(hello: str) -> None:
    counted = heapscope("-c", hello).stderr.decode()
    assert counted.startswith("% time ")
    assert re.search(r"^100\.00 .* total$", counted, re.MULTILINE)
    assert "exit_group" not in counted  # it never came back; strace does not count it either
    assert "exited" not in counted
    assert heapscope("-q", "-c", hello).stderr.decode() == counted
    both = heapscope("-C", hello).stderr.decode()
    assert "+++ exited with 0 +++\n% time " in both


def test_why_explains_refusals_on_request() -> None:
    program = str(elf("mm/mmap"))
    assert b"/* " not in re.sub(rb"/\* \d+ \w+ \*/", b"", heapscope("-e", "brk", program).stderr)
    said = heapscope("--why", "-e", "trace=mmap", program).stderr.decode()
    assert re.search(r"= -1 EINVAL \(Invalid argument\) /\* [a-z].* \*/$", said, re.MULTILINE)


def test_stats_are_aligned_and_complete(hello: str) -> None:
    text = heapscope("-q", "--stats", hello).stderr.decode()
    names = [line[:13].strip() for line in text.splitlines()]
    assert names == [
        "instructions", "page faults", "RSS", "VSZ", "brk", "mappings", "RAM in use", "virtual time", "wall time",
    ]  # fmt: skip
    assert int(re.search(r"instructions +([\d,]+)", text)[1].replace(",", "")) > 100  # type: ignore[index]


@pytest.mark.parametrize(("how", "code"), [("abort", 134), ("null-read", 139), ("divide", 136), ("raise-term", 143)])
def test_death_by_a_signal_is_128_and_its_number(die: str, how: str, code: int) -> None:
    done = heapscope("-q", die, how)
    assert done.returncode == code
    assert done.stdout == f"dying by {how}\n".encode()
    reported = done.stderr.decode().startswith("=== killed by SIG")
    assert reported == (how != "raise-term")


def test_the_report_stands_after_the_trace(die: str) -> None:
    text = heapscope(die, "null-write").stderr.decode()
    assert text.index("+++ killed by SIGSEGV +++") < text.index("=== killed by SIGSEGV (SEGV_MAPERR)")
    assert "\x1b" not in text


def test_limits_are_124_with_a_message(hello: str) -> None:
    done = heapscope("-q", "--max-instructions", "50", hello)
    assert done.returncode == 124
    assert done.stderr == b"heapscope: stopped after exactly 50 instructions (--max-instructions)\n"


SET = 'write(1, "set\\n"'  # a line of the trace: the shell has set its trap


def _interrupted(words: list[str], signals: list[int], ready: str = "execve(") -> tuple[int, str]:
    """Run `words`, wait until its trace says `ready`, send the signals; exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emu", "run", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), True)
    first = line = process.stderr.readline()
    while line and ready.encode() not in line:
        line = process.stderr.readline()
        first += line
    for number in signals:
        time.sleep(0.2)
        process.send_signal(number)
    rest = process.stderr.read()
    return process.wait(timeout=60), (first + rest).decode()


def test_ctrl_c_is_the_guests_sigint_and_the_trace_is_whole() -> None:
    code, text = _interrupted([str(elf("fs/stdin"))], [signal.SIGINT])
    assert code == 128 + signal.SIGINT
    assert "--- SIGINT {si_signo=SIGINT, si_code=SI_KERNEL} ---\n+++ killed by SIGINT +++\n" in text


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGQUIT], ids=lambda sent: sent.name)
def test_it_ends_a_guest_that_computes(sent: signal.Signals) -> None:
    program_that_computes = [str(elf("bench/compute")), "100000000000"]
    code, text = _interrupted(program_that_computes, [sent])
    assert code == 128 + sent
    assert f"+++ killed by {sent.name}" in text


def test_a_second_ctrl_c_ends_a_guest_that_ignores_the_first() -> None:
    bash = program("bash-static")
    script = "trap '' INT; echo set; while :; do :; done"
    code, text = _interrupted([bash, "-c", script], [signal.SIGINT, signal.SIGINT], SET)
    assert code == 128 + signal.SIGINT
    assert "--- SIGINT" in text
    assert text.endswith("heapscope: interrupted twice: ended without asking the guest\n")


def test_a_guest_that_handles_ctrl_c_goes_on() -> None:
    bash = program("bash-static")
    code, text = _interrupted([bash, "-c", "trap 'exit 7' INT; echo set; while :; do :; done"], [signal.SIGINT], SET)
    assert code == 7
    assert "rt_sigreturn" in text


def test_the_time_limit_ends_a_guest_that_waits_for_input() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "emu", "run", "-q", "--timeout", "0.5", elf("fs/stdin")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.wait(timeout=60) == 124
    assert process.stderr.read().startswith(b"heapscope: stopped after 0.5 s (--timeout)")


def test_our_own_bug_is_code_70_after_the_trace_so_far(
    hello: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kernel.abi.nr import NR
    from kernel.syscalls import load
    from kernel.syscalls.table import TABLE

    load()

    def broken(*_: object) -> int:
        raise AssertionError("a frame has no owner")

    monkeypatch.setattr(TABLE[NR["exit_group"]], "traced", broken)
    monkeypatch.delenv("HEAPSCOPE_DEBUG", raising=False)
    assert main(["run", hello]) == 70
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) > 2
    assert "(" in lines[0]
    assert lines[-1].startswith("heapscope: internal error: AssertionError: a frame has no owner; please report it")
    assert main(["run", "-q", "--max-instructions", "10", hello]) == 124


def test_a_program_is_not_found_in_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "busybox-that-is-not-here"]) == 2
    assert capsys.readouterr().err == "heapscope: busybox-that-is-not-here: No such file or directory\n"


@pytest.fixture(scope="module")
def probing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that asks for what is not there."""
    folder = tmp_path_factory.mktemp("probing")
    source, output = folder / "probing.c", folder / "probing"
    source.write_text(
        "#include <sys/syscall.h>\n#include <unistd.h>\n"
        "int main(void) { syscall(SYS_bpf, 0, 0, 0); syscall(SYS_bpf, 0, 0, 0); syscall(999);"
        "syscall(SYS_futex, 0, 77); return 0; }\n"
    )
    subprocess.run([program("musl-gcc", "musl-tools"), "-static", source, "-o", output], check=True)
    return output


@pytest.mark.parametrize("options", [("-q",), ("-c",), ("-o", "/dev/null"), ("-e", "trace=write")], ids=" ".join)
def test_what_is_not_implemented_is_told_where_the_trace_does_not(options: tuple[str, ...], probing: Path) -> None:
    told = (
        "heapscope: not implemented and answered ENOSYS: bpf (2×), syscall_0x3e7\n"
        "heapscope: answered ENOSYS: futex: operation 77 is not modelled\n"
    )
    assert told in heapscope(*options, probing).stderr.decode()


def test_a_whole_trace_tells_it_by_itself(probing: Path) -> None:
    assert b"answered ENOSYS" not in heapscope(probing).stderr


def _on_a_terminal(words: list[str], *typed: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """`heapscope run` on a terminal of its own."""
    return _typed_into([sys.executable, "-m", "emu", "run", *words], *typed)


def _typed_into(command: list[str], *typed: tuple[bytes, bytes]) -> tuple[int, bytes]:
    """Run it on a terminal of its own. `typed`: (what must have been printed, keys), one after the other."""
    keys = list(typed)
    pid, fd = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execv(command[0], command)
    printed = b""
    while True:
        try:
            more = os.read(fd, 65536)
        except OSError:  # EIO: the other side has gone
            break
        printed += more
        if keys and keys[0][0] in printed:
            os.write(fd, keys.pop(0)[1])
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), printed


def test_a_shell_on_a_terminal_takes_commands() -> None:
    shells = (b"built-in commands.", [program("busybox", "busybox-static"), "sh"]), (b"$ ", [program("bash-static")])
    for greeting, shell in shells:
        code, printed = _on_a_terminal(["-q", "--interactive", *shell], (greeting, b"exit $((40 + 2))\n"))
        assert code == 42, printed


SECRET = r"""
#include <stdio.h>
#include <termios.h>
#include <unistd.h>
int main(void) {
    struct termios t;
    char line[64];
    if (tcgetattr(0, &t)) return 1;
    t.c_lflag &= ~ECHO;
    if (tcsetattr(0, TCSAFLUSH, &t)) return 2;
    puts("word:");
    long n = read(0, line, sizeof line);
    printf("%ld letters\n", n - 1);
    return *(volatile int *)0;
}
"""


def test_a_terminal_that_does_not_echo_for_the_guest_does_again_when_it_has_died(tmp_path: Path) -> None:
    source, guest = tmp_path / "secret.c", tmp_path / "secret"
    source.write_text(SECRET)
    subprocess.run([program("musl-gcc", "musl-tools"), "-static", source, "-o", guest], check=True)
    script = f"{sys.executable} -m emu run -q --interactive {guest}; echo $?; stty -a"
    code, printed = _typed_into(["/bin/sh", "-c", script], (b"word:", b"sesame\n"))
    assert b"6 letters" in printed
    assert b"sesame" not in printed
    assert b"139" in printed
    assert (code, b" echo " in printed, b"-echo " in printed) == (0, True, False), printed


def test_ctrl_c_on_a_terminal_is_the_guests() -> None:
    cat = ["-e", "trace=read,execve", program("busybox", "busybox-static"), "cat"]
    code, printed = _on_a_terminal(cat, (b"execve(", b"x\n"), (b'read(0, "x', b"\x03"))
    assert code == 128 + signal.SIGINT
    assert b"--- SIGINT {si_signo=SIGINT, si_code=SI_KERNEL} ---" in printed
    assert b"+++ killed by SIGINT +++" in printed


@pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR=1", False), ("TERM=dumb", False), ("TERM=xterm", True)])
def test_colour_is_for_terminals_that_want_it(
    variable: str, coloured: bool, hello: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(*variable.split("="))
    assert (b"\x1b[" in _on_a_terminal([hello])[1]) == coloured
