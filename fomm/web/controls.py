"""What the tabs of the page share: how values of controls become options, and results HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from fomm.animation.options import Edit
from fomm.animation.template import SUFFIX, find_template
from fomm.bundled import MOTIONS, bundled
from fomm.errors import FommError, InputError, shown
from fomm.face.crop import Rect
from fomm.web.limits import without_folders
from fomm.web.studio import Done, Part, Studio
from fomm.web.work import HowFar, Work

CONSENT = "Everyone in my pictures and videos has agreed to this, and I will not pass results off as real."
PHOTOS = {"Collins": "astronaut.png", "Hopper": "grace_hopper.jpg", "Group": "group.jpg"}
LARGEST, ALL = "the largest", "all"
CLIP, VIDEO, FILE = "clip", "video", "file"
DRIVERS = [
    *((f"Motion: {name}", name) for name in MOTIONS),
    ("The clip that ships: a drawn head speaks", CLIP),
    ("My video: a file, or my camera", VIDEO),
    (f"My motion: a file NAME{SUFFIX}", FILE),
]
LABELS = {
    "yaw": "Turn (yaw, degrees)",
    "pitch": "Nod (pitch, degrees)",
    "roll": "Lean (roll, degrees)",
    "mouth": "Mouth: 1 open",
    "eyes": "Eyes: 0 shut",
    "smile": "Smile",
    "brows": "Brows",
}
DEGREES = ("yaw", "pitch", "roll")
EDIT_NAMES = tuple(field.name for field in fields(Edit))

CSS = """
figure.shown { margin: 0; }
figure.shown img { width: 100%; height: auto; max-height: 70vh; object-fit: contain; object-position: left;
  border-radius: 6px; }
