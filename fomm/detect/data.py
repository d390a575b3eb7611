"""Pictures to train and test the detector on: drawn heads, untouched and changed in known ways.

Everything goes through the same camera, codec and cut, whether it was changed or not. So nothing but the
change itself tells them apart. For each pixel it is known whether it was changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import (
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    map_coordinates,
)

from fomm.animation.animator import Animator
from fomm.animation.options import Compute, Motion
from fomm.checkpoint import load_checkpoints
from fomm.detect.squares import SIZE, cut_square, find_square
from fomm.errors import InputError
from fomm.face import detect_faces_in
from fomm.face.mesh import Crop, sample_crop
from fomm.heads.dataset import Clip, render_clip
from fomm.heads.motion import FPS
from fomm.media import VideoReader
from fomm.media.encode import TRAINING_ENCODING, Encoder
from fomm.media.resize import resize
from fomm.model import Detector, Generator
from fomm.workers import work_on_all

# How a clip was made. ``animated`` is by the driver's mesh, ``animated-keypoints`` by the networks' own key
# points, ``pasted`` another person's face laid over, ``blended`` the picture blended with a changed copy of
# itself, ``swapped`` comes from a folder, see ``read_swapped``.
KINDS = ("untouched", "animated", "animated-keypoints", "pasted", "blended", "swapped")
CHANGED = KINDS[1:]
CRFS = (18, 35)  # the range of H.264's quality
FRAMES = 5  # of a drawn clip
DRAWN = 256  # pixels
_STEP = 4  # every so many frames of the motion are drawn
_GAP = 8  # pixels: half the width of gaps in a change that are filled
_SEEN = 0.02  # a square with a smaller share of changed pixels is left out: nothing is to be seen in it


class Recoding(NamedTuple):
    """How a clip is written before it is looked at."""

    crf: int
    scale: float  # of its sides


@dataclass(frozen=True)
class Samples:
    """N squares around faces, and what is known of them."""

    pictures: np.ndarray  # NxSxSx3 uint8, S = SIZE
    changed: np.ndarray  # NxSxS bool
    kinds: np.ndarray  # N uint8, numbers in KINDS
    clips: np.ndarray  # N int64: frames of one clip share a number
    moments: np.ndarray  # N int64: an untouched picture, and what was made of it, share a number
    crfs: np.ndarray  # N uint8
    scales: np.ndarray  # N float32

    def __len__(self) -> int:
        return len(self.pictures)

    def select(self, chosen: np.ndarray) -> Samples:
        """Return some of them, by N bools or by numbers."""
        return Samples(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def without(self, kind: str) -> Samples:
        """Return those that are not of a kind."""
        return self.select(self.kinds != KINDS.index(kind))

    @classmethod
    def join(cls, parts: Sequence[Samples]) -> Samples:
        """Return the samples of all parts, in their order; a clip is told apart from those of other parts."""
        arrays = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)
        }
        for name in ("clips", "moments"):
            numbers = [getattr(part, name) for part in parts]
            starts = np.cumsum([0, *(int(each.max(initial=-1)) + 1 for each in numbers[:-1])])
            arrays[name] = np.concatenate([each + s for each, s in zip(numbers, starts, strict=True)])
        return cls(**arrays)


@dataclass(frozen=True)
class Footage:
    """T frames as a camera took them, and what the networks for animation make of them."""

    frames: np.ndarray  # TxSxSx3 uint8
    landmarks: np.ndarray  # Tx68x2, pixels
    pose: np.ndarray  # Tx3, degrees, as in ``Clip``
    animated: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # by kind: frames, changed, moments
    square: Crop | None = None  # where to look, if it shows no face


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


def film_scenery(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return frames of a part of a picture, HxWx3 uint8, over which the camera moves: TxSxSx3 uint8."""
    scale = float(rng.uniform(1, min(2.0, min(picture.shape[:2]) / DRAWN)))
    room = np.array(picture.shape[:2]) - scale * DRAWN
    corner, end = rng.random((2, 2)) * room
    end = corner + 0.1 * (end - corner)
    frames = []
    for share in np.linspace(0, 1, FRAMES):
        y, x = corner + share * (end - corner)
        square = Crop((float(x + scale * DRAWN / 2), float(y + scale * DRAWN / 2)), scale * DRAWN, 0.0)
        pixels = sample_crop(picture, square, DRAWN)[0]
        frames.append((pixels.permute(1, 2, 0) * 255).round().byte().numpy())
    return np.stack(frames)


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


