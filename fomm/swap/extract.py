"""Cut one person's faces out of a video, aligned and with masks, and leave out those that teach nothing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fomm.animation.progress import Progress, report_progress
from fomm.atomic import atomic_path, check_is_no_input, check_place
from fomm.errors import InputError, MediaError
from fomm.evaluation.metrics import sharpness
from fomm.face import face_identities
from fomm.face.mesh import POINTS, Mesh
from fomm.media import VideoReader
from fomm.swap.align import cut_face, fit_similarity, move_points
from fomm.swap.detectors import Detector
from fomm.swap.faces import SIZES, FaceSet, face_arrays, read_arrays, write_faces
from fomm.swap.masks import draw_masks
from fomm.swap.tracking import SAME_PERSON, FaceTracker, check_every

LARGEST = 2.5  # a face of which one pixel would become more than 2.5 pixels along a side counts as blurred
# A face whose sharpness is less than such a share of the median of all counts as blurred. The variance of the
# Laplacian falls to a tenth already where a picture is blurred by a Gaussian of one pixel.
BLURRED = 0.25
# A face whose identity lies farther than this from the median of the person's counts as covered. On the two
# portraits that ship a plain patch over the lower half gives 0.46 and 0.50, and over a third 0.31; mouths
# that open and heads that turn, on a real clip and the drawn one that ships, give 0.38 at most.
COVERED = 0.45
SAVE_EVERY = 50  # frames that were looked at between two saves of what is done


@dataclass(frozen=True)
class Extracted:
    """What became of the frames that were looked at."""

    kept: int
    blurred: int  # out of focus or smeared by motion, measured against the clip's other faces; or too small
    covered: int  # about half of the face or more, as by a hand
    foreign: int  # other people alone
    nobody: int  # without a face

    @property
    def looked_at(self) -> int:
        """How many frames were looked at."""
        return sum(getattr(self, field.name) for field in fields(self))


def extract_faces(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    every: int = 10,
    detector: Detector = "blazeface",
    size: int = 128,
    like: np.ndarray | None = None,
    progress: Progress = False,
) -> Extracted:
    """Write the faces of one person in a video to an ``.npz`` file, see ``FaceSet``.

    What is done is saved now and then in NAME.part.npz beside it, which goes away at the end. The same call
    takes it up after a stop, and its result is the same as without the stop.

    Args:
        video: see ``VideoReader``.
        out: NAME.npz. A file of that name is replaced.
        every: look at every so many frames, from the first on.
        detector: ``"blazeface"``, ``"mtcnn"`` or ``"haar"``.
        size: side of the pictures in pixels, one of ``SIZES``.
        like: 128 numbers, see ``face_identities``: the person meant. None: the largest face of the first
            frame that shows one.
        progress: whom to tell, of all frames of the video.

    Returns:
        How many faces were kept, and why others were not.

    Raises:
        InputError: an argument cannot be used, or no face could be kept.
        MediaError: the video cannot be read. FommError: the file cannot be written.
        MissingExtraError: the package of the detector cannot be loaded.
    """
    check_every(every)
    if size not in SIZES:
        raise InputError(f"size is {', '.join(map(str, SIZES))} pixels, not {size}")
    target = Path(out)
    if target.suffix.lower() != ".npz":
        raise InputError(f"{target} is no name of a file of faces; choose one that ends in .npz")
    check_place(target, InputError)
    check_is_no_input(target, {"video": video})
    part = target.with_suffix(".part.npz")
    with VideoReader(video) as reader:
        tracker = FaceTracker(reader.fps, detector=detector, like=like)
        job = describe_job(reader.path, every, detector, size, like)
        done = _Done(size)
        following = done.read(part, job, tracker)
        for number, frame in enumerate(report_progress(reader, reader.num_frames, progress)):
            if number < following or number % every:
                continue
            tracked = tracker.add(number, frame)
            if tracked.points is None:
                done.count(tracked.missing)
            else:
                done.add(number, frame, tracked.points)
            if sum(done.missing.values()) % SAVE_EVERY == 0:
                done.write(part, job, tracker, number + 1)
    if not done.missing["found"]:
        what = ", ".join(f"{count} {_WORDS[why]}" for why, count in done.missing.items() if count)
        raise InputError(
            f"{video}: no face could be taken from any of the frames looked at ({what or 'there are none'}); "
            "give a video that shows the person's face"
        )
    faces, identities, sharp = done.faces(), done.stack("identities"), done.stack("sharpness")
    person = np.median(identities, axis=0) if like is None else like
    foreign = np.linalg.norm(identities - person, axis=1) > SAME_PERSON
    own = np.median(identities[~foreign], axis=0) if not foreign.all() else person
    covered = ~foreign & (np.linalg.norm(identities - own, axis=1) > COVERED)
    blurred = ~foreign & ~covered & find_blurred(sharp, faces.transforms, ~foreign)
    kept = ~foreign & ~covered & ~blurred
    if not kept.any():
        raise InputError(
            f"{video}: of {len(faces)} faces {foreign.sum()} are other people's, {covered.sum()} are covered "
            f"and {blurred.sum()} are blurred or too small; give a sharper video, a smaller size, or the "
            "person meant"
        )
    write_faces(target, FaceSet(*(getattr(faces, field.name)[kept] for field in fields(FaceSet))))
    part.unlink(missing_ok=True)
    return Extracted(
        kept=int(kept.sum()),
        blurred=int(blurred.sum()),
        covered=done.missing["covered"] + int(covered.sum()),
        foreign=done.missing["foreign"] + int(foreign.sum()),
        nobody=done.missing["nobody"],
    )


_WORDS = {
    "found": "with the face",
    "nobody": "without a face",
    "foreign": "with other people alone",
    "covered": "with a covered face",
}


def find_blurred(sharp: np.ndarray, transforms: np.ndarray, of_person: np.ndarray) -> np.ndarray:
    """Return which faces are blurred, N bool.

    A face is blurred if its sharpness is below ``BLURRED`` times the median of the person's, or if the frame
    had so few pixels of it that each would become more than ``LARGEST`` pixels along a side.

    Args:
        sharp: N numbers, see ``measure_sharpness``.
        transforms: Nx2x3, from pixels of the frame to pixels of the picture.
        of_person: N bool: the faces of the person, of whom the median is taken.
    """
    enlarged = np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]) > LARGEST
    usual = float(np.median(sharp[of_person])) if of_person.any() else 0.0
    return enlarged | (sharp < BLURRED * usual)


def measure_sharpness(picture: np.ndarray) -> float:
    """Return the variance of the Laplacian in the middle half of an aligned picture, SxSx3 uint8.

    There are eyes, nose and mouth, and no background. A blur of half a pixel first takes the camera's noise.
    """
    quarter = len(picture) // 4
    middle = picture[quarter:-quarter, quarter:-quarter]
    return sharpness(middle / np.float32(255), blur=0.5)


def describe_job(path: Path, every: int, detector: str, size: int, like: np.ndarray | None) -> str:
    """Return what a part that is taken up must agree in, as one line."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    person = None if like is None else like.astype(float).tolist()
    return json.dumps([states, every, detector, size, person])


