"""One source picture and one driving clip: everything that is measured on a result of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from fomm.animation.frames import to_uint8
from fomm.evaluation import metrics
from fomm.evaluation.clips import Clip
from fomm.evaluation.contestants import CHUNK
from fomm.evaluation.faces import FaceTrack, Landmarks68, Traits, track_face
from fomm.evaluation.features import FeatureNetwork, GaussianFit, map_distance, pooled
from fomm.evaluation.metrics import Box

DENOISE = 1.0  # pixels: sigma of the blur before the sharpness that noise does not count in
HEAD_MARGIN = 0.25  # of the face's box on each side: the head of the source, which may move anywhere in it


@dataclass(frozen=True)
class Tools:
    """The networks that measure, besides those of ``fomm.face``: those whose weights are at hand."""

    device: torch.device
    features: tuple[FeatureNetwork, ...] = ()
    landmarks: Landmarks68 | None = None


class KnownFace(NamedTuple):
    """The face of frames in which it has been found before."""

    track: FaceTrack
    boxes: list[Box | None]


@dataclass(frozen=True)
class Case:
    """What results are compared with; all pictures of one size."""

    source_name: str
    source: np.ndarray  # HxWx3 uint8
    clip: Clip  # that drives
    is_truth: bool  # the result should be the driving clip itself
    source_track: FaceTrack  # of one frame
    driving_track: FaceTrack
    source_box: Box | None
    driving_boxes: list[Box | None]
    still: np.ndarray  # HxW bool: where nothing should move
    landmarks: np.ndarray | None = None  # Tx68x2 of the truth, by the published detector

    @property
    def driving_face(self) -> KnownFace:
        return KnownFace(self.driving_track, self.driving_boxes)

    @property
    def unchanged_face(self) -> KnownFace:
        """Of the source, shown as often as there are driving frames."""
        count = len(self.driving_boxes)
        return KnownFace(self.source_track.repeated(count), [self.source_box] * count)

    @property
    def result_boxes(self) -> list[Box | None]:
        """Where the result's face is looked for."""
        return self.driving_boxes if self.is_truth else [self.source_box] * len(self.driving_boxes)


@dataclass(frozen=True)
class Measured:
    """The numbers of one result."""

    traits: Traits  # how its face moves
    found: np.ndarray  # T bools: where it has a face
    frames: dict[str, np.ndarray]  # each T numbers, nan where there is none
    flicker: float


def reconstruction_case(clip: Clip, tools: Tools) -> Case:
    """The clip from its own first frame."""
    track, boxes = _find(clip, tools)
    return Case(
        source_name=clip.name,
        source=clip.frames[0],
        clip=clip,
        is_truth=True,
        source_track=track.repeated(1),
        driving_track=track,
        source_box=boxes[0],
        driving_boxes=boxes,
        still=_still(clip),
        landmarks=tools.landmarks(clip.frames) if tools.landmarks else None,
    )


def animation_case(source: Clip, clip: Clip, tools: Tools) -> Case:
    """The first frame of ``source``, moved by ``clip``."""
    landmarks = None if source.landmarks is None else source.landmarks[:1]
    source_track, (source_box,) = _find(Clip(source.name, source.frames[:1], landmarks), tools)
    track, boxes = _find(clip, tools)
    still = _still(clip)
    if source_box is not None:
        corners = np.array(source_box, float).reshape(2, 2)
        metrics.face_box(corners, clip.frames.shape[1:3], HEAD_MARGIN).cut(still)[...] = False
    return Case(
        source_name=source.name,
        source=source.frames[0],
        clip=clip,
        is_truth=False,
        source_track=source_track,
        driving_track=track,
        source_box=source_box,
        driving_boxes=boxes,
        still=still,
    )


def _find(clip: Clip, tools: Tools) -> tuple[FaceTrack, list[Box | None]]:
    """The face of a clip and the box of it, from the exact landmarks where they are known."""
    size = clip.frames.shape[1:3]
    if clip.landmarks is not None:
        boxes: list[Box | None] = [metrics.face_box(points, size) for points in clip.landmarks]
        return track_face(clip.frames, boxes, tools.device), boxes
    track = track_face(clip.frames, [None] * len(clip.frames), tools.device)
    found = zip(track.landmarks, track.found, strict=True)
    return track, [metrics.face_box(points, size) if seen else None for points, seen in found]


def _still(clip: Clip) -> np.ndarray:
    return metrics.still_region(frame / np.float32(255) for frame in clip.frames)


