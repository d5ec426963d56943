"""Hypothesis drives the generation here: what differs, it shrinks by itself."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from oracle_scripts import CONTENTS, Writer
from oracle_shrink import differences
from oracle_sides import Ours, lacking, linux

CHOICES = st.randoms(use_true_random=False)


class Scripts(RuleBasedStateMachine):
    """A script grows by a rule an operation; when it is complete both sides play it."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = Writer(Random(0))

    @initialize(choices=CHOICES)
    def begin(self, choices: Random) -> None:
        self.writer = Writer(choices)
        self.writer.start()

    @rule(choices=CHOICES, kind=st.sampled_from(("mmap", "munmap", "mprotect", "mremap", "brk")))
    def reshape(self, choices: Random, kind: str) -> None:
        self.writer.rng = choices
        getattr(self.writer, kind)()

    @rule(choices=CHOICES, kind=st.sampled_from(("touch", "touch", "madvise", "mlock", "resident", "rare", "other")))
    def use(self, choices: Random, kind: str) -> None:
        self.writer.rng = choices
        getattr(self.writer, kind)()

    @rule(choices=CHOICES, kind=st.sampled_from(("file", "numa", "look")))
    def more(self, choices: Random, kind: str) -> None:
        self.writer.rng = choices
        getattr(self.writer, kind)()

    def teardown(self) -> None:
        script = [*self.writer.lines, *CONTENTS]
        how = differences([script], linux, Ours())[0]
        assert not how, "\n".join([*script, how])


@pytest.mark.skipif(bool(lacking()), reason=lacking())
def test_state_machines() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    relaxed = list(HealthCheck)
    limits = settings(
        max_examples=40, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=relaxed
    )
    run_state_machine_as_test(Scripts, settings=limits)
