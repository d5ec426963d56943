"""Instruction lengths, against capstone, against Unicorn's own count of a block, and Python against C."""

from __future__ import annotations

import random

import pytest
from bare import CODE, guest

from emu import native
from emu.cpu import decode
from emu.cpu import libunicorn as u
from emu.cpu.emulator import the_emulator

OPCODES = [0x0F] * 6 + [0x66, 0xF2, 0xF3, 0x48, 0x41, 0x0F38, 0x0F3A, 0xC4, 0xC5]


def random_code(source: random.Random, length: int = 32) -> bytes:
    out = bytearray()
    while len(out) < length:
        choice = source.choice([*OPCODES, *range(256)]) if source.random() < 0.5 else source.randrange(256)
        out += choice.to_bytes(1 + (choice > 255), "big")
    return bytes(out[:length])


def test_lengths_agree_with_capstone_where_it_knows_the_instruction() -> None:
    capstone = pytest.importorskip("capstone")
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    source = random.Random(1)
    seen = 0
    for _ in range(60_000):
        code = random_code(source, 24)
        insn = next(disassembler.disasm(code, 0, 1), None)
        if insn is None or known_difference(code, insn):
            continue
        seen += 1
        assert decode.length(code, 0) & decode.LENGTH == insn.size, (code.hex(" "), insn.mnemonic, insn.op_str)
    assert seen > 20_000


def known_difference(code: bytes, insn: object) -> bool:
    """Capstone is wrong, or follows Intel where Unicorn follows AMD; none of it stands before another in a block."""
    name: str = insn.mnemonic  # type: ignore[attr-defined]
    bare = code.lstrip(bytes([0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3, *range(0x40, 0x50)]))
    prefixes = code[: len(code) - len(bare)]
    branch = bare[:1] in (b"\xe8", b"\xe9") or (bare[:1] == b"\x0f" and 0x80 <= bare[1] < 0x90)
    if branch and 0x66 in prefixes:
        return True
    early_rex = any(byte & 0xF0 == 0x40 for byte in prefixes[:-1])
    privileged = bare[:1] == b"\x0f" and 0x20 <= bare[1] < 0x28  # mov to and from cr, dr: its mod is ignored
    evex = privileged or bare[:1] == b"\x62" or bare[:1] == b"\x8f"
    return (
        early_rex or evex or bare[:2] in (b"\x0f\x0f", b"\x0f\x78") or name.startswith(("bnd", "ud", "xa", "xrelease"))
    )


def test_blocks_have_as_many_instructions_as_unicorn_translated() -> None:
    """Random bytes translated by Unicorn (not run): uc_tb.icount against ours, in both languages."""
    import ctypes

    source = random.Random(2)
    library = native.library()
    compared = 0
    for _ in range(60):
        code = b"".join(random_code(source, 40) + b"\x0f\x0b" for _ in range(90))[:4000]
        bare = guest(code)
        emulator = the_emulator()
        for va in range(CODE, CODE + 3700, 42):
            tb = u.UcTb()
            error = emulator.lib.uc_ctl(emulator.uc, u.CTL_TB_REQUEST, ctypes.c_uint64(va), ctypes.byref(tb))
            if error or not tb.size:
                continue
            text = code[va - CODE : va - CODE + tb.size]
            assert len(decode.starts(text)) == tb.icount, text.hex(" ")
            compared += 1
        del bare
    assert compared > 4000
    assert library is None or compared


@pytest.mark.skipif(native.library() is None, reason="no native hooks")
def test_c_and_python_decode_alike() -> None:
    guest(b"\x90", True)
    library = native.library()
    assert library is not None
    source = random.Random(3)
    for _ in range(60_000):
        code = random_code(source, source.randrange(1, 24))
        at = source.randrange(len(code))
        assert library.hs_length(code, len(code), at) == decode.length(code, at), (code.hex(" "), at)


@pytest.mark.parametrize(
    ("code", "lengths"),
    [
        ("90", [1]),
        ("48b8 8877665544332211", [10]),
        ("66b8 3412", [4]),
        ("f604250010000007", [8]),
        ("f7c0 78563412 f7d0", [6, 2]),
        ("48a1 8877665544332211", [10]),
        ("67a1 44332211", [6]),
        ("c8 1000 01", [4]),
        ("660f3a0fc108", [6]),
        ("c4e2f8f2c0", [5]),
        ("c4e37bf0c005", [6]),
        ("660f78c00405", [6]),
        ("8d842400010000", [7]),
        ("0f1f840000000000", [8]),
    ],
)
def test_some_by_hand(code: str, lengths: list[int]) -> None:
    raw = bytes.fromhex(code.replace(" ", ""))
    starts = decode.starts(raw)
    assert [b - a for a, b in zip(starts, [*starts[1:], len(raw)], strict=True)] == lengths
