"""Options that several commands have, and how their help reads."""

import argparse
from pathlib import Path

from fomm.animation.options import crop_option, face_option


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds each default to its help, but for flags and options whose help tells of life without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        without = action.default is None or isinstance(action.default, bool)
        return action.help if without else super()._get_help_string(action)


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="weights; without it, those that ship"
    )
    add_config(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE|NAME",
        help="a YAML file or the name of one that ships; without it, the weights tell",
    )


def add_device(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    group = parser.add_argument_group("computation")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps; without it, the fastest there is")
    group.add_argument(
        "--batch-size",
        metavar="N",
        type=int,
        help="frames in one pass of the networks; without it, as many as suit the device",
    )
    return group


def add_switch(group: "argparse._ArgumentGroup", yes: str, no: str, default: bool, summary: str) -> None:
    """A pair of flags, of which the later wins."""
    name = yes.replace("-", "_")
    chosen = {default: " (default)", not default: ""}
    group.add_argument(
        f"--{yes}", dest=name, action="store_true", default=default, help=summary + chosen[True]
    )
    group.add_argument(
        f"--{no}", dest=name, action="store_false", default=default, help=f"not --{yes}" + chosen[False]
    )


def add_relative(group: "argparse._ArgumentGroup") -> None:
    add_switch(group, "relative", "absolute", True, "move as the driving face moves since its first frame")
    summary = "scale the movement by the faces' sizes (with --relative)"
    add_switch(group, "adapt-scale", "no-adapt-scale", True, summary)
    summary = "open the mouth as far as the driving one (with --relative, if the weights know lips)"
    add_switch(group, "openings", "no-openings", True, summary)


def add_parts(parser: argparse.ArgumentParser, driving: str, alone: str) -> None:
    """Which part of the photo moves, and of ``driving`` moves it; ``alone``: what shows that part alone."""
    group = parser.add_argument_group("which part")
    group.add_argument(
        "--crop", metavar="auto|none|X,Y,W,H", type=crop_option, default="auto",
        help="of the photo: the square around a face, all of it, or a rectangle in pixels",
    )  # fmt: skip
    group.add_argument(
        "--crop-driving", metavar="auto|none|X,Y,W,H", type=crop_option,
        help=f"of the {driving}; without it, none with --crop none, else auto",
    )  # fmt: skip
    group.add_argument(
        "--face", metavar="N|all", type=face_option,
        help="which face of the photo, from 0, left to right; without it, the largest",
    )  # fmt: skip
    group.add_argument(
        "--paste-back", action=argparse.BooleanOptionalAction, default=None,
        help="the whole photo, with the animated part in its place; "
        f"without either, unless {alone} is given",
    )  # fmt: skip


def add_engine(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--precision", metavar="NAME", default="auto",
        help="float32, bfloat16, float16, int8, or auto for the fastest that the device has, int8 aside",
    )  # fmt: skip
    group.add_argument(
        "--engine", metavar="NAME", default="auto",
        help="torch, openvino, onnxruntime, or auto for the fastest installed one that has the precision",
    )  # fmt: skip
