"""Find 68 points on a face with the package face-alignment, which published numbers were measured with.

The package downloads the weights of its networks (S3FD and FAN) when it is first used. fomm uses it without
being asked only where the weights are on the machine already, so that nobody waits for a download unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fomm.errors import MissingExtraError
from fomm.face.blocks import check_image

# The files of face-alignment 1.5 in torch hub's cache: the detector's weights and those of the points.
WEIGHTS = ("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar")
_PIXEL_CENTRE = 0.5  # the package puts a pixel's centre at (i, j), fomm at (i + 0.5, j + 0.5)


def face_alignment_is_ready() -> bool:
    """Return whether face-alignment's weights are in torch hub's cache; the package is not imported."""
    return all((_cache_folder() / name).is_file() for name in WEIGHTS)


def _cache_folder() -> Path:
    """Return the folder in which torch hub, and so face-alignment, keeps weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def landmarks_68(
    images: Sequence[np.ndarray], *, device: torch.device | str = "cpu"
) -> list[np.ndarray | None]:
    """Find the 68 points (iBUG order) of the best-scored face of each image.

    Args:
        images: HxWx3 uint8 RGB, of any sizes.
        device: where the networks run.

    Returns:
        For each image 68x2 float32, pixels xy, pixel i covering [i, i + 1); None where no face was found.

    Raises:
        InputError: an image is not HxWx3 uint8.
        MissingExtraError: the package cannot be loaded, or its weights are missing and cannot be downloaded.
    """
    for image in images:
        check_image(image)
    network = load_face_alignment(str(device))
    return [_find_points(network, image) for image in images]


def _find_points(network: Any, image: np.ndarray) -> np.ndarray | None:
    boxes = network.face_detector.detect_from_image(image.copy())  # x0, y0, x1, y1, score
    if not len(boxes):
        return None
    best = max(boxes, key=lambda box: box[-1])
    found = network.get_landmarks_from_image(image, detected_faces=[best])
    return found[0].astype(np.float32) + _PIXEL_CENTRE if found else None


@lru_cache(maxsize=2)
def load_face_alignment(device: str) -> Any:
    """Return the package's networks on ``device``, loaded once. Raises MissingExtraError."""
    try:
        from face_alignment import FaceAlignment, LandmarksType
    except ImportError as reason:  # of the package, or of libGL, which its opencv-python needs
        raise MissingExtraError(
            f"face-alignment cannot be loaded ({reason}): pip install face-alignment; on a machine without a "
            "screen put opencv-python-headless in the place of opencv-python"
        ) from reason
    try:
        return FaceAlignment(LandmarksType.TWO_D, device=device, compile=False)
    except (OSError, RuntimeError) as reason:
        raise MissingExtraError(
            f"face-alignment has no weights and cannot download them ({reason}): put {' and '.join(WEIGHTS)} "
            f"into {_cache_folder()}, or use the face mesh that comes with fomm"
        ) from reason
