"""The faces of one person, cut out of a video and aligned: what a swap is trained on, and its file."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from fomm.atomic import atomic_path
from fomm.data import clips
from fomm.errors import InputError, MediaError, shown
from fomm.face.mesh import POINTS

FORMAT = 1  # goes up when the file's arrays change
SIZES = (64, 128, 160)  # sides of the aligned pictures, pixels
# What the masks show, in the order of their last axis: the whole face from hairline to jaw, and its parts.
MASKS = ("face", "brows", "eyes", "nose", "lips")


@dataclass(frozen=True)
class FaceSet:
    """N faces of one person, aligned to the mean face, SxS pixels each.

    Pixel i covers [i, i + 1). So x runs from 0 at the left edge to S at the right one.
    """

    pictures: np.ndarray  # NxSxSx3 uint8, RGB
    masks: np.ndarray  # NxSxSx5 bool, in the order of MASKS
    points: np.ndarray  # Nx478x2 float32, xy in pixels of the picture: the points of the face mesh
    transforms: np.ndarray  # Nx2x3 float32: from pixels of the frame to pixels of the picture
    frames: np.ndarray  # N int64: the number of the frame that each face was cut from

    def __post_init__(self) -> None:
        if self.pictures.ndim != 4 or not len(self.pictures):
            raise InputError(f"pictures are NxSxSx3 with N at least 1, not {self.pictures.shape}")
        count, size = self.pictures.shape[:2]
        if size not in SIZES:
            raise InputError(f"pictures of faces are {', '.join(map(str, SIZES))} pixels wide, not {size}")
        for name, (of_one, dtype) in face_arrays(size).items():
            array, shape = getattr(self, name), (count, *of_one)
            if array.shape != shape or array.dtype != dtype:
                raise InputError(f"{name} are {np.dtype(dtype)} {shape}, not {array.dtype} {array.shape}")

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return self.pictures.shape[1]

    def __len__(self) -> int:
        return len(self.pictures)


def face_arrays(size: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and dtype of what a ``FaceSet`` holds of one face, by the name of its array."""
    return {
        "pictures": ((size, size, 3), np.uint8),
        "masks": ((size, size, len(MASKS)), np.bool_),
        "points": ((POINTS, 2), np.float32),
        "transforms": ((2, 3), np.float32),
        "frames": ((), np.int64),
    }


def write_faces(path: str | os.PathLike[str], faces: FaceSet) -> None:
    """Write faces to one ``.npz`` file, not compressed. Raises FommError: the place cannot be written."""
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        arrays = {field.name: getattr(faces, field.name) for field in fields(FaceSet)}
        np.savez(file, format=np.int64(FORMAT), **arrays)


def read_faces(path: str | os.PathLike[str]) -> FaceSet:
    """Read faces that ``write_faces`` wrote. No pickled object is loaded.

    Raises:
        MediaError: the file cannot be read, or is not such a file.
    """
    where = Path(path)
    arrays = read_arrays(where)
    try:
        version = arrays["format"].tolist()
        if version != FORMAT:
            raise MediaError(
                f"{where} has format {shown(version)}, and this fomm reads {FORMAT}; "
                "run fomm swap extract again"
            )
        return FaceSet(**{field.name: arrays[field.name] for field in fields(FaceSet)})
    except KeyError as reason:
        raise MediaError(
            f"{where} cannot be read as faces: it holds no {reason}; fomm swap extract writes such files"
        ) from reason
    except InputError as reason:
        raise MediaError(f"{where} does not hold faces: {reason}") from reason


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file that is not compressed.

    A header may declare an array of any size. So it is compared with the bytes that the file has before
    memory is taken.

    Raises:
        MediaError: the file cannot be read, is compressed, or holds something other than arrays of numbers.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            if packed or sum(entry.file_size for entry in entries) > size:
                raise ValueError("it is compressed, or shorter than it says")
        return clips.read_arrays(path, *(entry.filename.removesuffix(".npy") for entry in entries))
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as reason:  # MediaError is a ValueError
        what = shown(reason.__cause__ or reason)
        raise MediaError(
            f"{path} cannot be read as faces ({what}); fomm swap extract writes such files"
        ) from reason
