"""What all benchmarks tell: the machine, the memory of this process, and the report as a file."""

import json
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from fomm import __version__


def peak_memory() -> float:
    """Return the highest resident memory of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells there includes the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def describe_machine() -> dict[str, Any]:
    """Return what the speed depends on: the processor, the GPU, threads and versions."""
    has = torch.cpu.get_capabilities()
    kinds = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "instructions": [kind for kind in kinds if has.get(kind)],
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fomm": __version__,
    }


def _processor_name() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_report(path: Path | None, settings: dict[str, Any], **results: Any) -> None:
    """Write the machine, the settings and the results to a JSON file, if there is a path."""
    if path is not None:
        report = {"machine": describe_machine(), "settings": settings, **results}
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
