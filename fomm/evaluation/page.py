"""Write the report of an evaluation as one HTML file without scripts, that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from fomm.evaluation.charts import Series, draw_curves, draw_histogram
from fomm.evaluation.contestants import DRIVING, UNCHANGED
from fomm.evaluation.faces import TRAITS
from fomm.evaluation.gallery import Gallery, Strip
from fomm.evaluation.style import STYLE
from fomm.evaluation.vocabulary import TRAIT_LABELS, format_correlation, format_number, known_metrics

COLOURS = 6  # the classes s0 to s5 of the style sheet
ARROWS = {"low": "↓", "high": "↑", "one": "→1", "": ""}
INTRODUCTIONS = {
    "reconstruction": "The first frame of a clip is the source; the clip itself moves it, and is the truth.",
    "animation": "The first frame of another clip is the source; a clip moves it. There is no truth "
    "to compare with, but the motion should be the driving clip's, and the person the source's.",
}
HISTOGRAMS = ("l1_face", "l1", "ssim", "akd_mesh468", "identity_to_source", "sharpness_denoised", "flicker")


def format_html(report: dict[str, Any], galleries: dict[str, Gallery]) -> str:
    """Return the page, HTML in one string.

    Args:
        report: what ``runner.evaluate`` returns.
        galleries: for each mode in it, the clips that are shown.
    """
    label = escape(report["checkpoint"]["label"])
    sections = [_mode_section(mode, report[mode], galleries[mode], report) for mode in galleries]
    return format_document(
        f"{label}: evaluation", f"{_origin(report)}\n{''.join(sections)}\n{_meanings(report, galleries)}"
    )


def format_document(title: str, body: str) -> str:
    """Return a whole page; ``title``, which is its heading too, and ``body`` are HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{title}</h1>\n{body}</body></html>\n"
    )


def _origin(report: dict[str, Any]) -> str:
    """Return the lines that say where the numbers come from."""
    data, versions = report["data"], report["versions"]
    lines = [
        f"{escape(item['label'])}: {escape(item['file'])}, sha256 <code>{escape(item['sha256'])}</code>"
        for item in (report["checkpoint"], *report["against"])
    ]
    height, width = report["size"]
    lines.append(
        f"{data['clips']} clips, sha256 of the list <code>{escape(data['sha256'])}</code>; compared at "
        f"{width}x{height} pixels; seed {report['seed']}"
    )
    if report["pairs"]:
        lines.append(
            f"pairs: {escape(report['pairs']['file'])}; "
            f"{len(report['pairs']['absent_clips'])} clips of the list are not in the data"
        )
    known = ", ".join(f"{escape(name)} {escape(version)}" for name, version in versions.items())
    lines.append(f"{known}; on {escape(report['device'])}")
    lines += [f"not measured: {escape(name)} ({escape(why)})" for name, why in report["absent"].items()]
    return "".join(f'<p class="dim origin">{line}</p>' for line in lines)


def _mode_section(mode: str, part: dict[str, Any], gallery: Gallery, report: dict[str, Any]) -> str:
    """Return the section of one mode; ``part`` is its part of the report."""
    own = report["checkpoint"]["label"]
    others = [item["label"] for item in report["against"]]
    shown = [("Best", strip) for strip in gallery.best] + [("Worst", strip) for strip in gallery.worst]
    size = f"{part['clips']} clips, {part['frames']} frames."
    return (
        f"<h2>{mode.capitalize()}</h2><p>{INTRODUCTIONS[mode]} {size}</p>"
        + _table(part["results"], own)
        + _correlations(part["results"], own)
        + f"<h3>Spread over the clips</h3>{format_key([UNCHANGED, own, *others])}"
        + _histograms(part["by_clip"], [UNCHANGED, own, *others])
        + f"<h3>The best and the worst clips, by {escape(part['ranked_by'])}</h3>"
        + "".join(_clip(rank, strip, part["by_clip"][strip.index], [own, *others]) for rank, strip in shown)
    )


def _cells(values: Iterable[str], labels: Sequence[str], own: str, tag: str = "td") -> str:
    """Return the cells of a row, in columns of ``labels``; the column ``own`` is marked."""
    pairs = zip(values, labels, strict=True)
    return "".join(
        f'<{tag} class="own">{value}</{tag}>' if label == own else f"<{tag}>{value}</{tag}>"
        for value, label in pairs
    )


def _as_table(note: str, rows: Iterable[tuple[str, Iterable[str]]], labels: list[str], own: str) -> str:
    """Return a line of text and a table with a column for each label; rows are name and cells, as HTML."""
    lines = [f"<tr><th></th>{_cells(map(escape, labels), labels, own, 'th')}</tr>"]
    lines += [f"<tr><td>{name}</td>{_cells(cells, labels, own)}</tr>" for name, cells in rows]
    return f'<p class="note">{note}</p><div class="wide"><table>{"".join(lines)}</table></div>'


