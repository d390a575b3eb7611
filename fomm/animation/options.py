"""The options of an animation: what they are, how a command line and a list of jobs spell them.

To add one: a field of ``Framing``, ``Excerpt``, ``Motion``, ``Marking`` or ``Compute``, an entry of
``OPTIONS``, and the line where it acts. The parser, the columns of lists and the help follow.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypedDict

from fomm.errors import InputError, shown

Crop = Literal["auto", "none"] | tuple[int, int, int, int]  # or x, y, width, height in pixels
Size = int | tuple[int, int]  # of the longer side, or height and width; pixels


@dataclass(frozen=True)
class Framing:
    """Which part of the photo moves, which part of the video drives it, and what the result shows.

    Attributes:
        crop: the part of the photo that is animated: ``"auto"`` is the square around a face, ``"none"`` all
            of it, squeezed into the networks' shape, or (x, y, width, height) in pixels. For networks that
            are not square the square grows.
        crop_driving: the same for the driving video; None is "none" with a ``crop`` of "none", else "auto".
        face: with ``crop="auto"`` which face of the photo: its number from 0, left to right, or ``"all"``;
            None is the largest.
        paste_back: write the whole photo with the animated part in its place, else that part alone. None is
            the whole photo, unless ``crop`` is "none" or with ``side_by_side``.
        side_by_side: write source, driving frame and result beside each other.
        size: of what is written, in pixels: (height, width), or the longer side alone; with ``side_by_side``
            of each of the three. None is the networks' size, or with ``paste_back`` the photo's.

    Raises:
        InputError: a crop is of another kind, or two of them do not go together.
    """

    crop: Crop = "auto"
    crop_driving: Crop | None = None
    face: int | str | None = None
    paste_back: bool | None = None
    side_by_side: bool = False
    size: Size | None = None

    def __post_init__(self) -> None:
        _check_crop("crop", self.crop)
        if self.crop_driving is not None:
            _check_crop("crop_driving", self.crop_driving)
        if self.side_by_side and self.pastes_back:
            raise InputError("side_by_side shows the animated part alone; it does not go with paste_back")
        if self.face == "all" and not self.pastes_back:
            raise InputError("face 'all' animates several parts of one picture; it needs paste_back")

    @property
    def pastes_back(self) -> bool:
        """Whether the whole photo is written."""
        if self.paste_back is None:
            return self.crop != "none" and not self.side_by_side
        return self.paste_back

    @property
    def part_of_video(self) -> Crop:
        """``crop_driving``, or what takes its place."""
        return self.crop_driving or ("none" if self.crop == "none" else "auto")


@dataclass(frozen=True)
class Excerpt:
    """Which part of the driving video is used, in time, and whether it is heard.

    Attributes:
        start: where it begins, in seconds.
        duration: how much of it, in seconds; None is all that follows.
        audio: the driving video's sound goes to the result, where it has any.
    """

    start: float = 0.0
    duration: float | None = None
    audio: bool = True


@dataclass(frozen=True)
class Motion:
    """How the driving face moves the photo.

    Attributes:
        relative: move the photo's key points as the driving ones move since the reference frame; else take
            the driving key points as they are, with the driving face's shape and place.
        adapt_movement_scale: with ``relative``, scale the movement by how much larger the photo's face is.
        openings: with ``relative``, open the mouth as far as the driving one, and move the lids more. Only
            with weights that know lips and lids, as those that ship do; others move as published.
        best_frame: the reference frame: the driving frame that resembles the photo most, counted from 0, or
            ``"auto"`` to look for it. None is the first; where the driver is watched by the mesh and begins
            turned far from the photo's pose, the frame most like the photo.
        driver: what tells how the driving face moves. ``"mesh"`` is a network that has seen people: it finds
            478 points on the driving face, and the photo's face is turned and moved as they tell. It is for
            faces and ``relative`` motion, with weights that know lips and lids. ``"keypoints"`` are the
            networks' own key points, as published. None is the mesh where it can be used, unless ``openings``
            are off; else key points.
        shift: with the mesh, how much of the head's own shift and change of size the photo takes over, in
            [0, 1]. Small shifts are taken over whole, large ones are bounded: the head stays on its neck.

    Raises:
        InputError: ``driver`` or ``shift`` is something else, or does not go with ``relative``.
    """

    relative: bool = True
    adapt_movement_scale: bool = True
    openings: bool = True
    best_frame: int | str | None = None
    driver: str | None = None
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.driver not in (None, "mesh", "keypoints"):
            raise InputError(f"driver is {shown(self.driver)}; expected 'mesh' or 'keypoints'")
        if not 0 <= self.shift <= 1:
            raise InputError(f"shift is {self.shift}; expected a number in [0, 1]")
        if self.driver == "mesh" and not self.relative:
            raise InputError(
                "the driver 'mesh' moves a photo relative to a reference frame; "
                "leave --absolute out, or take the driver 'keypoints'"
            )


@dataclass(frozen=True)
class Marking:
    """What a result says of its origin. Its container always has a comment that names fomm and the weights.

    Attributes:
        mark: all of each picture carries an invisible mark, see ``fomm.marks``. Without it the result no
            longer says by itself that it is synthetic, once it was copied without its comment.
        sidecar: write a JSON file beside the result: versions, SHA-256 of weights, photo and driving video,
            and all options. It gets the result's name with ``.json`` behind it.
        credentials: a PEM file with a private key and the certificates that go with it, the signer's own
            first: the result gets content credentials (C2PA) signed by it. Files of .mp4 and .gif can have
            them. Needs the extra ``c2pa``.
    """

    mark: bool = True
    sidecar: bool = False
    credentials: str | None = None


@dataclass(frozen=True)
class Compute:
    """What computes, and how exactly.

    Attributes:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None leaves the networks where they are.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"int8"``, or ``"auto"`` for the fastest the
            device has, int8 aside: that one is calibrated on the first frames, once for each generator.
        engine: ``"torch"``, ``"openvino"``, ``"onnxruntime"``, or ``"auto"`` for torch, and for int8 the
            fastest installed one that has it.
        batch_size: frames in one pass of the networks; None is 4 on a CPU, and on a GPU as many as keep it
            busy and find room. Halved where the device's memory holds no more.

    Raises:
        InputError: ``batch_size`` is less than 1.
    """

    device: str | None = None
    precision: str = "auto"
    engine: str = "auto"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; expected 1 or more")


def _check_crop(name: str, crop: object) -> None:
    numbers = (
        isinstance(crop, tuple) and len(crop) == 4 and all(isinstance(value, Integral) for value in crop)
    )
    if crop not in ("auto", "none") and not numbers:
        raise InputError(
            f"{name} is {shown(crop)}; expected 'auto', 'none' or (x, y, width, height) in whole pixels"
        )


EXACT = Compute(precision="float32", engine="torch")  # the published numbers


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


def switch_option(text: str) -> bool:
    """Read ``yes`` or ``no``, and what else people write for them."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is not yes or no")
    return words[text.lower()]


class Option(NamedTuple):
    """How an option is spelled: ``--name`` on the command line, ``name`` as the column of a list of jobs."""

    name: str
    field: str  # of Framing, Excerpt, Motion, Marking or Compute, which have its default
    group: str  # its heading in the help
    help: str
    read: Callable[[str], Any] = str  # what a person typed to the value; raises argparse.ArgumentTypeError
    metavar: str | None = None
    opposite: str | None = None  # of a switch: the name of the flag that turns it off
    in_lists: bool = True  # whether it may differ from job to job


_PART, _MOTION, _RESULT, _ORIGIN, _COMPUTATION = (
    "which part", "motion", "result", "marks of origin", "computation",
)  # fmt: skip

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
COLUMNS = {option.name: option for option in OPTIONS if option.in_lists}  # of lists of jobs
DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for kind in (Framing, Excerpt, Motion, Marking, Compute)
    for field in fields(kind)
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
        "motion": Motion(**pick(Motion)),
        "marking": Marking(**pick(Marking)),
        "compute": Compute(**pick(Compute)),
    }
