"""kernel/task/rseq.py: a signal in the middle of a restartable sequence."""

from __future__ import annotations

import struct

import pytest
from fakes import CODE, DATA, World

from kernel.abi.signal import SIGSEGV, SIGUSR1

AREA, CS, ACTION = DATA + 0x40, DATA + 0x100, DATA + 0x200
START, ABORT = CODE + 0x100, DATA + 0x304
SIGNATURE = 0x5305_3053


def interrupted_at(rip: int, start: int = START, length: int = 0x20, abort: int = ABORT, version: int = 0) -> World:
    world = World()
    world.put(struct.pack("<QQQQ", CODE + 0x800, 0x0400_0000, CODE + 0x900, 0), ACTION)
    world.call("rt_sigaction", SIGUSR1, ACTION, 0, 8)
    assert world.call("rseq", AREA, 32, 0, SIGNATURE) == 0
    world.put(SIGNATURE.to_bytes(4, "little"), ABORT - 4)
    world.put(struct.pack("<IIQQQ", version, 0, start, length, abort), CS)
    world.put(CS.to_bytes(8, "little"), AREA + 8)
    world.cpu.regs.rip = rip - 2
    world.call("kill", 1000, SIGUSR1)
    return world


@pytest.mark.parametrize(("rip", "goes_on"), [(START, ABORT), (START + 0x1F, ABORT), (START + 0x20, START + 0x20)])
def test_inside_it_goes_on_at_the_abort_handler(rip: int, goes_on: int) -> None:
    world = interrupted_at(rip)
    assert world.u64(world.cpu.regs.rsp + 176) == goes_on
    assert world.u64(AREA + 8) == 0


@pytest.mark.parametrize(
    "broken", [{"version": 1}, {"abort": START + 1}, {"abort": ABORT + 4}, {"start": 1 << 63}, {"length": 1 << 62}]
)
def test_a_broken_descriptor_kills(broken: dict[str, int]) -> None:
    world = interrupted_at(START, **broken)
    assert world.kernel.exit_status is not None
    assert world.kernel.exit_status.sig == SIGSEGV


def test_without_a_sequence_nothing_changes() -> None:
    world = World()
    assert world.call("rseq", AREA, 32, 0, SIGNATURE) == 0
    world.put(struct.pack("<QQQQ", CODE + 0x800, 0x0400_0000, CODE + 0x900, 0), ACTION)
    world.call("rt_sigaction", SIGUSR1, ACTION, 0, 8)
    rip = world.cpu.regs.rip
    world.call("kill", 1000, SIGUSR1)
    assert world.u64(world.cpu.regs.rsp + 176) == rip + 2