def _table(results: dict[str, dict[str, Any]], own: str) -> str:
    """Return the table of numbers over the list, a column for each contestant."""
    rows = [
        (
            f"{escape(metric.label)} {ARROWS[metric.better]}",
            [
                _cell(format_number(item.get(metric.key), metric.digits), item, metric.key)
                for item in results.values()
            ],
        )
        for metric in known_metrics(results)
    ]
    rows.append(
        (
            "frames without a face",
            [_cell(str(item["frames_without_face"]), item) for item in results.values()],
        )
    )
    note = "↓ lower is better, ↑ higher is better, →1 as the source; in brackets, of the unchanged source's."
    return _as_table(note, rows, list(results), own)


def _cell(text: str, numbers: dict[str, Any], key: str = "") -> str:
    """Return a number's text, and in a column with ratios room for the one to the unchanged source's."""
    ratios = numbers.get("ratio_to_unchanged")
    if not ratios:
        return text
    ratio = ratios.get(key)
    return f'{text}<span class="ratio">{"" if ratio is None else f"({100 * ratio:.0f}&#8239;%)"}</span>'


def _correlations(results: dict[str, dict[str, Any]], own: str) -> str:
    """Return the tables of correlations and gains with the driving clip, and with the exact pose."""
    note = "Correlation with the driving clip over time, less each clip's mean (median of the clips)."
    labels = [label for label in results if label != DRIVING]
    table = _as_table(note, _correlation_rows(results, labels, "correlation"), labels, own)
    note = "Gain: the result's movement over the driving clip's, less each clip's mean (median of the clips)."
    table += _as_table(note, _correlation_rows(results, labels, "gain"), labels, own)
    if "correlation_exact" not in results[own]:
        return table
    note = "The same with the renderer's exact pose: the driving clip's tells how good the measure itself is."
    labels = [label for label in results if label != UNCHANGED]
    return table + _as_table(note, _correlation_rows(results, labels, "correlation_exact"), labels, own)


def _correlation_rows(
    results: dict[str, dict[str, Any]], labels: list[str], key: str
) -> Iterable[tuple[str, list[str]]]:
    """Yield each trait and the contestants' correlations, or what else ``key`` names."""
    for trait in results[labels[0]][key]:
        yield trait, [format_correlation(results[label][key][trait]) for label in labels]


def _histograms(clips: list[dict[str, Any]], labels: list[str]) -> str:
    """Return the charts of how the numbers spread over the clips; the second label is the checkpoint's."""
    charts = []
    for metric in known_metrics({str(index): clip["results"][labels[1]] for index, clip in enumerate(clips)}):
        if metric.key in HISTOGRAMS:
            series: dict[str, Series] = {
                label: [clip["results"][label].get(metric.key) for clip in clips] for label in labels
            }
            if metric.better == "one":
                series[UNCHANGED] = []  # always 1 or 0
            charts.append(draw_histogram(metric.label, series))
    return f'<div class="charts">{"".join(charts)}</div>'


def _clip(rank: str, strip: Strip, clip: dict[str, Any], labels: list[str]) -> str:
    """Return a figure of one clip: the frames of its results above each other, and their motion as curves."""
    title = f"{rank}: {escape(clip['name'])}, {strip.score:.4f}"
    if clip["source"] != clip["name"]:
        title += f", moves {escape(clip['source'])}"
    rows = [f"<span>source</span>{embed_frames(strip.source[None], len(next(iter(strip.rows.values()))))}"]
    rows += [f"<span>{escape(label)}</span>{embed_frames(frames)}" for label, frames in strip.rows.items()]
    charts = []
    for trait in TRAITS:
        series = {label: clip["results"][label]["series"][trait] for label in (DRIVING, *labels)}
        charts.append(draw_curves(TRAIT_LABELS[trait], series))
    strips = f'<div class="wide"><div class="strip">{"".join(rows)}</div></div>'
    return (
        f"<figure><figcaption>{title}</figcaption>{strips}"
        f'{format_key([DRIVING, *labels])}<div class="charts">{"".join(charts)}</div></figure>'
    )


def embed_frames(frames: np.ndarray, columns: int | None = None) -> str:
    """Return frames (NxHxWx3 uint8) beside each other as one picture, in a row with room for ``columns``."""
    row = np.concatenate(list(frames), axis=1)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "JPEG", quality=90)
    share = f' style="width:{100 / columns:.2f}%"' if columns else ""
    return f'<img alt=""{share} src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def format_key(labels: Sequence[str]) -> str:
    """Return the legend of a chart: a colour for each label."""
    marks = (
        f'<span><i class="s{index % COLOURS}"></i>{escape(label)}</span>'
        for index, label in enumerate(labels)
    )
    return f'<p class="key">{"".join(marks)}</p>'


def _meanings(report: dict[str, Any], modes: Iterable[str]) -> str:
    """Return the section that says what the numbers mean."""
    shown = {metric.key: metric for mode in modes for metric in known_metrics(report[mode]["results"])}
    items = "".join(
        f"<dt>{escape(metric.label)}</dt><dd>{escape(metric.meaning)}</dd>" for metric in shown.values()
    )
    return f"<h2>What the numbers mean</h2><dl>{items}</dl>"
