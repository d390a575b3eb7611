"""``fomm edit``."""

import argparse
from pathlib import Path

from fomm.animation.option_table import COMPUTATION, EDITS, group_options
from fomm.atomic import check_is_no_input
from fomm.commands.options import add_options, add_weights, choose_compute, given_options


def add_edit(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm edit``, and what it calls."""
    parser.add_argument("photo", metavar="PHOTO", type=Path, help="the picture to change")
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, required=True,
        help="a .png, .jpg, .webp or .avif file; all but .jpg keep the transparency of the photo",
    )  # fmt: skip
    parser.add_argument(
        "--like", metavar="PICTURE", type=Path,
        help="another face, whose pose and expression the photo takes first; "
        "with --absolute its very pose, else it turns as far as that one is turned away",
    )  # fmt: skip
    add_weights(parser)
    add_options(parser, only=(*EDITS, "crop", "face", "paste-back", "relative", "size", "mark", *COMPUTATION))
    parser.set_defaults(run=_edit)


def _edit(options: argparse.Namespace) -> None:
    from fomm.animation.edit import edit
    from fomm.animation.result import write_picture
    from fomm.checkpoint import load_checkpoints
    from fomm.media.images import ALPHA_SUFFIXES, check_image_name, warn_of_lost_alpha

    check_image_name(options.output)  # before the networks are loaded
    check_is_no_input(options.output, {"photo": options.photo, "picture of --like": options.like})
    transparent = options.output.suffix.lower() in ALPHA_SUFFIXES
    if not transparent:
        warn_of_lost_alpha(options.photo, options.output)
    given = given_options(options)
    relative = given.pop("relative")
    grouped = group_options(given)
    networks = load_checkpoints(options.config, options.checkpoint, device=options.device)
    compute = choose_compute(networks, grouped["compute"])
    frame = edit(
        options.photo, grouped["motion"].edit, *networks,
        like=options.like, relative=relative, framing=grouped["framing"], compute=compute,
        alpha=transparent,
    )  # fmt: skip
    weights = networks[0].weights_hash
    write_picture(options.output, frame, grouped["marking"], weights=weights, photo=options.photo)
    print(options.output)
