"""``fomm animate`` and ``fomm demo``."""

import argparse
from pathlib import Path
from typing import Any

from fomm.bundled import bundled
from fomm.commands.options import add_device, add_engine, add_switch, add_weights
from fomm.commands.parts import crop_option, face_option, frame_option


def add_animate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", metavar="PHOTO", type=Path, help="the picture to animate")
    parser.add_argument(
        "driving", metavar="DRIVING", type=Path, help="a video, GIF or folder of numbered pictures"
    )
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, required=True,
        help="an .mp4, .webm or .gif file, or a new folder for PNGs",
    )  # fmt: skip
    add_weights(parser)
    _add_crop(parser)
    motion = parser.add_argument_group("motion")
    add_switch(motion, "relative", "absolute", True, "move as the driving face moves since its first frame")
    add_switch(
        motion,
        "adapt-scale",
        "no-adapt-scale",
        True,
        "scale the movement by the faces' sizes (with --relative)",
    )
    motion.add_argument(
        "--best-frame", metavar="N|auto", type=frame_option,
        help="the driving frame (from 0) that resembles the photo most; relative motion starts from it",
    )  # fmt: skip
    motion.add_argument(
        "--start", metavar="SECONDS", type=float, default=0.0, help="where the driving video begins"
    )
    motion.add_argument(
        "--duration", metavar="SECONDS", type=float, help="how much of it to use; without it, all"
    )
    result = parser.add_argument_group("result")
    add_switch(result, "audio", "no-audio", True, "the driving video's sound goes to the result")
    result.add_argument(
        "--side-by-side", action="store_true", help="source, driving video and result in a row"
    )
    add_engine(add_device(parser))
    parser.set_defaults(run=_animate)


def _add_crop(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which part")
    group.add_argument(
        "--crop", metavar="auto|none|X,Y,W,H", type=crop_option, default="auto",
        help="of the photo: the square around a face, all of it, or a rectangle in pixels",
    )  # fmt: skip
    group.add_argument(
        "--crop-driving", metavar="auto|none|X,Y,W,H", type=crop_option,
        help="of the driving video; without it, none with --crop none, else auto",
    )  # fmt: skip
    group.add_argument(
        "--face", metavar="N|all", type=face_option,
        help="which face of the photo, from 0, left to right; without it, the largest",
    )  # fmt: skip
    group.add_argument(
        "--paste-back", action=argparse.BooleanOptionalAction, default=None,
        help="the whole photo, with the animated part in its place; "
        "without either, unless --crop none or --side-by-side is given",
    )  # fmt: skip


def _animate(options: argparse.Namespace) -> None:
    from fomm.animate import animate_file
    from fomm.checkpoint import load_checkpoints

    networks = load_checkpoints(options.config, options.checkpoint, device=options.device)
    engine, precision = _chosen(networks, options)
    count = animate_file(
        options.photo,
        options.driving,
        options.output,
        *networks,
        crop=options.crop,
        crop_driving=options.crop_driving,
        face=options.face,
        paste_back=_pastes_back(options),
        relative=options.relative,
        adapt_movement_scale=options.adapt_scale,
        best_frame=options.best_frame,
        audio=options.audio,
        side_by_side=options.side_by_side,
        start=options.start,
        duration=options.duration,
        batch_size=options.batch_size,
        precision=precision,
        engine=engine,
    )
    print(f"{options.output}: {count} frames, by {engine} in {precision}")


def _chosen(networks: tuple[Any, Any], options: argparse.Namespace) -> tuple[str, str]:
    """The engine and the precision, where they were left to fomm."""
    from fomm.engines import choose

    return choose(options.engine, options.precision, next(networks[0].parameters()).device)


def _pastes_back(options: argparse.Namespace) -> bool:
    if options.paste_back is None:
        return options.crop != "none" and not options.side_by_side
    return options.paste_back


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, default=Path("demo.mp4"), help="the video to write"
    )
    add_engine(add_device(parser))
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from fomm.animate import animate_file
    from fomm.checkpoint import load_checkpoints

    networks = load_checkpoints(device=options.device)
    photo, driving = bundled("examples", "astronaut.png"), bundled("examples", "driving.mp4")
    engine, precision = _chosen(networks, options)
    count = animate_file(
        photo,
        driving,
        options.output,
        *networks,
        paste_back=True,
        batch_size=options.batch_size,
        precision=precision,
        engine=engine,
    )
    print(f"{options.output}: {count} frames, by {engine} in {precision}")
    print(f"the photo is {photo}, the driving video {driving}")
