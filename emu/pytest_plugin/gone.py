"""Under --heapscope-update: tables of tests that are gone leave the baselines, where a module was collected whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emu.pytest_plugin import baseline


class Gone:
    """A plugin of one session. A test that was not selected, by -k, a node id or whatever, is not gone: it is not known
    what else was left out."""

    def __init__(self, config: pytest.Config) -> None:
        self._some = bool(config.getoption("lf", False)) or any("::" in argument for argument in config.args)
        self._config = config
        self._collected: dict[Path, set[str]] = {}  # tests by module
        self._names: dict[Path, str] = {}  # of modules
        self._dropped: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before anybody deselects."""
        for item in items:
            self._names[item.path], _, test = item.nodeid.partition("::")
            self._collected.setdefault(item.path, set()).add(test)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        left = Counter(item.path for item in session.items)
        for module in [path for path, tests in self._collected.items() if left[path] < len(tests)]:
            del self._collected[module]

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        worker = getattr(self._config, "workerinput", {"workerid": "gw0"})["workerid"]  # xdist: each collects all
        if self._some or worker != "gw0" or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return
        for module, tests in self._collected.items():
            place = baseline.Place(module, self._names[module], update=True)
            dropped = place.drop_all_but(tests)
            self._dropped += [f"{place.file.name}: {key} is gone" for key in dropped]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._dropped:
            terminalreporter.write_line(line)
