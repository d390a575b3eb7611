"""Print the numbers of an evaluation in a few lines of text."""

from typing import Any

from fomm.evaluation.contestants import DRIVING
from fomm.evaluation.modes import MODES
from fomm.evaluation.vocabulary import format_correlation, format_number, known_metrics


def format_text(report: dict[str, Any]) -> str:
    """Return the numbers over the whole list as text, from the dict that ``runner.evaluate`` returns."""
    checkpoint = report["checkpoint"]
    lines = [f"{checkpoint['label']}: {checkpoint['file']}, sha256 {checkpoint['sha256'][:12]}"]
    for mode in MODES:
        if mode in report:
            part = report[mode]
            lines += ["", f"{mode}: {part['clips']} clips, {part['frames']} frames"]
            lines += _table(part["results"])
            lines += ["correlation with the driving clip, less each clip's mean (median of clips)"]
            lines += _followed(part["results"], "correlation")
            lines += ["gain: the result's movement over the driving clip's, in the same form"]
            lines += _followed(part["results"], "gain")
    lines += ["", *(f"not measured: {name} ({reason})" for name, reason in report["absent"].items())]
    return "\n".join(lines)


def _table(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines with the numbers, a column for each contestant."""
    rows = [["", *results]]
    for word in known_metrics(results):
        rows.append(
            [word.label, *(format_number(numbers.get(word.key), word.digits) for numbers in results.values())]
        )
    missing = [str(numbers["frames_without_face"]) for numbers in results.values()]
    return align_columns([*rows, ["frames without a face", *missing]])


def _followed(results: dict[str, dict[str, Any]], key: str) -> list[str]:
    """Return the lines that say how the motion is followed, a column for each contestant.

    ``key`` is ``"correlation"`` or ``"gain"``.
    """
    shown = {label: numbers[key] for label, numbers in results.items() if label != DRIVING}
    rows = []
    for trait in next(iter(shown.values())):
        rows.append([trait, *(format_correlation(found[trait]) for found in shown.values())])
    return align_columns([["", *shown], *rows])


def align_columns(rows: list[list[str]]) -> list[str]:
    """Return the lines of a table: the first column flush left, the others flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
