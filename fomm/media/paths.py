"""What files of pictures and videos are called, and the check that one is there."""

import os
from pathlib import Path

from fomm.errors import MediaError

PathLike = str | os.PathLike[str]

# By these names files are found in folders. What a single file holds is told by its content, not its name.
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip
VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
    ".ogv", ".3gp", ".mxf", ".gif",
)  # fmt: skip


def check_exists(path: PathLike) -> Path:
    """Return ``path``. Raise ``MediaError`` unless it is a regular file or a folder of this machine.

    A name is never taken for an address or a device.
    """
    if not (os.path.isfile(path) or os.path.isdir(path)):
        what = "it is not a regular file" if os.path.exists(path) else "there is no such file"
        raise MediaError(f"cannot read {path}: {what}")
    return Path(path)
