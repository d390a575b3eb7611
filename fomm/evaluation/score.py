"""Score a result: how a photo that a video moves follows it, and what the result looks like."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from fomm.animation.paste import BORDER, EDGE
from fomm.atomic import atomic_path
from fomm.errors import InputError
from fomm.evaluation import metrics
from fomm.evaluation.contestants import CHUNK
from fomm.evaluation.cutoff import largest_change, straight_step
from fomm.evaluation.faces import FaceTrack, Traits, follow_face, mean_of_known, measure_faces
from fomm.evaluation.gallery import pick_frames
from fomm.evaluation.measure import DENOISE
from fomm.evaluation.runner import make_folder
from fomm.evaluation.score_page import format_score_page
from fomm.evaluation.summary import replace_nan
from fomm.face import Face
from fomm.face.crop import enlarged_square, published_box, union
from fomm.face.pose import eye_distance, eye_width, head_size
from fomm.face.search import find_faces
from fomm.media import VideoReader, read_image
from fomm.media.paths import PathLike
from fomm.media.reader import check_not_swapped
from fomm.media.resize import cut_out, resize

FEWEST = 3  # frames: of fewer there is no correlation
REST = 0.5  # seconds: for so long the driver keeps lips or lids still where the result's are looked at
LIPS_AT_REST = 0.04  # of the distance of the outer eye corners: the range of a mouth that keeps still
LIDS_AT_REST = 0.05  # of the eye's width: the range of lids that keep still
SAME_PERSON = 0.6  # distance of two identities: nearer ones are one person
STRIP_SIZE = 192  # pixels along each side of the frames on the page
STRIP_MARGIN = 0.15  # of the square around all places of the face, added on each side on the page


@dataclass(frozen=True)
class _Watched:
    """What was seen in one video."""

    track: FaceTrack
    strip: np.ndarray  # up to 8 frames around the face, NxSxSx3 uint8
    sharpness: np.ndarray  # Tx2, of the face, as it is and denoised; nan where no face was found
    change: np.ndarray | None  # HxW: how far the frames get from the photo, where one of their size is given

    @property
    def traits(self) -> Traits:
        return self.track.traits | self.track.gaze


@dataclass(frozen=True)
class _Photo:
    """The photo as the result shows it while nothing moves."""

    picture: np.ndarray  # HxWx3 uint8, of the result's size
    whole: bool  # it is the whole photo, not the square around its face
    side: float  # pixels of the square around its face
    track: FaceTrack  # of one frame
    sharpness: np.ndarray  # 1x2


def score(
    driving: PathLike,
    result: PathLike,
    *,
    photo: PathLike | None = None,
    face: int | None = None,
    report: PathLike | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure how a result follows the video that drove it, frame by frame, on the main face of each.

    Args:
        driving: the driving video, or the part of it that drove: frames are matched by their number.
        result: the video to measure, a whole photo that moves or the square around its face.
        photo: the photo that was moved; without it, sharpness, cut-off and its identity are not measured.
        face: which face of the result and of the photo, counted from 0, left to right; None is the largest.
        report: a folder to write ``score.html``, with curves and frames, and ``score.json`` to; made if it is
            not there.
        progress: show progress bars on stderr, where that is a terminal.

    Returns:
        The numbers, ready for JSON (None where a number does not exist), as ``docs/evaluation.md`` describes.

    Raises:
        InputError: the two videos have not as many frames, or too few, a face is not found, or driving video
            and result are swapped.
        MediaError: a file cannot be read.
    """
    picture = None
    if photo is not None:
        check_not_swapped(photo, driving)
        picture = read_image(photo)
    if report is not None:
        make_folder(Path(report))
    with VideoReader(driving) as driver, VideoReader(result) as made:
        driver_faces = follow_face(driver, progress=progress)
        result_faces = follow_face(made, face, progress=progress)
        if len(driver_faces) != len(result_faces):
            raise InputError(
                f"{driving} has {len(driver_faces)} frames and {result} has {len(result_faces)}; frames are "
                "compared one by one: give the part of the driving video that drove, at the result's rate"
            )
        if len(driver_faces) < FEWEST:
            raise InputError(
                f"{driving} and {result} have too few frames, {len(driver_faces)}; "
                f"how one moves with the other shows in {FEWEST} or more"
            )
        with made.reopen() as frames:
            first = next(frames)
        there = None if picture is None else _fit_photo(picture, str(photo), face, first)
        driver_seen = _watch(driver, driver_faces)
        result_seen = _watch(made, result_faces, there)
        fps = driver.fps
    numbers: dict[str, Any] = {
        "driving": Path(driving).name,
        "result": Path(result).name,
        "photo": None if photo is None else Path(photo).name,
        "frames": len(driver_faces),
        "fps": fps,
        **_follow_numbers(driver_seen, result_seen, fps),
        **_look_numbers(driver_seen.track, result_seen, there),
    }
    _check_persons(numbers)
    numbers["series"] = {
        trait: {
            "driving": np.round(driver_seen.traits[trait], 4).tolist(),
            "result": np.round(series, 4).tolist(),
        }
        for trait, series in result_seen.traits.items()
    }
    numbers = replace_nan(numbers)
    if report is not None:
        _write(Path(report), numbers, {"driver": driver_seen.strip, "result": result_seen.strip})
    return numbers


