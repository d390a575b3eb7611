"""Print the score of a result as text, and write it as a page with curves and frames."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import numpy as np

from fomm.evaluation.charts import draw_curves
from fomm.evaluation.page import embed_frames, format_document, format_key
from fomm.evaluation.report import align_columns
from fomm.evaluation.vocabulary import TRAIT_LABELS, format_number


class Line(NamedTuple):
    """What is said of one number of a score."""

    key: str  # its name in the JSON
    label: str
    factor: float  # from the number to what is shown
    digits: int  # after the point
    unit: str
    meaning: str  # one sentence


LINES = (
    Line(
        "breathing", "head's size, breathing", 100, 2, "%",
        "Variation of the head's size that the driver's does not explain; low is good.",
    ),
    Line(
        "silent_lips", "silent lips", 1, 2, "px",
        "How much further the gap of the result's inner lips ranges than the driver's at that size, in every "
        "half second in which the driver's keep still; low is good.",
    ),
    Line("silent_lids", "silent lids", 1, 2, "px", "The same of the lids."),
    Line(
        "sharpness_denoised", "sharpness, denoised", 1, 2, "",
        "Detail of the face over the photo's, after a blur of one pixel; near 1 is good.",
    ),
    Line("sharpness", "sharpness", 1, 2, "", "The same without the blur: noise counts as detail."),
    Line(
        "identity_to_photo", "identity to the photo", 1, 2, "",
        "Distance of identities; above 0.6 they count as two people.",
    ),
    Line(
        "identity_to_driving", "identity to the driver", 1, 2, "",
        "The same: the result should be far from the driver.",
    ),
    Line("frames_with_face", "frames with a face", 100, 0, "%", "Of the result; high is good."),
    Line(
        "driving_frames_with_face", "the driver's", 100, 0, "%",
        "Frames of the driving video in which the driver's face is seen.",
    ),
    Line(
        "straight_step", "cut-off", 1, 2, "sides",
        "The longest straight step in the change from the photo, in sides of the square around the photo's "
        "face; above a third, something is cut off.",
    ),
)  # fmt: skip
LABELS = TRAIT_LABELS | {"gaze_x": "gaze, across", "gaze_y": "gaze, down"}


def format_score(numbers: dict[str, Any]) -> str:
    """Return a score as text, from the dict that ``score`` returns."""
    rows = [["", "correlation", "gain"]]
    rows += [
        [LABELS[trait], *(format_number(numbers[key][trait], 2) for key in ("correlation", "gain"))]
        for trait in numbers["correlation"]
    ]
    values = [[line.label, _shown(line, numbers)] for line in LINES]
    title = f"{numbers['driving']} and {numbers['result']}: {numbers['frames']} frames"
    return "\n".join([title, *align_columns(rows), "", *align_columns(values)])


def _shown(line: Line, numbers: dict[str, Any]) -> str:
    value = numbers[line.key]
    text = format_number(None if value is None else value * line.factor, line.digits)
    return text if value is None or not line.unit else f"{text} {line.unit}"


def format_score_page(numbers: dict[str, Any], strips: dict[str, np.ndarray]) -> str:
    """Return a score as a page, HTML in one string.

    Args:
        numbers: what ``score`` returns.
        strips: for driver and result, by what they are called, a few frames, NxSxSx3 uint8.
    """
    cells = [
        f"<tr><td>{escape(LABELS[trait])}</td>"
        + "".join(f"<td>{format_number(numbers[key][trait], 3)}</td>" for key in ("correlation", "gain"))
        for trait in numbers["correlation"]
    ]
    followed = f"<table><tr><th></th><th>correlation</th><th>gain</th></tr>{'</tr>'.join(cells)}</tr></table>"
    looks = "".join(
        f"<tr><td>{escape(line.label)}</td><td>{_shown(line, numbers)}</td></tr>" for line in LINES
    )
    charts = [
        draw_curves(LABELS[trait], {"driver": of["driving"], "result": of["result"]})
        for trait, of in numbers["series"].items()
    ]
    rows = [f"<span>{escape(name)}</span>{embed_frames(frames)}" for name, frames in strips.items()]
    meanings = "".join(f"<dt>{escape(line.label)}</dt><dd>{escape(line.meaning)}</dd>" for line in LINES)
    photo = "" if numbers["photo"] is None else f", photo {escape(numbers['photo'])}"
    body = (
        f'<p class="dim">driven by {escape(numbers["driving"])}{photo}; {numbers["frames"]} frames at '
        f'{numbers["fps"]:g} a second</p><div class="wide">{followed}</div>'
        f'<div class="wide"><table>{looks}</table></div>'
        f"<h2>Driver and result over time</h2>{format_key(['driver', 'result'])}"
        f'<div class="charts">{"".join(charts)}</div>'
        f'<h2>Frames</h2><div class="wide"><div class="strip">{"".join(rows)}</div></div>'
        "<h2>What the numbers mean</h2><dl><dt>correlation</dt><dd>1 where the result moves when the driver "
        "does.</dd><dt>gain</dt><dd>How much of the driver's movement comes through: the slope of the result "
        f"over the driver, fitted by least squares.</dd>{meanings}</dl>"
    )
    return format_document(escape(numbers["result"]), body)
