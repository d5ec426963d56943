"""kernel/task/sigframe.py and delivery.py: the bytes that a handler finds, and what comes back from them."""

from __future__ import annotations

import struct

import pytest
from fakes import CODE, DATA, Raise, Syscall, Touch, World

from kernel.abi.nr import NR
from kernel.abi.signal import SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGTERM, SIGTRAP, SIGURG, SIGUSR1, SIGUSR2, Sa, Ss
from kernel.cpu import Access, Vector
from kernel.events import Note, SignalDelivered
from kernel.kernel import Outcome
from kernel.task.sigframe import FRAME_SIZE, INIT_FPU, RF, USER_CS, USER_DS

HANDLER, RESTORER = CODE + 0x100, CODE + 0x200
ALT = DATA + 0x1000  # a page of its own
M64 = (1 << 64) - 1


def handle(world: World, sig: int, flags: int = 0, mask: int = 0, restorer: bool = True) -> None:
    flags |= Sa.RESTORER if restorer else 0
    world.put(struct.pack("<QQQQ", HANDLER, flags, RESTORER, mask))
    assert world.call("rt_sigaction", sig, DATA, 0, 8) == 0


class Frame:
    """An rt_sigframe as a handler sees it, at the present rsp."""

    def __init__(self, world: World) -> None:
        self.at = world.cpu.regs.rsp
        raw = world.get(FRAME_SIZE, self.at)
        self.pretcode, self.uc_flags, self.uc_link = struct.unpack_from("<QQQ", raw, 0)
        self.stack = struct.unpack_from("<QixxxxQ", raw, 24)
        self.gregs = struct.unpack_from("<18Q", raw, 48)
        self.cs, self.gs, self.fs, self.ss = struct.unpack_from("<4H", raw, 192)
        self.err, self.trapno, self.oldmask, self.cr2, self.fpstate = struct.unpack_from("<5Q", raw, 200)
        self.sigmask = struct.unpack_from("<Q", raw, 304)[0]
        self.info = raw[312:]
        self.fx = world.get(512, self.fpstate)


def test_a_frame_has_linuxs_layout_and_places() -> None:
    """Offsets and alignment as a native handler printed them: fpstate 64-byte aligned, frame 8 below 16, red zone."""
    world = World()
    handle(world, SIGSEGV, Sa.SIGINFO)
    before = world.cpu.read_regs()
    world.play(Touch(0xDEAD000, Access.WRITE))
    frame, regs = Frame(world), world.cpu.regs
    assert (regs.rip, regs.rdi, regs.rsi, regs.rdx, regs.rax) == (HANDLER, SIGSEGV, frame.at + 312, frame.at + 8, 0)
    assert frame.at % 16 == 8
    assert frame.fpstate % 64 == 0
    assert frame.fpstate + 512 <= before.rsp - 128 < frame.fpstate + 512 + 64
    assert frame.at == (frame.fpstate - 440 & ~15) - 8
    assert frame.pretcode == RESTORER
    assert (frame.uc_flags, frame.uc_link) == (6, 0)
    assert (frame.cs, frame.gs, frame.fs, frame.ss) == (USER_CS, 0, 0, USER_DS)
    assert (frame.err, frame.trapno, frame.cr2) == (6, 14, 0xDEAD000)
    assert frame.gregs[15:] == (before.rsp, before.rip, before.rflags | RF)
    assert struct.unpack_from("<iii", frame.info) == (SIGSEGV, 0, 1)
    assert frame.info[16:24] == (0xDEAD000).to_bytes(8, "little")
    assert frame.fx[:464] == INIT_FPU[:464]
    assert struct.unpack_from("<IIQI", frame.fx, 464) == (0x46505853, 516, 0, 512)


def test_sigreturn_brings_back_every_register_the_fpu_and_the_mask() -> None:
    world = World()
    handle(world, SIGUSR1, 0, mask=1 << SIGTERM - 1)
    regs = world.cpu.read_regs()
    for number, name in enumerate(("rbx", "rbp", "r8", "r9", "r10", "r12", "r13", "r14", "r15")):
        setattr(regs, name, 0x1111 * number)
    world.cpu.write_regs(regs)
    world.cpu.fpu = bytes(range(24)) + (0x1F80).to_bytes(4, "little") + b"\xff\xff\0\0" + bytes(range(256)) + bytes(228)
    fpu = world.cpu.fpu
    world.play(Syscall(NR["kill"], (1000, SIGUSR1)))
    assert world.cpu.fpu == INIT_FPU
    assert world.task.blocked == 1 << SIGTERM - 1 | 1 << SIGUSR1 - 1
    world.cpu.regs.rsp += 8  # the handler's ret
    world.play(Syscall(NR["rt_sigreturn"]))
    after = world.cpu.read_regs()
    regs.rip += 2
    assert after == regs
    assert world.cpu.fpu[:464] == fpu[:464]
    assert world.task.blocked == 0