def measure(
    case: Case,
    made: Iterable[np.ndarray],
    tools: Tools,
    fits: dict[str, GaussianFit],
    known: KnownFace | None = None,
) -> tuple[Measured, np.ndarray]:
    """Everything about a result of ``case``.

    Args:
        made: T frames HxWx3 in [0, 1], taken one by one.
        fits: the Fréchet distance's, by its name; the result's features are added.
        known: the result's face, where it has been found before.

    Returns:
        The numbers, and the frames as TxHxWx3 uint8, on which faces are looked for.
    """
    numbers: dict[str, list[float]] = {}
    pictures: list[np.ndarray] = []
    boxes = known.boxes if known else case.result_boxes
    frames = zip(made, case.clip.frames, case.driving_boxes, boxes, strict=True)
    still_sharpness = _sharpness(case.source / np.float32(255), case.source_box)
    while chunk := list(itertools.islice(frames, CHUNK)):
        for frame, driving, driving_box, result_box in chunk:
            pictures.append(to_uint8(frame))
            of_frame = _sharpness_ratios(frame, result_box, case.source_box, still_sharpness)
            if case.is_truth:
                of_frame |= _picture_errors(frame, driving / np.float32(255), driving_box)
            for name, value in of_frame.items():
                numbers.setdefault(name, []).append(value)
        found = _features([item[0] for item in chunk], [item[1] for item in chunk], case, tools, fits)
        for name, values in found.items():
            numbers.setdefault(name, []).extend(values)
    result = np.stack(pictures)
    track = known.track if known else track_face(result, boxes, tools.device)
    by_frame = {name: np.array(values) for name, values in numbers.items()} | _face_numbers(case, track)
    if case.landmarks is not None and tools.landmarks is not None:
        by_frame |= _published_numbers(tools.landmarks(result), case.landmarks)
    flicker = metrics.flicker((frame / np.float32(255) for frame in result), case.still)
    return Measured(track.traits, track.found, by_frame, flicker), result


def _published_numbers(result: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Of Tx68x2 points each, nan where their detector found no face: the distance, and what it leaves out."""
    expected, found = (np.isfinite(points).all(axis=(1, 2)) for points in (truth, result))
    return {
        "akd": metrics.point_distance(result, truth),
        "akd_missing_rate": metrics.missing(expected, found),
    }


def _picture_errors(frame: np.ndarray, truth: np.ndarray, box: Box | None) -> dict[str, float]:
    return {
        "l1": metrics.l1(frame, truth),
        "l1_face": math.nan if box is None else metrics.l1(frame, truth, box),
        "squared_error": metrics.squared_error(frame, truth),
        "ssim": metrics.ssim(frame, truth),
    }


def _features(
    made: list[np.ndarray],
    driving: list[np.ndarray],
    case: Case,
    tools: Tools,
    fits: dict[str, GaussianFit],
) -> dict[str, np.ndarray]:
    """The distance of features, where there is a truth; the features themselves go to ``fits``."""
    numbers = {}
    for network in tools.features:
        maps = network.maps(np.stack(made))
        fits.setdefault(network.frechet_name, GaussianFit()).add(pooled(maps))
        if case.is_truth and network.distance_name is not None:
            truth = network.maps(np.stack(driving) / np.float32(255))
            numbers[network.distance_name] = map_distance(maps, truth)
    return numbers


def _sharpness(frame: np.ndarray, box: Box | None) -> tuple[float, float]:
    """As it is, and without noise."""
    return metrics.sharpness(frame, box), metrics.sharpness(frame, box, DENOISE)


def _sharpness_ratios(
    frame: np.ndarray, box: Box | None, source_box: Box | None, source: tuple[float, float]
) -> dict[str, float]:
    """Over the source's, both in the face; where the source has none, of the whole pictures."""
    if box is None and source_box is not None:
        values = (math.nan, math.nan)
    else:
        values = _sharpness(frame, box if source_box is not None else None)
    names = ("sharpness", "sharpness_denoised")
    ratios = (a / b if b > 0 else math.nan for a, b in zip(values, source, strict=True))
    return dict(zip(names, ratios, strict=True))


def _face_numbers(case: Case, track: FaceTrack) -> dict[str, np.ndarray]:
    identity = metrics.identity_distance
    numbers = {
        "missing_rate": metrics.missing(case.driving_track.found, track.found),
        "identity_to_source": identity(track.identities, case.source_track.identities[0]),
    }
    if not case.is_truth:
        return numbers | {"identity_to_driving": identity(track.identities, case.driving_track.identities)}
    driving = case.driving_track
    numbers["akd_mesh468"] = metrics.point_distance(track.points[..., :2], driving.points[..., :2])
    numbers["aed_dlib128"] = identity(track.identities, driving.identities) ** 2
    if case.clip.landmarks is not None:
        numbers["akd_exact68"] = metrics.point_distance(track.landmarks, case.clip.landmarks)
    return numbers
