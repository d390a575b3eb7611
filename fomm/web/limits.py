"""What the page takes, and what it refuses: found out from the head of a file, before the rest is decoded."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image

from fomm.animation.options import Excerpt
from fomm.animation.template import SUFFIX, is_template
from fomm.errors import InputError, MediaError
from fomm.media import VideoReader
from fomm.media.ffmpeg import probe
from fomm.media.images import open_picture


@dataclass(frozen=True)
class Limits:
    """What the page takes.

    Attributes:
        file_bytes: of an uploaded file.
        photo_pixels: of a photo.
        video_pixels: of a frame of a video.
        video_seconds: of a driving video, the part of it that is used.
        job_seconds: that a job may run, from its start.
        still_seconds: that a preview may take.
        waiting: jobs that may wait for the one that runs.
        jobs: of the table, at most.
        kept_seconds: that uploaded files and results stay on the disk.
    """

    file_bytes: int = 500_000_000
    photo_pixels: int = 50_000_000
    video_pixels: int = 9_000_000
    video_seconds: float = 60.0
    job_seconds: float = 1800.0
    still_seconds: float = 30.0
    waiting: int = 4
    jobs: int = 20
    kept_seconds: int = 3600


def check_size(path: Path, limits: Limits) -> None:
    """Raise MediaError if a file is larger than the page takes, or was deleted since it was given."""
    if not path.is_file():
        raise MediaError(f"{path.name} is no longer kept; give it again")
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise MediaError(f"{path.name} has {size} bytes; the page takes {limits.file_bytes} at most")


def check_photo(path: Path, limits: Limits) -> None:
    """Raise MediaError if a file is not a picture that the page takes. Only its head is read."""
    check_size(path, limits)
    try:
        with open_picture(path) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = sys.maxsize
    except Exception as reason:  # broken files make Pillow raise nearly anything
        raise MediaError(
            f"{path.name} is not a picture; give a PNG, JPEG, WEBP, GIF, BMP or TIFF file"
        ) from reason
    if pixels > limits.photo_pixels:
        raise MediaError(f"{path.name} has more than {limits.photo_pixels} pixels; scale it down")


def check_driving(path: Path, excerpt: Excerpt, limits: Limits) -> Excerpt:
    """Return the part of a driving video that is used; of a motion template the part that was asked for.

    Only the first frame is decoded. A video that does not tell how long it is, as browsers record it, is cut
    to what is taken, and its frames are counted.

    Raises:
        MediaError: it is no video, or its frames are too large. InputError: it is too long.
    """
    check_size(path, limits)
    longest = limits.video_seconds
    if is_template(path):
        return excerpt
    if path.name.lower().endswith(".safetensors"):
        raise InputError(f"{path.name} is no motion; the name of one ends with {SUFFIX}")
    info = probe(path)
    height, width = info.size
    if width * height > limits.video_pixels:
        raise MediaError(
            f"{path.name} has {width}x{height} pixels a frame; the page takes {limits.video_pixels} at most: "
            "scale it down"
        )
    asked = excerpt.duration
    if asked is None and info.seconds is not None:
        asked = max(info.seconds - excerpt.start, 0.0)
    if asked is not None and asked > longest:
        raise InputError(
            f"{path.name} gives {asked:.0f} seconds; the page takes {longest:g} at most: "
            "give a start and a duration"
        )
    if info.seconds is not None:
        return excerpt
    return replace(excerpt, duration=_measure_seconds(path, excerpt.start, asked or longest))


@lru_cache(maxsize=16)
def _measure_seconds(path: Path, start: float, most: float) -> float:
    """Return how long a video is from ``start`` on, at most ``most`` seconds: its frames are counted."""
    with VideoReader(path, start=start, duration=most) as reader:
        return sum(1 for _ in reader) / reader.fps


def without_folders(error: Exception, paths: Iterable[Path | None]) -> str:
    """Return what an error says in one line, with the names of files alone instead of their paths."""
    text = " ".join(str(error).split())
    for path in paths:
        if path is not None:
            text = text.replace(str(path), path.name).replace(str(path.parent), "the upload")
    return text
