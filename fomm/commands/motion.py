"""``fomm motion``."""

import argparse
from pathlib import Path

from fomm.animation.option_table import group_options
from fomm.atomic import check_is_no_input
from fomm.commands.options import add_options, given_options
from fomm.errors import InputError


def add_motion(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm motion``, and what it calls."""
    parser.add_argument("driving", metavar="DRIVING", type=Path, help="a video, or a motion template")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path,
        help="NAME.motion.safetensors: the motion, which fomm animate takes in place of a video",
    )  # fmt: skip
    parser.add_argument(
        "--describe", metavar="FILE", type=Path,
        help="a .csv or .html file: how far the head turns, mouth and eyes open, and so on, in each frame",
    )  # fmt: skip
    add_options(parser, only=("crop-driving", "start", "duration"))
    parser.set_defaults(run=_motion)


def _motion(options: argparse.Namespace) -> None:
    from fomm.animation.template import (
        check_template_name,
        is_template,
        read_template,
        watch_video,
        write_template,
    )
    from fomm.evaluation.motion_page import check_description_name, write_description

    if options.output is None and options.describe is None:
        raise InputError("nothing is asked for; give -o, --describe or both")
    if options.output is not None:
        check_template_name(options.output)
    if options.describe is not None:
        check_description_name(options.describe)
    for result in (options.output, options.describe):
        if result is not None:
            check_is_no_input(result, {"driving file": options.driving})
    given = group_options(given_options(options))
    excerpt, crop = given["excerpt"], given["framing"].part_of_video
    if is_template(options.driving):
        template = read_template(options.driving, excerpt)
    else:
        template = watch_video(options.driving, excerpt, crop, progress=True)
    if options.output is not None:
        write_template(options.output, template)
        print(f"{options.output}: {template.num_frames} frames")
    if options.describe is not None:
        write_description(options.describe, template, str(options.driving))
        print(options.describe)
