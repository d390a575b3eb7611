"""Pictures to train and test the detector on: drawn heads, untouched and changed in known ways.

Everything goes through the same camera, codec and cut, whether it was changed or not. So nothing but the
change itself tells them apart. For each pixel it is known whether it was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.detect.camera import DRAWN, FRAMES, apply_camera, film_scenery, finish_clip, recode
from fomm.detect.changes import Footage, animate_clip, blend_with_itself, find_change, paste_face
from fomm.detect.samples import KINDS, Recoding, Samples
from fomm.detect.squares import SIZE, cut_square, find_square
from fomm.errors import InputError
from fomm.face import detect_faces_in
from fomm.face.mesh import Crop
from fomm.heads.dataset import render_clip
from fomm.media import VideoReader
from fomm.media.resize import resize
from fomm.workers import work_on_all

CRFS = (18, 35)  # the range of H.264's quality
_STEP = 4  # every so many frames of the motion are drawn
_SEEN = 0.02  # a square with a smaller share of changed pixels is left out: nothing is to be seen in it


def make_samples(
    people: range,
    seed: int,
    *,
    recodings: Sequence[Recoding] = (),
    takes: int = 1,
    weights: Sequence[str | None] = (None,),
    scenery: Sequence[np.ndarray] = (),
    workers: int = 1,
) -> Iterator[Samples]:
    """Yield the samples of drawn people, those of two people at a time. The arguments decide every pixel.

    Of each person a clip stays untouched, and one is made of each other kind but ``swapped``. All of them are
    written and cut alike, so that nothing but the change tells them apart. People are taken two by two: one
    drives the other's photo, and lends the other its face. So samples of disjoint ranges share no person.

    Args:
        people: numbers of drawn people, an even count.
        seed: of the people and of all that is random.
        recodings: each clip is written in each of these ways. Empty: in a random one.
        takes: how often all of that is done with other choices.
        weights: checkpoints that animate, one at random for each pair; None: those that ship.
        scenery: pictures without faces, HxWx3 uint8, at least 256x256: for each two people a part of one is
            filmed and changed, too.
        workers: processes.
    """
    if len(people) % 2 or not people:
        raise InputError(f"people are taken two by two; {len(people)} came")
    jobs = [_Job(first, seed, tuple(recodings), takes, tuple(weights), scenery) for first in people[::2]]
    for _, samples in work_on_all(_make_pair, jobs, workers):
        yield samples


class _Job(NamedTuple):
    first: int
    seed: int
    recodings: tuple[Recoding, ...]
    takes: int
    weights: tuple[str | None, ...]
    scenery: Sequence[np.ndarray]


def _make_pair(job: _Job) -> Samples:
    rng = np.random.default_rng([job.seed, job.first])
    footage = film_pair(job.first, job.seed, rng, job.weights, job.scenery)
    return change_footage(footage, rng, job.recodings, job.takes)


def film_pair(
    first: int,
    seed: int,
    rng: np.random.Generator,
    weights: Sequence[str | None] = (None,),
    scenery: Sequence[np.ndarray] = (),
) -> list[Footage]:
    """Return the footage of the drawn people ``first`` and ``first + 1``, and, if there is any, of scenery.

    Arguments are those of ``make_samples``.
    """
    drawn = [render_clip(seed, person, 0, FRAMES, DRAWN, step=_STEP) for person in (first, first + 1)]
    drawn = [replace(clip, frames=apply_camera(clip.frames, rng, clip.landmarks)) for clip in drawn]
    squares: list[Crop | None] = [None, None]
    ways = ["mesh", "keypoints"]
    if scenery:
        frames = film_scenery(scenery[int(rng.integers(len(scenery)))], rng)
        drawn.append(replace(drawn[0], frames=apply_camera(frames, rng)))
        squares.append(Crop((DRAWN / 2, DRAWN / 2), float(rng.uniform(0.5, 0.9)) * DRAWN, 0.0))
    checkpoint = weights[int(rng.integers(len(weights)))]
    footage = []
    for number, (clip, square) in enumerate(zip(drawn, squares, strict=True)):
        animated = {}
        for way in ways if square is None else ways[1:]:
            with suppress(InputError):  # no face is found in a head that is turned away all the time
                kind = "animated" if way == "mesh" else "animated-keypoints"
                animated[kind] = animate_clip(clip, drawn[1 if number == 0 else 0], way, checkpoint)
        footage.append(Footage(clip.frames, clip.landmarks, clip.pose, animated, square))
    return footage


def change_footage(
    footage: Sequence[Footage], rng: np.random.Generator, recodings: Sequence[Recoding] = (), takes: int = 1
) -> Samples:
    """Return samples of footage, untouched and changed; see ``make_samples``. The first two show faces."""
    parts: list[Samples] = []
    for _ in range(takes):
        for number, clip in enumerate(footage):
            every = np.arange(len(clip.frames))
            made = {"untouched": (clip.frames, np.zeros(clip.frames.shape[:3], bool), every), **clip.animated}
            if clip.square is None:
                made["pasted"] = (*paste_face(clip, footage[1 - number], rng), every)
            made["blended"] = (*blend_with_itself(clip, rng), every)
            chosen = recodings or (draw_recoding(rng),)
            finish = int(rng.integers(2**32))
            for recoding in chosen:
                cut = int(rng.integers(2**32))
                group = []
                for kind, (frames, changed, moments) in made.items():
                    seen = finish_clip(frames, np.random.default_rng(finish))
                    local = np.random.default_rng(cut)
                    group.append(cut_clip(seen, changed, kind, recoding, local, moments, clip.square))
                parts.append(_share_moments(group))
    return Samples.join(parts)


def _share_moments(group: Sequence[Samples]) -> Samples:
    """Return the samples of clips of the same scene: their moments are the same ones."""
    joined = Samples.join(group)
    return replace(joined, moments=np.concatenate([part.moments for part in group]))


def draw_recoding(rng: np.random.Generator) -> Recoding:
    """Return a random quality, and a scale that is 1 half of the times."""
    scale = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.5, 1.0))
    return Recoding(int(rng.integers(CRFS[0], CRFS[1] + 1)), scale)


def cut_clip(
    frames: np.ndarray,
    changed: np.ndarray,
    kind: str,
    recoding: Recoding,
    rng: np.random.Generator,
    moments: np.ndarray | None = None,
    square: Crop | None = None,
) -> Samples:
    """Return the squares around the face of a clip after it was scaled, written and read again.

    The square lies not quite where the detector puts it, and is up to an eighth larger or smaller. Frames in
    which no face is found are left out, and so are those of a changed clip that show no change.

    Args:
        frames: TxHxWx3 uint8. changed: TxHxW bool. kind: one of ``KINDS``. recoding: how it is written.
        rng: moves the square. moments: T whole numbers, see ``Samples``; the default is 0 to T - 1.
        square: in the frames; the default is the one around the face.
    """
    side = [2 * round(length * recoding.scale / 2) for length in frames.shape[1:3]]
    scaled = np.stack([resize(frame, (side[0], side[1]), "box") for frame in frames])
    written = recode(scaled, recoding.crf)
    shift, grow = rng.uniform(-0.06, 0.06, 2), np.exp(rng.uniform(-0.12, 0.12))
    if square is None:
        places = [find_square(found[0]) if found else None for found in detect_faces_in(list(written))]
    else:
        middle = np.array(square.centre) * recoding.scale
        places = [square._replace(centre=tuple(middle.tolist()), side=square.side * recoding.scale)]
        places *= len(written)
    pictures, truths, kept = [], [], []
    for number, (frame, mask, place) in enumerate(zip(written, changed, places, strict=True)):
        if place is None:
            continue
        x, y = np.array(place.centre) + shift * place.side
        place = place._replace(centre=(float(x), float(y)), side=float(place.side * grow))
        larger = np.array(place.centre) / recoding.scale
        source = place._replace(centre=tuple(larger.tolist()), side=place.side / recoding.scale)
        truth = cut_square(np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255, source)[..., 0] >= 128
        if kind != "untouched" and truth.mean() < _SEEN:
            continue
        pictures.append(cut_square(frame, place))
        truths.append(truth)
        kept.append(number if moments is None else moments[number])
    count = len(pictures)
    return Samples(
        np.array(pictures, np.uint8).reshape(count, SIZE, SIZE, 3),
        np.array(truths, bool).reshape(count, SIZE, SIZE),
        np.full(count, KINDS.index(kind), np.uint8),
        np.zeros(count, np.int64),
        np.array(kept, np.int64),
        np.full(count, recoding.crf, np.uint8),
        np.full(count, recoding.scale, np.float32),
    )


def read_swapped(
    folder: Path, recodings: Sequence[Recoding] = (), seed: int = 0
) -> Iterator[tuple[str, Samples]]:
    """Yield the samples of clips that other programs changed, each with its name.

    Beside each ``NAME.mp4`` lies ``NAME.original.mp4``, the clip before, of the same size and length.

    Raises:
        InputError: there are none, one has no original, or the two differ in size.
        MediaError: one cannot be read.
    """
    rng = np.random.default_rng(seed)
    paths = [path for path in sorted(folder.glob("*.mp4")) if not path.stem.endswith(".original")]
    if not paths:
        raise InputError(f"{folder} has no NAME.mp4 beside a NAME.original.mp4")
    for path in paths:
        with VideoReader(path) as video:
            frames = np.stack(list(video))
        with VideoReader(path.with_suffix(".original.mp4")) as video:
            before = np.stack([frame for frame, _ in zip(video, frames, strict=False)])
        if before.shape[1:] != frames.shape[1:]:
            raise InputError(f"{path} has frames {frames.shape[1:]}, its original {before.shape[1:]}")
        frames = frames[: len(before)]
        changed = np.stack([find_change(*both) for both in zip(before, frames, strict=True)])
        nothing = np.zeros_like(changed)
        parts = []
        for recoding in recodings or (draw_recoding(rng),):
            parts.append(cut_clip(frames, changed, "swapped", recoding, rng))
            parts.append(cut_clip(before, nothing, "untouched", recoding, rng))
        yield path.stem, Samples.join(parts)
