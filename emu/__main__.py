"""`python -m emu` is the command `heapscope`."""

import sys

from emu.cli import main

sys.exit(main())
