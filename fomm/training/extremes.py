"""Pairs of frames in which eyes shut or a mouth opens.

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


class Gaps(NamedTuple):
    """How far lids and lips are apart in the frames of each clip, as shares of the face's size."""

    lids: list[np.ndarray]  # for each clip T numbers, the mean of both eyes
    lips: list[np.ndarray]  # for each clip T numbers


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


class GapChanges:
    """The clips in which a gap opens, or shuts, and the frames before and after that.

    Args:
        gaps: one array for each clip, see ``Gaps``.
        opens: the gap opens from the source to the driving frame; else it shuts.
    """

    def __init__(self, gaps: list[np.ndarray], *, opens: bool) -> None:
        self._clips: list[int] = []
        self._frames: list[tuple[np.ndarray, np.ndarray]] = []  # places of sources and of driving ones
        for clip, gap in enumerate(gaps):
            low, high = gap.min(), gap.max()
            if low >= _SHUTS * high:
                continue
            way = (gap - low) / (high - low) if opens else (high - gap) / (high - low)
            place = (np.arange(len(gap)) + 0.5) / len(gap)
            self._clips.append(clip)
            self._frames.append((place[way <= _BEFORE], place[way >= _AFTER]))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw pairs that show the change; there is at least one clip that does.

        Returns:
            ``count`` numbers of clips; and 2xcount places in [0, 1), of the source and the driving frame.
        """
        chosen = rng.integers(len(self._clips), size=count)
        places = [[rng.choice(frames) for frames in self._frames[index]] for index in chosen]
        return np.array(self._clips)[chosen], np.array(places).T

    def __len__(self) -> int:
        """Return the number of clips that show the change."""
        return len(self._clips)
