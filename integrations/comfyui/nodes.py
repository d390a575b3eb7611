"""The nodes: what each takes and gives, and the one function of fomm that it calls.

An IMAGE is BxHxWx3 float32 in [0, 1], a MASK BxHxW float32 in [0, 1]: torch tensors on the CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from comfy.utils import ProgressBar
from comfy_api.latest import ComfyExtension, io

from fomm import Edit, Framing, InputError, Motion, edit, load_checkpoints, mark
from fomm.animation.animate import animate_frames
from fomm.animation.option_table import OPTIONS
from fomm.animation.options import PARTS
from fomm.animation.template import Template, find_template, read_template
from fomm.bundled import MOTIONS
from fomm.marks import Origin

CATEGORY = "fomm"
Weights = io.Custom("FOMM_WEIGHTS")  # the generator and the key-point detector
MotionTemplate = io.Custom("FOMM_MOTION")  # a Template
CONSENT = "Only with the consent of whoever is in it."
LARGEST = -1  # as the number of a face

# The numbers of an Edit: the smallest, the largest, and a step of the slider.
EDITS = {
    "yaw": (-45.0, 45.0, 1.0),
    "pitch": (-45.0, 45.0, 1.0),
    "roll": (-45.0, 45.0, 1.0),
    "mouth": (-1.0, 1.0, 0.05),
    "eyes": (0.0, 2.0, 0.05),
    "smile": (-1.0, 1.0, 0.05),
    "brows": (-1.0, 1.0, 0.05),
}


class LoadWeights(io.ComfyNode):
    """Loads the networks."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="FommLoadWeights",
            display_name="Load weights (fomm)",
            category=CATEGORY,
            description="The networks that move a photo.",
            inputs=[
                io.String.Input(
                    "weights", default="", tooltip="a file of weights; empty: those that ship with fomm"
                ),
                io.String.Input(
                    "config",
                    default="",
                    tooltip="a configuration that ships, such as vox-256, or a YAML file; "
                    "empty: as the weights say",
                ),
                io.Combo.Input(
                    "device",
                    options=["auto", "cpu", "cuda", "mps"],
                    default="auto",
                    tooltip="auto: the GPU where there is one",
                ),
            ],
            outputs=[Weights.Output("networks", display_name="weights")],
        )

    @classmethod
    def fingerprint_inputs(cls, weights: str, **_: Any) -> Any:
        return _time_of_change(weights)

    @classmethod
    def execute(cls, weights: str, config: str, device: str) -> Any:
        return io.NodeOutput(
            load_checkpoints(config or None, weights or None, device=None if device == "auto" else device)
        )