def recode(frames: np.ndarray, crf: int) -> np.ndarray:
    """Return frames, TxHxWx3 uint8 of even sizes, as they come back from a video of H.264 at ``crf``."""
    arguments = list(TRAINING_ENCODING)
    arguments[arguments.index("-crf") + 1] = str(crf)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with Encoder(path, path, "mp4", Fraction(FPS), "", arguments) as encoder:
            for frame in frames:
                encoder.write(frame)
            encoder.finish()
        with VideoReader(path) as video:
            return np.stack(list(video))


def apply_camera(
    frames: np.ndarray, rng: np.random.Generator, landmarks: np.ndarray | None = None
) -> np.ndarray:
    """Return a clip as some camera would have taken and written it, TxSxSx3 uint8.

    It may be soft or sharpened or come from fewer pixels; a part of it, or all but the face, may be out of
    focus; there is noise, mostly; and it may have been written as a video before. Whatever is changed later
    is changed in such footage.

    Args:
        frames: TxSxSx3 uint8. landmarks: Tx68x2, pixels: of a face that stays in focus; the default is none.
    """
    size, choice = frames.shape[1], rng.random()
    floats = frames.astype(np.float32)
    if choice < 0.1:
        small = int(size * rng.uniform(0.5, 0.9))
        floats = np.stack(
            [resize(resize(f, (small, small), "box"), (size, size), "bilinear") for f in frames]
        )
        floats = floats.astype(np.float32)
    elif choice < 0.5:
        soft = gaussian_filter(floats, (0, *(rng.uniform(0.4, 1.2),) * 2, 0))
        floats = soft if choice < 0.3 else floats + rng.uniform(0.3, 1.0) * (floats - soft)
    if rng.random() < 0.2:
        soft = gaussian_filter(floats, (0, *(rng.uniform(0.6, 3.0),) * 2, 0))
        if landmarks is not None and rng.random() < 0.5:
            focus = np.stack([face_hull(points, size) for points in landmarks])
            focus = gaussian_filter(focus.astype(np.float32), (0, 12, 12)) * 4
        else:
            wave = gaussian_filter(rng.normal(size=(size, size)), size / 8)
            focus = np.tile(
                4 * (wave - np.quantile(wave, rng.uniform(0.2, 0.8))) / wave.std(), (len(frames), 1, 1)
            )
        focus = focus.clip(0, 1).astype(np.float32)[..., None]
        floats = soft + focus * (floats - soft)
    if rng.random() < 0.85:
        grain = rng.normal(0, 1, floats.shape).astype(np.float32)
        if rng.random() < 0.5:  # noise of neighbours is alike, as after a camera's interpolation
            grain = gaussian_filter(grain, (0, 0.6, 0.6, 0)) * 2
        floats = floats + rng.uniform(1, 5) * grain
    taken = floats.round().clip(0, 255).astype(np.uint8)
    return recode(taken, int(rng.integers(12, 24))) if rng.random() < 0.4 else taken