def sigreturn_from(world: World, offset: int, value: bytes) -> None:
    """Deliver SIGUSR1, change the frame, return from it."""
    handle(world, SIGUSR1)
    world.call("kill", 1000, SIGUSR1)
    world.put(value, world.cpu.regs.rsp + offset)
    world.cpu.regs.rsp += 8
    world.play(Syscall(NR["rt_sigreturn"]))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (192, b"\x23\x01"),  # cs
        (198, b"\x07\x00"),  # ss
        (176, (1 << 63).to_bytes(8, "little")),  # rip
        (232, (8).to_bytes(8, "little")),  # fpstate: not mapped
        (232, (DATA + 8).to_bytes(8, "little")),  # fpstate: not aligned
        (232, (DATA + 0x100).to_bytes(8, "little")),  # fpstate: MXCSR of all ones, below
    ],
)
def test_a_hostile_frame_is_a_sigsegv(offset: int, value: bytes) -> None:
    world = World()
    world.put(b"\xff" * 512, DATA + 0x100)
    sigreturn_from(world, offset, value)
    assert world.kernel.outcome is Outcome.KILLED
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGSEGV


def test_flags_a_guest_may_not_set_are_dropped() -> None:
    world = World()
    sigreturn_from(world, 184, (M64).to_bytes(8, "little"))
    assert world.cpu.regs.rflags == 0x40FD7


def test_a_null_fpstate_means_a_fresh_fpu() -> None:
    world = World()
    world.cpu.fpu = b"\x11" * 24 + (0x1F80).to_bytes(4, "little") + bytes(484)
    sigreturn_from(world, 232, bytes(8))
    assert world.cpu.fpu == INIT_FPU


def test_an_unreadable_frame_kills() -> None:
    world = World()
    world.cpu.regs.rsp = 0x10
    world.play(Syscall(NR["rt_sigreturn"]))
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGSEGV


def test_onstack_runs_on_the_alternate_stack_and_nests_there() -> None:
    world = World()
    handle(world, SIGUSR1, Sa.ONSTACK | Sa.NODEFER)
    world.put(struct.pack("<QixxxxQ", ALT, 0, 0x1000))
    assert world.call("sigaltstack", DATA, 0) == 0
    world.call("kill", 1000, SIGUSR1)
    first = world.cpu.regs.rsp
    assert ALT < first < ALT + 0x1000
    world.call("kill", 1000, SIGUSR1)
    assert ALT < world.cpu.regs.rsp < first - FRAME_SIZE
    world.call("kill", 1000, SIGUSR1)
    world.call("kill", 1000, SIGUSR1)  # no room for a fourth
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGSEGV


def test_autodisarm_takes_the_stack_away_while_the_handler_runs() -> None:
    world = World()
    handle(world, SIGUSR1, Sa.ONSTACK)
    flags = Ss.AUTODISARM - (1 << 32)
    world.put(struct.pack("<QixxxxQ", ALT, flags, 0x1000))
    world.call("sigaltstack", DATA, 0)
    world.call("kill", 1000, SIGUSR1)
    assert world.task.altstack.size == 0
    assert Frame(world).stack == (ALT, flags, 0x1000)


def test_without_a_restorer_there_is_no_frame() -> None:
    world = World()
    handle(world, SIGUSR1, restorer=False)
    world.call("kill", 1000, SIGUSR1)
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGSEGV


def test_resethand_is_once() -> None:
    world = World()
    handle(world, SIGUSR1, Sa.RESETHAND | Sa.NODEFER)
    world.call("kill", 1000, SIGUSR1)
    assert world.kernel.running
    world.call("kill", 1000, SIGUSR1)
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGUSR1


