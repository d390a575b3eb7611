"""From the numbers of frames to those of a clip and of a whole list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fomm.evaluation import metrics
from fomm.evaluation.contestants import DRIVING, UNCHANGED
from fomm.evaluation.faces import TRAITS, followed, mean_of
from fomm.evaluation.features import GaussianFit
from fomm.evaluation.measure import Measured

# In these the result is compared with showing the source unchanged.
ERRORS = ("l1", "l1_face", "perceptual_vgg19", "perceptual_efficientnet_lite0", "akd", "akd_mesh468")

Numbers = dict[str, Any]


def of_clip(measured: Measured, driving: Measured, exact: np.ndarray | None) -> Numbers:
    """The numbers of one result, with its series over time; ``exact`` Tx3 is the true pose, if known."""
    numbers = _means(measured.frames) | {"flicker": measured.flicker}
    numbers["correlation"] = {
        trait: metrics.correlation(driving.traits[trait], measured.traits[trait]) for trait in TRAITS
    }
    if exact is not None:
        numbers["correlation_exact"] = {
            trait: metrics.correlation(exact[:, axis], measured.traits[trait])
            for axis, trait in enumerate(TRAITS[:3])
        }
    numbers["series"] = {trait: np.round(measured.traits[trait], 4).tolist() for trait in TRAITS}
    return numbers


def of_list(
    rows: Sequence[dict[str, Measured]],
    exact: Sequence[np.ndarray | None],
    fits: dict[str, dict[str, GaussianFit]],
) -> dict[str, Numbers]:
    """The numbers of each contestant over the list.

    Args:
        rows: for each clip, what was measured on each contestant's result.
        exact: for each clip the true pose of the result, Tx3, where it is known.
        fits: of each contestant, the features for each Fréchet distance.
    """
    table = {label: _of_contestant(label, rows, exact) for label in rows[0]}
    for label, numbers in table.items():
        reference = table[DRIVING]["flicker"]
        numbers["flicker_to_driving"] = numbers["flicker"] / reference if reference > 0 else math.nan
        if label != DRIVING:
            numbers |= _frechet(fits[label], fits[DRIVING])
        if label not in (DRIVING, UNCHANGED):
            unchanged = table[UNCHANGED]
            numbers["ratio_to_unchanged"] = {
                name: numbers[name] / unchanged[name]
                for name in ERRORS
                if name in numbers and unchanged[name] > 0
            }
    return table


def _of_contestant(
    label: str, rows: Sequence[dict[str, Measured]], exact: Sequence[np.ndarray | None]
) -> Numbers:
    mine = [row[label] for row in rows]
    names = dict.fromkeys(name for row in mine for name in row.frames)  # in the order they were measured in
    numbers = _means(
        {name: np.concatenate([row.frames[name] for row in mine if name in row.frames]) for name in names}
    )
    if "psnr" in numbers:  # a picture that is exactly right would outweigh all others
        numbers["psnr"] = mean_of(np.array([_means(row.frames)["psnr"] for row in mine]))
    numbers["flicker"] = mean_of(np.array([row.flicker for row in mine]))
    numbers["frames_without_face"] = int(sum((~row.found).sum() for row in mine))
    traits = [row.traits for row in mine]
    driving = [row[DRIVING].traits for row in rows]
    numbers["correlation"] = {
        trait: followed([series[trait] for series in driving], [series[trait] for series in traits])
        for trait in TRAITS
    }
    posed = [(pose, series) for pose, series in zip(exact, traits, strict=True) if pose is not None]
    if posed:
        numbers["correlation_exact"] = {
            trait: followed([pose[:, axis] for pose, _ in posed], [series[trait] for _, series in posed])
            for axis, trait in enumerate(TRAITS[:3])
        }
    return numbers


def _means(frames: dict[str, np.ndarray]) -> Numbers:
    """The mean over frames of each number; the squared error becomes the PSNR of the whole."""
    numbers = {name: mean_of(values) for name, values in frames.items()}
    if "squared_error" in numbers:
        numbers["psnr"] = metrics.psnr(numbers.pop("squared_error"))
    return numbers


def _frechet(result: dict[str, GaussianFit], driving: dict[str, GaussianFit]) -> Numbers:
    numbers = {}
    for name, fit in result.items():
        one, other = fit.result(), driving[name].result()
        numbers[name] = math.nan if one is None or other is None else metrics.frechet_distance(one, other)
    return numbers


def without_nan(value: Any) -> Any:
    """JSON knows no nan: None in its place, at any depth."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