def finish_clip(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a clip as a program leaves it that was used after any change: often as it is.

    Else it is blurred or sharpened a little, or gets noise. It is the same for the whole clip, and for
    changed and untouched ones, so that blur is no sign of change.
    """
    choice = rng.random()
    if choice < 0.75:
        return frames
    floats = frames.astype(np.float32)
    if choice < 0.95:
        soft = gaussian_filter(floats, (0, *(rng.uniform(0.3, 0.8),) * 2, 0))
        floats = soft if choice < 0.85 else floats + rng.uniform(0.2, 0.8) * (floats - soft)
    else:
        floats = floats + rng.normal(0, rng.uniform(0.5, 2), floats.shape).astype(np.float32)
    return floats.round().clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _load(checkpoint: str | None) -> tuple[Generator, Detector]:
    return load_checkpoints(checkpoint_path=checkpoint, cpu=True)


def animate_clip(
    photo: Clip, driver: Clip, way: str, checkpoint: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a frame of one clip moved by another clip, where it changed, and by which frames it was driven.

    They are (T-1)xHxWx3 uint8, (T-1)xHxW bool, and T-1 numbers.

    Args:
        photo: its frame that looks at the camera most is moved.
        driver: drives it, from the like frame on, which is left out of the result: nothing has moved in it.
        way: ``"mesh"`` or ``"keypoints"``, see ``Motion``.
        checkpoint: None: the weights that ship.

    Raises:
        InputError: the way is the mesh, and no face is found.
    """
    generator, detector = _load(checkpoint)
    still = photo.frames[find_frontal(photo)]
    first = find_frontal(driver)
    motion = Motion(driver=way, best_frame=first if way == "mesh" else None)  # type: ignore[arg-type]
    animator = Animator(still, generator, detector, motion=motion, compute=Compute("cpu"))
    reference = animator.find_reference(driver.frames[first]) if way == "keypoints" else None
    moved = np.stack(list(animator.animate(list(driver.frames), reference)))
    frames = (np.delete(moved, first, axis=0) * 255).round().astype(np.uint8)
    changed = np.stack([find_change(still, frame) for frame in frames])
    return frames, changed, np.delete(np.arange(len(moved)), first)


def find_frontal(clip: Clip) -> int:
    """Return the number of the frame whose head looks at the camera most."""
    return int(np.linalg.norm(clip.pose[:, :2], axis=1).argmin())


def find_change(before: np.ndarray, after: np.ndarray, least: float = 6.0) -> np.ndarray:
    """Return where a picture was changed, HxW bool, from both states, HxWx3 uint8.

    A pixel counts where the largest difference of the colours, blurred by a pixel and a half, is above
    ``least`` levels of 255. Gaps of up to 16 pixels between such pixels, and holes in them, are filled: skin
    that moved over skin of the same colour changed, too.
    """
    difference = np.abs(after.astype(np.float32) - before.astype(np.float32)).max(axis=2)
    mask = gaussian_filter(difference, 1.5) > least
    if not mask.any():
        return mask
    edged = np.pad(mask, 2 * _GAP)
    grown = distance_transform_edt(~edged) <= _GAP
    closed = distance_transform_edt(grown) > _GAP
    return binary_fill_holes(closed[2 * _GAP : -2 * _GAP, 2 * _GAP : -2 * _GAP])


def face_hull(landmarks: np.ndarray, size: int, part: str = "face") -> np.ndarray:
    """Return the area of a face, or of a part of it, in a picture: SxS bool.

    It is the convex hull of its landmarks, and of brows moved up by a third of the face's height for the
    forehead.

    Args:
        landmarks: 68x2, pixels, the iBUG order. size: S.
        part: ``"face"``, ``"mouth"`` (the lower half: mouth and chin) or ``"eyes"`` (with the brows).
    """
    from scipy.spatial import ConvexHull
    from skimage.draw import polygon2mask

    lift = np.array([0.0, 0.35]) * (landmarks[8, 1] - landmarks[17:27, 1].mean())
    points = {
        "face": np.concatenate([landmarks, landmarks[17:27] - lift]),
        "mouth": np.concatenate([landmarks[3:14], landmarks[48:68], landmarks[31:36]]),
        "eyes": np.concatenate([landmarks[17:27], landmarks[36:48], landmarks[28:30]]),
    }[part].astype(np.float64)
    return polygon2mask((size, size), points[ConvexHull(points).vertices][:, ::-1])


def feather(mask: np.ndarray, blur: float) -> np.ndarray:
    """Return a mask with soft borders inside of it, HxW float32 in [0, 1], from HxW bool.

    It is blurred twice by ``blur`` pixels: what the first blur leaves above a half is the mask of the second.
    """
    inner = gaussian_filter(mask.astype(np.float32), blur) > 0.75
    return gaussian_filter(inner.astype(np.float32), blur)


def paste_face(
    clip: Clip | Footage, other: Clip | Footage, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip with the face of another one laid over, TxHxWx3 uint8, and where it changed, TxHxW bool.

    For each frame the other clip's frame of the nearest pose is taken. The affine map that fits its landmarks
    to the frame's moves it, its colours get mean and deviation of those that it covers, and its borders are
    soft. It is what swapping was before networks, and what stays of any swap whose face is laid over.
    """
    size, blur = clip.frames.shape[1], rng.uniform(1.5, 6.0)
    frames, changed = [], []
    for number, frame in enumerate(clip.frames):
        nearest = int(np.linalg.norm(other.pose - clip.pose[number], axis=1).argmin())
        here, there = clip.landmarks[number], other.landmarks[nearest]
        ones = np.ones((68, 1))
        to_other = np.linalg.lstsq(np.concatenate([here, ones], 1), there, rcond=None)[0]  # 3x2
        y, x = np.mgrid[:size, :size] + 0.5
        places = np.stack([x, y, np.ones_like(x)], -1) @ to_other  # SxSx2, pixels of the other frame
        face = _sample(other.frames[nearest], places)
        hull = face_hull(here, size)
        inside = face[hull]
        scale = frame[hull].std(0) / np.maximum(inside.std(0), 1)
        face = (face - inside.mean(0)) * np.clip(scale, 0.5, 2) + frame[hull].mean(0)
        alpha = feather(hull, blur)
        frames.append(_lay_over(frame, face, alpha))
        changed.append(alpha > 0.2)
    return np.stack(frames), np.stack(changed)


def blend_with_itself(clip: Clip | Footage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip blended with a changed copy of itself, TxHxWx3 uint8, and where, TxHxW bool.

    K. Shiohara and T. Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: the colours,
    sharpness and place of the copy differ a little; a mask of the face or a part of it, bent and feathered,
    chooses where it is seen, wholly or half. So the borders of a change are shown, whatever made it. Choices
    hold for the whole clip.
    """
    size = clip.frames.shape[1]
    part = str(rng.choice(["face", "face", "mouth", "eyes"]))
    amount, blur = float(rng.choice([0.6, 0.8, 1.0, 1.0, 1.0])), rng.uniform(1.0, 6.0)
    shift, grow = rng.uniform(-0.02, 0.02, 2) * size, 1 + rng.uniform(-0.04, 0.04)
    gain, offset = 1 + rng.uniform(-0.06, 0.06, 3), rng.uniform(-8, 8) + rng.uniform(-4, 4, 3)
    filter = rng.choice(["blur", "sharpen", "shrink"])
    strength = rng.uniform(0.5, 1.5)
    bend = [gaussian_filter(rng.normal(size=(size, size)), 12) for _ in range(2)]
    bend = [wave / np.abs(wave).max() * rng.uniform(0, 8) for wave in bend]
    y, x = np.mgrid[:size, :size] + 0.5
    frames, changed = [], []
    for frame, landmarks in zip(clip.frames, clip.landmarks, strict=True):
        floats = frame.astype(np.float32)
        if filter == "shrink":
            small = resize(frame, (int(size / (1 + strength)),) * 2, "bilinear")
            copy = resize(small, (size, size), "bilinear").astype(np.float32)
        else:
            soft = gaussian_filter(floats, (strength, strength, 0))
            copy = soft if filter == "blur" else floats + strength * (floats - soft)
        middle = landmarks.mean(0)
        places = (np.stack([x, y], -1) - middle - shift) / grow + middle
        copy = _sample(copy * gain + offset, places)
        hull = face_hull(landmarks, size, part).astype(np.float32)
        bent = map_coordinates(hull, [y - 0.5 + bend[0], x - 0.5 + bend[1]], order=1, mode="nearest") > 0.5
        alpha = feather(bent, blur) * amount
        frames.append(_lay_over(frame, copy, alpha))
        changed.append(alpha > 0.2 * amount)
    return np.stack(frames), np.stack(changed)


def _sample(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return a picture HxWx3 at places (...x2, xy in pixels), ...x3 float32, sampled linearly."""
    grid = [places[..., 1] - 0.5, places[..., 0] - 0.5]
    planes = [
        map_coordinates(picture[..., k].astype(np.float32), grid, order=1, mode="nearest") for k in range(3)
    ]
    return np.stack(planes, -1)


def _lay_over(frame: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    mixed = frame + alpha[..., None] * (above - frame)
    return mixed.round().clip(0, 255).astype(np.uint8)


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


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples to one ``.npz`` file, not compressed."""
    np.savez(path, **{field.name: getattr(samples, field.name) for field in fields(samples)})


def read_samples(path: Path) -> Samples:
    """Read samples that ``write_samples`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Samples(**{field.name: file[field.name] for field in fields(Samples)})
