"""Cutting heads out of photos and videos, as the networks were shown them, without animating anything."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fomm.animation.framing import find_driver, photo_squares
from fomm.animation.options import Crop
from fomm.errors import FommError, InputError
from fomm.face.crop import Rect
from fomm.media import VideoReader, VideoWriter, write_image
from fomm.media.images import read_image
from fomm.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from fomm.media.resize import cut_out


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
        inputs: files, and folders whose pictures and videos are taken. What ends like a picture is a photo,
            all else a video, a GIF too.
        out: the folder that gets the results under the inputs' names, photos as .png and videos, without
            their sound, as .mp4; None only finds the squares.
        size: pixels along each side of the results.
        crop, face: see ``animate_file``; of a video ``face`` is always the largest.

    Yields, for each input, its ``file`` and ``boxes`` ([x, y, width, height] in pixels, one for each result
    or, of a video that is followed, for each frame) or ``error``; what fails does not stop the others.

    Raises:
        InputError: there is nothing to crop, ``out`` is no folder, or a result would replace an input or
            another result.
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
        _check_results(files, target, several=face == "all")
    for file in files:
        try:
            if _is_photo(file):
                boxes = _photo(file, target, size, crop, face)
            else:
                boxes = _video(file, target, size, crop)
            yield {"file": str(file), "boxes": [_numbers(box) for box in boxes]}
        except FommError as reason:
            yield {"file": str(file), "error": str(reason)}


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in known and not file.name.startswith(".") and file.is_file()
    )


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and file.suffix.lower() != ".gif"


def _check_results(files: Sequence[Path], out: Path, several: bool) -> None:
    """Nothing that was given is replaced, and no result by another."""
    inputs = {file.resolve() for file in files}
    sources: dict[Path, Path] = {}
    for file in files:
        result = out / (_photo_name(file, 0 if several else None) if _is_photo(file) else f"{file.stem}.mp4")
        if result.resolve() in inputs:
            raise InputError(
                f"the part of {file} would replace {result}, which was given; choose another --out"
            )
        other = sources.setdefault(result, file)
        if other is not file:
            raise InputError(f"{other} and {file} would both become {result}; crop them one after the other")


def _photo_name(file: Path, number: int | None) -> str:
    return f"{file.stem}.png" if number is None else f"{file.stem}-{number}.png"


def _photo(file: Path, out: Path | None, size: int, crop: Crop, face: int | str | None) -> list[Rect]:
    picture = read_image(file)
    boxes = photo_squares(picture, crop, face, str(file), size)
    for number, box in enumerate(boxes):
        if out is not None:
            name = _photo_name(file, number if face == "all" else None)
            write_image(out / name, cut_out(picture, box, (size, size)))
    return boxes


def _video(file: Path, out: Path | None, size: int, crop: Crop) -> list[Rect]:
    reader = VideoReader(file)
    boxes = find_driver(reader, crop).squares
    if out is not None:
        with reader, VideoWriter(out / f"{file.stem}.mp4", fps=reader.fps, for_training=True) as writer:
            for number, frame in enumerate(reader):
                writer.write(cut_out(frame, boxes[min(number, len(boxes) - 1)], (size, size)))
    return boxes


def _numbers(box: Rect) -> list[float]:
    return [round(value, 2) for value in (box.x0, box.y0, box.width, box.height)]
