"""The VMCB (AMD64 APM vol. 2, appendix B): how the CPU enters SVM, what is intercepted, what an exit says.

Physical [0, 1 MiB) of RAM is the CPU's: the entry code, the VMCB, the host save area, and the probe's page tables.
"""

from __future__ import annotations

import struct

CODE, VMCB, HSAVE = 0x1000, 0x2000, 0x4000
PROBE_TABLES = 0x8000  # four levels, one page each, then the probe's code page
DIRECT_TABLES = 0xE000  # two levels: all of RAM at its physical addresses, in pages of 1 GiB
EXITINFO2_WORD = (VMCB + 0x80) >> 3  # the faulting address of an intercepted #PF, as an index of u64 words

# Unicorn's interrupt number is 0x100 + the AMD exit code of an intercept; plain numbers are software interrupts.
EXIT = 0x100
EXCEPTION, RDPMC, SWINT, VMMCALL, MONITOR, MWAIT = 0x140, 0x16F, 0x175, 0x181, 0x18A, 0x18B
PAGE_FAULT = EXCEPTION + 14

EFER_MSR, HSAVE_MSR = 0xC0000080, 0xC0010117
EFER_HOST = 0x1000 | 0x800 | 1  # SVME NXE SCE
EFER_GUEST = 0x1D01  # and LMA, LME
CR0 = 0x8001_0033  # PG WP NE ET MP PE
CR4_PAE = 0x20
CR4 = 0x1_0000 | 0x600 | CR4_PAE  # FSGSBASE OSXMMEXCPT OSFXSR PAE; no OSXSAVE: xgetbv is #UD, as CPUID says
VMRUN = b"\x0f\x01\xd8"


def _intercepts() -> int:
    """Intercept bits, from exit code 0x60 on. VMRUN is required; the others Unicorn would ignore, or halt at."""
    bits = 0
    for exit_code in (RDPMC, SWINT, 0x180, VMMCALL, 0x182, 0x183, 0x184, 0x185, 0x186, MONITOR, MWAIT):
        bits |= 1 << (exit_code - EXIT - 0x60)
    return bits


def write_direct_tables(words: memoryview, size: int) -> None:
    """Page tables under which the guest would see `size` bytes of RAM where they are."""
    top, gigabytes = DIRECT_TABLES, DIRECT_TABLES + 0x1000
    words[top >> 3] = gigabytes | 7
    for n in range(size + (1 << 30) - 1 >> 30):
        words[(gigabytes >> 3) + n] = n << 30 | 0x87  # PS U W P


def write_vmcb(ram: memoryview, cr3: int, rip: int) -> None:
    """A guest at CPL 3 in 64-bit mode, every exception intercepted, that starts at `rip` under the tables at `cr3`."""
    ram[VMCB : VMCB + 0x1000] = bytes(0x1000)

    def put(offset: int, fmt: str, *values: int) -> None:
        struct.pack_into(fmt, ram, VMCB + offset, *values)

    put(0x008, "<I", 0xFFFF_FFFF)
    put(0x00C, "<Q", _intercepts())
    put(0x058, "<I", 1)  # ASID
    put(0x05C, "<B", 1)  # flush the TLB
    for slot, selector, attributes in ((0, 0x2B, 0xCF3), (1, 0x33, 0xAFB), (2, 0x2B, 0xCF3), (3, 0x2B, 0xCF3)):
        put(0x400 + 16 * slot, "<HHIQ", selector, attributes, 0xFFFF_FFFF, 0)  # ES CS SS DS, as Linux numbers them
    put(0x4CB, "<B", 3)  # CPL
    put(0x4D0, "<Q", EFER_GUEST)
    put(0x548, "<Q", CR4)
    put(0x550, "<Q", cr3)
    put(0x558, "<Q", CR0)
    put(0x570, "<Q", 0x202)
    put(0x578, "<Q", rip)
    ram[CODE : CODE + 3] = VMRUN
