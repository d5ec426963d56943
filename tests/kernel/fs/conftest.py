"""Guests for file tests: root and an ordinary user."""

from __future__ import annotations

import pytest
from files import Files


@pytest.fixture
def root() -> Files:
    return Files(uid=0, gid=0)


@pytest.fixture
def user() -> Files:
    """uid 1000."""
    return Files()
