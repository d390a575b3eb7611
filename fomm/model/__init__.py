"""The networks. They know tensors and nothing else: no files, no numpy, no progress bars."""

from fomm.model.dense_motion import Motion
from fomm.model.discriminator import MultiScaleDiscriminator
from fomm.model.generator import OcclusionAwareGenerator
from fomm.model.keypoints import Keypoints, KPDetector, Openings, movement_scale, relative_motion
from fomm.model.openings import open_like

__all__ = [
    "KPDetector",
    "Keypoints",
    "Motion",
    "MultiScaleDiscriminator",
    "OcclusionAwareGenerator",
    "Openings",
    "movement_scale",
    "open_like",
    "relative_motion",
]
