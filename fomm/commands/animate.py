"""``fomm animate`` and ``fomm demo``."""

import argparse
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from fomm.animation.option_table import COLUMNS, COMPUTATION, MARKING, face_option, group_options
from fomm.animation.options import Compute, Framing
from fomm.bundled import MOTIONS, bundled
from fomm.commands.options import add_options, add_weights, choose_compute, given_options
from fomm.commands.plain_warnings import call_with_plain_warnings
from fomm.errors import FommError, InputError


def add_animate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm animate``, and what it calls."""
    photo = parser.add_argument(
        "photo", metavar="PHOTO", type=Path, help="the picture to animate, or a folder of them"
    )
    driving = parser.add_argument(
        "driving", metavar="DRIVING", type=Path,
        help="a video, GIF or folder of numbered pictures, or a folder of videos",
    )  # fmt: skip
    output = parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, required=True,
        help="an .mp4, .webm or .gif file, or a new folder for PNGs; where a folder was given, one for mp4s",
    )  # fmt: skip
    add_weights(parser)
    face = {
        "type": _face, "metavar": "N|all|N=DRIVING", "action": _Face, "needless": [driving],
        "help": "which face of the photo, from 0, left to right; without it, the largest; "
        "N=DRIVING, for several faces, gives each a driver of its own, instead of DRIVING",
    }  # fmt: skip
    add_options(parser, more={"face": face})
    parser.add_argument(
        "--motion", metavar="NAME|FILE", type=_template, action=_Instead, needless=[driving],
        help=f"instead of DRIVING a motion template: one of {', '.join(MOTIONS)}, or a file of fomm motion",
    )  # fmt: skip
    parser.add_argument(
        "--source-video", action="store_true",
        help="PHOTO is a video: its head keeps its own motion, and its face takes the driver's expression",
    )  # fmt: skip
    _add_many(parser, [photo, driving, output])
    parser.set_defaults(run=_animate)


def _add_many(parser: argparse.ArgumentParser, needless: Iterable[argparse.Action]) -> None:
    group = parser.add_argument_group("many photos and videos")
    groups = dict.fromkeys(option.group for option in COLUMNS.values())
    group.add_argument(
        "--jobs", metavar="FILE", type=Path, action=_Instead, needless=needless,
        help="instead of PHOTO, DRIVING and -o a CSV file with the columns source, driving and output, and "
        f"any of the options under {', '.join(groups)}",
    )  # fmt: skip
    group.add_argument(
        "--workers", metavar="N", type=int,
        help="processes, each with its own networks; without it, one, or with --ray one for each GPU or CPU",
    )  # fmt: skip
    group.add_argument(
        "--ray", action="store_true",
        help="work on all machines of the Ray cluster of RAY_ADDRESS, or of this machine alone",
    )  # fmt: skip
    group.add_argument(
        "--shard", metavar="I/N", type=_shard,
        help="only the I-th of N parts, counted from 1; without it, all",
    )  # fmt: skip


def _face(text: str) -> int | str | dict[int, Path]:
    """Read ``N`` or ``all``, or ``N=DRIVING``: a face and its driver, a file or the name of a motion."""
    number, equals, driving = text.partition("=")
    if not equals:
        return face_option(text)
    chosen = face_option(number)
    if not isinstance(chosen, int) or not driving:
        raise argparse.ArgumentTypeError(f"{text!r} is not a face's number and its driver, as 1=talk.mp4")
    return {chosen: _template(driving) if driving in MOTIONS else Path(driving)}


def _template(text: str) -> Path:
    """Read the name of a motion that ships, or the path of a template."""
    from fomm.animation.template import find_template

    try:
        return find_template(text)
    except InputError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


def _shard(text: str) -> tuple[int, int]:
    """Read ``I/N``, I from 1 to N."""
    numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, the I-th of N parts, counted from 1")
    return int(numbers[1]), int(numbers[2])


class _Instead(argparse.Action):
    """An option without which others are required."""

    def __init__(self, *names: Any, needless: Iterable[argparse.Action], **options: Any) -> None:
        super().__init__(*names, **options)
        self.needless = needless

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: Any, name: Any = None
    ) -> None:
        setattr(options, self.dest, value)
        for action in self.needless:
            action.required = False


class _Face(_Instead):
    """``--face``: drivers of several faces come together."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: Any, name: Any = None
    ) -> None:
        if not isinstance(value, dict):
            setattr(options, self.dest, value)
            return
        before = getattr(options, self.dest)
        drivers = before if isinstance(before, dict) else {}
        if drivers.keys() & value.keys():
            parser.error(f"--face {min(value)} has two drivers; give one")
        super().__call__(parser, options, drivers | value, name)


