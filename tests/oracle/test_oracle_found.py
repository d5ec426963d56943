"""Minimal scripts of differences that were found and mended: both sides agree on them for good."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle_compare import difference
from oracle_fuzz import FOUND, read
from oracle_sides import Ours, lacking, linux


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.txt")), ids=lambda path: path.stem)
def test_what_once_differed(path: Path) -> None:
    if why := lacking():
        pytest.skip(why)
    script = read(path)
    assert not difference(script, linux([script])[0], Ours()([script])[0])
