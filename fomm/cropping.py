"""Cutting heads out of photos and videos, as the networks were shown them, without animating anything."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fomm.errors import FommError, InputError
from fomm.face.crop import Rect
from fomm.face.framing import Crop, cut, photo_squares, video_squares
from fomm.images import IMAGE_SUFFIXES, read_image
from fomm.media import VideoReader, VideoWriter, write_image


def crop_files(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None,
    *,
    size: int = 256,
    crop: Crop = "auto",
    face: int | str | None = None,
) -> Iterator[dict[str, Any]]:
    """Cuts a square out of each photo and video, and tells where it was.

    Args:
        inputs: files, and folders whose files are taken. What ends like a picture is a photo, all else a
            video.
        out: the folder that gets the results under the inputs' names, photos as .png and videos, without
            their sound, as .mp4; None only finds the squares.
        size: pixels along each side of the results.
        crop, face: see ``animate_file``; of a video ``face`` is always the largest.

    Yields, for each input, its ``file`` and ``boxes`` ([x, y, width, height] in pixels, one for each result
    or, of a video that is followed, for each frame) or ``error``; what fails does not stop the others.

    Raises:
        InputError: there is nothing to crop, or ``out`` is no folder.
    """
    files = [file for item in inputs for file in _files_of(Path(item))]
    if not files:
        raise InputError("no files to crop were given; name photos, videos, or folders of them")
    if size < 2 or size % 2:
        raise InputError(f"size is {size}; expected an even number of pixels")
    target = None if out is None else Path(out)
    if target is not None:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise InputError(f"cannot make the folder {target}: {reason.strerror or reason}") from reason
    for file in files:
        photo = file.suffix.lower() in IMAGE_SUFFIXES
        try:
            boxes = _photo(file, target, size, crop, face) if photo else _video(file, target, size, crop)
            yield {"file": str(file), "boxes": [_numbers(box) for box in boxes]}
        except FommError as reason:
            yield {"file": str(file), "error": str(reason)}


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))


def _photo(file: Path, out: Path | None, size: int, crop: Crop, face: int | str | None) -> list[Rect]:
    picture = read_image(file)
    boxes = photo_squares(picture, crop, face, str(file), size)
    for number, box in enumerate(boxes):
        if out is not None:
            name = f"{file.stem}-{number}.png" if face == "all" else f"{file.stem}.png"
            write_image(out / name, cut(picture, box, (size, size)))
    return boxes


def _video(file: Path, out: Path | None, size: int, crop: Crop) -> list[Rect]:
    boxes = video_squares(file, crop)
    if out is not None:
        with (
            VideoReader(file) as reader,
            VideoWriter(out / f"{file.stem}.mp4", fps=reader.fps, for_training=True) as writer,
        ):
            for number, frame in enumerate(reader):
                writer.write(cut(frame, boxes[min(number, len(boxes) - 1)], (size, size)))
    return boxes


def _numbers(box: Rect) -> list[float]:
    return [round(value, 2) for value in (box.x0, box.y0, box.width, box.height)]
