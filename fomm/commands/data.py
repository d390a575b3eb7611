"""``fomm data KIND``."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from fomm.commands.options import Help, add_switch
from fomm.data.settings import FORMATS, SPLITS, Settings
from fomm.errors import FommError


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm data``, and what it calls."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    _add_heads(kinds)
    _add_prepare(kinds)
    _add_voxceleb(kinds)


def _add_heads(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Draw synthetic talking heads, with their exact landmarks and poses."
    heads = kinds.add_parser("heads", help=summary, description=summary, formatter_class=Help)
    heads.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="gets train/ and test/; may be a set half made"
    )
    heads.add_argument("--people", metavar="N", type=int, default=1000, help="different heads")
    heads.add_argument("--clips", metavar="N", type=int, default=1, help="clips of each")
    heads.add_argument("--frames", metavar="N", type=int, default=16, help="frames of a clip")
    heads.add_argument(
        "--step", metavar="N", type=int, default=6, help="25ths of a second between two frames"
    )
    heads.add_argument("--size", metavar="S", type=int, default=128, help="pixels along each side")
    heads.add_argument("--workers", metavar="W", type=int, default=1, help="processes")
    heads.add_argument("--format", choices=("npz", "mp4"), default="npz", help="of a clip's frames")
    heads.add_argument(
        "--test-fraction", metavar="F", type=float, default=0.05, help="of the people, for test/"
    )
    heads.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, other people")
    heads.set_defaults(run=_data_heads)


def _data_heads(options: argparse.Namespace) -> None:
    from fomm.heads.dataset import make_dataset

    names = ("people", "clips", "frames", "step", "size", "workers", "format", "test_fraction", "seed")
    make_dataset(options.out, **{name: getattr(options, name) for name in names})
    print(f"{options.out}: {options.people * options.clips} clips")


def _add_prepare(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Make a training set of any folder of videos: one clip of each face in each shot."
    command = kinds.add_parser("prepare", help=summary, description=summary, formatter_class=Help)
    command.add_argument(
        "videos", metavar="VIDEOS", type=Path,
        help="searched with its subfolders; a person is a folder in it, or PERSON in PERSON#CLIP.mp4",
    )  # fmt: skip
    _add_out(command)
    usual = Settings()
    faces = command.add_argument_group("what is cut out")
    add_switch(
        faces, "crop", "no-crop", usual.crop, "the square around each face, with the published margins"
    )
    faces.add_argument(
        "--every", metavar="N", type=int, default=usual.every, help="look for faces in every so many frames"
    )
    faces.add_argument(
        "--min-size", metavar="S", type=int,
        help="drop squares of fewer pixels in the video; without it, --size: nothing is blown up",
    )  # fmt: skip
    add_switch(faces, "cuts", "no-cuts", usual.cuts, "end clips where the shot changes")
    faces.add_argument(
        "--min-frames", metavar="N", type=int, default=usual.min_frames, help="drop shorter clips"
    )
    faces.add_argument(
        "--max-frames", metavar="N", type=int, default=usual.max_frames, help="divide longer clips"
    )
    division = command.add_argument_group("train and test")
    division.add_argument("--split", choices=SPLITS, default=usual.split, help="what is never in both")
    division.add_argument(
        "--test-fraction", metavar="F", type=float, default=usual.test_fraction, help="of these, for test/"
    )
    command.set_defaults(run=_data_prepare)


def _data_prepare(options: argparse.Namespace) -> None:
    from fomm.data.prepare import prepare

    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    _tell(options.out, prepare(options.videos, options.out, settings, workers=options.workers))


def _add_voxceleb(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Cut the clips of the published VoxCeleb list out of the videos that you have or can still get."
    command = kinds.add_parser("voxceleb", help=summary, description=summary, formatter_class=Help)
    command.add_argument(
        "--metadata", metavar="FILE", type=Path, required=True, help="the list, vox-metadata.csv"
    )
    command.add_argument(
        "--videos", metavar="DIR", type=Path, required=True,
        help="holds VIDEO_ID.mp4 and so on, of any size and frame rate; gets what is downloaded",
    )  # fmt: skip
    _add_out(command)
    command.add_argument(
        "--stretch", action="store_true",
        help="squeeze the list's boxes into squares, as the published script does; else they are widened",
    )  # fmt: skip
    command.add_argument(
        "--download", action=argparse.BooleanOptionalAction, default=None,
        help="fetch missing videos with yt-dlp; without either, where yt-dlp is installed",
    )  # fmt: skip
    command.set_defaults(run=_data_voxceleb)


def _data_voxceleb(options: argparse.Namespace) -> None:
    from fomm.data.download import find_downloader
    from fomm.data.voxceleb import voxceleb

    if options.download is None and find_downloader():
        print(f"videos that are missing in {options.videos} are fetched with yt-dlp (else --no-download)")
    names = ("metadata", "videos", "out", "size", "format", "stretch", "download", "workers")
    _tell(options.out, voxceleb(**{name: getattr(options, name) for name in names}))


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", metavar="DIR", type=Path, required=True,
        help="gets train/, test/ and summary.json; a run that was stopped goes on where it was",
    )  # fmt: skip
    command.add_argument(
        "--size", metavar="S", type=int, default=Settings.size, help="pixels along each side of a clip"
    )
    command.add_argument(
        "--format", choices=FORMATS, default=Settings.format,
        help="of a clip: near lossless, a folder of pictures, or an array, which is the quickest to read",
    )  # fmt: skip
    command.add_argument("--workers", metavar="W", type=int, default=1, help="processes")


def _tell(out: Path, summary: dict[str, Any]) -> None:
    """Print what came of it. Raises where not all videos could be used, or there is nothing to train on."""
    from fomm.data.records import format_summary

    print(format_summary(summary))
    lost = len(summary["failed"]) + len(summary["missing"])
    if lost:
        raise FommError(
            f"{lost} of {summary['videos']} videos failed or are missing; the rest is done, "
            f"{out / 'summary.json'} lists them, and the same command tries them again"
        )
    if not summary["train"]["clips"]:
        raise FommError(f"{out / 'train'} got no clip; the table above says why, --help how to change it")
