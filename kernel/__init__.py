"""A Linux kernel in Python that knows no CPU: page tables, files, signals and the syscall table."""
