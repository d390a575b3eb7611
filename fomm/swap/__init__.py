"""One person's face in another person's video, by autoencoders and adversarial networks."""

from fomm.swap.align import MEAN_FACE, cut_face, fit_similarity, move_points
from fomm.swap.extract import Extracted, extract_faces
from fomm.swap.faces import MASKS, FaceSet, read_faces, write_faces
from fomm.swap.masks import draw_masks
from fomm.swap.tracking import TrackedFace, follow_face

__all__ = [
    "MASKS",
    "MEAN_FACE",
    "Extracted",
    "FaceSet",
    "TrackedFace",
    "cut_face",
    "draw_masks",
    "extract_faces",
    "fit_similarity",
    "follow_face",
    "move_points",
    "read_faces",
    "write_faces",
]
