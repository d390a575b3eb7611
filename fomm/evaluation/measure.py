"""Measure everything about one result: one source picture that one driving clip moves."""

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
from fomm.evaluation.clips import AnnotatedClip
from fomm.evaluation.contestants import CHUNK
from fomm.evaluation.faces import FaceTrack, Landmarks68, Traits, track_face
from fomm.evaluation.features import FeatureNetwork, GaussianFit, map_distance, pool
from fomm.evaluation.metrics import Box
from fomm.face.mesh import FACE_POINTS

DENOISE = 1.0  # pixels: sigma of the blur that removes noise before the denoised sharpness is measured
HEAD_MARGIN = 0.25  # of the face's box, added on each side: the area in which the source's head may move


@dataclass(frozen=True)
class MetricNetworks:
    """The networks that measure, besides those of ``fomm.face``, where their weights are at hand."""

    device: torch.device
    features: tuple[FeatureNetwork, ...] = ()
    landmarks: Landmarks68 | None = None


class KnownFace(NamedTuple):
    """The face of a result in which it has been found before, so that nobody searches again."""

    track: FaceTrack
    boxes: list[Box | None]


@dataclass(frozen=True)
class Case:
    """What the results of one pair are compared with; all pictures have one size."""

    source_name: str
    source: np.ndarray  # HxWx3 uint8
    clip: AnnotatedClip  # that drives
    is_truth: bool  # whether the result should be the driving clip itself
    source_track: FaceTrack  # of one frame
    driving_track: FaceTrack
    source_box: Box | None
    driving_boxes: list[Box | None]
    still: np.ndarray  # HxW bool: where nothing should move
    landmarks: np.ndarray | None = None  # Tx68x2 of the true frames, by the published detector

    @property
    def driving_face(self) -> KnownFace:
        """Return the face of the driving clip."""
        return KnownFace(self.driving_track, self.driving_boxes)

    @property
    def unchanged_face(self) -> KnownFace:
        """Return the face of the source, once for each driving frame."""
        count = len(self.driving_boxes)
        return KnownFace(self.source_track.repeat_first(count), [self.source_box] * count)

    @property
    def result_boxes(self) -> list[Box | None]:
        """Return where to look for the result's face, a box for each frame."""
        return self.driving_boxes if self.is_truth else [self.source_box] * len(self.driving_boxes)


@dataclass(frozen=True)
class Measurement:
    """The numbers of one result."""

    traits: Traits  # how its face moves
    found: np.ndarray  # T bools: where it has a face
    frames: dict[str, np.ndarray]  # each T numbers, nan where there is none
    flicker: float


def prepare_reconstruction(clip: AnnotatedClip, networks: MetricNetworks) -> Case:
    """Return the case in which a clip moves its own first frame."""
    track, boxes = _find_face(clip, networks)
    return Case(
        source_name=clip.name,
        source=clip.frames[0],
        clip=clip,
        is_truth=True,
        source_track=track.repeat_first(1),
        driving_track=track,
        source_box=boxes[0],
        driving_boxes=boxes,
        still=_find_still(clip),
        landmarks=networks.landmarks(clip.frames) if networks.landmarks else None,
    )


def prepare_animation(source: AnnotatedClip, clip: AnnotatedClip, networks: MetricNetworks) -> Case:
    """Return the case in which ``clip`` moves the first frame of ``source``."""
    landmarks = None if source.landmarks is None else source.landmarks[:1]
    source_track, (source_box,) = _find_face(
        AnnotatedClip(source.name, source.frames[:1], landmarks), networks
    )
    track, boxes = _find_face(clip, networks)
    still = _find_still(clip)
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


def _find_face(clip: AnnotatedClip, networks: MetricNetworks) -> tuple[FaceTrack, list[Box | None]]:
    """Return the face of a clip and its boxes, which come from the exact landmarks where they are known."""
    size = clip.frames.shape[1:3]
    if clip.landmarks is not None:
        boxes: list[Box | None] = [metrics.face_box(points, size) for points in clip.landmarks]
        return track_face(clip.frames, boxes, networks.device), boxes
    track = track_face(clip.frames, [None] * len(clip.frames), networks.device)
    found = zip(track.landmarks, track.found, strict=True)
    return track, [metrics.face_box(points, size) if seen else None for points, seen in found]


def _find_still(clip: AnnotatedClip) -> np.ndarray:
    """Return where nothing moves in a clip, HxW bool."""
    return metrics.still_region(frame / np.float32(255) for frame in clip.frames)


def measure(
    case: Case,
    made: Iterable[np.ndarray],
    networks: MetricNetworks,
    fits: dict[str, GaussianFit],
    known: KnownFace | None = None,
) -> tuple[Measurement, np.ndarray]:
    """Measure everything about one result of ``case``.

    Args:
        case: what the result is compared with.
        made: the result, T frames HxWx3 in [0, 1], read one by one.
        networks: those that measure.
        fits: for each Fréchet distance, by its name, the features so far; those of the result are added.
        known: the result's face, where it has been found before.

    Returns:
        The numbers, and the result as TxHxWx3 uint8, in which faces are looked for.
    """
    boxes = known.boxes if known else case.result_boxes
    numbers, result = _measure_pictures(case, made, boxes, networks, fits)
    track = known.track if known else track_face(result, boxes, networks.device)
    numbers |= _face_numbers(case, track)
    if case.landmarks is not None and networks.landmarks is not None:
        numbers |= _published_numbers(networks.landmarks(result), case.landmarks)
    flicker = metrics.flicker((frame / np.float32(255) for frame in result), case.still)
    return Measurement(track.traits, track.found, numbers, flicker), result


