"""Page-table entry bits, and what each protection looks like in one (AMD64 APM vol. 2, 5.3; asm/pgtable_types.h).

Bits 9 to 11 belong to software. A PTE that is not present may still say something: see PROTNONE, SWAP and GUARD.
"""

P = 1 << 0  # present
W = 1 << 1  # writable
U = 1 << 2  # user
A = 1 << 5  # accessed
D = 1 << 6  # dirty
PROTNONE = 1 << 8  # the G bit, meaningful without P only: the page is there, but the VMA is PROT_NONE
SPECIAL = 1 << 9  # the shared zero page: no refcount, not in RSS (Linux: _PAGE_SPECIAL)
ANON = 1 << 10  # a page of this mm's own: anonymous, or a private copy of a file's
NX = 1 << 63

PFN = 0x000F_FFFF_FFFF_F000  # the frame's physical address
SHIFT = 12
TABLE = P | W | U | A  # an entry that points to a lower table
HERE = P | PROTNONE  # Linux's pte_present(): a frame stands in this entry

# Not present, no PROTNONE, not zero: a marker, or a page that lives elsewhere (slot number in place of pfn).
SWAP = 1 << 2
GUARD = 1 << 3  # MADV_GUARD_INSTALL

READ, WRITE, EXEC, SHARED = 1, 2, 4, 8  # PROT_* and VM_READ… VM_SHARED have these values alike


def _hardware(flags: int) -> int:
    if not flags & (READ | WRITE | EXEC):
        return A | PROTNONE | NX
    return P | U | A | (0 if flags & EXEC else NX) | (W if flags & WRITE and flags & SHARED else 0)


# protection_map[]: the bits of a new PTE by VM_READ|VM_WRITE|VM_EXEC|VM_SHARED. x86 cannot refuse a read alone, and a
# private page becomes writable by a write fault only.
PROTECTION = tuple(_hardware(flags) for flags in range(16))
PROTECTION_BITS = P | W | U | PROTNONE | NX  # what mprotect replaces
