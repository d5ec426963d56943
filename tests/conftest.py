"""What every test session says first: which of the things that tests compare with are not on this machine."""

from __future__ import annotations

import shutil

import toolchain

HOST_TOOLS = {
    "strace": "strace",
    "busybox": "busybox-static",
    "bash-static": "bash-static",
    "gpgv-static": "gpgv-static",
}


def pytest_report_header() -> list[str]:
    lacking = [f"{kind} guests ({why})" for kind in toolchain.KINDS if (why := toolchain.missing(kind))]
    lacking += [f"{tool} (Debian package {package})" for tool, package in HOST_TOOLS.items() if not shutil.which(tool)]
    return [f"not here, so its tests are skipped: {each}" for each in lacking]