@pytest.mark.parametrize(
    ("step", "sig", "code", "addr", "trapno", "err"),
    [
        (Touch(0), SIGSEGV, 1, 0, 14, 4),
        (Touch(0x400000, Access.WRITE), SIGSEGV, 2, 0x400000, 14, 7),
        (Touch(DATA, Access.FETCH), SIGSEGV, 2, DATA, 14, 0x15),
        (Touch(0xFFFF_FFFF_8100_0000), SIGSEGV, 1, 0xFFFF_FFFF_8100_0000, 14, 5),
        (Raise(Vector.DE), SIGFPE, 1, "rip", 0, 0),
        (Raise(Vector.UD), SIGILL, 2, "rip", 6, 0),
        (Raise(Vector.BP), SIGTRAP, 0x80, 0, 3, 0),
        (Raise(Vector.GP), SIGSEGV, 0x80, 0, 13, 0),
        (Raise(Vector.OF), SIGSEGV, 0x80, 0, 4, 0),
        (Raise(Vector.AC), 7, 1, 0, 17, 0),
        (Raise(Vector.SS), 7, 0x80, 0, 12, 0),
        (Raise(Vector.INT80), SIGSEGV, 0x80, 0, 13, 0x402),
    ],
)
def test_each_exception_is_the_signal_that_linux_makes_of_it(
    step: Touch | Raise, sig: int, code: int, addr: int | str, trapno: int, err: int
) -> None:
    """As measured on Linux 6.18, with a handler that prints its ucontext."""
    world = World()
    world.put(b"touched")
    world.get(1, 0x400000)
    handle(world, sig, Sa.SIGINFO)
    rip = world.cpu.regs.rip
    world.play(step)
    frame = Frame(world)
    assert struct.unpack_from("<iii", frame.info) == (sig, 0, code)
    assert int.from_bytes(frame.info[16:24], "little") == (rip if addr == "rip" else addr)
    assert (frame.trapno, frame.err) == (trapno, err)


def test_an_unmasked_sse_exception_says_which() -> None:
    world = World()
    handle(world, SIGFPE, Sa.SIGINFO)
    world.cpu.fpu = INIT_FPU[:24] + (0x1F80 & ~0x200 | 4).to_bytes(4, "little") + INIT_FPU[28:]
    world.play(Raise(Vector.XM))
    assert struct.unpack_from("<iii", Frame(world).info) == (SIGFPE, 0, 3)


@pytest.mark.parametrize("blocked", [True, False])
def test_a_fault_kills_whether_its_signal_is_blocked_or_ignored(blocked: bool) -> None:
    world = World()
    if blocked:
        handle(world, SIGSEGV)
        world.put((M64).to_bytes(8, "little"))
        world.call("rt_sigprocmask", 2, DATA, 0, 8)
    else:
        world.put(struct.pack("<QQQQ", 1, 0, 0, 0))
        world.call("rt_sigaction", SIGSEGV, DATA, 0, 8)
    world.play(Touch(0))
    assert world.kernel.outcome is Outcome.KILLED
    assert world.kernel.fatal is not None
    assert world.kernel.fatal.text == "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}"


def test_ignored_signals_are_seen_by_a_trace_and_do_nothing() -> None:
    world = World()
    seen = world.watch(SignalDelivered)
    world.call("kill", 1000, SIGURG)
    assert world.kernel.running
    assert [event.text for event in seen] == ["{si_signo=SIGURG, si_code=SI_USER, si_pid=1000, si_uid=1000}"]


def test_job_control_is_said_not_to_be_modelled() -> None:
    world = World()
    seen = world.watch(Note)
    world.call("kill", 1000, 19)
    assert world.kernel.running
    assert "SIGSTOP would stop" in seen[0].text


def test_synchronous_signals_come_first_and_the_lowest_number_next() -> None:
    world = World()
    for sig in (SIGUSR1, SIGUSR2, SIGILL):
        handle(world, sig, Sa.NODEFER)
    seen = world.watch(SignalDelivered)
    world.put((M64).to_bytes(8, "little"))
    world.call("rt_sigprocmask", 0, DATA, 0, 8)
    for sig in (SIGUSR2, SIGUSR1, SIGILL):
        world.call("kill", 1000, sig)
    world.call("rt_sigprocmask", 1, DATA, 0, 8)
    assert [event.sig for event in seen] == [SIGILL, SIGUSR1, SIGUSR2]


def test_a_core_is_dumped_only_where_rlimit_core_allows_one() -> None:
    def dumped(limits: dict[str, tuple[int, int]]) -> bool:
        world = World(rlimits=limits)
        world.play(Touch(0))
        assert world.kernel.exit_status is not None
        return world.kernel.exit_status.core

    assert not dumped({})
    assert dumped({"CORE": (1 << 20, 1 << 20)})


def test_sigkill_cannot_be_caught() -> None:
    world = World()
    world.call("kill", 1000, SIGKILL)
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.wait_status == SIGKILL
