"""``python -m fomm`` is the command ``fomm``."""

import sys

from fomm.cli import main

sys.exit(main())
