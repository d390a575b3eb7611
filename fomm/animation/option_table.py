"""How the options of an animation are spelled on a command line and in a list of jobs."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, TypedDict

from fomm.animation.options import PARTS, Compute, Crop, Edit, Excerpt, Framing, Marking, Motion
from fomm.errors import InputError


def crop_option(text: str) -> Crop:
    """Read ``auto``, ``none``, or ``x,y,w,h`` in pixels."""
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    numbers = re.fullmatch(",".join([r"\s*(-?\d{1,9})\s*"] * 4), text, re.ASCII)
    if numbers is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, none or four whole numbers x,y,w,h")
    x, y, width, height = map(int, numbers.groups())
    return x, y, width, height


def frame_option(text: str) -> int | str:
    """Read a frame's number, from 0, or ``auto``."""
    if text != "auto" and not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 or 'auto'")
    return text if text == "auto" else int(text)


def face_option(text: str) -> int | str:
    """Read a face's number, from 0, or ``all``."""
    if text != "all" and not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 or 'all'")
    return text if text == "all" else int(text)


def size_option(text: str) -> int | tuple[int, int]:
    """Read ``N``, the longer side in pixels, or ``WxH``, which becomes (height, width)."""
    numbers = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", text, re.ASCII)
    if numbers is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels N, nor two of them WxH")
    first, second = numbers.groups()
    return int(first) if second is None else (int(second), int(first))


def seconds_option(text: str) -> float:
    """Read zero or more seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def driver_option(text: str) -> str:
    """Read ``mesh`` or ``keypoints``."""
    if text not in ("mesh", "keypoints"):
        raise argparse.ArgumentTypeError(f"{text!r} is not mesh or keypoints")
    return text


def share_option(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return share


def number_option(text: str) -> float:
    """Read a number; whether it is in its range is checked where it is used."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def parts_option(text: str) -> tuple[str, ...]:
    """Read names of parts of a face, ``mouth,eyes``."""
    return tuple(_part(name) for name in text.split(","))


def strength_option(text: str) -> dict[str, float]:
    """Read strengths of parts of a face, ``mouth=1.2,pose=0.5``."""
    strengths: dict[str, float] = {}
    for pair in text.split(","):
        name, equals, number = pair.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{pair!r} is not a part of a face and a number, as mouth=1.2")
        if strengths.setdefault(_part(name), number_option(number)) != number_option(number):
            raise argparse.ArgumentTypeError(f"{text!r} has two strengths of {name.strip()}")
    return strengths


def _part(text: str) -> str:
    if text.strip() not in PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a part of a face; these are {', '.join(PARTS)}")
    return text.strip()


