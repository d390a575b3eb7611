"""Pairs of frames in which eyes shut, or a mouth opens, shuts or moves slightly.

Few random pairs show that, so networks learn it last. A configuration can ask for a share of such pairs.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.config import LABELS
from fomm.data.clips import read_arrays, sidecar_of
from fomm.errors import InputError
from fomm.model.openings import LIDS, LIPS

_SHUTS = 0.5  # a clip shows a change if its smallest gap is below this share of its largest
# Shares of the way from one end of a change to the other: sources lie at most at the first, driving frames at
# least at the second.
_BEFORE, _AFTER = 0.5, 0.75

# Of the 68 landmarks: the middles of the inner lips, which touch in a mouth that is shut, and their corners.
# The key points of the lips do not: they lie on the lips, whose thickness they add.
_INNER_LIPS, _INNER_CORNERS = (62, 66), (60, 64)
# Shares of the face's size, the root of the mean squared distance of its 68 landmarks from their middle. Of a
# drawn face of usual size in a picture of 256 pixels, 0.023 is a pixel.
_TOGETHER = 0.025  # lips are together if their gap is at most this
_APART = 0.1  # and apart, so that teeth show, if it is at least this
_SLIGHT = (0.025, 0.1)  # of a slight change: the least and the most that gap or width of a mouth differ


class Gaps(NamedTuple):
    """How far lids and lips are apart in the frames of each clip, as shares of the face's size."""

    lids: list[np.ndarray]  # for each clip T numbers, the mean of both eyes
    lips: list[np.ndarray]  # for each clip T numbers


class Mouth(NamedTuple):
    """The mouth in the T frames of a clip, as shares of the face's size."""

    gap: np.ndarray  # T numbers: of the inner lips
    width: np.ndarray  # T numbers: from corner to corner


def read_gaps(clips: list[Path]) -> Gaps:
    """Read the gaps from the true key points beside the clips.

    Raises:
        InputError: the points are not those of drawn heads.
        MediaError: a file is damaged.
    """
    gaps = Gaps([], [])
    for clip in clips:
        points = read_arrays(sidecar_of(clip), "keypoints")["keypoints"].astype(np.float64)
        if points.shape[1:] != (len(LABELS), 2):
            raise InputError(
                f"{sidecar_of(clip)} holds key points {points.shape}; dataset_params.shut_eyes and "
                f"open_mouths need those of `fomm data heads`, (T, {len(LABELS)}, 2): "
                "set them to 0 for others"
            )
        size = np.sqrt(points.var(axis=1).sum(axis=-1))
        lips, *lids = (
            np.linalg.norm(points[:, LABELS.index(upper)] - points[:, LABELS.index(lower)], axis=-1) / size
            for upper, lower in (LIPS, *LIDS)
        )
        gaps.lips.append(lips)
        gaps.lids.append(np.mean(lids, axis=0))
    return gaps


def read_mouths(clips: list[Path]) -> list[Mouth]:
    """Read the mouths from the 68 landmarks beside the clips.

    Raises:
        InputError: there are no such landmarks.
        MediaError: a file is damaged.
    """
    mouths = []
    for clip in clips:
        points = read_arrays(sidecar_of(clip), "landmarks")["landmarks"].astype(np.float64)
        if points.shape[1:] != (68, 2):
            raise InputError(
                f"{sidecar_of(clip)} holds landmarks {points.shape}; dataset_params.shut_mouths and "
                "slight_mouths need those of `fomm data heads`, (T, 68, 2): set them to 0 for others"
            )
        size = np.sqrt(points.var(axis=1).sum(axis=-1))
        gap, width = (
            np.linalg.norm(points[:, one] - points[:, other], axis=-1) / size
            for one, other in (_INNER_LIPS, _INNER_CORNERS)
        )
        mouths.append(Mouth(gap, width))
    return mouths


def find_gap_changes(gap: np.ndarray, *, opens: bool) -> np.ndarray:
    """Return which pairs of a clip's frames show that a gap opens, or shuts.

    Args:
        gap: T numbers, see ``Gaps``.
        opens: the gap opens from the source to the driving frame; else it shuts.

    Returns:
        TxT bools, of source and driving frame.
    """
    low, high = gap.min(), gap.max()
    if low >= _SHUTS * high:
        return np.zeros((len(gap), len(gap)), bool)
    way = (gap - low) / (high - low) if opens else (high - gap) / (high - low)
    return np.outer(way <= _BEFORE, way >= _AFTER)


def find_shutting_mouths(mouth: Mouth) -> np.ndarray:
    """Return which pairs of a clip's frames show lips that are apart and then together: TxT bools.

    Source frames come first.
    """
    return np.outer(mouth.gap >= _APART, mouth.gap <= _TOGETHER)


def find_slight_changes(mouth: Mouth) -> np.ndarray:
    """Return which pairs of a clip's frames show a mouth that changes slightly and is nearly shut: TxT bools.

    Lips part a little, or corners move a little, as in quiet speech and small smiles: by about one to four
    pixels of a picture of 256. Neither changes by more.
    """
    gap, width = (np.abs(np.subtract.outer(numbers, numbers)) for numbers in mouth)
    most = np.maximum(gap, width)
    nearly_shut = np.minimum.outer(mouth.gap, mouth.gap) < _APART
    return (most >= _SLIGHT[0]) & (most <= _SLIGHT[1]) & nearly_shut


class Changes:
    """The clips that show a change, and the pairs of their frames that do."""

    def __init__(self) -> None:
        self._clips: list[int] = []
        self._pairs: list[np.ndarray] = []

    def add(self, clip: int, shown: np.ndarray) -> None:
        """Add the clip of this number, if any of its pairs shows the change.

        Args:
            clip: its number.
            shown: TxT bools, of source and driving frame.
        """
        if shown.any():
            self._clips.append(clip)
            self._pairs.append(shown)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw pairs that show the change; there is at least one clip that does.

        Returns:
            ``count`` numbers of clips; and 2xcount places in [0, 1), of the source and the driving frame.
        """
        chosen = rng.integers(len(self._clips), size=count)
        places = np.empty((2, count))
        for column, shown in enumerate(self._pairs[index] for index in chosen):
            source = rng.choice(np.flatnonzero(shown.any(axis=1)))
            driving = rng.choice(np.flatnonzero(shown[source]))
            places[:, column] = (np.array((source, driving)) + 0.5) / len(shown)
        return np.array(self._clips)[chosen], places

    def __len__(self) -> int:
        """Return the number of clips that show the change."""
        return len(self._clips)
