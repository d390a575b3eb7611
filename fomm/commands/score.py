"""``fomm score``."""

import argparse
import json
from pathlib import Path


def add_score(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm score``, and what it calls."""
    parser.add_argument(
        "driving", metavar="DRIVING", type=Path, help="the driving video, as many frames as the result has"
    )
    parser.add_argument("result", metavar="RESULT", type=Path, help="the video that came out")
    parser.add_argument(
        "--photo", metavar="PHOTO", type=Path,
        help="the photo that was moved; without it, sharpness, cut-off and likeness are not measured",
    )  # fmt: skip
    parser.add_argument(
        "--face", metavar="N", type=int,
        help="which face of result and photo, from 0, left to right; without it, the largest",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers and series to a file")
    parser.add_argument(
        "--report",
        metavar="FOLDER",
        type=Path,
        help="write score.html, with curves and frames, and score.json",
    )
    parser.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> None:
    from fomm.atomic import atomic_path, check_place
    from fomm.errors import InputError
    from fomm.evaluation import score
    from fomm.evaluation.score_page import format_score

    if options.json is not None:
        check_place(options.json, InputError)  # before the work, not after it
    numbers = score(
        options.driving, options.result, photo=options.photo, face=options.face, report=options.report
    )
    print(format_score(numbers))
    if options.json is not None:
        with atomic_path(options.json, InputError) as temporary:
            temporary.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.report is not None:
        print(f"\n{options.report / 'score.html'}: the same with curves and frames")
