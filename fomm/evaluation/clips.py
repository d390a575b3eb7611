"""Clips to measure on: their frames, and the exact landmarks and pose where a data set knows them."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from fomm.bundled import sha256_of
from fomm.data.clips import SIDECAR_SUFFIX, find_clips, read_arrays, read_frames, sidecar_of
from fomm.errors import MediaError


@dataclass(frozen=True)
class Clip:
    """The frames of one clip, and what is known of them exactly."""

    name: str  # PERSON#CLIP, or any name
    frames: np.ndarray  # TxHxWx3 uint8 RGB
    landmarks: np.ndarray | None = None  # Tx68x2 float32, pixels xy; pixel i covers [i, i + 1)
    pose: np.ndarray | None = None  # Tx3 float32: yaw, pitch, roll in degrees

    def resized(self, height: int, width: int) -> Clip:
        """The same clip with frames of another size."""
        old_height, old_width = self.frames.shape[1:3]
        if (old_height, old_width) == (height, width):
            return self
        frames = np.stack([resized_picture(frame, height, width) for frame in self.frames])
        scale = np.array([width / old_width, height / old_height], np.float32)
        landmarks = None if self.landmarks is None else self.landmarks * scale
        return Clip(self.name, frames, landmarks, self.pose)


def resized_picture(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """HxWx3, uint8 or float32, at another size (bilinear, antialiased), of the same kind."""
    if picture.shape[:2] == (height, width):
        return picture
    # Not by media.resize: the numbers that were published so far come from this filter, and floats need it.
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    tensor = F.interpolate(tensor, (height, width), mode="bilinear", align_corners=False, antialias=True)
    if picture.dtype == np.uint8:
        tensor = tensor.round().clamp(0, 255).byte()
    return tensor[0].permute(1, 2, 0).contiguous().numpy()


def clip_name(path: Path) -> str:
    """The name of a clip without the suffix of its file."""
    return sidecar_of(path).name.removesuffix(SIDECAR_SUFFIX)


def person_of(path: Path) -> str:
    """Who is in a clip: PERSON of PERSON#CLIP, the whole name of a clip that is called otherwise."""
    return clip_name(path).split("#")[0]


def list_clips(data: str | os.PathLike[str], limit: int | None = None) -> list[Path]:
    """The clips of ``data/test``, or of ``data`` itself where it has no such folder; see ``find_clips``."""
    folder = Path(data)
    return find_clips(folder / "test" if (folder / "test").is_dir() else folder, limit)


def read_clip(path: Path, aspect: float = 1.0) -> Clip:
    """One clip, and what its sidecar knows of landmarks and pose: both, one, none, or there is no sidecar.

    Args:
        path: one of ``list_clips``.
        aspect: width over height of a frame, for frames that lie side by side in one picture.

    Raises MediaError for a file that is damaged, or a sidecar that does not fit the frames.
    """
    frames, sidecar = read_frames(path, aspect), sidecar_of(path)
    if not sidecar.is_file():
        return Clip(clip_name(path), frames)
    shapes = {"landmarks": (len(frames), 68, 2), "pose": (len(frames), 3)}
    truth = read_arrays(sidecar, *(name for name in shapes if name in _names_in(sidecar)))
    for name, array in truth.items():
        if array.shape != shapes[name]:
            raise MediaError(
                f"{sidecar} holds {name} {array.shape}; "
                f"{path.name} has {len(frames)} frames, for which {shapes[name]} is needed"
            )
    return Clip(clip_name(path), frames, **{name: array.astype(np.float32) for name, array in truth.items()})


def _names_in(path: Path) -> set[str]:
    """The names of the arrays in an npz file. Raises MediaError for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as reason:
        raise MediaError(f"{path} cannot be read as an npz file: {reason}") from reason


def list_hash(paths: Sequence[Path]) -> str:
    """SHA-256 (hex) of the names and contents of clips and their sidecars: equal numbers need equal lists."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _files(path):
            name = file.relative_to(path.parent).as_posix()
            digest.update(f"{name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _files(clip: Path) -> Iterator[Path]:
    """What a clip is made of: one file or a folder of pictures, and its sidecar if there is one."""
    if clip.is_dir():
        yield from sorted(path for path in clip.rglob("*") if path.is_file())
    else:
        yield clip
    if sidecar_of(clip).is_file():
        yield sidecar_of(clip)
