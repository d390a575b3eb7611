"""Tell what a scan found: as text, as JSON, and as a page with heat maps, curves and the signs."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from fomm.detect.scan import LIMITS, Scan, read_card
from fomm.detect.signs import Sign
from fomm.evaluation.charts import draw_curves
from fomm.evaluation.page import embed_frames, format_document
from fomm.evaluation.report import align_columns
from fomm.evaluation.vocabulary import format_number
from fomm.marks import describe_inspection

_MEANING = "the network's probability that the face was changed, if every second clip like its own were"


def format_scan(scan: Scan) -> str:
    """Return a scan as text. What it cannot do comes first."""
    rows = [["sign", "found", "usual", ""]]
    rows += [
        [sign.label, _value(sign), _usual(sign), "" if sign.is_usual is not False else "unusual"]
        for sign in scan.signs
    ]
    changed, *limits = describe_changes(scan)
    lines = [*limits, "", f"{scan.name}: {_size(scan)}", changed]
    if scan.signs:
        lines += ["", *align_columns(rows)]
    return "\n".join([*lines, "", *describe_inspection(scan.origin)])


def describe_changes(scan: Scan) -> list[str]:
    """Return what the network says, what it cannot do, and how often it errs: a line each."""
    return [f"changed:     {_number(scan)}, {_MEANING}", LIMITS, _errors()]


def to_facts(scan: Scan) -> dict[str, Any]:
    """Return a scan as numbers and words for JSON; the marks of origin are ``fomm inspect``'s."""
    return {
        "limits": LIMITS,
        "file": scan.name,
        "frames": scan.frames,
        "frames_with_face": scan.frames_with_face,
        "fps": scan.fps,
        "probability": None if scan.probability is None else round(scan.probability, 4),
        "looks": [look._asdict() for look in scan.looks],
        "signs": [sign._asdict() | {"is_usual": sign.is_usual} for sign in scan.signs],
        "origin": describe_inspection(scan.origin),
        "measured": read_card(),
    }


def format_scan_page(scan: Scan) -> str:
    """Return a scan as a page, HTML in one string that loads nothing from elsewhere."""
    strips = "".join(
        f"<figure><figcaption>frame {shown.look.frame}: {100 * shown.look.probability:.0f} %; "
        f"{100 * shown.look.flagged:.0f} % of the square flagged</figcaption>"
        f"{embed_frames(np.stack([shown.picture, lay_heat_over(shown.picture, shown.heat)]))}</figure>"
        for shown in scan.shown
    )
    chart = draw_curves("probability of a change", {"": [look.probability for look in scan.looks]})
    body = (
        f"<p><b>{escape(LIMITS)}</b></p><p>{escape(_errors())}</p>"
        f'<p class="dim">{escape(_size(scan))}</p>'
        f"<p>Changed: <b>{_number(scan)}</b>, {_MEANING}.</p>"
        f"<h2>What the file says of itself</h2>"
        + "".join(f'<p class="origin">{escape(line)}</p>' for line in describe_inspection(scan.origin))
        + (_signs_section(scan.signs) if scan.signs else "")
        + "<h2>Where the network sees changes</h2><p>Left the frame, right the same with what both branches "
        "flag, from yellow (a probability of 0.3) to red (1).</p>"
        f'<div class="charts">{chart}</div><div class="scan">{strips}</div>'
    )
    return format_document(f"{escape(scan.name)}: was the face changed?", body)


def lay_heat_over(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return a picture, HxWx3 uint8, with a heat map (HxW in [0, 1]) laid over: yellow at 0.3, red at 1."""
    strength = ((heat - 0.3) / 0.7).clip(0, 1)[..., None]
    colour = np.concatenate([np.full_like(strength, 255.0), 220 * (1 - strength), np.zeros_like(strength)], 2)
    alpha = 0.6 * (heat >= 0.3)[..., None]
    grey = picture.mean(2, keepdims=True) * 0.5 + picture * 0.5
    return (grey + alpha * (colour - grey)).round().clip(0, 255).astype(np.uint8)


def _signs_section(signs: list[Sign]) -> str:
    cells = "".join(
        f"<tr><td>{escape(sign.label)}</td><td>{_value(sign)}</td><td>{_usual(sign)}</td>"
        f"<td>{'unusual' if sign.is_usual is False else ''}</td></tr>"
        for sign in signs
    )
    meanings = "".join(
        f"<dt>{escape(sign.label)}</dt><dd>Usual: {escape(sign.source)} {escape(sign.limit)}</dd>"
        for sign in signs
    )
    return (
        '<h2>Signs</h2><div class="wide"><table><tr><th>sign</th><th>found</th><th>usual</th><th></th></tr>'
        f"{cells}</table></div><dl>{meanings}</dl>"
    )


def _value(sign: Sign) -> str:
    text = format_number(sign.value, 2 if abs(sign.value or 0) < 10 else 0)
    return text if sign.value is None or not sign.unit else f"{text} {sign.unit}"


def _usual(sign: Sign) -> str:
    return "anything" if sign.usual is None else f"{sign.usual[0]:g} to {sign.usual[1]:g}"


def _size(scan: Scan) -> str:
    if scan.fps is None:
        return "a picture"
    return f"{scan.frames} frames at {scan.fps:g} a second, {scan.frames_with_face} with a face"


def _number(scan: Scan) -> str:
    return "not measured" if scan.probability is None else f"{100 * scan.probability:.0f} %"


def _errors() -> str:
    """Return one sentence on the errors of the weights that ship."""
    card = read_card()
    real = "; ".join(f"{item['name']}: {100 * item['probability']:.0f} %" for item in card["untouched"])
    return (
        f"On drawn test clips it errs in {100 * card['clips']['equal_error_rate']:.0f} of 100. "
        f"Clips and pictures that nobody changed got {real}."
    )
