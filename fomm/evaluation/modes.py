"""Evaluate in one mode: measure every contestant on every pair of source and driving clip."""

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
from fomm.evaluation.gallery import Gallery, Strip, pick_frames
from fomm.evaluation.measure import (
    Case,
    KnownFace,
    Measurement,
    MetricNetworks,
    measure,
    prepare_animation,
    prepare_reconstruction,
)
from fomm.evaluation.pairs import Pair

MODES = ("reconstruction", "animation")
RANKED_BY = {  # the smaller, the better
    "reconstruction": "L1 in the face, or of the frame where there is none",
    "animation": "1 less the mean correlation of yaw, pitch and roll",
}


@dataclass
class ModeEvaluation:
    """The evaluation in one mode; it keeps the numbers of all clips, and pictures of a few."""

    mode: str  # one of ``MODES``
    contestants: list[Contestant]
    networks: MetricNetworks
    rows: list[dict[str, Measurement]] = field(default_factory=list)  # of each pair, by contestant
    exact: list[np.ndarray | None] = field(default_factory=list)  # of each pair, the true pose, Tx3
    clips: list[dict[str, Any]] = field(default_factory=list)  # ``by_clip`` of the report
    fits: dict[str, dict[str, GaussianFit]] = field(default_factory=dict)  # by contestant and distance
    gallery: Gallery = field(default_factory=Gallery)

    def measure_pair(self, pair: Pair) -> None:
        """Measure the results of all contestants, and the two baselines, on one pair."""
        size = self.contestants[0].size
        aspect = size[1] / size[0]
        original = read_clip(pair.driving, aspect)
        clip = original.resize(*size)
        if self.mode == "reconstruction":
            first, case = original.frames[0], prepare_reconstruction(clip, self.networks)
        else:
            source = read_clip(pair.source, aspect)
            first, case = source.frames[0], prepare_animation(source.resize(*size), clip, self.networks)
        row, rows = {}, {"driving": pick_frames(clip.frames)}
        for contestant in self.contestants:
            made = contestant.animate(first, original.frames, size, relative=not case.is_truth)
            row[contestant.label], frames = self._measure(contestant.label, case, made)
            rows[contestant.label] = pick_frames(frames)
        still = itertools.repeat(case.source / np.float32(255), len(clip.frames))
        row[UNCHANGED], _ = self._measure(UNCHANGED, case, still, case.unchanged_face)
        driving = (frame / np.float32(255) for frame in clip.frames)
        row[DRIVING], _ = self._measure(DRIVING, case, driving, case.driving_face)
        self.gallery.add(Strip(self._score(row), len(self.rows), case.source, rows))
        self._keep(case, row)

    def _measure(
        self, label: str, case: Case, made: Iterable[np.ndarray], known: KnownFace | None = None
    ) -> tuple[Measurement, np.ndarray]:
        """Measure one result; ``label`` names whose it is."""
        return measure(case, made, self.networks, self.fits.setdefault(label, {}), known)

    def _keep(self, case: Case, row: dict[str, Measurement]) -> None:
        """Add the numbers of one pair, by contestant, to those of the list."""
        # With relative motion, as in animation, nobody knows the exact pose of the result.
        exact = case.clip.pose if case.is_truth else None
        self.rows.append(row)
        self.exact.append(exact)
        entry: dict[str, Any] = {
            "name": case.clip.name,
            "source": case.source_name,
            "frames": len(case.clip.frames),
            "results": {
                label: summary.summarize_clip(measured, row[DRIVING], exact)
                for label, measured in row.items()
            },
        }
        if exact is not None:
            entry["exact"] = {t: np.round(exact[:, axis], 4).tolist() for axis, t in enumerate(TRAITS[:3])}
        self.clips.append(entry)

    def _score(self, row: dict[str, Measurement]) -> float:
        """Return the number that clips are ranked by, the smaller the better: ``ranked_by`` of the report."""
        measured = row[self.contestants[0].label]
        numbers = summary.summarize_clip(measured, row[DRIVING], None)
        if self.mode == "reconstruction":
            return numbers["l1"] if math.isnan(numbers["l1_face"]) else numbers["l1_face"]
        correlations = np.array([numbers["correlation"][trait] for trait in TRAITS[:3]])
        return 2.0 if np.isnan(correlations).all() else 1 - float(np.nanmean(correlations))

    def summarize(self) -> dict[str, Any]:
        """Return the mode's part of the report."""
        return {
            "clips": len(self.rows),
            "frames": sum(len(row[DRIVING].found) for row in self.rows),
            "ranked_by": RANKED_BY[self.mode],
            "results": summary.summarize_list(self.rows, self.exact, self.fits),
            "by_clip": self.clips,
        }
