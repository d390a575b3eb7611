"""Make a training set of the published list of VoxCeleb clips, and of the videos that still exist."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fomm.bundled import sha256_of
from fomm.data.cutting import Piece, clip_path, cut_pieces
from fomm.data.download import fetch, find_downloader, find_files
from fomm.data.records import Record, claim, run_tasks, summarize
from fomm.data.settings import FORMATS
from fomm.errors import FommError, InputError, MediaError, MissingExtraError
from fomm.face.crop import Rect, enlarged_square, intersection, square_inside
from fomm.media.paths import PathLike

VERSION = 1  # of how clips are cut; other numbers give other clips
COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|-[A-Za-z0-9_-]+")  # safe in a file's name
_SAME_ASPECT = 0.02  # if the video's aspect differs more from the list's, that is noted


class Row(NamedTuple):
    """One clip of the list: frames ``start`` to ``end - 1`` at ``fps``, pixels of ``width`` x ``height``."""

    video_id: str
    start: int
    end: int
    bbox: Rect
    fps: float
    width: int
    height: int
    partition: str
    person_id: str

    @property
    def name(self) -> str:
        """The clip's name, as the published script forms it."""
        clip = f"{self.person_id}#{self.video_id}#{self.start:06d}#{self.end:06d}"
        return f"{self.partition}/{clip}"


@dataclass(frozen=True)
class ListedVideo:
    """One video of the list and all of its clips."""

    key: str  # its id
    rows: tuple[Row, ...]
    path: Path | None  # None: not there yet
    folder: Path  # where a download goes
    downloader: tuple[str, ...]  # the command that starts yt-dlp; empty: do not download
    out: Path
    size: int
    format: str
    stretch: bool


