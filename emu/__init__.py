"""heapscope: run static x86-64 Linux ELF programs and trace every syscall, page fault and allocation."""
