"""Static libraries as ar(5) has them, good and bad."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.ar import ArError, members


def member(name: str, body: bytes, size: int | None = None) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(body) if size is None else size:<10}`\n"
    return header.encode() + body + b"\n" * (len(body) % 2)


def test_members_come_with_their_names_long_and_short_and_of_bsd() -> None:
    names = b"a_name_of_more_than_15.o/\nanother_such_name_here.o/\n"
    library = b"!<arch>\n" + b"".join(
        [
            member("/", b"the index"),
            member("//", names),
            member("short.o/", b"odd"),
            member("/0", b"first"),
            member("/26", b"second"),
            member("#1/8", b"bsd.o\0\0\0body"),
        ]
    )
    assert list(members(library)) == [
        ("short.o", b"odd"),
        ("a_name_of_more_than_15.o", b"first"),
        ("another_such_name_here.o", b"second"),
        ("bsd.o", b"body"),
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a static library"),
        (b"\x7fELF and so on", "not a static library"),
        (b"!<thin>\n" + member("a.o/", b""), "a thin archive: its members are files elsewhere"),
        (b"!<arch>\nno header here", "no header of a member at offset 8"),
        (b"!<arch>\n" + member("a.o/", b"body", size=100), "the member at offset 8 is cut off"),
        (b"!<arch>\n" + member("a.o/", b"body", size=-4), "no header of a member at offset 8"),
    ],
)
def test_what_is_no_archive_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(ArError, match=why):
        list(members(content))


@given(st.binary(max_size=300))
def test_any_bytes_are_an_archive_or_an_ar_error(tail: bytes) -> None:
    for content in (tail, b"!<arch>\n" + tail, b"!<arch>\n" + member("a.o/", b"body")[:58] + tail):
        with contextlib.suppress(ArError):
            list(members(content))
