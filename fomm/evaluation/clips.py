"""List and read the clips of a data set, with exact landmarks and pose where the data set has them."""

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
class AnnotatedClip:
    """The frames of one clip, and the exact landmarks and pose in them, where they are known."""

    name: str  # PERSON#CLIP, or any name
    frames: np.ndarray  # TxHxWx3 uint8 RGB
    landmarks: np.ndarray | None = None  # Tx68x2 float32, pixels xy; pixel i covers [i, i + 1)
    pose: np.ndarray | None = None  # Tx3 float32: yaw, pitch, roll in degrees

    def resize(self, height: int, width: int) -> AnnotatedClip:
        """Return the same clip with frames of another size, in pixels; itself where the size is the same."""
        old_height, old_width = self.frames.shape[1:3]
        if (old_height, old_width) == (height, width):
            return self
        frames = np.stack([resize_picture(frame, height, width) for frame in self.frames])
        scale = np.array([width / old_width, height / old_height], np.float32)
        landmarks = None if self.landmarks is None else self.landmarks * scale
        return AnnotatedClip(self.name, frames, landmarks, self.pose)


def resize_picture(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture (HxWx3, uint8 or float32) at another size: bilinear, antialiased."""
    if picture.shape[:2] == (height, width):
        return picture
    # Not by media.resize: the numbers that were published so far come from this filter, and floats need it.
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    tensor = F.interpolate(tensor, (height, width), mode="bilinear", align_corners=False, antialias=True)
    if picture.dtype == np.uint8:
        tensor = tensor.round().clamp(0, 255).byte()
    return tensor[0].permute(1, 2, 0).contiguous().numpy()


def clip_name(path: Path) -> str:
    """Return the name of a clip: that of its file without the suffix."""
    return sidecar_of(path).name.removesuffix(SIDECAR_SUFFIX)


def person_of(path: Path) -> str:
    """Return who is in a clip: PERSON of PERSON#CLIP; the whole name where it has another form."""
    return clip_name(path).split("#")[0]


def list_clips(data: str | os.PathLike[str], limit: int | None = None) -> list[Path]:
    """List the clips of ``data/test``, or of ``data`` where that folder is missing; see ``find_clips``."""
    folder = Path(data)
    return find_clips(folder / "test" if (folder / "test").is_dir() else folder, limit)


def read_clip(path: Path, aspect: float = 1.0) -> AnnotatedClip:
    """Read one clip, with the landmarks and the pose of its sidecar where there is one and it holds them.

    Args:
        path: one of ``list_clips``.
        aspect: width over height of a frame, for frames that lie side by side in one picture.

    Raises:
        MediaError: a file is damaged, or the sidecar does not fit the frames.
    """
    frames, sidecar = read_frames(path, aspect), sidecar_of(path)
    if not sidecar.is_file():
        return AnnotatedClip(clip_name(path), frames)
    shapes = {"landmarks": (len(frames), 68, 2), "pose": (len(frames), 3)}
    truth = read_arrays(sidecar, *(name for name in shapes if name in _names_in(sidecar)))
    for name, array in truth.items():
        if array.shape != shapes[name]:
            raise MediaError(
                f"{sidecar} holds {name} {array.shape}; "
                f"{path.name} has {len(frames)} frames, for which {shapes[name]} is needed"
            )
    return AnnotatedClip(
        clip_name(path), frames, **{name: array.astype(np.float32) for name, array in truth.items()}
    )


def _names_in(path: Path) -> set[str]:
    """Return the names of the arrays in an npz file. Raises MediaError for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as reason:
        raise MediaError(f"{path} cannot be read as an npz file: {reason}") from reason


def hash_clips(paths: Sequence[Path]) -> str:
    """Return the SHA-256 (hex) of the names and contents of clips and their sidecars.

    Numbers of two evaluations can be compared where it is equal.
    """
    digest = hashlib.sha256()
    for path in paths:
        for file in _files(path):
            name = file.relative_to(path.parent).as_posix()
            digest.update(f"{name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _files(clip: Path) -> Iterator[Path]:
    """Yield the files of a clip: one file, or the pictures of a folder; then its sidecar if there is one."""
    if clip.is_dir():
        yield from sorted(path for path in clip.rglob("*") if path.is_file())
    else:
        yield clip
    if sidecar_of(clip).is_file():
        yield sidecar_of(clip)
