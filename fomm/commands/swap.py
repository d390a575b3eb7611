"""``fomm swap KIND``."""

import argparse
from pathlib import Path

from fomm.animation.option_table import MARKING, group_options
from fomm.commands.options import Help, add_options, given_options
from fomm.errors import InputError


def add_swap(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fomm swap``, and what it calls."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    _add_extract(kinds)
    _add_train(kinds)
    _add_convert(kinds)
    _add_compare(kinds)
    _add_draw(kinds)


def _add_extract(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Cut one person's faces out of a video, for training. Ask the person first."
    extract = kinds.add_parser("extract", help=summary, description=summary, formatter_class=Help)
    extract.add_argument(
        "video", metavar="VIDEO", type=Path, help="a video, or a folder of numbered pictures"
    )
    extract.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True,
        help="NAME.npz; after a stop the same command goes on from NAME.part.npz beside it",
    )  # fmt: skip
    extract.add_argument("--every", metavar="N", type=int, default=10, help="look at every N-th frame")
    _add_detector(extract)
    extract.add_argument(
        "--size", metavar="S", type=int, choices=(64, 128, 160), default=128,
        help="pixels along each side of a face: 64, 128 or 160",
    )  # fmt: skip
    extract.add_argument(
        "--like", metavar="PICTURE", type=Path,
        help="the person meant, where others are in the video too; without it, the largest face of the first "
        "frame that shows one",
    )  # fmt: skip
    extract.set_defaults(run=_swap_extract)


def _add_detector(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector", choices=("blazeface", "mtcnn", "haar"), default="blazeface",
        help="what finds faces; haar needs OpenCV 4",
    )  # fmt: skip


def _swap_extract(options: argparse.Namespace) -> None:
    from fomm.swap.extract import extract_faces
    from fomm.swap.tracking import find_identity

    replaced = options.output.is_file()
    done = extract_faces(
        options.video,
        options.output,
        every=options.every,
        detector=options.detector,
        size=options.size,
        like=None if options.like is None else find_identity(options.like),
        progress=True,
    )
    told = {
        "blurred or too small": done.blurred,
        "covered": done.covered,
        "of other people": done.foreign,
        "without a face": done.nobody,
    }
    why = ", ".join(f"{count} {what}" for what, count in told.items() if count)
    left_out = f"; left out: {why}" if why else ""
    print(
        f"{options.output}{' (replaced)' if replaced else ''}: {done.kept} faces of {done.looked_at} frames "
        f"looked at{left_out}"
    )


def _add_train(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Train networks that put a face into the place of another."
    train = kinds.add_parser("train", help=summary, description=summary, formatter_class=Help)
    train.add_argument("a", metavar="A", type=Path, help="faces of one person, from fomm swap extract")
    train.add_argument("b", metavar="B", type=Path, help="faces of the other, as large as those of A")
    train.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True,
        help="NAME.safetensors; the folder NAME.run beside it has the log and previews, "
        "and the run goes on from it",
    )  # fmt: skip
    train.add_argument(
        "--family", metavar="NAME", default="autoencoder",
        help="autoencoder, vae, conv_vae, vae_gan, cyclegan or sagan",
    )  # fmt: skip
    train.add_argument(
        "--any", action="store_true",
        help="A and B are folders of any pictures: for cyclegan, or for pix2pix, whose pictures of one name "
        "belong together",
    )  # fmt: skip
    train.add_argument(
        "--staged", action="store_true",
        help="autoencoder only: the encoder first, then each decoder; without it, all at once",
    )  # fmt: skip
    train.add_argument(
        "--preset", choices=("quick", "full"), default="quick",
        help="quick: 64 pixels, 15 minutes, for two cores; full: 128 pixels, 100,000 steps, for a GPU",
    )  # fmt: skip
    length = train.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N", type=int, help="stop after so many, not as the preset says")
    length.add_argument(
        "--minutes", metavar="M", type=float, help="stop after so many, all starts of the run together"
    )
    train.add_argument(
        "--batch",
        metavar="N",
        type=int,
        help="pictures of each side in a step; without it, as the family has",
    )
    train.add_argument("--seed", metavar="N", type=int, default=0, help="of all that is drawn at random")
    train.add_argument(
        "--device", help="cpu, cuda, cuda:1, ...; without it, CUDA where there is one, else the CPU"
    )
    train.add_argument(
        "--precision", choices=("float32", "bfloat16"),
        help="of the networks; without it, bfloat16 on CUDA and on CPUs that have instructions for it",
    )  # fmt: skip
    train.set_defaults(run=_swap_train)


def _swap_train(options: argparse.Namespace) -> None:
    from fomm.swap.batches import load_sides
    from fomm.swap.families import find_family
    from fomm.swap.training import PRESETS, describe, format_line, train_swap

    given = (options.a.resolve(), options.b.resolve())
    if options.output.resolve() in given:
        raise InputError(f"{options.output} is what is trained on; choose another name for the result")
    preset, family = PRESETS[options.preset], find_family(options.family, plain=options.any)
    settings = dict(family.presets[options.preset])
    if options.staged:
        settings["staged"] = True
    a, b = load_sides(options.a, options.b, preset.size, plain=options.any, paired=family.paired)
    by_preset = options.steps is None and options.minutes is None
    lines = train_swap(
        a,
        b,
        options.output,
        family=family.name,
        settings=settings,
        steps=preset.steps if by_preset else options.steps,
        minutes=preset.minutes if by_preset else options.minutes,
        batch_size=options.batch,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
    )
    print(describe(family.name, {"size": preset.size, **settings}), flush=True)
    for line in lines:
        print(format_line(line), flush=True)
    print(f"{options.output}: the network that swaps")
    print(f"{options.output.with_suffix('.run')}: its log, and previews in pictures/")


def _add_convert(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Put the other person's face into a video or a picture. Ask both people first."
    convert = kinds.add_parser("convert", help=summary, description=summary, formatter_class=Help)
    convert.add_argument("video", metavar="VIDEO", type=Path, help="a video, or a picture")
    convert.add_argument(
        "--checkpoint", metavar="FILE", type=Path, required=True, help="weights of fomm swap train"
    )
    convert.add_argument(
        "-o", "--output", metavar="RESULT", type=Path, required=True,
        help="an .mp4, .webm or .gif file, or a new folder for PNGs; for a picture .png, .jpg or .webp",
    )  # fmt: skip
    convert.add_argument(
        "--side", choices=("a", "b"), default="b", help="whose face comes out: A's or B's of the training"
    )
    _add_blending(convert, "reinhard")
    convert.add_argument(
        "--like", metavar="PICTURE", type=Path,
        help="the person whose face is replaced, where others are there too; without it, the largest face",
    )  # fmt: skip
    _add_detector(convert)
    add_options(convert, only=(*MARKING, "device"))
    convert.set_defaults(run=_swap_convert)


def _add_blending(parser: argparse.ArgumentParser, colour: str) -> None:
    """Add how a face meets the frame; ``colour`` is the default of --colour."""
    parser.add_argument(
        "--colour", choices=("none", "mean", "reinhard", "histogram"), default=colour,
        help="how the face gets the light of the video",
    )  # fmt: skip
    parser.add_argument(
        "--mask", choices=("learned", "hull", "eroded", "feathered"), default="learned",
        help="which part of the face shows: what the network learned, the outline of the face's mesh, this "
        "less a rim, or with a soft edge",
    )  # fmt: skip
    parser.add_argument(
        "--blend", choices=("alpha", "poisson"), default="alpha",
        help="mix by the mask, or keep the face's gradients and let its edge meet the frame",
    )  # fmt: skip


def _swap_convert(options: argparse.Namespace) -> None:
    from fomm.swap.convert import convert_video

    given = group_options(given_options(options))
    replaced = options.output.is_file()
    done = convert_video(
        options.video,
        options.checkpoint,
        options.output,
        side=options.side,
        colour=options.colour,
        mask=options.mask,
        blend=options.blend,
        detector=options.detector,
        like=options.like,
        marking=given["marking"],
        device=given["compute"].device,
    )
    kept = {
        "nobody": "without a face",
        "foreign": "with other people's faces alone",
        "covered": "whose face is covered",
    }
    why = "; ".join(f"{count} {kept.get(reason, reason)}" for reason, count in done.unchanged.items())
    stayed = f"; left as they are: {why}" if why else ""
    print(
        f"{options.output}{' (replaced)' if replaced else ''}: the face in {done.swapped} of {done.frames} "
        f"frames{stayed}"
    )


def _add_draw(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Draw two people, and the true answer of their swap: a.mp4, b.mp4 and truth.mp4."
    draw = kinds.add_parser("draw", help=summary, description=summary, formatter_class=Help)
    draw.add_argument("folder", metavar="FOLDER", type=Path, help="gets the three clips")
    draw.add_argument("--frames", metavar="N", type=int, default=250, help="of each clip, 25 a second")
    draw.add_argument("--size", metavar="S", type=int, default=256, help="pixels along each side")
    draw.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, other people")
    draw.set_defaults(run=_swap_draw)


def _swap_draw(options: argparse.Namespace) -> None:
    from fomm.swap.drawn import draw_pair

    for path in draw_pair(options.folder, frames=options.frames, size=options.size, seed=options.seed):
        print(path)


def _add_compare(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "Compare trained swaps on one video, or train them all first: a page with pictures and numbers."
    compare = kinds.add_parser("compare", help=summary, description=summary, formatter_class=Help)
    compare.add_argument("a", metavar="A", type=Path, help="the video whose face is replaced")
    compare.add_argument("b", metavar="B", type=Path, help="a video of the person whose face comes in")
    compare.add_argument(
        "checkpoints", metavar="CHECKPOINT", type=Path, nargs="*",
        help="weights of fomm swap train, of the same two people; without any, both people's faces are cut "
        "out and every family is trained first, which takes an hour and a half unless told otherwise",
    )  # fmt: skip
    compare.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True,
        help="gets compare.html and compare.json, and all that is made first; after a stop the same command "
        "goes on from there",
    )  # fmt: skip
    compare.add_argument(
        "--truth",
        metavar="VIDEO",
        type=Path,
        help="B in A's motion, where that is known, as of fomm swap draw",
    )
    compare.add_argument("--frames", metavar="N", type=int, default=100, help="how many are compared")
    _add_blending(compare, "none")  # a truth has B's own skin
    first = compare.add_argument_group("without a CHECKPOINT")
    first.add_argument(
        "--families", metavar="NAME", nargs="+", help="which families are trained; without it, all six"
    )
    first.add_argument(
        "--preset", choices=("quick", "full"),
        help="as of fomm swap train, and the default is quick, too: 15 minutes for each family",
    )  # fmt: skip
    length = first.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N", type=int, help="of each family, not as the preset says")
    length.add_argument("--minutes", metavar="M", type=float, help="of each family, not as the preset says")
    compare.set_defaults(run=_swap_compare)


def _swap_compare(options: argparse.Namespace) -> None:
    from fomm.swap.compare import compare_swaps
    from fomm.swap.convert import Conversion
    from fomm.swap.families import FAMILIES
    from fomm.swap.preparation import prepare_comparison

    how = Conversion(colour=options.colour, mask=options.mask, blend=options.blend)
    checkpoints = options.checkpoints
    if checkpoints:
        for name in ("families", "preset", "steps", "minutes"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name} is for training, and {checkpoints[0]} is trained; leave out one of the two"
                )
    else:
        checkpoints = prepare_comparison(
            options.a,
            options.b,
            options.output,
            families=options.families or tuple(FAMILIES),
            preset=options.preset or "quick",
            minutes=options.minutes,
            steps=options.steps,
            tell=lambda line: print(line, flush=True),
        )
    compare_swaps(
        options.a,
        options.b,
        checkpoints,
        options.output,
        truth=options.truth,
        how=how,
        frames=options.frames,
    )
    print(options.output / "compare.html")
