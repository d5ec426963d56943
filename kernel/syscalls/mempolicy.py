"""NUMA syscalls: mbind, set_mempolicy and their kin."""
