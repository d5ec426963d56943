"""execve(2): a new program in place of the old one (fs/exec.c, begin_new_exec and setup_new_exec)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi.errno import EACCES, ELOOP, ENOEXEC, ETXTBSY, LinuxError
from kernel.cpu import Regs
from kernel.fs.inode import MAY_EXEC, check_permission
from kernel.task import loader, signal, stack
from kernel.task.elf import ExecError
from kernel.task.futex import exit_robust_list
from kernel.task.sigframe import INIT_FPU
from kernel.task.task import AltStack, Rseq

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.fs.dentry import Path
    from kernel.fs.file import File
    from kernel.task.task import Task

MAX_INTERPRETERS = 5
SCRIPT_HEAD = 256  # BINPRM_BUF_SIZE
COMM_LEN = 15


def execve(
    task: Task, path: Path, execfn: bytes, argv: list[bytes], envp: list[bytes], find: Callable[[bytes], Path]
) -> None:
    """Replace the task's program by the file at `path`; `execfn` is the name it was called by, `find` looks up the
    interpreter of a script. On success the CPU stands at the new program's first instruction.

    Raises LinuxError (ExecError for the image itself); the old program then goes on unharmed."""
    argv = argv or [b""]  # Linux 5.18: never an empty argv
    stack.check_size(argv, envp, execfn, task.rlimits.soft("STACK"))
    filename = execfn
    for _ in range(MAX_INTERPRETERS):
        file = _open(task, path).get()
        try:
            script = _interpreter(file)
            if script is None:
                program = loader.load(task, file, argv, envp, filename)
                break
        finally:
            file.put()  # what is mapped of it stays
        interpreter, argument = script
        argv = [interpreter, *([argument] if argument else []), filename, *argv[1:]]
        filename = interpreter
        path = _find_interpreter(interpreter, find)
    else:
        raise LinuxError(ELOOP, "scripts whose interpreters are scripts, too deep")
    _replace(task, path, filename, program)


def _open(task: Task, path: Path) -> File:
    """The program's file, for reading. Raises EACCES, as do_open_execat() does."""
    inode = path.dentry.inode
    inode.getattr(path.dentry)
    if not inode.is_regular:
        raise LinuxError(EACCES, "not a regular file")
    if path.mount.noexec:
        raise LinuxError(EACCES, "its file system is mounted noexec")
    check_permission(task.cred, inode, MAY_EXEC)
    if inode.writers > 0:
        raise LinuxError(ETXTBSY, "the program is open for writing")
    return inode.open(path, 0)


def _interpreter(file: File) -> tuple[bytes, bytes] | None:
    """The interpreter and its one argument, from a `#!` line; None where there is none (fs/binfmt_script.c)."""
    head = file.pread(SCRIPT_HEAD, 0)
    if head[:2] != b"#!":
        return None
    line, newline, _ = head[2:].partition(b"\n")
    name, blank, rest = line.strip(b" \t").replace(b"\t", b" ").partition(b" ")
    if not name.rstrip(b"\0"):
        raise LinuxError(ENOEXEC, "a script without an interpreter's name")
    if not newline and not blank and len(head) == SCRIPT_HEAD:
        raise LinuxError(ENOEXEC, f"the interpreter's name goes past {SCRIPT_HEAD} bytes")
    return name.split(b"\0")[0], rest.strip(b" ").split(b"\0")[0]


def _find_interpreter(name: bytes, find: Callable[[bytes], Path]) -> Path:
    try:
        return find(name)
    except LinuxError as error:
        shown = name.decode("utf-8", "replace")
        raise ExecError(f"a script; its interpreter {shown}: {error.why}", error.errno) from None


def _replace(task: Task, path: Path, filename: bytes, program: loader.Program) -> None:
    """Past the point of no return: the task takes on the new address space and loses what execve(2) says."""
    process, system = task.process, task.system
    exit_robust_list(task)
    old, task.mm = task.mm, program.mm
    system.cpu.load_cr3(program.mm.cr3)
    system.cpu.delegate_faults(program.mm.fault_table())
    if old is not None:
        old.destroy()  # drops translated code, if frames that held code went with it
    signal.flush_for_exec(process)
    task.files.close_on_exec()
    task.comm = filename.rpartition(b"/")[2][:COMM_LEN].decode("utf-8", "surrogateescape")
    task.altstack = AltStack()
    task.rseq = Rseq()
    task.robust_list = task.clear_child_tid = 0
    if process.exe is not None:
        process.exe.inode.writers += 1
    path.inode.deny_write_access()
    process.exe = path
    process.auxv = program.auxv
    process.dumpable = 1
    process.keep_caps = False
    process.membarriers = 0  # they belong to the address space
    start_thread(task, program.entry, program.sp)


def start_thread(task: Task, entry: int, sp: int) -> None:
    """The registers of a program's first instruction: all zero but these (ELF_PLAT_INIT, start_thread)."""
    cpu = task.system.cpu
    cpu.write_regs(Regs(rip=entry, rsp=sp, rflags=0x202))
    cpu.write_fpu(INIT_FPU)
    cpu.write_fs_base(0)
    cpu.write_gs_base(0)


__all__ = ["ExecError", "execve", "start_thread"]
