"""The command line: parses, calls and exits honestly. The only module that prints.

Exit status: 0 when all is well, 1 for an error (one line on stderr; a traceback with ``--debug``),
2 for wrong usage, 130 when interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fomm._version import __version__
from fomm.bundled import bundled
from fomm.errors import FommError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``fomm`` with the arguments (those of the process by default) and returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments  # before or after the command
    try:
        options = build_parser().parse_args([item for item in arguments if item != "--debug"])
    except SystemExit as stop:  # of --help and --version, and of wrong usage
        return int(stop.code or 0)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("fomm: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        print(f"fomm: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``fomm`` and of all its commands."""
    parser = argparse.ArgumentParser(
        prog="fomm", description="Animate one photo from a driving video (First Order Motion Model)."
    )
    parser.add_argument("--version", action="version", version=f"fomm {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (add, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, formatter_class=_Help)
        add(command)
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds each default to its help, but for flags and options whose help tells of life without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        without = action.default is None or isinstance(action.default, bool)
        return action.help if without else super()._get_help_string(action)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, FommError):
        return text
    return f"{type(error).__name__}: {text or 'no further words'} (run again with --debug for the traceback)"


# -- animate, demo ---------------------------------------------------------------------------------------


def _add_animate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", metavar="PHOTO", type=Path, help="the picture to animate")
    parser.add_argument(
        "driving", metavar="DRIVING", type=Path, help="a video, GIF or folder of numbered pictures"
    )
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, required=True,
        help="an .mp4, .webm or .gif file, or a new folder for PNGs",
    )  # fmt: skip
    _add_weights(parser)
    motion = parser.add_argument_group("motion")
    _add_switch(motion, "relative", "absolute", True, "move as the driving face moves since its first frame")
    _add_switch(
        motion,
        "adapt-scale",
        "no-adapt-scale",
        True,
        "scale the movement by the faces' sizes (with --relative)",
    )
    motion.add_argument(
        "--best-frame", metavar="N", type=int,
        help="the driving frame (from 0) that resembles the photo most; relative motion starts from it",
    )  # fmt: skip
    motion.add_argument(
        "--start", metavar="SECONDS", type=float, default=0.0, help="where the driving video begins"
    )
    motion.add_argument(
        "--duration", metavar="SECONDS", type=float, help="how much of it to use; without it, all"
    )
    result = parser.add_argument_group("result")
    _add_switch(result, "audio", "no-audio", True, "the driving video's sound goes to the result")
    result.add_argument(
        "--side-by-side", action="store_true", help="source, driving video and result in a row"
    )
    _add_device(parser)
    parser.set_defaults(run=_animate)


def _animate(options: argparse.Namespace) -> None:
    from fomm.animate import animate_file
    from fomm.checkpoint import load_checkpoints

    count = animate_file(
        options.photo,
        options.driving,
        options.output,
        *load_checkpoints(options.config, options.checkpoint, device=options.device),
        relative=options.relative,
        adapt_movement_scale=options.adapt_scale,
        best_frame=options.best_frame,
        audio=options.audio,
        side_by_side=options.side_by_side,
        start=options.start,
        duration=options.duration,
        batch_size=options.batch_size,
    )
    print(f"{options.output}: {count} frames")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, default=Path("demo.mp4"), help="the video to write"
    )
    _add_device(parser)
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from fomm.animate import animate_file
    from fomm.checkpoint import load_checkpoints

    networks = load_checkpoints(device=options.device)
    photo, driving = bundled("examples", "astronaut.png"), bundled("examples", "driving.mp4")
    count = animate_file(photo, driving, options.output, *networks, batch_size=options.batch_size)
    print(f"{options.output}: {count} frames; the photo is {photo}, the driving video {driving}")


