"""Make the weights of ``fomm detect``: draw samples, train, measure. Nothing is downloaded.

    python tools/train_detector.py draw FOLDER
    python tools/train_detector.py train FOLDER
    python tools/train_detector.py measure FOLDER

``draw`` writes ``train.npz``, ``val.npz`` and ``test.npz``: different people, and each clip in one of them.
``train`` writes ``traces.safetensors`` and ``traces.csv`` with the losses; with ``--without KIND`` it leaves out one way of changing
and writes ``without-KIND.safetensors``. ``measure`` writes ``report.json``.
"""

import argparse
import csv
from pathlib import Path

import torch

from fomm.detect.data import (
    CHANGED,
    Recoding,
    Samples,
    make_samples,
    read_samples,
    read_swapped,
    write_samples,
)
from fomm.detect.network import TraceNetwork
from fomm.detect.training import Settings, apply, calibrate, mean_by_clip, train, write_network

SEED = 2026
EVERY = 100  # steps whose mean is a line of the log
PEOPLE = {"train": range(96), "val": range(1000, 1016), "test": range(2000, 2020)}
# Each test clip is written in all of these ways.
TESTED = tuple(Recoding(crf, 1.0) for crf in (18, 23, 28, 35)) + (Recoding(23, 0.5),)


def draw(folder: Path, parts: list[str], weights: list[str], swapped: Path | None) -> None:
    """Write the samples of each part; ``swapped`` has folders train, val and test, see ``read_swapped``."""
    for part in parts:
        recodings = TESTED if part == "test" else ()
        chosen = (None, *weights)
        made: list[Samples] = []
        for samples in make_samples(PEOPLE[part], SEED, recodings=recodings, weights=chosen):
            made.append(samples)
            print(f"{part}: {2 * len(made)} people of {len(PEOPLE[part])}", flush=True)
        if swapped is not None:
            made += [samples for _, samples in read_swapped(swapped / part, recodings, SEED)]
        write_samples(folder / f"{part}.npz", Samples.join(made))


def train_network(folder: Path, steps: int, left_out: str | None) -> None:
    """Train on ``train.npz``, calibrate on ``val.npz``, and write the network."""
    parts = [read_samples(folder / f"{part}.npz") for part in ("train", "val")]
    if left_out is not None:
        parts = [part.without(left_out) for part in parts]
    torch.manual_seed(SEED)
    network = TraceNetwork()
    name = "traces" if left_out is None else f"without-{left_out}"
    with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        table: csv.DictWriter[str] | None = None
        sums: dict[str, float] = {}
        for line in train(network, parts[0], Settings(steps=steps, seed=SEED)):
            table = table or csv.DictWriter(file, list(line))
            sums = {key: sums.get(key, 0.0) + value / EVERY for key, value in line.items()}
            if (line["step"] + 1) % EVERY == 0:
                sums["step"] = line["step"] + 1
                table.writerow(sums)
                file.flush()
                print(" ".join(f"{key} {value:.4g}" for key, value in sums.items()), flush=True)
                sums = {}
    network = network.half().float()  # what is written is what is calibrated
    scores, _ = apply(network, parts[1].pictures)
    clips, changed = mean_by_clip(scores, parts[1])
    calibration = calibrate(clips, changed)
    print(f"calibrated on {len(clips)} clips: {calibration}")
    write_network(folder / f"{name}.safetensors", network, calibration)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", choices=("draw", "train", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=tuple(PEOPLE), default=list(PEOPLE))
    parser.add_argument("--weights", nargs="*", default=[], help="other checkpoints that animate, too")
    parser.add_argument("--swapped", type=Path, help="folders train, val and test with swapped clips")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--without", choices=CHANGED)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.stage == "draw":
        draw(options.folder, options.parts, options.weights, options.swapped)
    elif options.stage == "train":
        train_network(options.folder, options.steps, options.without)


if __name__ == "__main__":
    main()
