"""Words, flags and strings as strace writes them; nothing unknown is dropped."""

from __future__ import annotations

import pytest

from kernel.abi.args import CACHE, Cached, Flags
from kernel.abi.mman import Madv, MapFlags, Prot
from kernel.abi.signal import signame, sigset_text
from kernel.abi.text import device, escape, mode_text, octal, quote


class Colour(Flags, prefix="C_"):
    NONE = 0
    WHITE = 7
    RED = 1
    _3D = 8
    NEW = 16


class Half(Flags, full=True, unknown="H_???", later="H_NEW"):
    H_OLD = 1
    H_NEW = 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "C_NONE"), (1, "C_RED"), (7, "C_WHITE"), (6, "0x6 /* C_??? */"), (9, "C_RED|C_3D"), (0x41, "C_RED|0x40"),
    ],
)
def test_flags_are_named_in_order_and_the_rest_is_shown(value: int, text: str) -> None:
    assert Colour.text(value) == text


def test_a_word_newer_than_strace_is_shown_as_strace_shows_it() -> None:
    assert Half.text(3) == "H_OLD|0x2"
    assert Half.text(2) == "0x2 /* H_??? */"


def test_an_option_that_is_unknown_keeps_its_number() -> None:
    assert Madv.text(4) == "MADV_DONTNEED"
    assert Madv.text(-1) == "0xffffffff /* MADV_??? */"


def test_members_are_plain_ints() -> None:
    assert type(Prot.READ | Prot.WRITE) is int


def test_a_flag_word_s_text_is_made_once_but_not_kept_for_ever() -> None:
    made: list[int] = []
    cached = Cached(lambda value: made.append(value) or str(value))  # type: ignore[func-returns-value]
    for value in [*range(CACHE + 10), 0, CACHE + 5]:
        assert cached[value] == str(value)
    assert len(cached) == CACHE
    assert made.count(0) == 1


def test_mmap_flags_have_a_type_field() -> None:
    text = MapFlags.__metadata__[0].table  # type: ignore[attr-defined]
    assert text[0x22] == "MAP_PRIVATE|MAP_ANONYMOUS"
    assert text[0x20] == "MAP_FILE|MAP_ANONYMOUS"
    assert text[3 | 1 << 26] == "MAP_SHARED_VALIDATE|1<<MAP_HUGE_SHIFT"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", '""'),
        (b"a\n\t\0", '"a\\n\\t\\0"'),
        (b"\x011", '"\\0011"'),
        (b"\xff\"\\", '"\\377\\"\\\\"'),
        (b"x" * 33, f'"{"x" * 32}"...'),
    ],
)
def test_strings_are_quoted_as_strace_quotes_them(raw: bytes, text: str) -> None:
    assert quote(raw) == text


def test_an_octal_escape_is_long_only_before_a_digit() -> None:
    assert escape(b"\x01a\x018\x01") == "\\1a\\0018\\1"


def test_modes_and_devices() -> None:
    assert [octal(mode) for mode in (0, 0o7, 0o22, 0o644, 0o4755)] == ["000", "007", "022", "0644", "04755"]
    assert mode_text(0o104755) == "S_IFREG|S_ISUID|0755"
    assert device(0x12345678) == "makedev(0x456, 0x12378)"


def test_signal_sets_turn_round_when_nearly_full() -> None:
    assert sigset_text(0) == "[]"
    assert sigset_text(1 << 1 | 1 << 16) == "[INT CHLD]"
    assert sigset_text((1 << 64) - 1) == "~[]"
    assert sigset_text((1 << 64) - 1 & ~(1 << 8 | 1 << 18)) == "~[KILL STOP]"
    assert [signame(sig) for sig in (11, 32, 34, 64, 99)] == ["SIGSEGV", "SIGRTMIN", "SIGRT_2", "SIGRT_32", "99"]
