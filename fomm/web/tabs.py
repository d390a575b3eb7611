"""The tabs of the page: their controls, and what happens when one is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from fomm.animation.options import PARTS, Edit, Excerpt, Motion
from fomm.animation.template import SUFFIX
from fomm.bundled import MOTIONS
from fomm.errors import FommError
from fomm.web.controls import (
    DEGREES,
    DRIVERS,
    EDIT_NAMES,
    FILE,
    LABELS,
    VIDEO,
    Jobs,
    Place,
    as_part,
    check_consent,
    describe,
    explain,
    find_driving,
    make_photo,
    name_result,
    say_instead,
    show_progress,
)
from fomm.web.draw import as_figure
from fomm.web.spell import spell_command
from fomm.web.studio import Studio
from fomm.web.work import Stopped, Work

PLACE = len(Place._fields)
FRESH: dict[str, Any] = {  # of previews: the last one counts
    "trigger_mode": "always_last",
    "concurrency_id": "preview",
    "show_progress": "hidden",
}


def _add_edit_sliders(where: str) -> list[gr.Slider]:
    """Add a slider for each number of ``Edit``; ``where``: the tab, for their names in the page."""
    rest = Edit()
    sliders = []
    for name in EDIT_NAMES:
        least, most, step = (-45, 45, 1) if name in DEGREES else (-1, 1, 0.05)
        if name == "eyes":
            least, most = 0, 2
        place = f"{where}-{name}"
        sliders.append(
            gr.Slider(least, most, getattr(rest, name), step=step, label=LABELS[name], elem_id=place)
        )
    return sliders


def _as_edit(values: Sequence[float]) -> Edit:
    return Edit(*(float(value) for value in values))


def _options_of(studio: Studio, place: Place) -> dict[str, Any]:
    part = as_part(studio, place)
    return {"crop": part.crop, "face": part.face}


# -- Animate -----------------------------------------------------------------------------------------


def add_animate(studio: Studio, jobs: Jobs, consent: gr.Checkbox, place: list[Any]) -> list[Any]:
    """Add the tab; return the controls that say what drives, in the order of ``find_driving``."""
    driver = gr.Dropdown(DRIVERS, value=MOTIONS[0], label="What drives the photo", elem_id="driver")
    video = gr.Video(
        label="Driving video", sources=["upload", "webcam"], visible=False, height=310, elem_id="video"
    )
    file = gr.File(
        label=f"A motion: NAME{SUFFIX}", file_types=[".safetensors"], visible=False, elem_id="motion"
    )
    drivers = [driver, video, file]
    with gr.Row():
        with gr.Column(min_width=260):
            still = gr.HTML('<p class="hint">Give a photo, and a preview stands here.</p>', elem_id="still")
            moment = gr.Slider(0, 100, 50, step=1, label="Preview at, percent of the driver")
        with gr.Column(min_width=260):
            with gr.Accordion("How much of the driver's motion", open=True):
                strengths = [
                    gr.Slider(0, 2, 1, step=0.05, label=part.capitalize(), elem_id=part) for part in PARTS
                ]
            with gr.Accordion("Changes on top", open=False):
                edits = _add_edit_sliders("animate")
            with gr.Accordion("Which part of the video", open=False):
                start = gr.Number(0, label="Start, seconds", minimum=0)
                duration = gr.Number(0, label="Duration, seconds; 0 for all", minimum=0)
                audio = gr.Checkbox(True, label="With its sound")
            beside = gr.Checkbox(
                False, label="Side by side: photo, driving video and result in a row", visible=False
            )
    with gr.Row():
        run = gr.Button("Animate", variant="primary", elem_id="animate")
        cancel = gr.Button("Cancel", variant="stop", elem_id="cancel", interactive=False)
    progress = gr.HTML(elem_id="progress")
    result = gr.Video(
        label="Result",
        interactive=False,
        visible=False,
        height=440,
        elem_id="result",
        buttons=["download"],
        loop=True,
    )
    command = gr.Code(
        label="The same in a shell", language="shell", interactive=False, lines=1, visible=False,
        elem_id="command", wrap_lines=True,
    )  # fmt: skip
    driver.change(
        lambda chosen: (
            gr.Video(visible=chosen == VIDEO), gr.File(visible=chosen == FILE),
            gr.Checkbox(visible=chosen not in (*MOTIONS, FILE), value=False),
        ),
        driver, [video, file, beside], queue=False, api_visibility="private",
    )  # fmt: skip
    shaping = [*strengths, *edits, start, duration]
    count = len(strengths)

    def as_values(*values: Any) -> dict[str, Any]:
        """Return the values of options, by field, from those of ``shaping``."""
        numbers, (begin, seconds) = [float(value) for value in values[:-2]], values[-2:]
        strength = {part: x for part, x in zip(PARTS, numbers[:count], strict=True) if x != 1}
        return {
            "strength": strength or None,
            **dict(zip(EDIT_NAMES, numbers[count:], strict=True)),
            "start": float(begin or 0),
            "duration": float(seconds) if seconds else None,
        }

    def preview(*values: Any) -> Any:
        given, sources, at, rest = (
            Place(*values[:PLACE]), values[PLACE : PLACE + 3], values[PLACE + 3], values[PLACE + 4 :],
        )  # fmt: skip
        if not given.photo or not _is_there(sources):
            return gr.skip()
        try:
            options = as_values(*rest)
            picture = studio.preview(
                as_part(studio, given),
                find_driving(*sources),
                Excerpt(options["start"], options["duration"]),
                at / 100,
                Motion(strength=options["strength"], edit=_as_edit([options[name] for name in EDIT_NAMES])),
            )
        except FommError as error:
            return say_instead(error, given.photo, *sources[1:])
        return as_figure(picture, "Preview")

    gr.on(
        [*(item.change for item in [*place, *drivers, moment, *shaping])], preview,
        [*place, *drivers, moment, *shaping], still, api_name="preview", **FRESH,
    )  # fmt: skip

    def animate(request: gr.Request, agreed: bool, *values: Any) -> Iterator[tuple[Any, ...]]:
        given, sources = Place(*values[:PLACE]), values[PLACE : PLACE + 3]
        side_by_side, sound, *rest = values[PLACE + 3 :]
        hidden = gr.Video(visible=False, value=None), gr.Code(visible=False)
        free, busy = (gr.Button(interactive=True), gr.Button(interactive=False)), None
        busy = free[::-1]
        try:
            check_consent(agreed)
            options = {**as_values(*rest), **_options_of(studio, given), "audio": bool(sound)}
            options["side_by_side"] = bool(side_by_side)
            photo, driving = Path(given.photo or ""), find_driving(*sources)
            with studio.new_folder() as folder:
                written = folder / name_result(
                    photo, driving.name.removesuffix(SUFFIX).partition(".")[0], ".mp4"
                )
                work = Work(
                    lambda told: studio.animate(photo, driving, written, options, told),
                    studio.limits.job_seconds,
                )
                for how_far in jobs.follow(request, work):
                    yield *busy, show_progress(how_far), *hidden
                done = work.result()
                drives = (
                    ["--motion", sources[0]]
                    if sources[0] in MOTIONS
                    else [str(driving) if sources[0] == "clip" else driving.name]
                )
                words = ["animate", photo.name, *drives, "-o", written.name]
                yield (
                    *free, describe(done), gr.Video(str(written), visible=True),
                    gr.Code(spell_command(words, options), visible=True),
                )  # fmt: skip
        except Stopped as stopped:
            yield *free, show_progress(None, f"Stopped: {stopped}. Nothing was kept."), *hidden
        except Exception as error:
            yield *free, "", *hidden
            raise explain(error, given.photo, *sources[1:]) from error

    run.click(
        animate, [consent, *place, *drivers, beside, audio, *shaping],
        [run, cancel, progress, result, command],
        api_name="animate", concurrency_id="job", concurrency_limit=1, show_progress="hidden",
    )  # fmt: skip
    cancel.click(jobs.stop, None, None, queue=False, api_name="cancel")
    return [*drivers, start, duration]


def _is_there(sources: Sequence[Any]) -> bool:
    """Return whether what drives is there already: a video or a file may still be missing."""
    driver, video, file = sources
    return (driver != VIDEO or bool(video)) and (driver != FILE or bool(file))


# -- Edit photo --------------------------------------------------------------------------------------


def add_edit(studio: Studio, consent: gr.Checkbox, place: list[Any]) -> None:
    """Add the tab in which a face is changed without a driver."""
    with gr.Row():
        with gr.Column(min_width=260):
            still = gr.HTML('<p class="hint">Give a photo, and a preview stands here.</p>', elem_id="edited")
        with gr.Column(min_width=260):
            sliders = _add_edit_sliders("edit")
            with gr.Accordion("Like another face", open=False):
                like = make_photo(label="Take its pose and expression first", height=200, elem_id="like")
            reset = gr.Button("Back to the photo", size="sm")
    run = gr.Button("Make the PNG in the photo's full size", variant="primary", elem_id="edit")
    status = gr.HTML(elem_id="edit-status")
    result = gr.File(label="Download", interactive=False, visible=False, elem_id="edit-result")
    command = gr.Code(
        label="The same in a shell",
        language="shell",
        interactive=False,
        lines=1,
        visible=False,
        wrap_lines=True,
    )

    def preview(*values: Any) -> Any:
        given, other, numbers = Place(*values[:PLACE]), values[PLACE], values[PLACE + 1 :]
        if not given.photo:
            return gr.skip()
        try:
            picture = studio.preview_edit(
                as_part(studio, given), _as_edit(numbers), Path(other) if other else None
            )
        except FommError as error:
            return say_instead(error, given.photo, other)
        return as_figure(picture, "Preview")

    gr.on(
        [item.change for item in [*place, like, *sliders]], preview, [*place, like, *sliders], still,
        api_name="preview_edit", **FRESH,
    )  # fmt: skip
    reset.click(lambda: tuple(vars(Edit()).values()), None, sliders, queue=False, api_visibility="private")

    def make(agreed: bool, *values: Any) -> Iterator[tuple[Any, ...]]:
        given, other, numbers = Place(*values[:PLACE]), values[PLACE], values[PLACE + 1 :]
        try:
            check_consent(agreed)
            part, change = as_part(studio, given), _as_edit(numbers)
            yield show_progress(None, "Working…"), gr.skip(), gr.skip()
            with studio.new_folder() as folder:
                written = folder / name_result(part.photo, "edited", ".png")
                done = studio.edit(part, change, written, Path(other) if other else None)
                options = {**dict(zip(EDIT_NAMES, numbers, strict=True)), **_options_of(studio, given)}
                words = ["edit", part.photo.name, "-o", written.name]
                words += ["--like", Path(other).name] if other else []
                yield (
                    describe(done), gr.File(str(written), visible=True),
                    gr.Code(spell_command(words, options), visible=True),
                )  # fmt: skip
        except Exception as error:
            yield "", gr.skip(), gr.skip()
            raise explain(error, given.photo, other) from error

    run.click(
        make, [consent, *place, like, *sliders], [status, result, command],
        api_name="edit", concurrency_id="job", show_progress="hidden",
    )  # fmt: skip


# -- What the network sees ---------------------------------------------------------------------------


def add_inside(studio: Studio, jobs: Jobs, place: list[Any], driver: list[Any]) -> None:
    """Add the tab that shows each step to a frame."""
    gr.Markdown(
        "The photo at the left, moved by the driver of the tab Animate: each step to one frame.",
        elem_classes="hint",
    )
    run = gr.Button("Look", variant="primary", elem_id="look")
    progress = gr.HTML(elem_id="look-progress")
    number = gr.Slider(0, 1, 0, step=1, label="Frame", visible=False, elem_id="frame")
    panels = gr.HTML(elem_id="panels")

    def excerpt_of(values: Sequence[Any]) -> Excerpt:
        begin, seconds = values
        return Excerpt(float(begin or 0), float(seconds) if seconds else None)

    def draw(given: Place, sources: Sequence[Any], excerpt: Excerpt, frame: int) -> str:
        pictures = studio.look_inside(as_part(studio, given), find_driving(*sources), excerpt, frame)
        return (
            '<div class="panels">'
            + "".join(as_figure(picture, words) for words, picture in pictures)
            + "</div>"
        )

    def look(request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        given, sources, excerpt = (
            Place(*values[:PLACE]),
            values[PLACE : PLACE + 3],
            excerpt_of(values[PLACE + 3 :]),
        )
        try:
            driving = find_driving(*sources)
            as_part(studio, given)
            work = Work(lambda told: studio.watch(driving, excerpt, told), studio.limits.job_seconds)
            for how_far in jobs.follow(request, work):
                yield show_progress(how_far), gr.skip(), gr.skip()
            last = work.result() - 1
            middle = last // 2
            yield "", gr.Slider(0, max(last, 1), middle, visible=True), draw(given, sources, excerpt, middle)
        except Exception as error:
            yield "", gr.skip(), gr.skip()
            raise explain(error, given.photo, *sources[1:]) from error

    def show(frame: float, *values: Any) -> Any:
        given, sources, excerpt = (
            Place(*values[:PLACE]),
            values[PLACE : PLACE + 3],
            excerpt_of(values[PLACE + 3 :]),
        )
        if not given.photo or not _is_there(sources):
            raise gr.Error("give a photo and what drives it first", print_exception=False)
        try:
            return draw(given, sources, excerpt, int(frame))
        except Exception as error:
            raise explain(error, given.photo, *sources[1:]) from error

    run.click(
        look, [*place, *driver], [progress, number, panels],
        api_name="look", concurrency_id="job", show_progress="hidden",
    )  # fmt: skip
    number.input(show, [number, *place, *driver], panels, api_name="inside", **FRESH)


# -- Inspect a file ----------------------------------------------------------------------------------


def add_inspect(studio: Studio) -> None:
    """Add the tab that tells what a file says of its origin."""
    file = gr.File(label="A picture or a video", elem_id="inspect")
    answer = gr.Markdown(elem_id="origin")

    def inspect(path: str | None) -> str:
        if not path:
            return ""
        try:
            return studio.describe_origin(Path(path))
        except Exception as error:
            raise explain(error, path) from error

    file.change(inspect, file, answer, api_name="inspect", concurrency_id="preview")
