"""``fomm animate`` and ``fomm demo``."""

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from fomm.animation.options import (
    JOB_OPTIONS,
    frame_option,
    seconds_option,
    shard_option,
    size_option,
)
from fomm.bundled import bundled
from fomm.commands.options import add_device, add_engine, add_parts, add_relative, add_switch, add_weights
from fomm.errors import FommError, InputError


def add_animate(parser: argparse.ArgumentParser) -> None:
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
    add_parts(parser, "driving video", "--crop none or --side-by-side")
    motion = parser.add_argument_group("motion")
    add_relative(motion)
    motion.add_argument(
        "--best-frame", metavar="N|auto", type=frame_option,
        help="the driving frame (from 0) that resembles the photo most; relative motion starts from it",
    )  # fmt: skip
    motion.add_argument(
        "--start", metavar="SECONDS", type=seconds_option, default=0.0, help="where the driving video begins"
    )
    motion.add_argument(
        "--duration", metavar="SECONDS", type=seconds_option, help="how much of it to use; without it, all"
    )
    result = parser.add_argument_group("result")
    add_switch(result, "audio", "no-audio", True, "the driving video's sound goes to the result")
    result.add_argument(
        "--side-by-side", action="store_true", help="source, driving video and result in a row"
    )
    result.add_argument(
        "--size", metavar="N|WxH", type=size_option,
        help="pixels of the longer side, or width and height; "
        "without it, the network's size, or with --paste-back the photo's",
    )  # fmt: skip
    _add_many(parser, [photo, driving, output])
    add_engine(add_device(parser))
    parser.set_defaults(run=_animate)


def _add_many(parser: argparse.ArgumentParser, needless: Iterable[argparse.Action]) -> None:
    group = parser.add_argument_group("many photos and videos")
    group.add_argument(
        "--jobs", metavar="FILE", type=Path, action=_Instead, needless=needless,
        help="instead of PHOTO, DRIVING and -o a CSV file with the columns source, driving and output, and "
        "any of the options of the last three groups",
    )  # fmt: skip
    group.add_argument(
        "--workers", metavar="N", type=int, default=1, help="processes, each with networks of its own"
    )
    group.add_argument(
        "--shard", metavar="I/N", type=shard_option,
        help="only the I-th of N parts, counted from 1; without it, all",
    )  # fmt: skip


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


def _animate(options: argparse.Namespace) -> None:
    from fomm.jobs import are_folders

    if options.jobs or are_folders(options.photo, options.driving):
        return _animate_many(options)
    if options.shard:
        raise InputError("--shard takes a part of many jobs; give --jobs or a folder with it")
    from fomm.animation.animate import animate_file
    from fomm.checkpoint import load_checkpoints

    networks = load_checkpoints(options.config, options.checkpoint, device=options.device)
    engine, precision = _chosen(networks, options)
    count = animate_file(
        options.photo,
        options.driving,
        options.output,
        *networks,
        **_of_each_job(options),
        batch_size=options.batch_size,
        precision=precision,
        engine=engine,
    )
    print(f"{options.output}: {count} frames, by {engine} in {precision}")


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
    failures = failures.with_name(f"{failures.name}{part}.csv")
    summary = run_jobs(
        jobs,
        partial(load_checkpoints, options.config, options.checkpoint, device=options.device),
        workers=options.workers,
        shard=options.shard or (1, 1),
        failures=failures,
        **_of_each_job(options),
        batch_size=options.batch_size,
        precision=options.precision,
        engine=options.engine,
    )
    print(f"{summary.done} done, {summary.skipped} skipped, {len(summary.failures)} failed")
    if summary.failures:
        raise FommError(f"not all jobs could be done; {failures} says why")


def _of_each_job(options: argparse.Namespace) -> dict[str, Any]:
    """What a list of jobs may give too, as keywords of ``animate_file``."""
    return {option.keyword: getattr(options, name.replace("-", "_")) for name, option in JOB_OPTIONS.items()}


def _chosen(networks: tuple[Any, Any], options: argparse.Namespace) -> tuple[str, str]:
    """The engine and the precision, where they were left to fomm."""
    from fomm.engines import choose_engine

    return choose_engine(options.engine, options.precision, next(networks[0].parameters()).device)


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, default=Path("demo.mp4"), help="the video to write"
    )
    add_engine(add_device(parser))
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from fomm.animation.animate import animate_file
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
