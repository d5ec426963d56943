"""Scripts of memory operations on the host's Linux and on ours, on the emulated CPU: what they print is the same."""

from __future__ import annotations

import pytest
from oracle_compare import difference, steps
from oracle_scripts import seeded
from oracle_shrink import kind_of
from oracle_sides import DEAD, Ours, batch, lacking, linux, parted

BLOCKS, BLOCK = 20, 100  # fixed seeds


@pytest.fixture(autouse=True)
def _oracle() -> None:
    if why := lacking():
        pytest.skip(why)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_scripts(block: int) -> None:
    scripts = [seeded(seed) for seed in range(block * BLOCK, (block + 1) * BLOCK)]
    ours = Ours()
    played = zip(scripts, linux(scripts), ours(scripts), strict=True)
    for n, (script, theirs, mine) in enumerate(played):
        how = difference(script, theirs, mine)
        assert not how, f"seed {block * BLOCK + n}, {how}"
    assert not ours.broken


def test_nothing_leaks_from_one_script_to_the_next() -> None:
    """Alone, after others, and after others in another order, a script prints the same; the numbers of inodes apart,
    which go on from script to script on Linux too."""
    scripts = [seeded(seed) for seed in range(5000, 5030)]
    ours = Ours()
    alone = [list(steps(ours([script])[0])) for script in scripts]
    assert [list(steps(said)) for said in ours(scripts)] == alone
    assert [list(steps(said)) for said in ours(scripts[::-1])[::-1]] == alone


def test_no_frame_is_left_behind() -> None:
    scripts = [seeded(seed) for seed in range(6000, 6020)]
    once, thrice = Ours(checked=False), Ours(checked=False)
    once(scripts)
    thrice(scripts * 3)
    assert once.frames_used == thrice.frames_used


def test_a_player_that_dies_spoils_no_other_script() -> None:
    scripts = [["munmap 1000000 1000000"], ["mmap a+0 1000 3 32 -1 0"]]
    assert [said[-1] for said in Ours(checked=False)(scripts)] == [DEAD, "= a+0"]
    assert [said[-1] for said in linux(scripts)] == [DEAD, "= a+0"]


def test_a_difference_is_noticed() -> None:
    script = ["mmap a+0 1000 3 32 -1 0", "smaps"]
    said = parted(linux_text(script), 1)[0]
    other = [line.replace("Rss:                   0", "Rss:                   4") for line in said]
    assert "Rss" in difference(script, said, other)
    assert kind_of(difference(script, said, other))[0] == "smaps"
    assert not difference(script, said, said)


def linux_text(script: list[str]) -> bytes:
    assert batch([script]).startswith(b"0000001e\nmmap")
    return "".join(f"{line}\n" for line in linux([script])[0]).encode() + b"end\n"
