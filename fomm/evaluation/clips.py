"""Clips with exact landmarks: what ``fomm data heads`` writes, read for measuring."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from fomm.errors import InputError, MediaError

SIDECAR = ".landmarks.npz"


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
    """The clips of ``data/test``, or of ``data`` itself where it has no such folder, sorted by name.

    ``limit`` takes the first of them. Raises InputError where there is none.
    """
    folder = Path(data)
    if (folder / "test").is_dir():
        folder = folder / "test"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with clips, as `fomm data heads` writes it.")
    if limit is not None and limit < 1:
        raise InputError(f"limit is a number of clips, at least 1, not {limit}.")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".npz", ".mp4"))
    clips = [path for path in files if not path.name.endswith(SIDECAR)][:limit]
    if not clips:
        raise InputError(f"{folder} holds no clip (.npz or .mp4); make some with `fomm data heads`.")
    return clips


def read_clip(path: Path) -> Clip:
    """One clip and its sidecar. Raises MediaError for a file that is damaged or does not fit the other."""
    sidecar = path.with_name(path.stem + SIDECAR)
    if not sidecar.is_file():
        raise MediaError(f"{path} has no exact landmarks beside it: {sidecar.name} is missing.")
    frames = _read_array(path, "frames") if path.suffix == ".npz" else _read_video(path)
    landmarks, pose = _read_array(sidecar, "landmarks"), _read_array(sidecar, "pose")
    count = len(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not count:
        raise MediaError(f"{path} holds frames {frames.dtype} {frames.shape}, not uint8 TxHxWx3.")
    if landmarks.shape != (count, 68, 2) or pose.shape != (count, 3):
        raise MediaError(
            f"{sidecar} holds landmarks {landmarks.shape} and pose {pose.shape}; "
            f"{path.name} has {count} frames, for which ({count}, 68, 2) and ({count}, 3) are needed."
        )
    return Clip(path.stem, frames, landmarks.astype(np.float32), pose.astype(np.float32))


def list_hash(paths: Sequence[Path]) -> str:
    """SHA-256 (hex) of the names and contents of clips and their sidecars: equal numbers need equal lists."""
    digest = hashlib.sha256()
    for path in paths:
        for file in (path, path.with_name(path.stem + SIDECAR)):
            digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _read_array(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as reason:
        raise MediaError(f"{path} cannot be read as an npz file with an array '{name}': {reason}") from reason


def _read_video(path: Path) -> np.ndarray:
    from fomm.media import VideoReader  # late: npz clips need no ffmpeg

    with VideoReader(path) as video:
        return np.stack(list(video))
