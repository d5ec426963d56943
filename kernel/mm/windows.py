"""Windows: the mappings in which a CPU may answer page faults by itself, told in flat memory that it shares."""

from __future__ import annotations

from struct import Struct

from kernel.mm.pte import SPECIAL
from kernel.mm.vma import ACCESS, EXEC, READ_BITS, WRITE, WRITE_BITS, Vma

COUNT = 64
TOLD, USED, HEAD = range(3)  # indices into Windows.table; the windows begin at HEAD
END, TELL, WIDTH = 1, 4, 5  # words of a window, which are: start, end, PTE bits after a write, of the zero page, TELL
_write = Struct(f"={WIDTH}Q").pack_into
_PLACES = [8 * (HEAD + n * WIDTH) for n in range(-1, COUNT)]  # in bytes, by number; there is no number 0
# The PTE bits that a window has, by VM_READ|VM_WRITE|VM_EXEC. Who writes to code must note it: not by itself.
_WRITTEN = [WRITE_BITS[n] if n & (WRITE | EXEC) == WRITE else 0 for n in range(8)]
_READ = [READ_BITS[n] | SPECIAL if n & ACCESS else 0 for n in range(8)]


class Windows:
    """At most COUNT windows, numbered from 1: each shows a VMA that is anonymous and private.

    Always holds: `owners[vma.window] is vma` for each VMA shown; `vma.window` is 0 for all others. No window beyond
    `table[USED]` is open; a closed one ends at 0. `turn` is the next to be taken.

    In an open window a CPU that was given the FaultTable may do what kernel/mm/fault.py does: fill a page that is not
    there with a zeroed frame (a write) or the zero page (a read), if the window has PTE bits for it. When it fills a
    page of a window with TELL, it leaves its number in `table[TOLD]`: `fault.settle` owes that VMA its anon_vma. It
    cannot tell of another one before that is done.
    """

    __slots__ = ("owners", "table", "turn")

    def __init__(self) -> None:
        self.table = memoryview(bytearray(8 * (HEAD + COUNT * WIDTH))).cast("Q")
        self.owners: list[Vma | None] = [None] * (COUNT + 1)
        self.turn = 1

    def open(self, vma: Vma) -> None:
        """Show `vma` as it is now, in place of the one that was shown for the longest time."""
        n = vma.window
        if not n:
            n = vma.window = self.turn
            self.turn = n % COUNT + 1
            old = self.owners[n]
            if old is not None:
                old.window = 0
            self.owners[n] = vma
            if n > self.table[USED]:
                self.table[USED] = n
        access = vma.flags & ACCESS
        _write(self.table, _PLACES[n], vma.start, vma.end, _WRITTEN[access], _READ[access], not vma.anon_vma)

    def close(self, vma: Vma) -> None:
        """Show `vma` no more: it changes, or goes away."""
        n = self.turn = vma.window
        vma.window = 0
        self.owners[n] = None
        self.table[HEAD - WIDTH + n * WIDTH + END] = 0

    def clear(self) -> None:
        """Show nothing."""
        for n in range(1, self.table[USED] + 1):
            vma = self.owners[n]
            if vma is not None:
                self.close(vma)

    def take_told(self) -> Vma | None:
        """The VMA that is owed an anon_vma; it is shown without TELL from now on."""
        n = self.table[TOLD]
        self.table[TOLD] = 0
        self.table[HEAD - WIDTH + n * WIDTH + TELL] = 0
        return self.owners[n]