def _measure_pictures(
    case: Case,
    made: Iterable[np.ndarray],
    boxes: list[Box | None],
    networks: MetricNetworks,
    fits: dict[str, GaussianFit],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what is measured on pictures, T numbers each, and the result as TxHxWx3 uint8.

    ``boxes`` are those of the result's face.
    """
    numbers: dict[str, list[float]] = {}
    pictures: list[np.ndarray] = []
    frames = zip(made, case.clip.frames, case.driving_boxes, boxes, strict=True)
    source_sharpness = _sharpness(case.source / np.float32(255), case.source_box)
    while chunk := list(itertools.islice(frames, CHUNK)):
        for frame, driving, driving_box, result_box in chunk:
            pictures.append(to_uint8(frame))
            of_frame = _sharpness_ratios(frame, result_box, case.source_box, source_sharpness)
            if case.is_truth:
                of_frame |= _picture_errors(frame, driving / np.float32(255), driving_box)
            for name, value in of_frame.items():
                numbers.setdefault(name, []).append(value)
        found = _measure_features(
            [item[0] for item in chunk], [item[1] for item in chunk], case, networks, fits
        )
        for name, values in found.items():
            numbers.setdefault(name, []).extend(values)
    return {name: np.array(values) for name, values in numbers.items()}, np.stack(pictures)


def _published_numbers(result: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return the published AKD and its missing rate from points, Tx68x2, nan where no face was found."""
    expected, found = (np.isfinite(points).all(axis=(1, 2)) for points in (truth, result))
    return {
        "akd": metrics.point_distance(result, truth),
        "akd_missing_rate": metrics.mark_missing(expected, found),
    }


def _picture_errors(frame: np.ndarray, truth: np.ndarray, box: Box | None) -> dict[str, float]:
    """Return the errors of a frame against the true one; ``box`` is that of the face, if there is one."""
    return {
        "l1": metrics.l1(frame, truth),
        "l1_face": math.nan if box is None else metrics.l1(frame, truth, box),
        "squared_error": metrics.squared_error(frame, truth),
        "ssim": metrics.ssim(frame, truth),
    }


def _measure_features(
    made: list[np.ndarray],
    driving: list[np.ndarray],
    case: Case,
    networks: MetricNetworks,
    fits: dict[str, GaussianFit],
) -> dict[str, np.ndarray]:
    """Add the features of a result to ``fits``, and return how far they are from the true ones.

    Without true frames, what is returned is empty.
    ``made`` are frames HxWx3 in [0, 1], ``driving`` as many HxWx3 uint8.
    """
    numbers = {}
    for network in networks.features:
        maps = network.maps(np.stack(made))
        fits.setdefault(network.frechet_name, GaussianFit()).add(pool(maps))
        if case.is_truth and network.distance_name is not None:
            truth = network.maps(np.stack(driving) / np.float32(255))
            numbers[network.distance_name] = map_distance(maps, truth)
    return numbers


def _sharpness(frame: np.ndarray, box: Box | None) -> tuple[float, float]:
    """Return the sharpness of a frame in ``box``: as it is, and denoised."""
    return metrics.sharpness(frame, box), metrics.sharpness(frame, box, DENOISE)


def _sharpness_ratios(
    frame: np.ndarray, box: Box | None, source_box: Box | None, source: tuple[float, float]
) -> dict[str, float]:
    """Return the sharpness of a frame over the source's, both in the face.

    Where the source has no face, both are of the whole pictures; nan where only the result has none.
    """
    if box is None and source_box is not None:
        values = (math.nan, math.nan)
    else:
        values = _sharpness(frame, box if source_box is not None else None)
    names = ("sharpness", "sharpness_denoised")
    ratios = (a / b if b > 0 else math.nan for a, b in zip(values, source, strict=True))
    return dict(zip(names, ratios, strict=True))


def _face_numbers(case: Case, track: FaceTrack) -> dict[str, np.ndarray]:
    """Return what is measured on the face of a result, T numbers each."""
    identity = metrics.identity_distance
    numbers = {
        "missing_rate": metrics.mark_missing(case.driving_track.found, track.found),
        "identity_to_source": identity(track.identities, case.source_track.identities[0]),
    }
    if not case.is_truth:
        return numbers | {"identity_to_driving": identity(track.identities, case.driving_track.identities)}
    driving = case.driving_track
    found, wanted = (item.points[..., :FACE_POINTS, :2] for item in (track, driving))
    numbers["akd_mesh468"] = metrics.point_distance(found, wanted)
    numbers["aed_dlib128"] = identity(track.identities, driving.identities) ** 2
    if case.clip.landmarks is not None:
        numbers["akd_exact68"] = metrics.point_distance(track.landmarks, case.clip.landmarks)
    return numbers
