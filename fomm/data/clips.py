"""Find the clips in a folder, and read all frames of one; ``clip_files`` reads single frames.

A clip is named ``PERSON#CLIP`` and is one of these:

- ``.npz`` with ``frames``, TxHxWx3 uint8; without compression it is the fastest for single frames;
- a video with one of ``VIDEO_SUFFIXES``;
- a folder of numbered pictures, of whatever name;
- a .png with the frames side by side, T times as wide as one.

Exact landmarks, if they are known, lie beside it in the sidecar ``PERSON#CLIP.landmarks.npz``, which
``fomm.heads.dataset`` describes.
"""

import math
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from fomm.errors import InputError, MediaError
from fomm.media.images import read_image
from fomm.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES

CLIP_SUFFIXES = (".npz", *VIDEO_SUFFIXES, ".png")
SIDECAR_SUFFIX = ".landmarks.npz"

_MAX_HEADER = 10_000  # bytes of an array's header, as in NumPy
_HEADER = (  # its parts, in any order: the kind of numbers, whether they are in Fortran's order, the shape
    r"'descr'\s*:\s*'([<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16))'",
    r"'fortran_order'\s*:\s*(True|False)",
    r"'shape'\s*:\s*\(([\d,\s]*)\)",
)
_PIECE = 1 << 20  # bytes that are read at once


def find_clips(folder: Path, limit: int | None = None) -> list[Path]:
    """Return the clips in a folder, sorted by name, the first ``limit`` of them.

    Raises:
        InputError: the folder is missing or holds none, or the limit is below 1.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with clips, as `fomm data heads` writes it")
    if limit is not None and limit < 1:
        raise InputError(f"limit is a number of clips, at least 1, not {limit}")
    with os.scandir(folder) as entries:
        clips = sorted(Path(entry.path) for entry in entries if _is_clip(entry))
    if not clips:
        raise InputError(
            f"{folder} holds no clips; expected folders of pictures, "
            f"or files that end in {', '.join(CLIP_SUFFIXES)}"
        )
    return clips[:limit]


def _is_clip(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):  # a clip that is not completely written, too
        return False
    if entry.is_dir():
        with os.scandir(entry) as inside:
            return any(os.path.splitext(file.name)[1].lower() in IMAGE_SUFFIXES for file in inside)
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in CLIP_SUFFIXES and not entry.name.endswith(SIDECAR_SUFFIX)


def sidecar_of(clip: Path) -> Path:
    """Return where the exact landmarks of a clip lie, if there are any."""
    name = clip.stem if clip.suffix.lower() in CLIP_SUFFIXES else clip.name
    return clip.with_name(name + SIDECAR_SUFFIX)


def read_frames(clip: Path, aspect: float = 1.0) -> np.ndarray:
    """Return all frames of a clip, TxHxWx3 uint8 RGB, T >= 1.

    Args:
        aspect: width over height of one frame, where several lie side by side in one picture.

    Raises:
        MediaError: the clip is damaged or holds something else.
    """
    if clip.is_dir() or clip.suffix.lower() in VIDEO_SUFFIXES:
        from fomm.media import VideoReader  # late: .npz needs no ffmpeg

        with VideoReader(clip) as reader:
            return np.stack(list(reader))
    if clip.suffix.lower() == ".png":
        return split_strip(clip, read_image(clip), aspect)
    frames = read_arrays(clip, "frames")["frames"]
    check_frames(clip, frames.shape, frames.dtype)
    return frames


def check_frames(clip: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise ``MediaError`` unless the array of a clip is TxHxWx3 uint8 and not empty."""
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise MediaError(f"{clip} holds frames {dtype} {shape}, not uint8 TxHxWx3")


def split_strip(clip: Path, strip: np.ndarray, aspect: float) -> np.ndarray:
    """Split frames side by side, HxTWx3, to TxHxWx3. Raise ``MediaError`` where T is not whole."""
    count = count_in_strip(clip, strip.shape[0], strip.shape[1], aspect)
    return np.stack(np.split(strip, count, axis=1))


def count_in_strip(clip: Path, height: int, width: int, aspect: float) -> int:
    """Return how many frames lie side by side. Raise ``MediaError`` where the last is not whole."""
    frame_width = round(height * aspect)
    if not frame_width or width % frame_width:
        raise MediaError(
            f"{clip} is {width}x{height}, which is no row of frames of {frame_width}x{height}; "
            "frames lie side by side, all of one size"
        )
    return width // frame_width


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Return the named arrays of an npz file.

    Raises:
        MediaError: the file is damaged or lacks one of them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_array(archive, f"{name}.npy") for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as reason:
        raise MediaError(
            f"{path} cannot be read as an npz file with {', '.join(names)}: {reason}"
        ) from reason


def read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return the shape, whether it is in Fortran's order, and the dtype of an open .npy file of numbers.

    It leaves the file at the first number. NumPy's own reader is not used, because clips are read by threads:
    it gives the header to Python's parser, and in CPython 3.11 that parser sometimes fails when several
    threads run it at once ("AST constructor recursion depth mismatch").

    Raises:
        ValueError: there is no header, or not that of an array of numbers.
    """
    version = np.lib.format.read_magic(member)
    length = int.from_bytes(member.read(2 if version == (1, 0) else 4), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, more than those of any array of numbers")
    text = member.read(length).decode("latin1")
    descr, fortran, shape = (match and match[1] for match in (re.search(part, text) for part in _HEADER))
    if descr is None or fortran is None or shape is None:
        raise ValueError("its header is not that of an array of numbers")
    return tuple(int(length) for length in re.findall(r"\d+", shape)), fortran == "True", np.dtype(descr)


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return one array of an npz file, and take no more memory than the array has bytes in the file."""
    with archive.open(name) as member:
        shape, fortran, dtype = read_header(member)
        size = math.prod(shape) * dtype.itemsize
        if member.tell() + size > archive.getinfo(name).file_size:
            raise EOFError(f"{name} ends within its array")
        data = np.empty(size, np.uint8)
        for start in range(0, size, _PIECE):
            piece = data[start : start + _PIECE]
            if member.readinto(piece.data) < len(piece):  # type: ignore[attr-defined]
                raise EOFError(f"{name} ends within its array")
    return data.view(dtype).reshape(shape, order="F" if fortran else "C")
