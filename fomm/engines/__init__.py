"""What runs the networks: torch, OpenVINO or ONNX Runtime, in 32, 16 or 8 bits, behind one interface."""

from fomm.engines.choose import PRECISIONS, choose_engine, warn_if_emulated
from fomm.engines.prepare import Engine, prepare_engine

__all__ = [
    "PRECISIONS",
    "Engine",
    "choose_engine",
    "prepare_engine",
    "warn_if_emulated",
]
