"""Squares around faces, and what is known of them: what the detector is trained and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

# How a clip was made. ``animated`` is by the driver's mesh, ``animated-keypoints`` by the networks' own key
# points, ``pasted`` another person's face laid over, ``blended`` the picture blended with a changed copy of
# itself, ``swapped`` comes from a folder, see ``read_swapped`` in ``data.py``.
KINDS = ("untouched", "animated", "animated-keypoints", "pasted", "blended", "swapped")
CHANGED = KINDS[1:]


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


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples to one ``.npz`` file, not compressed."""
    np.savez(path, **{field.name: getattr(samples, field.name) for field in fields(samples)})


def read_samples(path: Path) -> Samples:
    """Read samples that ``write_samples`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Samples(**{field.name: file[field.name] for field in fields(Samples)})
