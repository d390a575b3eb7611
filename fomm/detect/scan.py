"""Look for changes in a video or a picture: heat maps, one number, signs, and the marks of origin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fomm.animation.progress import Progress, report_progress
from fomm.detect.network import WEIGHTS, Calibration, TraceNetwork, load_network
from fomm.detect.signs import FrameSigns, Sign, describe_signs, measure_frame
from fomm.detect.sound import read_loudness
from fomm.detect.squares import cut_square, find_square, put_back
from fomm.detect.training import apply
from fomm.evaluation.faces import follow_face
from fomm.face import Face, face_meshes
from fomm.face.mesh import POINTS, Crop
from fomm.marks import Inspection, inspect_file
from fomm.media import VideoReader, read_image
from fomm.media.images import is_still
from fomm.media.paths import PathLike, check_exists
from fomm.media.reader import FramesReader
from fomm.media.resize import resize

LIMITS = (
    "The network was trained on drawn heads and has never seen a photograph of a person. It misses what it "
    "has not seen, and it takes untouched clips for changed ones. Its answer is no proof, neither of a "
    "change nor of the contrary."
)
FLAGGED = 0.5  # a cell is flagged where both branches give at least this probability
_LOOKS = 5.0  # times a second the network looks
_SHOWN = 6  # frames that a report shows
_SHOWN_SIDE = 320  # pixels: their height
_BATCH = 32  # frames in memory
_UNSEEN = FrameSigns(*[float("nan")] * 4)


class Look(NamedTuple):
    """What the network says of one frame."""

    frame: int
    probability: float  # that the frame was changed
    flagged: float  # share of the square around the face that both branches flag


class Shown(NamedTuple):
    """A frame for the report, and its heat map."""

    look: Look
    picture: np.ndarray  # HxWx3 uint8
    heat: np.ndarray  # HxW float32 in [0, 1]


@dataclass(frozen=True)
class Scan:
    """What was found in a file."""

    name: str
    frames: int
    frames_with_face: int
    fps: float | None  # None: a picture
    probability: float | None  # that the clip was changed, see ``Calibration``; None: no face to look at
    looks: list[Look]
    signs: list[Sign]  # empty for a picture
    origin: Inspection
    shown: list[Shown]


def scan_file(path: PathLike, *, progress: Progress = False) -> Scan:
    """Look for changes of the main face in a video, a picture or a folder of pictures.

    The network looks at five frames a second, the mesh at all. A video is read twice, a few frames at a time.

    Args:
        path: the file. progress: whom to tell, see ``animate_file``.

    Raises:
        MediaError: it cannot be read. InputError: no face was found in it.
        CheckpointError: the weights that ship were damaged.
    """
    return scan_with(path, *load_network(), progress=progress)  # damaged weights are told before the work


def scan_with(
    path: PathLike, network: TraceNetwork, calibration: Calibration, *, progress: Progress = False
) -> Scan:
    """Do what ``scan_file`` does, with another network."""
    file = check_exists(path)
    still = is_still(file)
    reader = FramesReader([read_image(file)], 1.0, str(file)) if still else VideoReader(file)
    with reader:
        faces = follow_face(reader, progress=progress is True)
        with reader.reopen() as frames:
            watched = _watch(frames, faces, network, calibration, progress)
    signs: list[Sign] = []
    if not still:
        loudness = read_loudness(file, reader.fps, len(watched.signs))
        signs = describe_signs(watched.signs, watched.points, reader.fps, loudness)
    return Scan(
        name=file.name,
        frames=len(faces),
        frames_with_face=sum(face is not None for face in faces),
        fps=None if still else reader.fps,
        probability=float(calibration.probability(float(np.mean(watched.scores))))
        if watched.scores
        else None,
        looks=watched.looks,
        signs=signs,
        origin=inspect_file(file),
        shown=watched.shown,
    )


class _Watched(NamedTuple):
    signs: list[FrameSigns]
    points: np.ndarray  # Tx478x3, nan where no face was seen
    scores: list[float]
    looks: list[Look]
    shown: list[Shown]


def _watch(
    video: VideoReader,
    faces: list[Face | None],
    network: TraceNetwork,
    calibration: Calibration,
    progress: Progress,
) -> _Watched:
    """Measure all frames of a video whose face is known."""
    seen = [number for number, face in enumerate(faces) if face is not None]
    every = max(1, round(video.fps / _LOOKS))
    looked = {number for number in seen if number % every == 0} or set(seen[:1])
    order = sorted(looked)
    kept = {order[place] for place in np.linspace(0, len(order) - 1, _SHOWN).round().astype(int)}
    result = _Watched([], np.full((len(faces), POINTS, 3), np.nan), [], [], [])
    waiting: list[tuple[int, np.ndarray, Face | None]] = []

    def measure() -> None:
        known = [(number, frame, face) for number, frame, face in waiting if face is not None]
        meshes = face_meshes([frame for _, frame, _ in known], [face for *_, face in known])
        found = {
            number: mesh.points for (number, *_), mesh in zip(known, meshes, strict=True) if mesh.is_sure
        }
        for number, frame, _ in waiting:
            points = found.get(number)
            if points is not None:
                result.points[number] = points
            result.signs.append(_UNSEEN if points is None else measure_frame(frame, points))
        chosen = [item for item in known if item[0] in looked]
        if chosen:
            squares = [find_square(face) for *_, face in chosen]
            cut = [cut_square(frame, square) for (_, frame, _), square in zip(chosen, squares, strict=True)]
            scores, heats = apply(network, np.stack(cut))
            for (number, frame, _), square, score, heat in zip(chosen, squares, scores, heats, strict=True):
                flagged = float((heat >= FLAGGED).mean())
                result.scores.append(float(score))
                result.looks.append(Look(number, float(calibration.probability(score)), flagged))
                if number in kept:
                    result.shown.append(_show(result.looks[-1], frame, square, heat))
        waiting.clear()

    total = len(faces)
    for number, frame in enumerate(report_progress(video, total, progress, "looking for changes")):
        if number < total:
            waiting.append((number, frame, faces[number]))
        if len(waiting) == _BATCH:
            measure()
    if waiting:
        measure()
    return result


def _show(look: Look, frame: np.ndarray, square: Crop, heat: np.ndarray) -> Shown:
    """Return a frame and its heat map for the report, no higher than ``_SHOWN_SIDE`` pixels."""
    share = min(1.0, _SHOWN_SIDE / frame.shape[0])
    size = max(1, round(frame.shape[0] * share)), max(1, round(frame.shape[1] * share))
    centre = square.centre[0] * share, square.centre[1] * share
    small = square._replace(centre=centre, side=square.side * share)
    return Shown(look, resize(frame, size, "box"), put_back(heat, small, size))


@lru_cache(maxsize=1)
def read_card() -> dict[str, Any]:
    """Return what was measured of the weights that ship, see ``tools/train_detector.py``."""
    card: dict[str, Any] = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    return card
