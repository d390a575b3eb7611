"""One mode of an evaluation: every contestant on every pair of source and driving clip."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fomm.evaluation import summary
from fomm.evaluation.clips import read_clip
from fomm.evaluation.contestants import DRIVING, UNCHANGED, Contestant
from fomm.evaluation.faces import TRAITS
from fomm.evaluation.features import GaussianFit
from fomm.evaluation.gallery import Gallery, Strip, thin
from fomm.evaluation.measure import (
    Case,
    KnownFace,
    Measured,
    Tools,
    animation_case,
    measure,
    reconstruction_case,
)
from fomm.evaluation.pairs import Pair

RANKED_BY = {  # the smaller, the better
    "reconstruction": "L1 in the face, or of the frame where there is none",
    "animation": "1 less the mean correlation of yaw, pitch and roll",
}


@dataclass
class Course:
    """Keeps the numbers of all clips, and pictures of only a few."""

    mode: str
    contestants: list[Contestant]
    tools: Tools
    rows: list[dict[str, Measured]] = field(default_factory=list)
    exact: list[np.ndarray | None] = field(default_factory=list)
    clips: list[dict[str, Any]] = field(default_factory=list)
    fits: dict[str, dict[str, GaussianFit]] = field(default_factory=dict)
    gallery: Gallery = field(default_factory=Gallery)

    def run(self, pair: Pair) -> None:
        """Measure everything on one pair."""
        size = self.contestants[0].size
        aspect = size[1] / size[0]
        original = read_clip(pair.driving, aspect)
        clip = original.resized(*size)
        if self.mode == "reconstruction":
            first, case = original.frames[0], reconstruction_case(clip, self.tools)
        else:
            source = read_clip(pair.source, aspect)
            first, case = source.frames[0], animation_case(source.resized(*size), clip, self.tools)
        row, rows = {}, {"driving": thin(clip.frames)}
        for contestant in self.contestants:
            made = contestant.animate(first, original.frames, size, relative=not case.is_truth)
            row[contestant.label], frames = self._measure(contestant.label, case, made)
            rows[contestant.label] = thin(frames)
        still = itertools.repeat(case.source / np.float32(255), len(clip.frames))
        row[UNCHANGED], _ = self._measure(UNCHANGED, case, still, case.unchanged_face)
        driving = (frame / np.float32(255) for frame in clip.frames)
        row[DRIVING], _ = self._measure(DRIVING, case, driving, case.driving_face)
        self.gallery.add(Strip(self._score(row), len(self.rows), case.source, rows))
        self._keep(case, row)

    def _measure(
        self, label: str, case: Case, made: Iterable[np.ndarray], known: KnownFace | None = None
    ) -> tuple[Measured, np.ndarray]:
        return measure(case, made, self.tools, self.fits.setdefault(label, {}), known)

    def _keep(self, case: Case, row: dict[str, Measured]) -> None:
        # where a relative motion leads is not known exactly
        exact = case.clip.pose if case.is_truth else None
        self.rows.append(row)
        self.exact.append(exact)
        entry: dict[str, Any] = {
            "name": case.clip.name,
            "source": case.source_name,
            "frames": len(case.clip.frames),
            "results": {
                label: summary.of_clip(measured, row[DRIVING], exact) for label, measured in row.items()
            },
        }
        if exact is not None:
            entry["exact"] = {t: np.round(exact[:, axis], 4).tolist() for axis, t in enumerate(TRAITS[:3])}
        self.clips.append(entry)

    def _score(self, row: dict[str, Measured]) -> float:
        """What clips are ranked by, the best first: see ``ranked_by`` of the report."""
        measured = row[self.contestants[0].label]
        numbers = summary.of_clip(measured, row[DRIVING], None)
        if self.mode == "reconstruction":
            return numbers["l1"] if math.isnan(numbers["l1_face"]) else numbers["l1_face"]
        followed = np.array([numbers["correlation"][trait] for trait in TRAITS[:3]])
        return 2.0 if np.isnan(followed).all() else 1 - float(np.nanmean(followed))

    def result(self) -> dict[str, Any]:
        """The mode's part of the report."""
        return {
            "clips": len(self.rows),
            "frames": sum(len(row[DRIVING].found) for row in self.rows),
            "ranked_by": RANKED_BY[self.mode],
            "results": summary.of_list(self.rows, self.exact, self.fits),
            "by_clip": self.clips,
        }
