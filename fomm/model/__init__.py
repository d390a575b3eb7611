"""The paper's networks and their maths. They take and give tensors: no files, no NumPy, no progress bars."""

from fomm.model.base import Detector, Generator, Keypoints, Openings
from fomm.model.dense_motion import DenseMotion
from fomm.model.discriminator import MultiScaleDiscriminator
from fomm.model.generator import OcclusionAwareGenerator
from fomm.model.keypoints import KPDetector, movement_scale, relative_motion
from fomm.model.openings import open_like

__all__ = [
    "DenseMotion",
    "Detector",
    "Generator",
    "KPDetector",
    "Keypoints",
    "MultiScaleDiscriminator",
    "OcclusionAwareGenerator",
    "Openings",
    "movement_scale",
    "open_like",
    "relative_motion",
]
