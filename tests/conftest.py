"""Small networks are as fast on one thread, and steadier where other work shares the machine."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in the processes that tests start
