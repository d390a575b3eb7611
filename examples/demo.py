r"""The published demo's command line, over fomm: the same flags, the same defaults.

The photo may be of any size and shape: a face is found in it and in the video, and put back into the photo.
For pictures that show no face, or a head alone at 256x256 as the published demo took them: --crop none.

    python demo.py --config vox-256 --checkpoint vox-cpk.pth.tar --source_image photo.png \
        --driving_video driving.mp4 --relative --adapt_scale
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from fomm import FommError, animate_file, load_checkpoints, make_animation
from fomm.animation.option_table import crop_option
from fomm.animation.options import Excerpt, Framing, Motion

__all__ = ["load_checkpoints", "make_animation"]


def parse(argv: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(description="Animate a photo from a driving video.")
    parser.add_argument("--config", required=True, help="a YAML file, or the name of one that ships")
    parser.add_argument("--checkpoint", default="vox-cpk.pth.tar", help="weights (default: %(default)s)")
    parser.add_argument("--source_image", default="sup-mat/source.png", help="photo (default: %(default)s)")
    parser.add_argument("--driving_video", default="sup-mat/source.png", help="video (default: %(default)s)")
    parser.add_argument("--result_video", default="result.mp4", help="to write (default: %(default)s)")
    parser.add_argument("--relative", action="store_true", help="move as the driving face moves")
    parser.add_argument("--adapt_scale", action="store_true", help="scale the movement by the faces' sizes")
    parser.add_argument("--best_frame", type=int, help="the driving frame where relative motion starts")
    parser.add_argument(
        "--find_best_frame", action="store_true", help="the one whose face is most like the photo's"
    )
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU")
    parser.add_argument("--audio", action="store_true", help="the driving video's sound goes to the result")
    parser.add_argument(
        "--crop", type=crop_option, default="auto",
        help="not in the published demo: auto for the square around a face, none for the whole photo, "
        "squeezed to a square, or X,Y,W,H in pixels (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    try:
        animate_file(
            options.source_image,
            options.driving_video,
            options.result_video,
            *load_checkpoints(options.config, options.checkpoint, cpu=options.cpu),
            framing=Framing(crop=options.crop),
            motion=Motion(
                relative=options.relative,
                adapt_movement_scale=options.adapt_scale,
                best_frame="auto" if options.find_best_frame else options.best_frame,
            ),
            excerpt=Excerpt(audio=options.audio),
        )
    except FommError as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
