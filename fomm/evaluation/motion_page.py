"""Write what a face does over the frames of a video, as a table or as a page with curves."""

from __future__ import annotations

import csv
import os
from html import escape
from pathlib import Path

from fomm.animation.template import Template
from fomm.animation.units import measure_units
from fomm.atomic import atomic_path, check_place
from fomm.errors import InputError
from fomm.evaluation.charts import draw_curves
from fomm.evaluation.page import format_document

_UNITS = {"yaw": "degrees", "pitch": "degrees", "roll": "degrees"}


def check_description_name(path: str | os.PathLike[str]) -> Path:
    """Return the path of a description to write; raise InputError if it can be none."""
    target = Path(path)
    if target.suffix.lower() not in (".csv", ".html"):
        raise InputError(f"cannot write {path}: the suffix must be .csv or .html")
    check_place(target, InputError)
    return target


def write_description(path: str | os.PathLike[str], template: Template, name: str) -> None:
    """Write the numbers of ``measure_units`` for each frame, as .csv or .html, whole or not at all.

    Frames that show no face have empty cells. ``name``: of the video, for the page. Raises InputError.
    """
    target = check_description_name(path)
    units = measure_units(template.motion)
    rows = [
        [float(values[number]) if template.presence.is_seen(number) else None for values in units.values()]
        for number in range(template.num_frames)
    ]
    with atomic_path(target, InputError) as temporary:
        try:
            if target.suffix.lower() == ".html":
                temporary.write_text(_format_page(list(units), rows, name), encoding="utf-8")
                return
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(["frame", "seconds", *units])
                for number, row in enumerate(rows):
                    cells = ["" if value is None else f"{value:.3f}" for value in row]
                    table.writerow([number, f"{number / template.fps:.3f}", *cells])
        except OSError as reason:
            raise InputError(f"cannot write {target}: {reason.strerror or reason}") from reason


def _format_page(units: list[str], rows: list[list[float | None]], name: str) -> str:
    charts = ""
    for place, unit in enumerate(units):
        title = f"{unit}, {_UNITS[unit]}" if unit in _UNITS else unit
        charts += draw_curves(title, {unit: [row[place] for row in rows]})
    return format_document(f"What the face does in {escape(name)}", f'<div class="charts">{charts}</div>')
