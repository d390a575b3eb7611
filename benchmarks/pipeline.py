"""How long ``fomm animate`` takes from file to file at 720p, and how long each of its steps takes alone.

    python benchmarks/pipeline.py --json pipeline.json

A synthetic head in the middle of 1280x720 pixels moves another one; the result is the whole photo. As the
steps overlap, the whole takes less than their sum; if nothing is wasted, it takes as long as the longest
step. The times are medians of rounds in which all take turns.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import write_report

from fomm.animation.animate import animate_file
from fomm.animation.animator import Animator
from fomm.animation.options import Compute, Framing
from fomm.animation.paste import Paste
from fomm.checkpoint import load_checkpoints
from fomm.face.crop import Rect
from fomm.heads.dataset import render_clip
from fomm.media import VideoReader, VideoWriter, read_image, write_image
from fomm.media.resize import cut_out

HEIGHT, WIDTH = 720, 1280
PART = ((WIDTH - HEIGHT) // 2, 0, HEIGHT, HEIGHT)  # x, y, width, height of the head


def write_files(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write a photo of one head and a driving video of another."""
    room = ((0, 0), (PART[0], PART[0]), (0, 0))
    photo, driving = folder / "photo.png", folder / "driving.mp4"
    write_image(photo, np.pad(render_clip(7, 0, 0, 1, HEIGHT).frames[0], room, mode="reflect"))
    with VideoWriter(driving, fps=25) as writer:
        for frame in render_clip(7, 1, 0, frames, HEIGHT, step=1).frames:
            writer.write(np.pad(frame, room, mode="reflect"))
    return photo, driving


def make_steps(photo: Path, driving: Path, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name: the whole, then each step alone, with all that it needs in memory."""
    networks = load_checkpoints(device=options.device)
    compute = Compute(precision=options.precision, engine=options.engine, batch_size=options.batch)
    result = photo.with_name("result.mp4")
    with VideoReader(driving) as reader:
        frames = list(reader)
    picture, part = read_image(photo), Rect(PART[0], PART[1], PART[0] + PART[2], PART[1] + PART[3])
    source = cut_out(picture, part, networks[0].frame_shape[:2])
    animator = Animator(source, *networks, compute=compute)
    paste = Paste(picture, part, animator.painter.at_rest())
    small = [cut_out(frame, part, animator.size) for frame in frames]
    made = list(animator.render(small))

    def move() -> None:
        list(animator.render(small))
        if animator.device.type == "cuda":
            torch.cuda.synchronize()

    def read() -> None:
        with VideoReader(driving) as reader:
            for _ in reader:
                pass

    def put_back() -> None:
        for animated in made:
            paste(picture.copy(), *animated.rendered)

    def write() -> None:
        with VideoWriter(result, fps=25) as writer:
            for frame in frames:
                writer.write(frame)

    return {
        "whole": lambda: animate_file(
            photo, driving, result, *networks,
            framing=Framing(PART, PART, paste_back=True), compute=compute, progress=False,
        ),
        "decode": read,
        "resize": lambda: [cut_out(frame, part, animator.size) for frame in frames],
        "networks": move,
        "paste back": put_back,
        "encode": write,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=48, help="(default: 48)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--batch", type=int, help="frames in one pass; without it, what suits the device")
    parser.add_argument("--device", help="without it, the fastest there is")
    parser.add_argument("--precision", default="auto", help="(default: auto)")
    parser.add_argument("--engine", default="auto", help="(default: auto)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: torch's)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        steps = make_steps(*write_files(Path(folder), options.frames), options)
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(options.rounds + 1):
            for name, run in steps.items():
                begun = time.perf_counter()
                run()
                if turn:  # the first one warms up
                    taken[name].append(1000 * (time.perf_counter() - begun) / options.frames)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    alone = [value for name, value in medians.items() if name != "whole"]
    print(f"{'step':<12}{'ms a frame':>12}{'frames/s':>10}")
    for name, value in medians.items():
        print(f"{name:<12}{value:>12.1f}{1000 / value:>10.1f}")
    print(f"the steps' sum is {sum(alone):.1f} ms, the longest {max(alone):.1f} ms")
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    write_report(options.json, settings, milliseconds_a_frame=medians)


if __name__ == "__main__":
    main()
