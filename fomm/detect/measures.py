"""Say how good a detector is: pure functions of its answers and the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def area_under_curve(scores: np.ndarray, changed: np.ndarray) -> float:
    """Return how often a changed one has a higher score than an untouched one; ties count half.

    This is the area under the curve of true alarms over false ones (ROC). nan where a class is empty.

    Args:
        scores: N. changed: N bool.
    """
    from scipy.stats import rankdata

    ones, zeros = int(changed.sum()), int((~changed).sum())
    if not ones or not zeros:
        return float("nan")
    return float((rankdata(scores)[changed].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def equal_error_rate(scores: np.ndarray, changed: np.ndarray) -> float:
    """Return the share of errors at the threshold where both classes have as many; nan for an empty class.

    Between two thresholds it is interpolated.

    Args:
        scores: N. changed: N bool.
    """
    if changed.all() or not changed.any():
        return float("nan")
    thresholds = np.concatenate([np.unique(scores), [np.inf]])
    false = np.array([(scores[~changed] >= t).mean() for t in thresholds])  # falls from 1 to 0
    missed = np.array([(scores[changed] < t).mean() for t in thresholds])  # rises from 0 to 1
    last = int(np.argmax(missed >= false))
    if last == 0 or missed[last] == false[last]:
        return float((missed[last] + false[last]) / 2)
    gap, after = false[last - 1] - missed[last - 1], false[last] - missed[last]
    share = gap / (gap - after)
    return float(missed[last - 1] + share * (missed[last] - missed[last - 1]))


def overlap(found: np.ndarray, changed: np.ndarray) -> float:
    """Return intersection over union of two areas, bool of one shape; nan where both are empty."""
    union = int((found | changed).sum())
    return float((found & changed).sum() / union) if union else float("nan")


class Bin(NamedTuple):
    """Answers of about the same probability."""

    stated: float  # their mean probability
    found: float  # the share of them that was changed
    size: int  # how many


def reliability(probabilities: np.ndarray, changed: np.ndarray, bins: int = 5) -> list[Bin]:
    """Return what was stated and what was found, in equal ranges of the probability that hold any.

    Both classes weigh the same in ``found``, as the calibration assumes.

    Args:
        probabilities: N in [0, 1]. changed: N bool, both classes. bins: ranges of [0, 1].
    """
    weights, places = _sort_into_bins(probabilities, changed, bins)
    answers = []
    for place in np.unique(places):
        here = places == place
        share = weights[here] / weights[here].sum()
        answers.append(
            Bin(
                float((share * probabilities[here]).sum()),
                float((share * changed[here]).sum()),
                int(here.sum()),
            )
        )
    return answers


def calibration_error(probabilities: np.ndarray, changed: np.ndarray, bins: int = 5) -> float:
    """Return the mean distance of stated and found (expected calibration error), both classes equally."""
    weights, places = _sort_into_bins(probabilities, changed, bins)
    answers = reliability(probabilities, changed, bins)
    return float(
        sum(
            abs(answer.stated - answer.found) * weights[places == place].sum()
            for place, answer in zip(np.unique(places), answers, strict=True)
        )
    )


def _sort_into_bins(
    probabilities: np.ndarray, changed: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of each answer, by which both classes weigh the same, and the number of its bin."""
    weights = np.where(changed, 0.5 / max(changed.sum(), 1), 0.5 / max((~changed).sum(), 1))
    return weights, np.minimum((probabilities * bins).astype(int), bins - 1)
