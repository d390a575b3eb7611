"""The tab Many: a table of photos, drivers and results, done one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from fomm.animation.template import SUFFIX
from fomm.bundled import MOTIONS
from fomm.errors import FommError, InputError, shown
from fomm.web.controls import (
    CLIP,
    Jobs,
    check_consent,
    describe_many,
    explain,
    find_driving,
    name_result,
    show_progress,
)
from fomm.web.limits import without_folders
from fomm.web.studio import Studio
from fomm.web.work import Stopped, Work

HEADERS = ["photo", "driver", "output"]


class Row(NamedTuple):
    """One job of the table."""

    photo: Path
    driving: Path
    output: str  # a name, no path


def read_rows(
    table: Sequence[Sequence[object]], photos: Sequence[str], drivers: Sequence[str], most: int
) -> list[Row]:
    """Return the jobs of a table; empty rows are left out.

    Args:
        table: rows of a photo's name, a driver's name and the name of the result.
        photos, drivers: the files that were given; a driver may also be a motion that ships, or ``clip``.
        most: jobs that a table may have.

    Raises:
        InputError: the first mistake, with its row, counted from 1.
    """
    known_photos, known_drivers = _by_name(photos), _by_name(drivers)
    rows: list[Row] = []
    for number, cells in enumerate(table, 1):
        photo, driver, output = (str("" if cell is None else cell).strip() for cell in cells)
        if not (photo or driver or output):
            continue
        if photo not in known_photos:
            raise InputError(f"row {number}: no photo {shown(photo)} was given")
        if driver not in known_drivers and driver not in (*MOTIONS, CLIP):
            raise InputError(
                f"row {number}: there is no driver {shown(driver)}; give its file, "
                f"or take one of {', '.join(MOTIONS)}, {CLIP}"
            )
        if not re.fullmatch(r"\w[\w .-]{0,99}\.(mp4|webm|gif)", output):
            raise InputError(
                f"row {number}: the output is {shown(output)}; expected a name of letters, digits and "
                "dashes that ends with .mp4, .webm or .gif"
            )
        if output.lower() in (row.output.lower() for row in rows):
            raise InputError(f"row {number}: another row has the output {output} too")
        driving = known_drivers.get(driver) or find_driving(driver, None, None)
        rows.append(Row(known_photos[photo], driving, output))
    if not 0 < len(rows) <= most:
        raise InputError(f"the table has {len(rows)} jobs; expected 1 to {most}")
    return rows


def _by_name(files: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in map(Path, files):
        if path.name in found:
            raise InputError(f"two files are called {path.name}; rename one")
        found[path.name] = path
    return found


def fill_table(photos: Sequence[str] | None, drivers: Sequence[str] | None) -> list[list[str]]:
    """Return a row for every photo with every driver; without drivers, with the motion ``talk``."""
    rows = []
    for photo in map(Path, photos or ()):
        for driver in map(Path, drivers or [MOTIONS[0]]):
            what = driver.name.removesuffix(SUFFIX).partition(".")[0]
            rows.append([photo.name, driver.name, name_result(photo, what, ".mp4")])
    return rows or [["", "", ""]]


def add_many(studio: Studio, jobs: Jobs, consent: gr.Checkbox) -> None:
    """Add the tab."""
    gr.Markdown(
        f"A driver is a file that you give, or one of: {', '.join((*MOTIONS, CLIP))}. Jobs run one after the "
        "other, with the largest face of each photo.",
        elem_classes="hint",
    )
    with gr.Row():
        photos = gr.File(label="Photos", file_count="multiple", file_types=["image"], elem_id="photos")
        drivers = gr.File(
            label="Drivers: videos or motions", file_count="multiple",
            file_types=["video", ".gif", ".safetensors"], elem_id="drivers",
        )  # fmt: skip
    table = gr.Dataframe(
        [["", "", ""]], headers=HEADERS, datatype="str", type="array", interactive=True, label="Jobs",
        column_count=3, elem_id="table", buttons=[],
    )  # fmt: skip
    with gr.Row():
        run = gr.Button("Run all", variant="primary", elem_id="many")
        cancel = gr.Button("Cancel", variant="stop", interactive=False)
    progress = gr.HTML(elem_id="many-progress")
    results = gr.File(
        label="Results", file_count="multiple", interactive=False, visible=False, elem_id="results"
    )
    gr.on(
        [photos.change, drivers.change], fill_table, [photos, drivers], table,
        queue=False, api_visibility="private",
    )  # fmt: skip

    def run_all(request: gr.Request, agreed: bool, *values: Any) -> Iterator[tuple[Any, ...]]:
        given_photos, given_drivers, rows_of_table = (value or [] for value in values)
        free = gr.Button(interactive=True), gr.Button(interactive=False)
        try:
            check_consent(agreed)
            rows = read_rows(rows_of_table, given_photos, given_drivers, studio.limits.jobs)
            with studio.new_folder() as folder:
                made: list[Path] = []
                lines: list[str] = []
                for number, row in enumerate(rows, 1):
                    for how_far in jobs.follow(request, work := _make_work(studio, row, folder)):
                        words = f"{number} of {len(rows)}, {row.output}: "
                        yield *free[::-1], show_progress(how_far, words), gr.skip()
                    try:
                        lines.append(f"{row.output}: {work.result().num_frames} frames")
                        made.append(folder / row.output)
                    except Stopped as stopped:
                        lines.append(f"{row.output}: stopped, {stopped}")
                        break
                    except FommError as error:
                        lines.append(f"{row.output}: {without_folders(error, [row.photo, row.driving])}")
                files = gr.File([str(path) for path in made], visible=bool(made))
                yield *free, describe_many(lines, len(made), len(rows)), files
        except Exception as error:
            yield *free, "", gr.skip()
            raise explain(error, *given_photos, *given_drivers) from error

    run.click(
        run_all, [consent, photos, drivers, table], [run, cancel, progress, results],
        api_name="many", concurrency_id="job", show_progress="hidden",
    )  # fmt: skip
    cancel.click(jobs.stop, None, None, queue=False, api_visibility="private")


def _make_work(studio: Studio, row: Row, folder: Path) -> Work[Any]:
    return Work(
        lambda told: studio.animate(row.photo, row.driving, folder / row.output, {}, told),
        studio.limits.job_seconds,
    )