def _follow_numbers(driver: _Watched, result: _Watched, fps: float) -> dict[str, Any]:
    """Return the numbers that say how closely and how steadily the result follows the driver."""
    window = max(2, round(REST * fps))
    ours, theirs = result.track, driver.track
    both = [(trait, driver.traits[trait], result.traits[trait]) for trait in result.traits]
    at_rest = {
        trait: metrics.motion_at_rest(theirs.traits[trait], ours.traits[trait], window, rest)
        for trait, rest in (("mouth", LIPS_AT_REST), ("eyes", LIDS_AT_REST))
    }
    return {
        "correlation": {trait: metrics.correlation(one, other) for trait, one, other in both},
        "gain": {trait: metrics.gain(one, other) for trait, one, other in both},
        "breathing": metrics.breathing(head_size(theirs.points), head_size(ours.points)),
        "silent_lips": at_rest["mouth"] * mean_of_known(eye_distance(ours.points)),
        "silent_lids": at_rest["eyes"] * mean_of_known(eye_width(ours.points)),
    }


def _look_numbers(driver: FaceTrack, result: _Watched, photo: _Photo | None) -> dict[str, float]:
    """Return the numbers that say what the result looks like; without a photo, some are nan."""
    track = result.track
    numbers = {
        "frames_with_face": float(track.found.mean()),
        "driving_frames_with_face": float(driver.found.mean()),
        "identity_to_driving": mean_of_known(metrics.identity_distance(track.identities, driver.identities)),
        "identity_to_photo": math.nan,
        "driving_to_photo": math.nan,
        "sharpness": math.nan,
        "sharpness_denoised": math.nan,
        "straight_step": math.nan,
    }
    if photo is None:
        return numbers
    person = photo.track.identities[0]
    numbers["identity_to_photo"] = mean_of_known(metrics.identity_distance(track.identities, person))
    numbers["driving_to_photo"] = mean_of_known(metrics.identity_distance(driver.identities, person))
    for column, name in enumerate(("sharpness", "sharpness_denoised")):
        if photo.sharpness[0, column] > 0:
            numbers[name] = mean_of_known(result.sharpness[:, column] / photo.sharpness[0, column])
    if result.change is not None:
        reach = max(1, round((BORDER - EDGE) * photo.side))
        numbers["straight_step"] = straight_step(result.change, reach) / photo.side
    return numbers


