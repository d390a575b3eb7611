"""Make the weights of ``fomm detect``: draw samples, train, measure. Nothing is downloaded.

    python tools/train_detector.py draw FOLDER
    python tools/train_detector.py train FOLDER
    python tools/train_detector.py picture FOLDER
    python tools/train_detector.py measure FOLDER --clips untouched=CLIP.mp4 animated=OTHER.mp4

``draw`` writes ``train-*.npz``, ``val-*.npz`` and ``test-*.npz``: different people, some in each file. One
that was stopped goes on. ``train`` takes what was drawn so far, writes ``traces.safetensors`` and prints the
losses; with ``--without KIND`` it leaves out a way of changing, or several, and writes
``without_KIND.safetensors``.
``measure`` writes ``traces.json``, the card of the weights: errors on the test samples; what clips get that
nobody drew (``--clips``), and swapped ones (``--swapped``); and how well a way of changing is found that
was left out of the training, by the files ``without_KIND.safetensors`` in ``--left-out FOLDER`` beside a
``traces.safetensors`` of as many steps. ``picture`` draws ``docs/detect-heat.jpg``.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fomm.detect.data import make_samples, read_swapped
from fomm.detect.measures import (
    area_under_curve,
    calibration_error,
    equal_error_rate,
    overlap,
    reliability,
)
from fomm.detect.network import BRANCHES, CELL, Calibration, TraceNetwork, read_network, to_batch
from fomm.detect.page import lay_heat_over
from fomm.detect.samples import CHANGED, KINDS, Recoding, Samples, read_samples, write_samples
from fomm.detect.scan import FLAGGED, scan_with
from fomm.detect.training import Settings, apply, calibrate, mean_by_clip, train, write_network

SEED = 2026
PICTURED = Recoding(23, 1.0)
CHECKED = 500  # steps whose mean is a line of the log
PEOPLE = {"train": range(800), "val": range(1100, 1124), "test": range(3000, 3032)}
TOGETHER = 20  # people in one file
TAKES = 2  # of each person, in the training and validation samples
# Pictures of scikit-image that show no people: the camera films them for the training, as it films heads.
SCENERY = ("brick", "grass", "gravel", "cat", "coffee", "rocket", "hubble_deep_field", "retina", "moon")
# Each test clip is written in all of these ways.
TESTED = (*(Recoding(crf, 1.0) for crf in (18, 23, 28, 35)), Recoding(23, 0.5))


def draw(folder: Path, parts: list[str], weights: list[str]) -> None:
    """Write the samples of each part, ``TOGETHER`` people a file. Files that are there already are kept."""
    chosen = (None, *weights)
    for part in parts:
        recodings = TESTED if part == "test" else ()
        takes = 1 if part == "test" else TAKES
        scenery = load_scenery() if part == "train" else ()
        for first in PEOPLE[part][::TOGETHER]:
            path = folder / f"{part}-{first:04d}.npz"
            if path.exists():
                continue
            people = range(first, min(first + TOGETHER, PEOPLE[part].stop))
            made = make_samples(
                people, SEED, recodings=recodings, takes=takes, weights=chosen, scenery=scenery
            )
            write_samples(path, Samples.join(list(made)))
            print(path, flush=True)


def load_scenery() -> tuple[np.ndarray, ...]:
    """Return the pictures of ``SCENERY``, each HxWx3 uint8."""
    from skimage import data

    pictures = (getattr(data, name)() for name in SCENERY)
    return tuple(p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in pictures)


def read_part(folder: Path, part: str) -> Samples:
    """Return the samples in all files of a part that were drawn so far."""
    return Samples.join([read_samples(path) for path in sorted(folder.glob(f"{part}-*.npz"))])


def train_network(
    folder: Path, steps: int, left_out: list[str], start: Path | None, branches: list[str]
) -> None:
    """Train on the training samples, and write the network that tells those for validation apart best.

    The network of every ``CHECKED`` steps is tried, and written if it is the best so far. It is calibrated
    on the same samples.
    """
    known, judged = (read_part(folder, part) for part in ("train", "val"))
    for kind in left_out:
        known = known.without(kind)
    print(f"{len(known)} pictures of {len(np.unique(known.clips))} clips", flush=True)
    torch.manual_seed(SEED)
    network = TraceNetwork()
    if start is not None:
        network.load_state_dict(read_network(start)[0].state_dict())
        network.requires_grad_(True)
    name = "_".join(["without", *left_out]) if left_out else "traces"
    best = 0.0
    sums: dict[str, float] = {}
    settings = Settings(steps=steps, seed=SEED + (start is not None))
    for line in train(network, known, settings, branches):
        sums = {key: sums.get(key, 0.0) + value / CHECKED for key, value in line.items()}
        if (line["step"] + 1) % CHECKED:
            continue
        tried = copy.deepcopy(network).half().float().eval()  # what is written is what is tried
        scores = apply(tried, judged.pictures, branches)[0]
        clips, changed = mean_by_clip(scores, judged)
        sums["step"] = line["step"] + 1
        sums["area_under_curve"] = area_under_curve(clips, changed)
        if sums["area_under_curve"] > best:
            best = sums["area_under_curve"]
            write_network(folder / f"{name}.safetensors", tried, calibrate(clips, changed))
        print(" ".join(f"{key} {value:.4g}" for key, value in sums.items()), flush=True)
        sums = {}


def measure(folder: Path, clips: list[str], left_out: Path | None, swapped: Path | None) -> dict[str, Any]:
    """Return the card of ``traces.safetensors``; see the top of this file."""
    samples = read_part(folder, "test")
    network, calibration = read_network(folder / "traces.safetensors")
    scores, heats = apply(network, samples.pictures)
    found = heats.repeat(CELL, 1).repeat(CELL, 2) >= FLAGGED
    overlaps = np.array([overlap(*both) for both in zip(found, samples.changed, strict=True)])
    changed = samples.kinds > 0

    def judge(chosen: np.ndarray) -> dict[str, float]:
        errors = _errors(*mean_by_clip(scores[chosen], samples.select(chosen)), calibration)
        return errors | {"iou": float(overlaps[chosen & changed].mean())}

    everything = np.ones(len(samples), bool)
    probabilities = calibration.probability(mean_by_clip(scores, samples)[0])
    card: dict[str, Any] = {
        "pictures": _errors(scores, changed, calibration),
        "clips": judge(everything),
        "flagged_untouched": float(found[~changed].mean()),
        "reliability": [
            bin._asdict() for bin in reliability(probabilities, mean_by_clip(scores, samples)[1])
        ],
        "ways": {
            KINDS[kind]: judge(~changed | (samples.kinds == kind))
            for kind in np.unique(samples.kinds[changed])
        },
        "recodings": {
            f"crf {one.crf}" + (", half" if one.scale < 1 else ""): judge(
                (samples.crfs == one.crf) & np.isclose(samples.scales, one.scale)
            )
            for one in TESTED
        },
        "left_out": {} if left_out is None else _judge_left_out(left_out, samples),
        "swapped": {},
    }
    for name, pair in () if swapped is None else read_swapped(swapped, [PICTURED], SEED):
        means, was_changed = mean_by_clip(apply(network, pair.pictures)[0], pair)
        answers = calibration.probability(means)
        card["swapped"][name] = {
            "swapped": float(answers[was_changed].mean()),
            "before": float(answers[~was_changed].mean()),
        }
    for what in ("untouched", "animated"):
        paths = [Path(clip.partition("=")[2]) for clip in clips if clip.startswith(f"{what}=")]
        card[what] = [
            {"name": path.name, "probability": scan_with(path, network, calibration).probability}
            for path in paths
        ]
    return card


def _judge_left_out(folder: Path, samples: Samples) -> dict[str, dict[str, float]]:
    """Return the areas under the curve of a training that knew some ways, and of one that left them out."""
    known, _ = read_network(folder / "traces.safetensors")
    areas = {}
    for path in sorted(folder.glob("without_*.safetensors")):
        kinds = path.stem.split("_")[1:]
        numbers = [KINDS.index(kind) for kind in ("untouched", *kinds)]
        part = samples.select(np.isin(samples.kinds, numbers))
        scores = [apply(network, part.pictures)[0] for network in (known, read_network(path)[0])]
        both = [area_under_curve(*mean_by_clip(each, part)) for each in scores]
        areas[", ".join(kinds)] = dict(zip(("known", "left_out"), both, strict=True))
    return areas


def _errors(scores: np.ndarray, changed: np.ndarray, calibration: Calibration) -> dict[str, float]:
    probabilities = calibration.probability(scores)
    return {
        "area_under_curve": area_under_curve(scores, changed),
        "equal_error_rate": equal_error_rate(scores, changed),
        "false_alarms": float((probabilities[~changed] >= 0.5).mean()),
        "misses": float((probabilities[changed] < 0.5).mean()),
        "calibration_error": calibration_error(probabilities, changed),
        "count": len(scores),
    }


def draw_picture(folder: Path) -> None:
    """Draw a test picture of each kind in a row: itself, what changed, both branches, and where they agree.

    Of each kind it is the one whose score is the median, so that it is neither the best nor the worst.
    """
    samples = read_part(folder, "test")
    samples = samples.select((samples.crfs == PICTURED.crf) & np.isclose(samples.scales, PICTURED.scale))
    network, _ = read_network(folder / "traces.safetensors")
    scores, _ = apply(network, samples.pictures)
    rows = []
    for kind in np.unique(samples.kinds):
        places = np.flatnonzero(samples.kinds == kind)
        place = places[np.argsort(scores[places])[len(places) // 2]]
        picture = samples.pictures[place]
        with torch.inference_mode():
            heats = network(to_batch(picture[None]))
        maps = [samples.changed[place].astype(float)]
        for heat in (heats.pixels.sigmoid(), heats.encoding.sigmoid(), heats.agree()):
            maps.append(heat[0].numpy().repeat(CELL, 0).repeat(CELL, 1))
        rows.append(np.concatenate([picture, *(lay_heat_over(picture, heat) for heat in maps)], axis=1))
    target = Path(__file__).resolve().parent.parent / "docs" / "detect-heat.jpg"
    Image.fromarray(np.concatenate(rows)).save(target, quality=85)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", choices=("draw", "train", "measure", "picture"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=tuple(PEOPLE), default=list(PEOPLE))
    parser.add_argument("--weights", nargs="*", default=[], help="other checkpoints that animate, too")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument(
        "--start", type=Path, help="weights to go on from, where more people were drawn since"
    )
    parser.add_argument("--branches", nargs="+", default=BRANCHES, choices=BRANCHES)
    parser.add_argument("--without", nargs="+", default=[], choices=CHANGED, metavar="KIND")
    parser.add_argument("--clips", nargs="*", default=[], metavar="untouched=FILE or animated=FILE")
    parser.add_argument("--left-out", type=Path, metavar="FOLDER")
    parser.add_argument("--swapped", type=Path, metavar="FOLDER", help="swapped clips, see read_swapped")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.stage == "draw":
        draw(options.folder, options.parts, options.weights)
    elif options.stage == "train":
        train_network(options.folder, options.steps, options.without, options.start, options.branches)
    elif options.stage == "picture":
        draw_picture(options.folder)
    else:
        card = measure(options.folder, options.clips, options.left_out, options.swapped)
        text = json.dumps(card, indent=1, default=float)
        (options.folder / "traces.json").write_text(text + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
