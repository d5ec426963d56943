"""The shared object is built from just this source, where it can be, and its absence is no failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emu import native
from emu.native import place
from emu.native.build import build, compilers

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(place, "folders", lambda: [str(tmp_path)])
    return tmp_path


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="elsewhere the twins may be all there is")
def test_ci_has_the_hooks_so_that_their_tests_are_not_skipped() -> None:
    assert native.library() is not None


@pytest.mark.skipif(not compilers(zig=False), reason="no C compiler")
def test_it_is_built_once_and_then_found(elsewhere: Path) -> None:
    path, reason = build(zig=False)
    assert (reason, Path(path).parent) == ("", elsewhere)
    before = os.stat(path).st_mtime_ns
    assert build(zig=False) == (path, "")
    assert os.stat(path).st_mtime_ns == before


@pytest.mark.skipif(not compilers(zig=False), reason="no C compiler")
def test_another_source_is_another_object_and_the_old_one_goes(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = build(zig=False)
    monkeypatch.setattr(place, "FLAGS", [*place.FLAGS, "-DOTHER"])
    assert place.find() == ""
    new, _ = build(zig=False)
    assert new != old
    assert not os.path.exists(old)


def test_without_a_compiler_the_reason_is_said(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _tool: None)
    path, reason = build(zig=False)
    assert path == ""
    assert "compiler" in reason


def test_a_compiler_that_fails_is_a_reason_too(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emu.native.build.compilers", lambda _zig: [["false"]])
    path, reason = build()
    assert path == ""
    assert reason.startswith("false")


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compilers(zig=False):
        pytest.skip("no C compiler")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(place, "folders", lambda: [str(tmp_path / "file" / "x"), str(tmp_path / "good")])
    path, _ = build(zig=False)
    assert Path(path).parent == tmp_path / "good"


@pytest.mark.skipif(not compilers(zig=True), reason="no C compiler")
def test_the_make_target_says_in_one_line_what_serves() -> None:
    done = subprocess.run([sys.executable, "-m", "emu.native"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("native hooks: ")
    assert len(done.stdout.splitlines()) == 1


def test_the_environment_can_turn_it_off() -> None:
    code = "from emu import native; print(native.library())"
    env = {**os.environ, "HEAPSCOPE_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_byte_code_is_made_where_python_leaves_it_undone(tmp_path: Path) -> None:
    """PYTHONDONTWRITEBYTECODE=1 is common in containers; compiling it all takes longer than a short run."""
    for package in ("emu", "kernel"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CC": "false", "PATH": ""}
    subprocess.run([sys.executable, "-m", "emu.native"], cwd=tmp_path, env=environ, capture_output=True, check=True)
    sources = {path.stem for path in tmp_path.rglob("*.py")}
    assert {path.name.split(".")[0] for path in tmp_path.rglob("*.pyc")} == sources
