"""What runs the networks: torch, OpenVINO or ONNX Runtime, in 32, 16 or 8 bits, behind one interface."""

from fomm.engines.choose import PRECISIONS, choose, warn_if_emulated
from fomm.engines.prepare import Engine, prepared

__all__ = [
    "PRECISIONS",
    "Engine",
    "choose",
    "prepared",
    "warn_if_emulated",
]