def switch_option(text: str) -> bool:
    """Read ``yes`` or ``no``, and what else people write for them."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is not yes or no")
    return words[text.lower()]


class Option(NamedTuple):
    """How an option is spelled: ``--name`` on the command line, ``name`` as the column of a list of jobs."""

    name: str
    field: str  # of Framing, Excerpt, Motion, Edit, Marking or Compute, which have its default
    group: str  # its heading in the help
    help: str
    read: Callable[[str], Any] = str  # what a person typed to the value; raises argparse.ArgumentTypeError
    metavar: str | None = None
    opposite: str | None = None  # of a switch: the name of the flag that turns it off
    in_lists: bool = True  # whether it may differ from job to job


_PART, _MOTION, _EDIT = "which part", "motion", "changes of the face (with the mesh)"
_RESULT, _ORIGIN, _COMPUTATION = "result", "marks of origin", "computation"

OPTIONS = (
    Option(
        "crop", "crop", _PART, "of the photo: the square around a face, all of it, or a rectangle in pixels",
        crop_option, "auto|none|X,Y,W,H",
    ),
    Option(
        "crop-driving", "crop_driving", _PART,
        "of the driving video; without it, none with --crop none, else auto",
        crop_option, "auto|none|X,Y,W,H",
    ),
    Option(
        "face", "face", _PART, "which face of the photo, from 0, left to right; without it, the largest",
        face_option, "N|all",
    ),
    Option(
        "paste-back", "paste_back", _PART,
        "the whole photo, with the animated part in its place; "
        "without either, unless --crop none or --side-by-side is given",
        switch_option, opposite="no-paste-back",
    ),
    Option(
        "relative", "relative", _MOTION, "move as the driving face moves since its first frame",
        switch_option, opposite="absolute",
    ),
    Option(
        "adapt-scale", "adapt_movement_scale", _MOTION,
        "scale the movement by the faces' sizes (with --relative)",
        switch_option, opposite="no-adapt-scale",
    ),
    Option(
        "avd", "avd", _MOTION,
        "give the photo's shape the driving frames' poses by a network that files of MRAA and TPSMM have",
        switch_option,
    ),
    Option(
        "openings", "openings", _MOTION,
        "open the mouth as far as the driving one (with --relative, if the weights know lips)",
        switch_option, opposite="no-openings",
    ),
    Option(
        "best-frame", "best_frame", _MOTION,
        "the driving frame (from 0) that resembles the photo most; relative motion starts from it",
        frame_option, "N|auto",
    ),
    Option(
        "driver", "driver", _MOTION,
        "what tells how the driving face moves: the mesh of a face, or the networks' own key points; "
        "without it, the mesh if the weights know lips",
        driver_option, "mesh|keypoints",
    ),
    Option(
        "shift", "shift", _MOTION,
        "how much of the head's own shift and size the photo takes over, 0 to 1 (with the mesh)",
        share_option, "SHARE",
    ),
    Option(
        "strength", "strength", _MOTION,
        "how much of the driver's motion a part of the face makes, 0 to 2; parts are "
        f"{', '.join(PARTS)} (with the mesh)",
        strength_option, "PART=X,...",
    ),
    Option(
        "parts", "parts", _MOTION, "the parts of the face that move; without it, all (with the mesh)",
        parts_option, "PART,...",
    ),
    Option("yaw", "yaw", _EDIT, "degrees that the head turns, to the right", number_option, "DEGREES"),
    Option("pitch", "pitch", _EDIT, "degrees that it nods, downwards", number_option, "DEGREES"),
    Option("roll", "roll", _EDIT, "degrees that it leans, to the right", number_option, "DEGREES"),
    Option("mouth", "mouth", _EDIT, "how far it opens, 1 for wide; below 0 it shuts", number_option, "X"),
    Option("eyes", "eyes", _EDIT, "how far they are open: 1 as they are, 0 shut", number_option, "X"),
    Option("smile", "smile", _EDIT, "1 for a broad one; below 0 the corners go down", number_option, "X"),
    Option("brows", "brows", _EDIT, "how far they go up, 1 for high; below 0 down", number_option, "X"),
    Option("start", "start", _MOTION, "where the driving video begins", seconds_option, "SECONDS"),
    Option(
        "duration", "duration", _MOTION, "how much of it to use; without it, all", seconds_option, "SECONDS"
    ),
    Option(
        "audio", "audio", _RESULT, "the driving video's sound goes to the result",
        switch_option, opposite="no-audio",
    ),
    Option(
        "side-by-side", "side_by_side", _RESULT, "source, driving video and result in a row", switch_option
    ),
    Option(
        "size", "size", _RESULT,
        "pixels of the longer side, or width and height; "
        "without it, the network's size, or with --paste-back the photo's",
        size_option, "N|WxH",
    ),
    Option(
        "mark", "mark", _ORIGIN,
        "each picture carries an invisible mark; without it, the result no longer says by itself that it is "
        "synthetic",
        switch_option, opposite="no-mark",
    ),
    Option(
        "sidecar", "sidecar", _ORIGIN,
        "a JSON file beside the result: versions, options, hashes of weights, photo and driving video",
        switch_option,
    ),
    Option(
        "credentials", "credentials", _ORIGIN,
        "content credentials (C2PA), signed with this PEM file: a private key and its certificates",
        metavar="FILE", in_lists=False,
    ),
    Option(
        "device", "device", _COMPUTATION, "cpu, cuda, cuda:1, mps; without it, the fastest there is",
        metavar="NAME", in_lists=False,
    ),
    Option(
        "batch-size", "batch_size", _COMPUTATION,
        "frames in one pass of the networks; without it, as many as suit the device",
        int, "N", in_lists=False,
    ),
    Option(
        "precision", "precision", _COMPUTATION,
        "float32, bfloat16, float16, int8, or auto for the fastest that the device has, int8 aside",
        metavar="NAME", in_lists=False,
    ),
    Option(
        "engine", "engine", _COMPUTATION,
        "torch, openvino, onnxruntime, or auto for the fastest installed one that has the precision",
        metavar="NAME", in_lists=False,
    ),
)  # fmt: skip

COMPUTATION = tuple(option.name for option in OPTIONS if option.group == _COMPUTATION)
MARKING = tuple(option.name for option in OPTIONS if option.group == _ORIGIN)
EDITS = tuple(option.name for option in OPTIONS if option.group == _EDIT)
COLUMNS = {option.name: option for option in OPTIONS if option.in_lists}  # of lists of jobs
DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for kind in (Framing, Excerpt, Motion, Edit, Marking, Compute)
    for field in fields(kind)
    if field.name != "edit"
}


class Options(TypedDict):
    """What ``animate_file`` takes, by its keywords."""

    framing: Framing
    excerpt: Excerpt
    motion: Motion
    marking: Marking
    compute: Compute


def group_options(values: Mapping[str, Any]) -> Options:
    """Return the keywords of ``animate_file`` from values by field, such as ``{"relative": False}``.

    A field that has no value keeps its default.

    Raises:
        InputError: there is no such field, or two values do not go together.
    """
    unknown = values.keys() - DEFAULTS.keys()
    if unknown:
        raise InputError(f"there is no option {min(unknown)!r}; known are {', '.join(DEFAULTS)}")

    def pick(kind: type) -> dict[str, Any]:
        return {field.name: values[field.name] for field in fields(kind) if field.name in values}

    return {
        "framing": Framing(**pick(Framing)),
        "excerpt": Excerpt(**pick(Excerpt)),
        "motion": Motion(**pick(Motion), edit=Edit(**pick(Edit))),
        "marking": Marking(**pick(Marking)),
        "compute": Compute(**pick(Compute)),
    }
