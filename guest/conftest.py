"""The suites under guest/ share the cache of zig's libc with all other guests: building it takes long."""

from __future__ import annotations

import pytest
import toolchain


@pytest.fixture(autouse=True)
def zig_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in toolchain.zig_folders().items():
        monkeypatch.setenv(name, folder)
