"""Clips with exact landmarks: what ``fomm data heads`` writes, read for measuring."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from fomm.clips import find_clips, read_arrays, read_frames, sidecar_of
from fomm.errors import MediaError


@dataclass(frozen=True)
class Clip:
    """A few frames of one person, and what is known of them exactly."""

    name: str  # PERSON#CLIP
    frames: np.ndarray  # TxHxWx3 uint8 RGB
    landmarks: np.ndarray  # Tx68x2 float32, pixels xy; pixel i covers [i, i + 1)
    pose: np.ndarray  # Tx3 float32: yaw, pitch, roll in degrees

    @property
    def person(self) -> str:
        return self.name.split("#")[0]

    def resized(self, height: int, width: int) -> Clip:
        """The same clip with frames of another size."""
        old_height, old_width = self.frames.shape[1:3]
        if (old_height, old_width) == (height, width):
            return self
        frames = torch.from_numpy(self.frames).permute(0, 3, 1, 2).float()
        frames = F.interpolate(frames, (height, width), mode="bilinear", align_corners=False, antialias=True)
        pixels = frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        scale = np.array([width / old_width, height / old_height], np.float32)
        return Clip(self.name, pixels, self.landmarks * scale, self.pose)


def list_clips(data: str | os.PathLike[str], limit: int | None = None) -> list[Path]:
    """The clips of ``data/test``, or of ``data`` itself where it has no such folder; see ``find_clips``."""
    folder = Path(data)
    return find_clips(folder / "test" if (folder / "test").is_dir() else folder, limit)


def read_clip(path: Path) -> Clip:
    """One clip and its sidecar. Raises MediaError for a file that is damaged or does not fit the other."""
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        raise MediaError(f"{path} has no exact landmarks beside it: {sidecar.name} is missing")
    frames = read_frames(path)
    truth = read_arrays(sidecar, "landmarks", "pose")
    landmarks, pose, count = truth["landmarks"], truth["pose"], len(frames)
    if landmarks.shape != (count, 68, 2) or pose.shape != (count, 3):
        raise MediaError(
            f"{sidecar} holds landmarks {landmarks.shape} and pose {pose.shape}; "
            f"{path.name} has {count} frames, for which ({count}, 68, 2) and ({count}, 3) are needed"
        )
    return Clip(path.stem, frames, landmarks.astype(np.float32), pose.astype(np.float32))


def list_hash(paths: Sequence[Path]) -> str:
    """SHA-256 (hex) of the names and contents of clips and their sidecars: equal numbers need equal lists."""
    digest = hashlib.sha256()
    for path in paths:
        for file in (path, sidecar_of(path)):
            digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
