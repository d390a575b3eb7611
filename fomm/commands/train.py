"""``fomm train``."""

import argparse
from pathlib import Path


def add_train(parser: argparse.ArgumentParser) -> None:
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
