"""A folder of numbered pictures is a video too: read it, write it."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from fomm.atomic import atomic_path
from fomm.errors import MediaError
from fomm.media.images import open_picture, read_image, save_image
from fomm.media.paths import IMAGE_SUFFIXES

_DEFAULT_RATE = Fraction(25)  # of a folder of pictures that says nothing else
_RATE_TAG = "Frame rate"  # of a text in each PNG that is written: readers of the folder find the rate there


def _make_natural_key(file: Path) -> tuple[list[int | str], str]:
    """Return a key for sorting that takes the numbers in a name as numbers."""
    parts = re.split(r"([0-9]+)", file.name)
    return [int(part) if index % 2 else part.lower() for index, part in enumerate(parts)], file.name


def list_pictures(folder: Path) -> tuple[list[Path], Fraction, tuple[int, int]]:
    """Return the pictures in natural order, their rate, and (height, width) of the first."""
    pictures = [
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."
    ]
    if not pictures:
        raise MediaError(f"cannot read {folder} as a video: it has no pictures ({', '.join(IMAGE_SUFFIXES)})")
    pictures.sort(key=_make_natural_key)
    height, width, _ = read_image(pictures[0]).shape
    with open_picture(pictures[0]) as image:
        noted = re.fullmatch(r"([1-9]\d{0,8})(?:/([1-9]\d{0,8}))?", str(image.info.get(_RATE_TAG, "")))
    rate = Fraction(int(noted[1]), int(noted[2] or 1)) if noted else _DEFAULT_RATE
    return pictures, rate, (height, width)


def read_pictures(pictures: list[Path], size: tuple[int, int]) -> Generator[np.ndarray, None, None]:
    """Yield the pictures, HxWx3 uint8. Raise ``MediaError`` for one not of ``size`` (height, width)."""
    for picture in pictures:
        frame = read_image(picture)
        if frame.shape[:2] != size:
            raise MediaError(
                f"{picture} is {frame.shape[1]}x{frame.shape[0]}, but the first picture of the folder is "
                f"{size[1]}x{size[0]}; all frames of a video must have one size"
            )
        yield frame


def check_new_folder(target: Path) -> None:
    """Raise ``MediaError`` if ``target`` cannot become a folder of frames: see ``write_folder``."""
    if not target.parent.is_dir():
        raise MediaError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise MediaError(f"cannot write {target}: it exists already; give the name of a new or empty folder")


@contextmanager
def write_folder(target: Path, rate: Fraction, comment: str) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that takes frames and writes frame000001.png and so on.

    The folder gets its name when all frames are written. Raises ``MediaError`` when there are no frames, or
    when ``target`` exists and is not an empty folder.
    """
    check_new_folder(target)
    texts = {"Comment": comment, _RATE_TAG: str(rate)}
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    count = 0

    def write(frame: np.ndarray) -> None:
        nonlocal count
        count += 1
        with atomic_path(temporary / f"frame{count:06}.png", MediaError) as file:
            save_image(file, frame, texts, target)

    try:
        with _name_in_errors(target):
            temporary.mkdir()
        yield write
        if not count:
            raise MediaError(f"cannot write {target}: no frames were given; give at least one")
        with _name_in_errors(target):
            if target.is_dir():
                target.rmdir()  # it is empty, as was checked; Windows does not rename over a folder
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _name_in_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as reason:
        raise MediaError(f"cannot write {target}: {reason.strerror or reason}") from reason