figure.shown figcaption { font-size: 0.85em; opacity: 0.75; margin-top: 0.2em; }
#squares figure.shown img { max-height: 260px; object-position: center; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 0.8em; }
.panels figure.shown img { border: 1px solid rgba(128, 128, 128, 0.4); }
.progress progress { width: 100%; height: 0.7em; border: 0; border-radius: 6px; background: #d5d8dc; }
.progress progress::-webkit-progress-bar { background: #d5d8dc; border-radius: 6px; }
.progress progress::-webkit-progress-value { background: #2369b0; border-radius: 6px; }
.progress progress::-moz-progress-bar { background: #2369b0; border-radius: 6px; }
.progress p { margin: 0.2em 0; }
.hint { opacity: 0.75; }
"""


def make_theme() -> Any:
    """Return the theme: fonts of the system, so that none is loaded."""
    sans = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "Consolas", "Menlo", "monospace")
    return gr.themes.Default(primary_hue="blue", font=sans, font_mono=mono)


def make_photo(**options: Any) -> gr.Image:
    """Return a control for a picture. It gives the path of the file, which nobody has opened yet."""

    def take_path(payload: Any) -> Any:
        if payload is not None and payload.path is None:  # it came as text in the request
            raise gr.Error("give the picture as a file", print_exception=False)
        return None if payload is None else payload.path

    sources: Any = ["upload", "webcam", "clipboard"]
    photo = gr.Image(sources=sources, type="filepath", image_mode=None, **options)
    # Gradio's own would open the file, whatever it holds. A class of ours would do, but Gradio writes a stub
    # beside the source of each.
    photo.preprocess = take_path  # type: ignore[method-assign]
    return photo


class Place(NamedTuple):
    """What says which part of the photo moves, as the controls give it."""

    photo: str | None
    face: str
    own: bool
    left: float
    top: float
    side: float


def as_part(studio: Studio, place: Place) -> Part:
    """Return the part of the photo that is chosen. Raise InputError if there is no photo."""
    if not place.photo:
        raise InputError("there is no photo yet; give one first")
    path = Path(place.photo)
    if place.own:
        height, width = studio.find_squares(path)[0].shape[:2]
        side = max(round(place.side / 100 * min(height, width)), 1)
        return Part(path, (round(place.left / 100 * width), round(place.top / 100 * height), side, side))
    if place.face in (LARGEST, ALL):
        return Part(path, face="all" if place.face == ALL else None)
    if not re.fullmatch(r"\d{1,4}", str(place.face), re.ASCII):
        raise InputError(f"there is no face {shown(place.face)}; choose one of those that are shown")
    return Part(path, face=int(place.face))


def find_largest(squares: Sequence[Rect]) -> int:
    """Return the number of the largest square."""
    return max(range(len(squares)), key=lambda number: squares[number].area)


def find_driving(driver: str, video: str | None, file: str | None) -> Path:
    """Return the path of what drives. Raise InputError if it is still missing."""
    if driver in MOTIONS:
        return find_template(driver)
    if driver == CLIP:
        return bundled("examples", "driving.mp4")
    given = video if driver == VIDEO else file
    if not given:
        raise InputError(f"there is no {'video' if driver == VIDEO else 'motion'} yet; give one first")
    if driver == FILE and not given.lower().endswith(SUFFIX):
        raise InputError(f"{Path(given).name} is no motion; the name of one ends with {SUFFIX}")
    return Path(given)


def show_progress(how_far: HowFar | None, words: str = "") -> str:
    """Return a bar, and a line below it, as HTML; nothing if there is nothing to say."""
    if how_far is None:
        return f'<div class="progress" role="status"><p>{escape(words)}</p></div>' if words else ""
    share = f' value="{how_far.made}" max="{how_far.total}"' if how_far.made and how_far.total else ""
    return (
        f'<div class="progress" role="status"><progress{share}></progress>'
        f"<p>{escape(words)}{escape(str(how_far))}</p></div>"
    )


def describe(done: Done) -> str:
    """Return what was made, with the warnings, as HTML."""
    frames = "1 picture" if done.num_frames == 1 else f"{done.num_frames} frames"
    notes = [f"Note: {shown(text, 400)}" for text in done.warnings]
    return _as_lines([f"Done: {done.result.name}, {frames}.", *notes])


def describe_many(lines: Sequence[str], made: int, asked: int) -> str:
    """Return what became of each job of a table, as HTML."""
    return _as_lines([f"Done: {made} of {asked}.", *lines])


def _as_lines(lines: Sequence[str]) -> str:
    return (
        '<div class="progress" role="status">'
        + "".join(f"<p>{escape(line)}</p>" for line in lines)
        + "</div>"
    )


def explain(error: Exception, *paths: str | Path | None) -> gr.Error:
    """Return an error as the page shows it: the sentence, without paths of this machine."""
    if not isinstance(error, FommError):
        return gr.Error(f"{type(error).__name__}: {shown(error, 300)}", print_exception=True)
    given = [None if path is None else Path(path) for path in paths]
    return gr.Error(escape(without_folders(error, given)), print_exception=False, duration=None)


def say_instead(error: FommError, *paths: str | Path | None) -> str:
    """Return, as HTML, what stands in the place of a preview that cannot be made."""
    given = [None if path is None else Path(path) for path in paths]
    return f'<p class="hint">No preview: {escape(without_folders(error, given))}</p>'


def check_consent(consent: bool) -> None:
    """Raise InputError unless the sentence at the top of the page was ticked."""
    if consent is not True:
        raise InputError("first tick the sentence at the top of the page: the people in the pictures agree")


def name_result(photo: Path, what: str, suffix: str) -> str:
    """Return a name for a result, of letters, digits and dashes."""
    return (
        "-".join(re.sub(r"[^\w-]+", "-", part).strip("-")[:40] or "x" for part in (photo.stem, what)) + suffix
    )


class Jobs:
    """Which job runs for which page that is open."""

    def __init__(self) -> None:
        self._running: dict[str, Work[Any]] = {}

    def follow(self, request: gr.Request, work: Work[Any]) -> Iterator[HowFar]:
        """Run a job, and yield how far it is."""
        key = str(request.session_hash)
        self._running[key] = work
        try:
            yield from work.watch()
        finally:
            self._running.pop(key, None)

    def stop(self, request: gr.Request) -> None:
        """Stop the job of a page, if it has one."""
        work = self._running.get(str(request.session_hash))
        if work is not None:
            work.stop()
