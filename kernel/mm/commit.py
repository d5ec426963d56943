"""Promises of memory against what there is: overcommit modes 0, 1 and 2 (mm/util.c, proc(5) overcommit_memory)."""

from kernel.abi.errno import ENOMEM, LinuxError

GUESS, ALWAYS, NEVER = 0, 1, 2


class Commit:
    """One machine's accounting. `committed` is Committed_AS in pages: all private writable mappings, touched or not."""

    def __init__(self, ram_pages: int, mode: int = GUESS, swap_pages: int = 0) -> None:
        self.mode = mode
        self.ram_pages = ram_pages
        self.swap_pages = swap_pages
        self.hugetlb_pages = 0
        self.ratio = 50  # vm.overcommit_ratio
        self.kbytes = 0  # vm.overcommit_kbytes: instead of the ratio, unless 0
        self.admin_reserve_kbytes = min(ram_pages // 8, 8192)
        self.user_reserve_kbytes = min(ram_pages // 8, 131072)
        self.committed = 0

    @property
    def limit(self) -> int:
        """CommitLimit, in pages."""
        if self.kbytes:
            return (self.kbytes >> 2) + self.swap_pages
        return (self.ram_pages - self.hugetlb_pages) * self.ratio // 100 + self.swap_pages

    def charge(self, pages: int, privileged: bool, total_vm: int) -> None:
        """Promise `pages` more to an mm of `total_vm` pages (__vm_enough_memory). Raises LinuxError(ENOMEM)."""
        if self.mode == GUESS:
            if pages > self.ram_pages + self.swap_pages:
                raise LinuxError(ENOMEM, "more than all RAM and swap (vm.overcommit_memory=0)")
        elif self.mode == NEVER:
            allowed = self.limit - (0 if privileged else (self.admin_reserve_kbytes >> 2))
            allowed -= min(total_vm // 32, self.user_reserve_kbytes >> 2)
            if self.committed + pages >= allowed:
                raise LinuxError(ENOMEM, "the commit limit is reached (vm.overcommit_memory=2)")
        self.committed += pages

    def uncharge(self, pages: int) -> None:
        self.committed -= pages