def _animate(options: argparse.Namespace) -> None:
    from fomm.jobs import are_folders

    if options.source_video and (options.jobs or isinstance(options.face, dict)):
        raise InputError("--source-video takes one video and one driver; leave --jobs and --face out")
    if options.motion:
        if options.driving or options.jobs:
            raise InputError("--motion stands in for DRIVING; give one of them")
        options.driving = options.motion
    if isinstance(options.face, dict):
        if options.driving or options.jobs:
            raise InputError("--face N=DRIVING stands in for DRIVING; give one of them")
        options.driving, options.face = options.face, None
    if not isinstance(options.driving, dict) and (
        options.jobs or are_folders(options.photo, options.driving)
    ):
        return _animate_many(options)
    if options.shard or options.ray:
        name = "--shard takes a part of" if options.shard else "--ray is for"
        raise InputError(f"{name} many jobs; give --jobs or a folder with it")
    from fomm.animation.animate import animate_file
    from fomm.animation.source_video import replace_expression
    from fomm.checkpoint import load_checkpoints
    from fomm.media import check_result

    given = group_options(given_options(options))
    check_result(options.output)  # before the networks are loaded
    replaced = options.output.is_file()
    networks = load_checkpoints(options.config, options.checkpoint, device=options.device)
    given["compute"] = choose_compute(networks, given["compute"])
    work: Callable[..., int] = replace_expression if options.source_video else animate_file
    count = work(options.photo, options.driving, options.output, *networks, **given)
    _tell(options.output, replaced, count, given["compute"])


def _tell(result: Path, replaced: bool, count: int, compute: Compute) -> None:
    done = f"{count} frames, by {compute.engine} in {compute.precision}"
    print(f"{result}{' (replaced)' if replaced else ''}: {done}")


def _animate_many(options: argparse.Namespace) -> None:
    from fomm.checkpoint import load_checkpoints
    from fomm.jobs import folder_jobs, read_jobs, run_jobs

    if not options.jobs:
        jobs, failures = (
            folder_jobs(options.photo, options.driving, options.output),
            options.output / "failures",
        )
    elif options.photo or options.driving or options.output:
        raise InputError(f"{options.jobs} names photos, videos and outputs; give no others beside --jobs")
    else:
        jobs, failures = read_jobs(options.jobs), options.jobs.with_name(f"{options.jobs.stem}-failures")
    part = "-{}-of-{}".format(*options.shard) if options.shard else ""  # each part has its own failures
    stem = failures.name
    failures = failures.with_name(f"{stem}{part}.csv")
    load: Callable[[], Any] = partial(
        load_checkpoints, options.config, options.checkpoint, device=options.device
    )
    if not options.debug:
        load = partial(call_with_plain_warnings, load)
    summary = run_jobs(
        jobs,
        load,
        workers=options.workers,
        ray=options.ray,
        shard=options.shard or (1, 1),
        failures=failures,
        **given_options(options),
    )
    print(f"{summary.done} done, {summary.skipped} skipped, {len(summary.failures)} failed")
    if not options.shard:  # all of them: what was said of parts is out of date
        for file in failures.parent.iterdir():
            if re.fullmatch(rf"{re.escape(stem)}-\d+-of-\d+\.csv", file.name):
                file.unlink(missing_ok=True)
    if summary.failures:
        raise FommError(f"not all jobs could be done; {failures} says why")


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm demo``, and what it calls."""
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, default=Path("demo.mp4"), help="the video to write"
    )
    add_options(parser, only=(*MARKING, *COMPUTATION))
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from fomm.animation.animate import animate_file
    from fomm.checkpoint import load_checkpoints
    from fomm.media import check_result

    check_result(options.output)
    replaced = options.output.is_file()
    networks = load_checkpoints(device=options.device)
    photo, driving = bundled("examples", "astronaut.png"), bundled("examples", "driving.mp4")
    given = group_options(given_options(options))
    compute = choose_compute(networks, given["compute"])
    # the bundled files show a head alone
    framing = Framing(crop="none", paste_back=True)
    given["framing"], given["compute"] = framing, compute
    count = animate_file(photo, driving, options.output, *networks, **given)
    _tell(options.output, replaced, count, compute)
    print(f"the photo is {photo}, the driving video {driving}")