# -- weights ---------------------------------------------------------------------------------------------


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="IN", type=Path, help="a published .pth.tar or any other file of weights"
    )
    parser.add_argument("target", metavar="OUT", type=Path, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store the convolutions in half precision")
    _add_config(parser)
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from fomm.checkpoint import convert

    convert(options.source, options.target, half=options.half, config_path=options.config)
    print(f"{options.target}: {options.target.stat().st_size / 2**20:.1f} MiB")


# -- data, training, evaluation --------------------------------------------------------------------------


def _add_data(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    summary = "Draw synthetic talking heads, with their exact landmarks and poses."
    heads = kinds.add_parser("heads", help=summary, description=summary, formatter_class=_Help)
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


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE|NAME", required=True, help="a YAML file, or the name of one that ships"
    )
    parser.add_argument(
        "--data", metavar="DIR", type=Path, required=True, help="holds train/, one clip per file"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="of the run; goes on where it stopped"
    )
    parser.add_argument(
        "--init", metavar="FILE", type=Path, help="weights to start from; without it, random ones"
    )
    parser.add_argument(
        "--perceptual-weights", metavar="FILE", type=Path,
        help="of VGG-19 or EfficientNet-lite0; without it, those of the installed package of the latter",
    )  # fmt: skip
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the first weights and of every batch"
    )
    parser.add_argument(
        "--max-steps", metavar="N", type=int, help="stop after so many; without it, after the last epoch"
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, ...; without it, CUDA where there is one, else the CPU"
    )
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    from fomm.config import load_config
    from fomm.training.loop import train

    lines = train(
        load_config(options.config),
        options.data,
        options.out,
        init=options.init,
        perceptual_weights=options.perceptual_weights,
        device=options.device,
        seed=options.seed,
        max_steps=options.max_steps,
    )
    for line in lines:
        step, total, seconds = int(line.pop("step")), int(line.pop("of")), line.pop("seconds_per_step")
        left = (total - step) * seconds / 3600
        losses = "  ".join(f"{name} {value:.4f}" for name, value in line.items())
        print(f"{step}/{total}  {seconds:.2f} s a step, {left:.1f} h left  {losses}", flush=True)
    print(f"{options.out / 'weights.safetensors'}: the weights for use")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a file of weights, or 'default' for those that ship"
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="a set of heads; its test/ is used")
    parser.add_argument(
        "--mode", choices=("reconstruction", "animation"), default="reconstruction",
        help="each clip from its own first frame, or each from another person's",
    )  # fmt: skip
    parser.add_argument("--limit", metavar="N", type=int, help="only the first so many clips")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write every number to a JSON file")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the pairs of animation")
    _add_config(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; without it, the fastest there is")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from fomm.evaluation.report import as_text
    from fomm.evaluation.runner import evaluate

    report = evaluate(
        None if options.checkpoint == "default" else options.checkpoint,
        options.data,
        limit=options.limit,
        out=options.out,
        device=options.device,
        mode=options.mode,
        config=options.config,
        seed=options.seed,
    )
    print(as_text(report))


# -- options that several commands have ------------------------------------------------------------------


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="weights; without it, those that ship"
    )
    _add_config(parser)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE|NAME",
        help="a YAML file or the name of one that ships; without it, the weights tell",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("computation")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps; without it, the fastest there is")
    group.add_argument(
        "--batch-size", metavar="N", type=int, default=4, help="frames in one pass of the networks"
    )


def _add_switch(group: "argparse._ArgumentGroup", yes: str, no: str, default: bool, summary: str) -> None:
    """A pair of flags, of which the later wins."""
    name = yes.replace("-", "_")
    chosen = {default: " (default)", not default: ""}
    group.add_argument(
        f"--{yes}", dest=name, action="store_true", default=default, help=summary + chosen[True]
    )
    group.add_argument(
        f"--{no}", dest=name, action="store_false", default=default, help=f"not --{yes}" + chosen[False]
    )


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "animate": (_add_animate, "Move a photo as a driving video moves."),
    "demo": (_add_demo, "Animate the bundled photo with the bundled video."),
    "convert": (
        _add_convert,
        "Turn any checkpoint into safetensors: the two networks and the configuration.",
    ),
    "data": (_add_data, "Make a data set."),
    "train": (_add_train, "Train, or go on training."),
    "evaluate": (_add_evaluate, "Measure a checkpoint on held-out clips."),
}