def voxceleb(
    metadata: PathLike,
    videos: PathLike,
    out: PathLike,
    *,
    size: int = 256,
    format: str = "mp4",
    stretch: bool = False,
    download: bool | None = None,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Cut the clips that the file ``metadata`` lists out of the files below ``videos``, to below ``out``.

    ``metadata`` has the published columns, COLUMNS. A video is a file ``VIDEO_ID.SUFFIX`` of any frame rate
    and size. Boxes are scaled by its size over the list's. A clip takes the frames that are shown from
    ``start / fps`` to before ``end / fps`` seconds. Most of the list's boxes are higher than wide. Here they
    are widened to squares inside the picture. With ``stretch`` the boxes are cut as they are and squeezed
    into squares, as the published script does.

    With ``download`` missing videos are fetched with yt-dlp into ``videos``; None does so where yt-dlp is
    installed. Returns what is in ``out/summary.json``: counts for ``train`` and ``test``, ``dropped`` by
    reason, ``failed`` and ``missing`` videos with the reason.

    Each video is decoded once. When the run is started again, finished videos are skipped and missing ones
    tried again. One run at a time may work on a folder.

    Raises ``InputError`` for arguments or a list that cannot be used, ``MissingExtraError`` for ``download``
    without yt-dlp.
    """
    if workers < 1 or size < 1 or (format == "mp4" and size % 2):
        raise InputError("workers and size must be at least 1, and size even for mp4")
    if format not in FORMATS:
        raise InputError(f"format is one of {', '.join(FORMATS)}, not {format!r}")
    listed = read_metadata(Path(metadata))
    folder, root = Path(videos), Path(out)
    downloader = () if download is False else find_downloader()
    if download and not downloader:
        raise MissingExtraError("downloading needs yt-dlp: pip install yt-dlp")
    if downloader:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds the videos")
    digest = sha256_of(Path(metadata))
    cutting = {"size": size, "format": format, "stretch": stretch}
    claim(root, {"made_by": "voxceleb", "version": VERSION, "metadata_sha256": digest, **cutting})
    files = find_files(folder, set(listed))
    tasks = [
        ListedVideo(key, tuple(rows), files.get(key), folder, downloader, root, size, format, stretch)
        for key, rows in listed.items()
    ]
    return summarize(root, run_tasks(root, tasks, cut_listed, workers=workers, progress=progress))


def read_metadata(path: Path) -> dict[str, list[Row]]:
    """Return the rows of the list by video, both in the list's order; of a clip that is listed twice, one.

    Raises ``InputError`` that names the line and the column of the first mistake.
    """
    rows: dict[str, list[Row]] = {}
    names: set[str] = set()
    for row in _rows(path):
        if row.name not in names:
            names.add(row.name)
            rows.setdefault(row.video_id, []).append(row)
    if not rows:
        raise InputError(f"{path} lists no clips")
    return rows


def _rows(path: Path) -> Iterator[Row]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            absent = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if absent:
                raise InputError(
                    f"{path}, line 1: column {absent[0]} is missing; expected {','.join(COLUMNS)}"
                )
            for values in table:
                yield _row(f"{path}, line {table.line_num}", values)
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        raise InputError(f"{path} cannot be read as a CSV table: {reason}") from reason


def _row(where: str, values: dict[str, str | None]) -> Row:
    """Check a line of the list, and return it."""

    def bad(column: str, expected: str) -> InputError:
        return InputError(f"{where}, column {column}: {values[column]!r} is not {expected}")

    def number(column: str, least: float) -> float:
        try:
            value = float(values[column] or "")
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            raise bad(column, f"a number of {least:g} or more")
        return value

    def name(column: str) -> str:
        value = values[column] or ""
        if not _NAME.fullmatch(value):
            raise bad(column, "a name of letters, digits, '_', '-' and '.'")
        return value

    start, end = int(number("start", 0)), int(number("end", 0))
    if end <= start:
        raise bad("end", f"after the start, {start}")
    edges = re.fullmatch(r"(\d+)-(\d+)-(\d+)-(\d+)", (values["bbox"] or "").strip())
    bbox = Rect(*(float(edge) for edge in edges.groups())) if edges else Rect(0, 0, 0, 0)
    if bbox.width <= 0 or bbox.height <= 0:
        raise bad("bbox", "left-top-right-bottom in pixels, such as 624-48-1018-553")
    if values["partition"] not in ("train", "test"):
        raise bad("partition", "train or test")
    fps, width, height = number("fps", 0.01), int(number("width", 1)), int(number("height", 1))
    return Row(name("video_id"), start, end, bbox, fps, width, height, values["partition"], name("person_id"))


def cut_listed(task: ListedVideo) -> Record:
    """Cut the clips of one video, and return what came of it."""
    path = task.path
    if path is None:
        if not task.downloader:
            return Record(task.key, problem="no file has that name", missing=True)
        try:
            path = fetch(task.key, task.folder, task.downloader)
        except MediaError as reason:
            return Record(task.key, problem=str(reason), missing=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return _cut(task, path, caught)
        except FommError as reason:
            return Record(task.key, problem=str(reason))


def _cut(task: ListedVideo, path: Path, caught: Sequence[warnings.WarningMessage]) -> Record:
    from fomm.media import VideoReader

    with VideoReader(path) as reader:
        size, fps = reader.size, reader.fps
    notes, pieces, dropped = [], [], []
    for row in task.rows:
        piece = place(row, size, fps, stretch=task.stretch)
        if piece is None:
            dropped.append({"reason": "outside the picture", "frames": 0, "clip": row.name})
        else:
            pieces.append(piece)
    row = task.rows[0]
    if abs(size[1] * row.height / (size[0] * row.width) - 1) > _SAME_ASPECT:
        notes.append(
            f"{path} is {size[1]}x{size[0]}, the list says {row.width}x{row.height}: another version?"
        )
    written = cut_pieces(path, pieces, task.out, size=task.size, format=task.format)
    clips = []
    for piece, count in zip(pieces, written, strict=True):
        wanted = piece.stop - piece.start
        if not count:
            dropped.append({"reason": "after the end of the video", "frames": wanted, "clip": piece.name})
            continue
        if count < wanted:
            notes.append(f"{piece.name} has {count} of {wanted} frames: the video ends")
        file = clip_path(Path(), piece.name, task.format).as_posix()
        clips.append({"file": file, "frames": count, "start": piece.start, "box": _round_box(piece.box)})
    notes += sorted({str(warning.message) for warning in caught if warning.category is UserWarning})
    return Record(task.key, clips, dropped, notes)


def place(row: Row, size: tuple[int, int], fps: float, *, stretch: bool) -> Piece | None:
    """Return where a row's clip lies in a video of ``size`` (height, width) and ``fps``; None: outside."""
    scaled = row.bbox.scaled(size[1] / row.width, size[0] / row.height)
    box = intersection(scaled, Rect(0.0, 0.0, float(size[1]), float(size[0])))
    if box.width < 1 or box.height < 1:
        return None
    if not stretch:
        box = square_inside(enlarged_square(box, increase=0.0), size)
    # The first frames at or after both times. 1e-6 keeps rounding errors from reaching the next frame.
    start, stop = (math.ceil(time / row.fps * fps - 1e-6) for time in (row.start, row.end))
    return Piece(row.name, start, max(stop, start + 1), box)


def _round_box(box: Rect) -> list[float]:
    return [round(value, 2) for value in box]
