"""Clips on disk: the frames in a file or video, and beside it what the data set knows of them exactly.

``PERSON#CLIP.npz`` holds ``frames``, TxHxWx3 uint8; a video stands for the same. The truth, if there is one,
lies beside it in ``PERSON#CLIP.landmarks.npz``, as ``fomm.heads.dataset`` describes it.
"""

import zipfile
from pathlib import Path

import numpy as np

from fomm.errors import InputError, MediaError

CLIP_SUFFIXES = (".npz", ".mp4", ".gif", ".webm", ".mov")
SIDECAR_SUFFIX = ".landmarks.npz"


def find_clips(folder: Path, limit: int | None = None) -> list[Path]:
    """The clips in a folder, sorted by name, the first ``limit`` of them.

    Raises:
        InputError: the folder is missing or holds none, or the limit is below 1.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with clips, as `fomm data heads` writes it")
    if limit is not None and limit < 1:
        raise InputError(f"limit is a number of clips, at least 1, not {limit}")
    clips = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in CLIP_SUFFIXES
        and not path.name.endswith(SIDECAR_SUFFIX)
        and not path.name.startswith(".")  # half-written
    )
    if not clips:
        raise InputError(f"{folder} holds no clips; expected files that end in {', '.join(CLIP_SUFFIXES)}")
    return clips[:limit]


def sidecar_of(clip: Path) -> Path:
    """Where the truth of a clip lies, if there is any."""
    return clip.with_name(clip.stem + SIDECAR_SUFFIX)


def read_frames(clip: Path) -> np.ndarray:
    """All frames of a clip, TxHxWx3 uint8 RGB, T >= 1.

    Raises:
        MediaError: the file is damaged or holds something else.
    """
    if clip.suffix.lower() == ".npz":
        frames = read_arrays(clip, "frames")["frames"]
    else:
        from fomm.media import VideoReader  # late: .npz needs no ffmpeg

        with VideoReader(clip) as reader:
            frames = np.stack(list(reader))
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise MediaError(f"{clip} holds frames {frames.dtype} {frames.shape}, not uint8 TxHxWx3")
    return frames


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The named arrays of an npz file.

    Raises:
        MediaError: the file is damaged or lacks one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as reason:
        raise MediaError(
            f"{path} cannot be read as an npz file with {', '.join(names)}: {reason}"
        ) from reason
