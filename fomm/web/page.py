"""The page: the photo at the left, and a tab for each thing to do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from fomm.bundled import bundled
from fomm.face.crop import Rect
from fomm.web.controls import (
    ALL,
    CONSENT,
    LARGEST,
    PHOTOS,
    Jobs,
    Place,
    as_part,
    explain,
    find_largest,
    make_photo,
)
from fomm.web.draw import as_figure, draw_squares
from fomm.web.many import add_many
from fomm.web.studio import Studio
from fomm.web.tabs import add_animate, add_edit, add_inside, add_inspect


def build_page(studio: Studio) -> gr.Blocks:
    """Return the page, ready to be served."""
    jobs = Jobs()
    age = studio.limits.kept_seconds
    with gr.Blocks(title="fomm", analytics_enabled=False, delete_cache=(min(60, age), age)) as page:
        gr.Markdown("## fomm: a photo that moves")
        consent = gr.Checkbox(label=CONSENT, value=False, elem_id="consent")
        remembered = gr.BrowserState(False, storage_key="fomm-consent", secret="fomm")
        page.load(bool, remembered, consent, queue=False, api_visibility="private")
        consent.input(bool, consent, remembered, queue=False, api_visibility="private")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                place = _add_photo(studio)
            with gr.Column(scale=2, min_width=300), gr.Tabs():
                with gr.Tab("Animate"):
                    driver = add_animate(studio, jobs, consent, place)
                with gr.Tab("Edit photo"):
                    add_edit(studio, consent, place)
                with gr.Tab("Many"):
                    add_many(studio, jobs, consent)
                with gr.Tab("What the network sees"):
                    add_inside(studio, jobs, place, driver)
                with gr.Tab("Inspect a file"):
                    add_inspect(studio)
        page.unload(jobs.stop)
    return page


def _add_photo(studio: Studio) -> list[Any]:
    """Add the photo and what of it moves; return the controls in the order of ``Place``."""
    photo = make_photo(label="Photo", height=260, buttons=["fullscreen"], elem_id="photo")
    with gr.Row():
        for label, name in PHOTOS.items():
            given = gr.Button(f"Try {label}", size="sm", min_width=60)
            given.click(
                lambda name=name: str(bundled("examples", name)), None, photo,
                queue=False, api_visibility="private",
            )  # fmt: skip
    squares = gr.HTML(elem_id="squares")
    face = gr.Radio([LARGEST], value=LARGEST, label="Which face moves", visible=False, elem_id="face")
    with gr.Accordion("Another square", open=False):
        own = gr.Checkbox(label="Move what lies in my own square", value=False)
        left = gr.Slider(-50, 100, 0, step=1, label="Left, percent of the width")
        top = gr.Slider(-50, 100, 0, step=1, label="Top, percent of the height")
        side = gr.Slider(5, 150, 100, step=1, label="Side, percent of the shorter side")
    controls = [photo, face, own, left, top, side]

    def meet(path: str | None) -> tuple[Any, ...]:
        """Find the faces of a new photo; its own square begins as that of the largest face."""
        alone = gr.Radio([LARGEST], value=LARGEST, visible=False)
        if not path:
            return alone, False, "", gr.skip(), gr.skip(), gr.skip()
        try:
            picture, found = studio.find_squares(Path(path))
        except Exception as error:
            raise explain(error, path) from error
        drawn = draw(Place(path, LARGEST, False, 0, 0, 0))
        if not found:
            return alone, False, drawn, 0, 0, 100
        height, width = picture.shape[:2]
        square = found[find_largest(found)]
        shares = square.x0 / width, square.y0 / height, square.width / min(height, width)
        numbers = [*map(str, range(len(found)))]
        several = gr.Radio([LARGEST, *numbers, ALL], value=LARGEST, visible=True)
        return several if len(found) > 1 else alone, False, drawn, *(round(100 * share) for share in shares)

    def draw(given: Place) -> str:
        """Draw the squares on the photo."""
        picture, found = studio.find_squares(Path(given.photo or ""))
        part = as_part(studio, given)
        if isinstance(part.crop, tuple):
            x, y, width, height = part.crop
            own = [Rect(float(x), float(y), float(x + width), float(y + height))]
            return as_figure(draw_squares(picture, own, [0]), "Your square moves")
        if not found:
            return as_figure(picture, "No face was found; set a square below")
        chosen = range(len(found)) if part.face == "all" else [find_largest(found)]
        if isinstance(part.face, int):
            chosen = [part.face]
        count = "1 face" if len(found) == 1 else f"{len(found)} faces"
        return as_figure(draw_squares(picture, found, chosen), f"{count} found; orange moves")

    def show(*values: Any) -> str:
        given = Place(*values)
        try:
            return draw(given) if given.photo else ""
        except Exception as error:
            raise explain(error, given.photo) from error

    photo.change(
        meet, photo, [face, own, squares, left, top, side], api_name="photo", show_progress="minimal",
        show_progress_on=squares,
    )  # fmt: skip
    gr.on(
        [face.input, own.input, left.input, top.input, side.input], show, controls, squares,
        api_visibility="private", trigger_mode="always_last", show_progress="hidden",
    )  # fmt: skip
    return controls
