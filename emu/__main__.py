"""`python -m emu` is the command `heapscope`."""

from emu.cli import entry

entry()