class _Done:
    """The faces taken so far, and how many frames gave none; kept in memory, and now and then in a file."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.missing = dict.fromkeys(_WORDS, 0)
        self._lists: dict[str, list[np.ndarray]] = {name: [] for name in self._shapes()}

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return shape and dtype of each array, of one face."""
        return {
            **face_arrays(self.size),
            "identities": ((128,), np.float32),
            "sharpness": ((), np.float64),
        }

    def count(self, missing: str) -> None:
        self.missing[missing] += 1

    def add(self, number: int, frame: np.ndarray, points: np.ndarray) -> None:
        """Cut out a face; ``points`` are 478x2 pixels of the frame."""
        transform = fit_similarity(points, self.size)
        picture = cut_face(frame, transform, self.size)
        moved = move_points(points, transform)
        flat = np.concatenate([points, np.zeros((POINTS, 1), np.float32)], axis=1)
        values = {
            "pictures": picture,
            "masks": draw_masks(moved, self.size),
            "points": moved,
            "transforms": transform,
            "frames": np.int64(number),
            "identities": face_identities([frame], [Mesh(flat, 1.0)])[0],
            "sharpness": np.float64(measure_sharpness(picture)),
        }
        for name, value in values.items():
            self._lists[name].append(value)
        self.count("found")

    def stack(self, name: str) -> np.ndarray:
        """Return one array of all faces, N first."""
        shape, dtype = self._shapes()[name]
        return np.array(self._lists[name], dtype).reshape(-1, *shape)

    def faces(self) -> FaceSet:
        """Return all faces that were found."""
        return FaceSet(*(self.stack(field.name) for field in fields(FaceSet)))

    def write(self, part: Path, job: str, tracker: FaceTracker, following: int) -> None:
        """Save all of it, and the tracker; ``following`` is the number of the next frame."""
        arrays: dict[str, Any] = {name: self.stack(name) for name in self._lists}
        arrays |= {f"tracker_{name}": array for name, array in tracker.state().items()}
        arrays["job"] = np.frombuffer(job.encode(), np.uint8)
        arrays["counts"] = np.array([following, *self.missing.values()], np.int64)
        with atomic_path(part) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **arrays)

    def read(self, part: Path, job: str, tracker: FaceTracker) -> int:
        """Take up what a stopped call saved, and return the number of the frame to go on with.

        A file of another job is not taken up, and neither is a damaged one.
        """
        if not part.is_file():
            return 0
        try:
            arrays = read_arrays(part)
            if arrays["job"].tobytes() != job.encode():
                return 0
            following, *counts = arrays["counts"].tolist()
            lists = {name: list(arrays[name]) for name in self._lists}
            tracker.restore(
                {
                    name[len("tracker_") :]: array
                    for name, array in arrays.items()
                    if name.startswith("tracker_")
                }
            )
        except (MediaError, KeyError, ValueError):
            return 0
        self.missing = dict(zip(_WORDS, counts, strict=True))
        self._lists = lists
        return int(following)
