"""CPUID as this machine answers it: a fixed x86-64-v2 CPU, whatever Unicorn or the host is.

What Unicorn's EPYC-Rome model executes, less what it lacks (AVX, F16C, FMA), what would let the host show through
(RDRAND, RDSEED, the TSC as hardware has it) and what nobody uses without an operating system's consent (XSAVE).
Leaves and bits: AMD64 APM vol. 3, appendix E.
"""

from __future__ import annotations

Leaf = tuple[int, int, int, int]  # EAX, EBX, ECX, EDX

BRAND = b"heapscope x86-64-v2 processor"
FAMILY = 0x0083_0F10  # EPYC Rome: family 17h, model 31h, stepping 0

# Leaf 1. ECX: SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES
ECX_1 = sum(1 << bit for bit in (0, 1, 9, 13, 19, 20, 22, 23, 25))
# EDX: FPU VME DE PSE TSC MSR PAE MCE CX8 SEP PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
EDX_1 = sum(1 << bit for bit in (0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26))
# Leaf 7. EBX: FSGSBASE BMI1 BMI2 ADX CLFLUSHOPT CLWB
EBX_7 = sum(1 << bit for bit in (0, 3, 8, 19, 23, 24))
# Leaf 8000_0001. ECX: LAHF ABM SSE4A PREFETCHW
ECX_EXT = sum(1 << bit for bit in (0, 5, 6, 8))
# EDX: what leaf 1 says again, then SYSCALL NX MMXEXT RDTSCP LM
EDX_EXT = EDX_1 & 0x0183_F3FF | sum(1 << bit for bit in (11, 20, 22, 27, 29))

HWCAP2 = 1 << 1  # FSGSBASE


def _text(words: bytes) -> Leaf:
    a, b, c, d = (int.from_bytes(words[i : i + 4], "little") for i in range(0, 16, 4))
    return a, b, c, d


_LEAVES: dict[tuple[int, int], Leaf] = {
    (0x0, 0): (0xD, 0x6874_7541, 0x444D_4163, 0x6974_6E65),  # highest leaf, "AuthenticAMD"
    (0x1, 0): (FAMILY, 1 << 16 | 8 << 8, ECX_1, EDX_1),  # one logical CPU, APIC id 0, 64-byte lines for CLFLUSH
    (0x5, 0): (64, 64, 0, 0),
    (0x7, 0): (0, EBX_7, 0, 0),
    (0x8000_0000, 0): (0x8000_001E, 0x6874_7541, 0x444D_4163, 0x6974_6E65),
    (0x8000_0001, 0): (FAMILY, 0, ECX_EXT, EDX_EXT),
    (0x8000_0005, 0): (0xFF40_FF40, 0xFF40_FF40, 0x2008_0140, 0x2008_0140),  # L1: 32 KiB, 8 ways, 64-byte lines
    (0x8000_0006, 0): (0x4800_6400, 0x6800_6400, 0x0200_6140, 0x0080_9140),  # L2 512 KiB 8 ways, L3 16 MiB 16 ways
    (0x8000_0007, 0): (0, 0, 0, 1 << 8),  # invariant TSC
    (0x8000_0008, 0): (48 << 8 | 48, 0, 0, 0),  # 48 bits of physical and of linear address
    # cache topology: type and level, line size, partitions, ways (each less one), sets less one
    (0x8000_001D, 0): (0x121, 7 << 22 | 63, 63, 0),
    (0x8000_001D, 1): (0x122, 7 << 22 | 63, 63, 0),
    (0x8000_001D, 2): (0x143, 7 << 22 | 63, 1023, 2),
    (0x8000_001D, 3): (0x163, 15 << 22 | 63, 16383, 1),
}
_BY_SUBLEAF = {0x4, 0x7, 0xB, 0xD, 0x8000_001D}  # leaves for which ECX matters
for _i, _leaf in enumerate(range(0x8000_0002, 0x8000_0005)):
    _LEAVES[_leaf, 0] = _text(BRAND.ljust(48, b"\0")[16 * _i : 16 * _i + 16])

_NOTHING: Leaf = (0, 0, 0, 0)


def cpuid(leaf: int, subleaf: int) -> Leaf:
    """EAX, EBX, ECX, EDX for CPUID with EAX `leaf` and ECX `subleaf`. Unknown leaves are all zero, as on AMD."""
    return _LEAVES.get((leaf, subleaf if leaf in _BY_SUBLEAF else 0), _NOTHING)
