"""`python -m emu.native`: build the C hooks."""

import sys

from emu.native.build import main

sys.exit(main())
