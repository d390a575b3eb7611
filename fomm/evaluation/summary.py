"""Summarize the numbers of frames into those of a clip and of a whole list of clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fomm.evaluation import metrics
from fomm.evaluation.contestants import DRIVING, UNCHANGED
from fomm.evaluation.faces import TRAITS, compare_series, mean_of_known
from fomm.evaluation.features import GaussianFit
from fomm.evaluation.measure import Measurement

# For these, the report has the ratio to what the unchanged source measures.
ERRORS = ("l1", "l1_face", "perceptual_vgg19", "perceptual_efficientnet_lite0", "akd", "akd_mesh468")

Numbers = dict[str, Any]


def summarize_clip(measured: Measurement, driving: Measurement, exact: np.ndarray | None) -> Numbers:
    """Return the numbers of one result, and its series over time.

    Args:
        measured: the result's.
        driving: the driving clip's.
        exact: the true pose of the result, Tx3 in degrees, where it is known.
    """
    numbers = _means(measured.frames) | {"flicker": measured.flicker}
    numbers["correlation"] = {
        trait: metrics.correlation(driving.traits[trait], measured.traits[trait]) for trait in TRAITS
    }
    numbers["gain"] = {trait: metrics.gain(driving.traits[trait], measured.traits[trait]) for trait in TRAITS}
    if exact is not None:
        numbers["correlation_exact"] = {
            trait: metrics.correlation(exact[:, axis], measured.traits[trait])
            for axis, trait in enumerate(TRAITS[:3])
        }
    numbers["series"] = {trait: np.round(measured.traits[trait], 4).tolist() for trait in TRAITS}
    return numbers


def summarize_list(
    rows: Sequence[dict[str, Measurement]],
    exact: Sequence[np.ndarray | None],
    fits: dict[str, dict[str, GaussianFit]],
) -> dict[str, Numbers]:
    """Return the numbers of each contestant over the list, by its label.

    Args:
        rows: for each clip, what was measured on each contestant's result.
        exact: for each clip the true pose of the result, Tx3 in degrees, where it is known.
        fits: for each contestant, the features of each Fréchet distance.
    """
    table = {label: _of_contestant(label, rows, exact) for label in rows[0]}
    for label, numbers in table.items():
        reference = table[DRIVING]["flicker"]
        numbers["flicker_to_driving"] = numbers["flicker"] / reference if reference > 0 else math.nan
        if label != DRIVING:
            numbers |= _frechet_distances(fits[label], fits[DRIVING])
        if label not in (DRIVING, UNCHANGED):
            unchanged = table[UNCHANGED]
            numbers["ratio_to_unchanged"] = {
                name: numbers[name] / unchanged[name]
                for name in ERRORS
                if name in numbers and unchanged[name] > 0
            }
    return table


def _of_contestant(
    label: str, rows: Sequence[dict[str, Measurement]], exact: Sequence[np.ndarray | None]
) -> Numbers:
    """Return the numbers of one contestant over the list; the arguments are those of ``summarize_list``."""
    mine = [row[label] for row in rows]
    names = dict.fromkeys(name for row in mine for name in row.frames)  # in the order of measuring
    numbers = _means(
        {name: np.concatenate([row.frames[name] for row in mine if name in row.frames]) for name in names}
    )
    if "psnr" in numbers:
        # The mean of the clips' PSNRs: in a mean over frames, an exact one (100 dB) would outweigh others.
        numbers["psnr"] = mean_of_known(np.array([_means(row.frames)["psnr"] for row in mine]))
    numbers["flicker"] = mean_of_known(np.array([row.flicker for row in mine]))
    numbers["frames_without_face"] = int(sum((~row.found).sum() for row in mine))
    traits = [row.traits for row in mine]
    driving = [row[DRIVING].traits for row in rows]
    for name, compare in (("correlation", metrics.correlation), ("gain", metrics.gain)):
        numbers[name] = {
            trait: compare_series([of[trait] for of in driving], [of[trait] for of in traits], compare)
            for trait in TRAITS
        }
    posed = [(pose, series) for pose, series in zip(exact, traits, strict=True) if pose is not None]
    if posed:
        numbers["correlation_exact"] = {
            trait: compare_series(
                [pose[:, axis] for pose, _ in posed], [series[trait] for _, series in posed]
            )
            for axis, trait in enumerate(TRAITS[:3])
        }
    return numbers


def _means(frames: dict[str, np.ndarray]) -> Numbers:
    """Return the mean over frames of each number; the mean squared error becomes a PSNR."""
    numbers = {name: mean_of_known(values) for name, values in frames.items()}
    if "squared_error" in numbers:
        numbers["psnr"] = metrics.psnr(numbers.pop("squared_error"))
    return numbers


def _frechet_distances(result: dict[str, GaussianFit], driving: dict[str, GaussianFit]) -> Numbers:
    """Return the Fréchet distances between the features of results and of driving clips; nan for too few."""
    numbers = {}
    for name, fit in result.items():
        one, other = fit.result(), driving[name].result()
        numbers[name] = math.nan if one is None or other is None else metrics.frechet_distance(one, other)
    return numbers


def replace_nan(value: Any) -> Any:
    """Return ``value`` with None in place of nan, at any depth: JSON has no nan."""
    if isinstance(value, dict):
        return {key: replace_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