class ReadMotion(io.ComfyNode):
    """Reads a motion template."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="FommMotion",
            display_name="Motion (fomm)",
            category=CATEGORY,
            description="How a face moves, without a picture of it; Animate takes it in place of a video.",
            inputs=[
                io.Combo.Input("name", options=list(MOTIONS), default=MOTIONS[0], tooltip="one that ships"),
                io.String.Input(
                    "file", default="", tooltip="one of your own, NAME.motion.safetensors, in place of it"
                ),
            ],
            outputs=[
                MotionTemplate.Output("motion"),
                io.Float.Output("fps", display_name="fps", tooltip="frames a second, to save the video with"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: Any) -> Any:
        return _time_of_change(file)

    @classmethod
    def execute(cls, name: str, file: str) -> Any:
        template = read_template(find_template(file or name))
        return io.NodeOutput(template, template.fps)


class Animate(io.ComfyNode):
    """Moves a photo as a face in a video moves, or by a motion template."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="FommAnimate",
            display_name="Animate (fomm)",
            category=CATEGORY,
            description=f"Moves a face of a photo as the face in a video moves. {CONSENT}",
            inputs=[
                Weights.Input("weights"),
                io.Image.Input("photo", tooltip="one picture with a face"),
                io.Image.Input("driving", optional=True, tooltip="the frames of a video of a face"),
                MotionTemplate.Input(
                    "motion", optional=True, tooltip="what moves the photo in place of a video"
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.01,
                    tooltip="frames a second of the driving video; a motion has its own",
                ),
                *map(_strength_input, PARTS),
                _face_input(),
                _mark_input(),
            ],
            outputs=[
                io.Image.Output("frames", display_name="frames"),
                io.Mask.Output(
                    "moved",
                    display_name="moved",
                    tooltip="1 where a frame differs from the photo, 0 where it is the photo",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        weights: Any,
        photo: torch.Tensor,
        driving: torch.Tensor | None = None,
        motion: Template | None = None,
        fps: float = 25.0,
        face: int = LARGEST,
        mark: bool = True,
        **strengths: float,
    ) -> Any:
        picture = _take_one("photo", photo)
        driver: list[np.ndarray] | Template
        if driving is not None and motion is None:
            driver, total = _to_arrays(driving), len(driving)
        elif motion is not None and driving is None:
            driver, total = motion, motion.num_frames
        else:
            came = "neither came" if driving is None else "both came"
            raise InputError(f"the photo is moved by driving frames or by a motion, and {came}; connect one")
        # A strength of 1 is left out: weights that know no lips take none at all.
        strength = {part: value for part, value in strengths.items() if value != 1}
        options = {"framing": _choose_face(face), "motion": Motion(strength=strength)}
        bar, frames = ProgressBar(total), []
        for frame in animate_frames(picture, driver, *weights, fps=fps, **options):
            frames.append(frame)
            bar.update(1)
        animated = np.stack(frames)
        still = (picture.clip(0, 1) * 255).round().astype(np.uint8)
        moved = torch.from_numpy((animated != still).any(-1)).float()
        return io.NodeOutput(_to_images(animated, weights, mark), moved)


class EditFace(io.ComfyNode):
    """Changes the pose and the expression of a face."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="FommEdit",
            display_name="Edit a face (fomm)",
            category=CATEGORY,
            description=f"Turns a face of a picture, or changes its expression. {CONSENT}",
            inputs=[
                Weights.Input("weights"),
                io.Image.Input("photo", tooltip="pictures with a face; each is changed for itself"),
                io.Image.Input(
                    "like",
                    optional=True,
                    tooltip="one picture of another face, whose pose and expression the photo takes first",
                ),
                *(_edit_input(name, getattr(Edit(), name)) for name in EDITS),
                _face_input(),
                _mark_input(),
            ],
            outputs=[io.Image.Output("edited", display_name="photo")],
        )

    @classmethod
    def execute(
        cls,
        weights: Any,
        photo: torch.Tensor,
        like: torch.Tensor | None = None,
        face: int = LARGEST,
        mark: bool = True,
        **numbers: float,
    ) -> Any:
        change, framing = Edit(**numbers), _choose_face(face)
        other = None if like is None else _take_one("like", like)
        edited = [
            edit(picture, change, *weights, like=other, framing=framing) for picture in _to_arrays(photo)
        ]
        return io.NodeOutput(torch.cat([_to_images(picture[None], weights, mark) for picture in edited]))


def _edit_input(name: str, default: float) -> Any:
    """Return the slider of one of the numbers of an edit."""
    least, most, step = EDITS[name]
    (tip,) = (option.help for option in OPTIONS if option.name == name)
    return io.Float.Input(
        name,
        default=default,
        min=least,
        max=most,
        step=step,
        tooltip=tip,
        display_mode=io.NumberDisplay.slider,
    )


def _strength_input(part: str) -> Any:
    """Return the slider of how much of the driver's motion a part of the face makes."""
    return io.Float.Input(
        part,
        default=1.0,
        min=0.0,
        max=2.0,
        step=0.05,
        tooltip=f"{part}: how much of the driver's motion; 0 none, 1 as much, 2 twice as much",
        display_mode=io.NumberDisplay.slider,
    )


def _face_input() -> Any:
    return io.Int.Input(
        "face",
        default=LARGEST,
        min=LARGEST,
        max=99,
        tooltip=f"which face of the photo, from 0, left to right; {LARGEST}: the largest",
    )


def _choose_face(number: int) -> Framing:
    return Framing(face=None if number == LARGEST else number)


def _mark_input() -> Any:
    return io.Boolean.Input(
        "mark",
        default=True,
        tooltip="an invisible mark in each picture says that it is synthetic; without it, nothing does",
    )


def _to_arrays(images: torch.Tensor) -> list[np.ndarray]:
    """Return the pictures of an IMAGE, HxWx3 float32 in [0, 1]."""
    return list(images.detach().cpu().float().numpy())


def _take_one(name: str, images: torch.Tensor) -> np.ndarray:
    """Return the picture of an IMAGE that is to hold one, HxWx3 float32 in [0, 1]."""
    if len(images) != 1:
        raise InputError(f"{name} holds {len(images)} pictures; expected one")
    return _to_arrays(images)[0]


def _to_images(frames: np.ndarray, weights: Any, marked: bool) -> torch.Tensor:
    """Return frames, TxHxWx3 uint8, as an IMAGE, with one mark in all of them or without."""
    if marked:
        frames = mark(frames, Origin.of(weights[0].weights_hash))
    return torch.from_numpy(frames).float() / 255


def _time_of_change(path: str) -> int:
    """Return when a file was changed, in ns: a node that reads it runs again after that; 0 without a file."""
    return Path(path).stat().st_mtime_ns if path and Path(path).is_file() else 0


class FommExtension(ComfyExtension):
    """The nodes of fomm."""

    async def get_node_list(self) -> list[Any]:
        return [LoadWeights, ReadMotion, Animate, EditFace]


async def comfy_entrypoint() -> FommExtension:
    """Return what ComfyUI asks a node pack for."""
    return FommExtension()
