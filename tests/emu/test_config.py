"""RunConfig: what a run may be asked, and the words in which it refuses the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emu.config import ConfigError, RunConfig, env_pairs, parse_env, parse_mount, parse_size
from kernel.config import Mount


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("4G", 4 << 30), ("4GiB", 4 << 30), ("512kB", 512 << 10), ("65536", 65536), ("1t", 1 << 40)],
)
def test_sizes_are_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.5G", "4X", "4 G B"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="as in 64M"):
        parse_size(text)


def test_a_mount_is_read_only_unless_rw_is_said() -> None:
    assert parse_mount("/a:/b") == Mount("/a", "/b", False)
    assert parse_mount("/a:/b:ro") == Mount("/a", "/b", False)
    assert parse_mount("/a:/b:rw") == Mount("/a", "/b", True)
    assert parse_mount("/with:colon:/b:rw") == Mount("/with:colon", "/b", True)


@pytest.mark.parametrize("text", ["", "/a", ":/b", "/a:rw"])
def test_a_mount_needs_both_sides(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:GUEST"):
        parse_mount(text)


def test_an_environment_name_alone_takes_our_own_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAPSCOPE_TEST", "here")
    monkeypatch.delenv("HEAPSCOPE_ABSENT", raising=False)
    assert parse_env("HEAPSCOPE_TEST") == ("HEAPSCOPE_TEST", "here")
    assert parse_env("A=b=c") == ("A", "b=c")
    with pytest.raises(ConfigError, match="HEAPSCOPE_ABSENT"):
        parse_env("HEAPSCOPE_ABSENT")


def test_a_later_environment_entry_replaces_the_earlier() -> None:
    assert env_pairs([("A", "1"), ("B", "2"), ("A", "3")]) == (("A", "3"), ("B", "2"))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"memory": 4096}, "memory"),
        ({"memory": (64 << 20) + 1}, "4 KiB pages"),
        ({"memory": 1 << 60}, "memory"),
        ({"seed": -1}, "seed"),
        ({"aslr": 1 << 64}, "aslr"),
        ({"overcommit": 3}, "overcommit"),
        ({"swap": 4097}, "swap"),
        ({"hugepages": 3, "memory": 8 << 20}, "half of memory"),
        ({"nodes": 0}, "nodes"),
        ({"nodes": 9}, "nodes"),
        ({"epoch": -5.0}, "epoch"),
        ({"epoch": float("nan")}, "epoch"),
        ({"env": (("A=B", "c"),)}, "environment"),
        ({"env": (("A", "c\0d"),)}, "NUL"),
        ({"uid": -1}, "uid"),
        ({"hostname": "x" * 65}, "hostname"),
        ({"hostname": ""}, "hostname"),
        ({"cwd": "tmp"}, "absolute"),
        ({"mounts": (Mount("/does/not/exist", "/x"),)}, "the host has no"),
        ({"mounts": (Mount("/", "x"),)}, "absolute"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"max_instructions": 0}, "max-instructions"),
        ({"trace": "memroy"}, "memroy"),
        ({"trace": "/("}, "regular expression"),
    ],
)
def test_a_knob_that_cannot_be_is_refused_in_one_line(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        RunConfig(**knobs)
    assert "\n" not in str(refused.value)


def test_a_config_is_frozen_and_becomes_the_kernels(tmp_path: Path) -> None:
    config = RunConfig(
        memory=64 << 20, epoch=1.5, uid=0, gid=0, env=(("A", "ü"),), mounts=(Mount(str(tmp_path), "/m"),)
    )
    with pytest.raises(AttributeError):
        config.memory = 1  # type: ignore[misc]
    kernel = config.kernel()
    assert (kernel.ram_bytes, kernel.epoch_ns, kernel.uid, kernel.mounts) == (64 << 20, 1_500_000_000, 0, config.mounts)
    assert config.environ == ["A=ü".encode()]