def _check_persons(numbers: dict[str, Any]) -> None:
    """Raise InputError if the driving video shows the photo's person and the result somebody else."""
    if numbers["driving_to_photo"] < SAME_PERSON < numbers["identity_to_photo"]:
        raise InputError(
            f"{numbers['driving']} shows the person of {numbers['photo']}, and {numbers['result']} somebody "
            "else; they seem to be swapped: give the driving video first, then the result"
        )


def _fit_photo(picture: np.ndarray, name: str, number: int | None, first: np.ndarray) -> _Photo:
    """Return the photo as the result shows it: whole, or the square around its face, at the result's size.

    Of the two, the one is taken that is more like the first frame of the result.
    """
    size = first.shape[:2]
    square = enlarged_square(published_box(_choose_face(picture, name, number)))
    whole, part = resize(picture, size), cut_out(picture, square, size)
    is_whole = metrics.l1(whole / 255, first / 255) <= metrics.l1(part / 255, first / 255)
    shown = whole if is_whole else part
    face = _choose_face(shown, f"{name} at the size of the result", number if is_whole else None)
    track = measure_faces([shown], [face])
    side = enlarged_square(published_box(face)).width
    return _Photo(shown, is_whole, side, track, _measure_sharpness([shown], track))


def _choose_face(picture: np.ndarray, name: str, number: int | None) -> Face:
    faces = find_faces(picture)
    if not faces:
        raise InputError(f"{name}: no face was found; give the photo that was moved")
    if number is None:
        return max(faces, key=lambda face: published_box(face).area)
    if not 0 <= number < len(faces):
        raise InputError(
            f"{name}: there is no face {number}; {len(faces)} were found, counted from 0 at the left"
        )
    return faces[number]


def _watch(video: VideoReader, faces: Sequence[Face | None], photo: _Photo | None = None) -> _Watched:
    """Read a video once more and measure its face, which is found already."""
    seen = [published_box(face) for face in faces if face is not None]
    area = enlarged_square(reduce(union, seen), STRIP_MARGIN)
    shown = set(pick_frames(np.arange(len(faces))).tolist())
    tracks: list[FaceTrack] = []
    strip: list[np.ndarray] = []
    sharpness: list[np.ndarray] = []
    change = None
    with video.reopen() as frames:
        for start, chunk in _chunks(frames):
            track = measure_faces(chunk, faces[start : start + len(chunk)])
            tracks.append(track)
            sharpness.append(_measure_sharpness(chunk, track))
            strip += [
                cut_out(frame, area, (STRIP_SIZE, STRIP_SIZE))
                for index, frame in enumerate(chunk, start)
                if index in shown
            ]
            if photo is not None and photo.whole:
                new = largest_change(photo.picture, chunk)
                change = new if change is None else np.maximum(change, new)
    return _Watched(FaceTrack.join(tracks), np.stack(strip), np.concatenate(sharpness), change)


def _chunks(frames: VideoReader) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield a few frames at a time, with the number of the first."""
    start = 0
    while chunk := list(itertools.islice(frames, CHUNK)):
        yield start, chunk
        start += len(chunk)


def _measure_sharpness(frames: Sequence[np.ndarray], track: FaceTrack) -> np.ndarray:
    """Return the sharpness of the face in each frame, Tx2: as it is, denoised; nan where none was found."""
    found = np.full((len(frames), 2), np.nan)
    for index, (frame, points) in enumerate(zip(frames, track.landmarks, strict=True)):
        if track.found[index]:
            cut = metrics.face_box(points, frame.shape[:2]).cut(frame) / np.float32(255)
            found[index] = metrics.sharpness(cut), metrics.sharpness(cut, blur=DENOISE)
    return found


def _write(folder: Path, numbers: dict[str, Any], strips: dict[str, np.ndarray]) -> None:
    """Write ``score.json`` and ``score.html``, whole or not at all."""
    with atomic_path(folder / "score.json", InputError) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(folder / "score.html", InputError) as temporary:
        temporary.write_text(format_score_page(numbers, strips), encoding="utf-8")
