"""The highest resident memory of a process, which benchmarks tell of processes that do one thing alone."""

import resource
import sys
from pathlib import Path


def peak_memory() -> float:
    """Of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells there includes the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
