"""Lists of jobs, from a CSV file or from folders."""

import argparse
import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fomm.animation.option_table import COLUMNS
from fomm.errors import InputError, shown
from fomm.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES, PathLike

PATHS = ("source", "driving", "output")  # the columns that a list needs; the others are COLUMNS


@dataclass(frozen=True)
class Job:
    """One photo, moved by one video, into one file or folder."""

    source: Path
    driving: Path
    output: Path
    options: Mapping[str, Any] = field(default_factory=dict)  # by field, see animation.option_table


def read_jobs(path: PathLike) -> list[Job]:
    """Read the jobs of a CSV file; its columns are source, driving, output and any of ``COLUMNS``.

    An empty cell leaves the option as it is for all jobs. A path is relative to the file's folder.

    Raises:
        InputError: the first mistake, with its line and column. Two jobs with one output are a mistake, and a
            job that would replace its own input.
    """
    file = Path(path)
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            jobs = list(_read_rows(file, csv.reader(stream, strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        raise InputError(f"{path} cannot be read as a CSV table: {shown(reason)}") from reason
    if not jobs:
        raise InputError(f"{path} lists no jobs; expected a line for each, below {','.join(PATHS)}")
    return jobs


def _read_rows(file: Path, rows: Any) -> Iterator[Job]:
    columns = [name.strip() for name in next(rows, [])]
    _check_columns(columns, f"{file}, line 1")
    lines: dict[str, int] = {}  # by output
    for cells in rows:
        where = f"{file}, line {rows.line_num}"
        if len(cells) > len(columns):
            raise InputError(f"{where}: there are {len(cells)} cells, but {len(columns)} columns")
        given = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if cell.strip()}
        if not given:
            continue
        job = _job(given, file.parent, where)
        name = os.path.abspath(job.output)
        if name in lines:
            raise InputError(
                f"{where}, column output: {given['output']!r} is the output of line {lines[name]} already"
            )
        for column in ("source", "driving"):
            if name == os.path.abspath(getattr(job, column)):
                raise InputError(f"{where}, column output: it would replace the {column}, {given[column]!r}")
        lines[name] = rows.line_num
        yield job


def _check_columns(columns: list[str], where: str) -> None:
    known = [*PATHS, *COLUMNS]
    for name in columns:
        if name not in known:
            raise InputError(
                f"{where}: there is no column {shown(name, 40)!r}; known are {', '.join(known)} "
                "(what holds for all jobs is given to the command)"
            )
    for name in (*PATHS, *columns):
        if columns.count(name) != 1:
            what = "stands there twice" if name in columns else "is missing"
            raise InputError(f"{where}: the column {name} {what}; each of {', '.join(PATHS)} is needed once")


def _job(given: dict[str, str], folder: Path, where: str) -> Job:
    for name in PATHS:
        if name not in given:
            raise InputError(f"{where}, column {name}: the cell is empty; expected a path")
    options = {}
    for name in given.keys() - set(PATHS):
        try:
            options[COLUMNS[name].field] = COLUMNS[name].read(given[name])
        except argparse.ArgumentTypeError as reason:
            raise InputError(f"{where}, column {name}: {shown(reason)}") from reason
    source, driving, output = (folder / given[name] for name in PATHS)
    return Job(source, driving, output, options)


def are_folders(source: Path, driving: Path) -> bool:
    """Return whether these stand for several photos or videos, see ``folder_jobs``."""
    return source.is_dir() or _videos_of(driving) != [driving]


def folder_jobs(source: PathLike, driving: PathLike, output: PathLike) -> list[Job]:
    """Pair every photo with every video; the results are mp4 files in the folder ``output``, which is made.

    ``source`` is a photo or a folder of them, ``driving`` a video or a folder of them. A folder with pictures
    in it is one video, as everywhere, and one without is a folder of videos: of its video files, GIFs among
    them, and of its folders of pictures. A result has the name of what there are several of, or both names:
    ``PHOTO.mp4``, ``VIDEO.mp4``, ``PHOTO--VIDEO.mp4``.

    Raises:
        InputError: there are no photos, a folder holds videos and pictures, two results would have one name,
            or the folder cannot be made or is that of the videos.
    """
    photos, videos, folder = _photos_of(Path(source)), _videos_of(Path(driving)), Path(output)
    if folder.suffix.lower() in (".mp4", ".webm", ".gif"):
        raise InputError(
            f"{folder} is to be a folder, for several results; give a name without {folder.suffix}"
        )
    if folder.resolve() == Path(driving).resolve():
        raise InputError(f"{folder} holds the driving videos; choose another folder for the results")
    jobs: dict[str, Job] = {}
    for photo in photos:
        for video in videos:
            names = [photo.stem] * Path(source).is_dir()
            names += [video.name if video.is_dir() else video.stem] * (videos != [Path(driving)])
            job = Job(photo, video, folder / f"{'--'.join(names)}.mp4")
            other = jobs.setdefault(job.output.name, job)
            if other is not job:
                raise InputError(
                    f"{other.source} with {other.driving} and {photo} with {video} would both give "
                    f"{job.output}; rename one, or name the outputs in a list"
                )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"cannot make the folder {folder}: {reason.strerror or reason}") from reason
    return list(jobs.values())


def _photos_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    photos = _visible(path, IMAGE_SUFFIXES)
    if not photos:
        raise InputError(f"{path} holds no photos; expected files that end in {', '.join(IMAGE_SUFFIXES)}")
    return photos


def _videos_of(path: Path) -> list[Path]:
    """Return the videos in a folder, or ``path`` itself where it is one video."""
    if not path.is_dir():
        return [path]
    stills = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix != ".gif")
    videos = _visible(path, VIDEO_SUFFIXES)
    if _visible(path, stills):
        others = [video for video in videos if video.suffix.lower() != ".gif"]
        if others:
            raise InputError(
                f"{path} holds pictures, as one video does, and also videos, such as {others[0].name}; "
                "move the ones or the others to a folder of their own"
            )
        return [path]
    folders = [item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")]
    return sorted(videos + [folder for folder in folders if _visible(folder, stills)]) or [path]


def _visible(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
    )
