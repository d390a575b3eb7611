"""Make a training set of a folder of videos."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fomm.data.cutting import Piece, clip_path, cut_pieces
from fomm.data.records import Record, claim, read_json, run_tasks, summarize, write_json
from fomm.data.settings import Settings
from fomm.data.shots import find_shots
from fomm.errors import FommError, InputError
from fomm.face.crop import Rect, Tube, enlarged_square, intersection, square_inside
from fomm.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES, PathLike

VERSION = 1  # of how clips are cut; other numbers give other clips


@dataclass(frozen=True)
class VideoTask:
    """One video to cut."""

    path: Path
    key: str  # PERSON#REST: what its clips' names begin with
    part: str  # train or test
    out: Path
    settings: Settings


def prepare(
    videos: PathLike,
    out: PathLike,
    settings: Settings | None = None,
    *,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Cut every video below the folder ``videos`` into clips below ``out``, and return a summary.

    A video is a file with one of VIDEO_SUFFIXES or a folder of pictures. Its person is the first folder below
    ``videos`` on the way to it. For a file right in ``videos`` it is the part of its name before the first
    ``#``, or the whole name. Clips are ``out/train/PERSON#VIDEO#NUMBER`` or the same in ``test``. All clips
    of a person, or with ``split`` "video" of a video, are in the same of the two. The names alone decide in
    which.

    Each video is read twice, a frame at a time: first for its cuts and faces, then to cut the clips out. A
    video that cannot be read does not stop the others. When a run was stopped, the next one goes on with the
    videos that are left, and takes in those that were added. One run at a time may work on a folder. The
    clips depend neither on ``workers`` (processes) nor on being stopped.

    Returns what is in ``out/summary.json``: counts for ``train`` and ``test``, ``dropped`` by reason, and
    ``failed``, the videos that could not be read with the reason.

    Raises ``InputError`` for arguments that cannot be used, or where ``videos`` holds none.
    """
    settings = settings or Settings()
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    found = find_videos(Path(videos))
    root = Path(out)
    claim(root, {"made_by": "prepare", "version": VERSION, **asdict(settings)})
    known = read_json(root / "parts.json") if (root / "parts.json").exists() else {}
    parts = split(list(found), settings.split, settings.test_fraction, known)
    write_json(root / "parts.json", {**known, **parts})  # a later run keeps them
    tasks = [VideoTask(path, key, parts[key], root, settings) for key, path in found.items()]
    records = run_tasks(root, tasks, cut_video, workers=workers, progress=progress)
    return summarize(root, records)


def find_videos(folder: Path) -> dict[str, Path]:
    """Return the videos below ``folder`` by key, ``PERSON#REST``, sorted by key. Raise ``InputError``."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds the videos")
    videos: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = [Path(place, name) for name in sorted(files) if not name.startswith(".")]
        here = [path for path in visible if path.suffix.lower() in VIDEO_SUFFIXES]
        pictures = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES]
        if not here and len(pictures) > 1 and Path(place) != folder:
            here = [Path(place)]
        for path in here:
            key = "#".join((path if path.is_dir() else path.with_suffix("")).relative_to(folder).parts)
            if key in videos:
                raise InputError(f"{videos[key]} and {path} would give clips of one name; rename one of them")
            videos[key] = path
    if not videos:
        raise InputError(f"{folder} holds no videos; expected files that end in {', '.join(VIDEO_SUFFIXES)}")
    return dict(sorted(videos.items()))


def split(keys: Sequence[str], by: str, test_fraction: float, known: Mapping[str, str]) -> dict[str, str]:
    """Choose "train" or "test" for each of ``keys``, so that nobody is in both.

    ``by`` is "person" or "video". The people with the smallest hashes are the test people. They are
    ``test_fraction`` of all: at least one where it is not 0 and there are two people or more, and never all
    unless it is 1. ``known`` keys keep their parts, and so do their people.
    """

    def unit(key: str) -> str:
        return key.partition("#")[0] if by == "person" else key

    units = sorted({unit(key) for key in keys}, key=lambda name: hashlib.sha256(name.encode()).digest())
    fixed = {unit(key): part for key, part in known.items()}
    count = round(test_fraction * len(units))
    if 0 < test_fraction < 1:
        count = min(max(count, 1), len(units) - 1)
    open_places = count - sum(fixed.get(name) == "test" for name in units)
    test = {name for name in units if fixed.get(name) == "test"}
    test |= set([name for name in units if name not in fixed][: max(open_places, 0)])
    return {key: "test" if unit(key) in test else "train" for key in keys}


def choose_pieces(
    tubes: Sequence[Tube], size: tuple[int, int], settings: Settings
) -> tuple[list[tuple[int, int, Rect]], list[dict[str, Any]]]:
    """Choose what to cut out of a video of ``size`` (height, width).

    Returns what is kept, as (start, stop, square), and what is dropped, with the reason.

    A face's square is the published one. Where it leaves the picture it is moved inside, so that nothing is
    padded and nothing stretched. Without ``settings.crop`` it is the largest square in the middle.
    """
    picture = Rect(0.0, 0.0, float(size[1]), float(size[0]))
    kept, dropped = [], []
    for tube in tubes:
        square = square_inside(enlarged_square(tube.box) if settings.crop else tube.box, size)
        if tube.stop - tube.start < settings.min_frames:
            reason = "too short"
        elif settings.crop and not square.contains(intersection(tube.box, picture)):
            reason = "moves too far for the picture"
        elif square.width < (settings.min_size or settings.size):
            reason = "too small"
        else:
            kept.append((tube.start, tube.stop, square))
            continue
        where = {"start": tube.start, "box": [round(value, 2) for value in square]}
        dropped.append({"reason": reason, "frames": tube.stop - tube.start, **where})
    return kept, dropped


def cut_video(task: VideoTask) -> Record:
    """Cut the clips out of one video, and return what came of it."""
    settings = task.settings
    name = f"{task.part}/{task.key}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            shots = find_shots(
                task.path,
                faces=settings.crop,
                cuts=settings.cuts,
                every=settings.every,
                max_frames=settings.max_frames,
            )
            kept, dropped = choose_pieces(shots.tubes, shots.size, settings)
            if not shots.tubes:
                dropped.append({"reason": "no face found", "frames": shots.frames})
            pieces = [Piece(f"{name}#{number:03d}", *place) for number, place in enumerate(kept)]
            written = cut_pieces(task.path, pieces, task.out, size=settings.size, format=settings.format)
        except FommError as reason:
            return Record(name, problem=str(reason))
    clips = [
        {
            "file": clip_path(Path(), piece.name, settings.format).as_posix(),
            "frames": count,
            "start": piece.start,
            "box": [round(value, 2) for value in piece.box],
        }
        for piece, count in zip(pieces, written, strict=True)
        if count
    ]
    notes = sorted({str(warning.message) for warning in caught if warning.category is UserWarning})
    return Record(name, clips, dropped, notes)
