"""kernel/task/clock.py and rng.py: virtual time and seeded bytes."""

from kernel.task.clock import Clock
from kernel.task.rng import Rng


def test_time_is_instructions_and_sleep() -> None:
    insns = [0]
    clock = Clock(lambda: insns[0], 1000, 5_000_000)
    insns[0] = 7
    assert (clock.monotonic_ns(), clock.realtime_ns(), clock.cpu_ns()) == (1007, 5_000_007, 7)
    clock.sleep_until(2000)
    assert (clock.monotonic_ns(), clock.realtime_ns(), clock.cpu_ns()) == (2000, 5_001_000, 7)
    clock.sleep_until(1500)
    assert clock.monotonic_ns() == 2000
    assert clock.insns_at(2010) == 17


def test_streams_repeat_and_do_not_touch_each_other() -> None:
    a, b = Rng(1, "a"), Rng(1, "b")
    first = a.bytes(10)
    b.bytes(1000)
    assert Rng(1, "a").bytes(10) == first
    assert a.bytes(10) != first != Rng(2, "a").bytes(10)
    assert Rng(1, "a").bytes(0) == b""
    assert all(0 <= Rng(seed, "c").below(10) < 10 for seed in range(50))
