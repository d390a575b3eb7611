"""The models that came after: Articulated Animation (MRAA) and the Thin-Plate-Spline Motion Model (TPSMM)."""

from fomm.successors.mraa import ArticulatedDetector, ArticulatedGenerator
from fomm.successors.tpsmm import ThinPlateDetector, ThinPlateGenerator

__all__ = [
    "ArticulatedDetector",
    "ArticulatedGenerator",
    "ThinPlateDetector",
    "ThinPlateGenerator",
]
