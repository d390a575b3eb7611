"""Pairs of frames in which eyes shut or a mouth opens: rare among random pairs, so learnt last."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fomm.config import LABELS
from fomm.data.clips import read_arrays, sidecar_of
from fomm.errors import InputError
from fomm.model.openings import LIDS, LIPS

_SHUTS = 0.5  # a clip shows a change where its smallest gap is below so much of its largest
_BEFORE, _AFTER = 0.5, 0.75  # of the way from one to the other: a source is not beyond, a driving frame is


class Gaps(NamedTuple):
    """How far lids and lips are apart in the frames of each clip, of the face's size."""

    lids: list[np.ndarray]
    lips: list[np.ndarray]


def read_gaps(clips: list[Path]) -> Gaps:
    """From the true key points beside the clips.

    Raises:
        InputError: they are not those of drawn heads.
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


class Changes:
    """The clips in which a gap opens, or shuts, and the frames from and to which it does."""

    def __init__(self, gaps: list[np.ndarray], *, opens: bool) -> None:
        self._clips: list[int] = []
        self._frames: list[tuple[np.ndarray, np.ndarray]] = []  # sources and driving ones
        for clip, gap in enumerate(gaps):
            low, high = gap.min(), gap.max()
            if low >= _SHUTS * high:
                continue
            way = (gap - low) / (high - low) if opens else (high - gap) / (high - low)
            place = (np.arange(len(gap)) + 0.5) / len(gap)
            self._clips.append(clip)
            self._frames.append((place[way <= _BEFORE], place[way >= _AFTER]))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of clips, and 2 places in each, in [0, 1): source and driving frame; 2xcount."""
        chosen = rng.integers(len(self._clips), size=count)
        places = [[rng.choice(frames) for frames in self._frames[index]] for index in chosen]
        return np.array(self._clips)[chosen], np.array(places).T

    def __len__(self) -> int:
        return len(self._clips)
