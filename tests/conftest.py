"""What holds for all tests: one thread for the networks, and the scripts in ``tools/`` can be imported."""

import os
import sys
from pathlib import Path

# Small networks are as fast on one thread, and steadier where other work shares the machine. PyTorch reads
# this when it is imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))
