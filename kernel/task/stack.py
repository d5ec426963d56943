"""The first stack of a program: strings at the top, then auxv, envp, argv and argc, as fs/binfmt_elf.c lays them.

    stack_top  8 bytes of zero
               execfn\\0
               envp strings, argv strings (argv[0] lowest)
               "x86_64\\0" (AT_PLATFORM), 16 random bytes (AT_RANDOM)
               auxv … AT_NULL, envp … NULL, argv … NULL
    sp ->      argc                                          16-byte aligned
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kernel.abi.errno import E2BIG, LinuxError
from kernel.abi.limits import (
    AT_EXECFN,
    AT_NULL,
    AT_PLATFORM,
    AT_RANDOM,
    MAX_ARG_STRLEN,
    PAGE_SIZE,
)

ARG_MAX = 32 * PAGE_SIZE
STACK_LIMIT = 8 << 20  # _STK_LIM
PLATFORM = b"x86_64\0"


class InitialStack(NamedTuple):
    """What a new stack holds and where: `data` ends at the stack's top and starts at `sp`."""

    sp: int
    data: bytes
    arg_start: int
    arg_end: int
    env_start: int
    env_end: int
    auxv: bytes  # as /proc/[pid]/auxv shows it
    strings_start: int  # lowest byte that execve(2) copied before the image was replaced (Linux: bprm->p)


def check_size(argv: list[bytes], envp: list[bytes], execfn: bytes, stack_soft: int) -> None:
    """execve(2), "Limits on size of arguments and environment". Raises LinuxError E2BIG."""
    limit = max(min(STACK_LIMIT // 4 * 3, stack_soft // 4), ARG_MAX)
    for text in (*argv, *envp):
        if len(text) + 1 > MAX_ARG_STRLEN:
            raise LinuxError(E2BIG, f"an argument or environment string is longer than {MAX_ARG_STRLEN} bytes")
    pointers = 8 * (max(len(argv), 1) + len(envp))
    strings = sum(len(text) + 1 for text in (*argv, *envp))
    if pointers >= limit or strings > limit - pointers:
        raise LinuxError(E2BIG, f"arguments and environment exceed {limit} bytes (a quarter of RLIMIT_STACK)")


def build(
    stack_top: int,
    argv: list[bytes],
    envp: list[bytes],
    execfn: bytes,
    auxv: list[tuple[int, int]],
    random16: bytes,
    shift: int = 0,
) -> InitialStack:
    """Lay a first stack below `stack_top`. `auxv` comes in Linux's order, with AT_RANDOM, AT_EXECFN and AT_PLATFORM
    as place holders that get their addresses here. `shift` (0 without ASLR) is how far arch_align_stack() moves it."""
    tail = b"".join(text + b"\0" for text in (*argv, *envp)) + execfn + b"\0" + bytes(8)
    arg_start = stack_top - len(tail)
    env_start = arg_start + sum(len(text) + 1 for text in argv)
    env_end = env_start + sum(len(text) + 1 for text in envp)

    aligned = (arg_start - shift) & ~15
    platform = aligned - len(PLATFORM)
    random_at = platform - 16
    where = {AT_RANDOM: random_at, AT_EXECFN: env_end, AT_PLATFORM: platform}
    words = [word for key, value in (*auxv, (AT_NULL, 0)) for word in (key, where.get(key, value))]
    vector = struct.pack(f"<{len(words)}Q", *words)
    pointers = [len(argv), *_addresses(arg_start, argv), 0, *_addresses(env_start, envp), 0]

    sp = (random_at - 8 * len(pointers) - len(vector)) & ~15
    head = struct.pack(f"<{len(pointers)}Q", *pointers) + vector
    data = b"".join((head, bytes(random_at - sp - len(head)), random16, PLATFORM, bytes(arg_start - aligned), tail))
    return InitialStack(sp, data, arg_start, env_start, env_start, env_end, vector, arg_start)


def _addresses(start: int, texts: list[bytes]) -> list[int]:
    addresses = []
    for text in texts:
        addresses.append(start)
        start += len(text) + 1
    return addresses
