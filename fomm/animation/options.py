"""The options of an animation: what they are. ``option_table`` tells how they are spelled.

To add one: a field of ``Framing``, ``Excerpt``, ``Motion``, ``Edit``, ``Marking`` or ``Compute``, an entry of
``OPTIONS`` in ``option_table``, and the line where it acts. The parser, the columns of lists and the help
follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

from fomm.errors import InputError, shown

Crop = Literal["auto", "none"] | tuple[int, int, int, int]  # or x, y, width, height in pixels
Size = int | tuple[int, int]  # of the longer side, or height and width; pixels


def _check_number(name: str, value: object, least: float, most: float) -> None:
    if not (isinstance(value, Real) and math.isfinite(value) and least <= float(value) <= most):
        raise InputError(f"{name} is {shown(value)}; expected a number in [{least}, {most}]")


def _check_crop(name: str, crop: object) -> None:
    numbers = (
        isinstance(crop, tuple) and len(crop) == 4 and all(isinstance(value, Integral) for value in crop)
    )
    if crop not in ("auto", "none") and not numbers:
        raise InputError(
            f"{name} is {shown(crop)}; expected 'auto', 'none' or (x, y, width, height) in whole pixels"
        )


@dataclass(frozen=True)
class Framing:
    """Which part of the photo moves, which part of the video drives it, and what the result shows.

    Attributes:
        crop: the part of the photo that is animated: ``"auto"`` is the square around a face, ``"none"`` all
            of it, squeezed into the networks' shape, or (x, y, width, height) in pixels. For networks that
            are not square the square grows.
        crop_driving: the same for the driving video; None is "none" with a ``crop`` of "none", else "auto".
        face: with ``crop="auto"`` which face of the photo: its number from 0, left to right, several numbers,
            or ``"all"``; None is the largest.
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
    face: int | str | tuple[int, ...] | None = None
    paste_back: bool | None = None
    side_by_side: bool = False
    size: Size | None = None

    def __post_init__(self) -> None:
        _check_crop("crop", self.crop)
        if self.crop_driving is not None:
            _check_crop("crop_driving", self.crop_driving)
        if self.side_by_side and self.pastes_back:
            raise InputError("side_by_side shows the animated part alone; it does not go with paste_back")
        if (self.face == "all" or isinstance(self.face, tuple)) and not self.pastes_back:
            raise InputError("several faces are several parts of one picture; they need paste_back")

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


PARTS = ("pose", "mouth", "eyes", "brows")  # of a face's motion, each with a strength of its own
_MOST = {"yaw": 45, "pitch": 45, "roll": 45, "mouth": 1, "smile": 1, "brows": 1}  # of an edit, up and down


@dataclass(frozen=True)
class Edit:
    """What is changed in a face, whatever drives it.

    Attributes:
        yaw: degrees by which the head turns, to the right of the picture; in [-45, 45].
        pitch: degrees by which it nods, downwards; in [-45, 45].
        roll: degrees by which it leans, to the right of the picture; in [-45, 45].
        mouth: how far it opens: 1 is wide open, what is negative shuts it; in [-1, 1].
        eyes: how far they are open, of how far they would be: 1 leaves them, 0 shuts them; in [0, 2].
        smile: how far the corners of the mouth go outwards and up: 1 is a broad smile, what is negative draws
            them down; in [-1, 1].
        brows: how far they go up: 1 is high, what is negative lowers them; in [-1, 1].

    Angles and openings are what is asked for. Large ones are bounded softly, see ``docs/control.md``.

    Raises:
        InputError: a number is out of its range.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    mouth: float = 0.0
    eyes: float = 1.0
    smile: float = 0.0
    brows: float = 0.0

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            _check_number(name, getattr(self, name), -most, most)
        _check_number("eyes", self.eyes, 0, 2)


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
        strength: with the mesh, how much of the driver's motion each of ``PARTS`` of the face makes: 0 is
            none, 1 as much as the driver's, 2 twice as much. A part that is not named has 1. ``pose`` is the
            turn, place and size of the head, ``mouth`` its opening, lips, corners and chin.
        parts: those of ``PARTS`` that move; None is all. ``("mouth", "eyes")``: the head stays, the face
            speaks.
        edit: with the mesh, what is changed in the face on top of the driver's motion.
        avd: animation via disentanglement: a network gives the photo's shape the driving frames' poses;
            ``relative`` and ``adapt_movement_scale`` are not looked at. Only with files of MRAA and TPSMM
            that hold an ``avd_network``.

    Raises:
        InputError: one of them is something else, or what is for the mesh does not go with the others.
    """

    relative: bool = True
    adapt_movement_scale: bool = True
    openings: bool = True
    best_frame: int | str | None = None
    driver: str | None = None
    shift: float = 1.0
    strength: Mapping[str, float] | None = None
    parts: tuple[str, ...] | None = None
    edit: Edit = Edit()
    avd: bool = False

    def __post_init__(self) -> None:
        if self.driver not in (None, "mesh", "keypoints"):
            raise InputError(f"driver is {shown(self.driver)}; expected 'mesh' or 'keypoints'")
        _check_number("shift", self.shift, 0, 1)
        for name in (*(self.strength or ()), *(self.parts or ())):
            if name not in PARTS:
                raise InputError(f"a face has no part {shown(name)}; its parts are {', '.join(PARTS)}")
        for name, value in (self.strength or {}).items():
            _check_number(f"the strength of {name}", value, 0, 2)
        if self.needs_mesh and not self.relative:
            raise InputError(
                f"{self._why_mesh} moves a photo relative to a reference frame; "
                "leave --absolute out, or take the driver 'keypoints'"
            )
        if self.needs_mesh and self.driver == "keypoints":
            raise InputError(f"{self._why_mesh} does not go with the driver 'keypoints'; take the mesh")
        if self.needs_mesh and self.avd:
            raise InputError(f"{self._why_mesh} does not go with avd, which moves key points; leave one out")

    def check_avd(self, *, has_avd: bool) -> None:
        """Raise InputError where ``avd`` is asked for and the weights have no network for it."""
        if self.avd and not has_avd:
            raise InputError(
                "avd needs an avd_network, and these weights have none; take a file of MRAA or TPSMM "
                "that holds one, or leave avd out"
            )

    def strength_of(self, part: str) -> float:
        """Return how much of the driver's motion one of ``PARTS`` makes."""
        if self.parts is not None and part not in self.parts:
            return 0.0
        return (self.strength or {}).get(part, 1.0)

    @property
    def needs_mesh(self) -> bool:
        """Whether the mesh is asked for, or something that key points cannot do."""
        return self._why_mesh != ""

    @property
    def _why_mesh(self) -> str:
        """What asks for the mesh; empty: nothing does."""
        if self.driver == "mesh":
            return "the driver 'mesh'"
        if self.edit != Edit():
            return "an edit of the face"
        return "a strength of a part of the face" if self.strength or self.parts is not None else ""

    def uses_mesh(self, *, labelled: bool) -> bool:
        """Return whether the driver's mesh moves the photo, as far as options and weights decide it.

        Args:
            labelled: whether the weights know lips and lids.

        Raises:
            InputError: the mesh is asked for, and the weights do not know them.
        """
        if self.needs_mesh and not labelled:
            raise InputError(
                f"{self._why_mesh} needs weights whose key points are labelled, as those that ship; "
                "take the driver 'keypoints'"
            )
        if self.driver is None and not self.needs_mesh:
            return labelled and self.relative and self.openings and not self.avd
        return self.needs_mesh


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


EXACT = Compute(precision="float32", engine="torch")  # the published numbers
