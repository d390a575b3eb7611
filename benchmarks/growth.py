"""How time and memory grow with the number of frames, their size, and the frames in one pass of the networks.

    python benchmarks/growth.py --json growth.json --plot growth.png

Every number comes from a fresh process that does what ``fomm animate`` does, from file to file: a part of a
photo moves and is pasted back; photo, driving video and result have the same size. Numbers of frames and
sizes are measured with the tests' tiny network, so that everything but the networks shows. Frames in one pass
are measured with the weights that ship. The plot needs matplotlib (``pip install 'fomm[bench]'``).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import peak_memory, write_report

from fomm.animation.animate import animate_file
from fomm.animation.options import Compute, Framing
from fomm.checkpoint import load_checkpoints
from fomm.media import VideoWriter, write_image

TINY = Path(__file__).parent.parent / "tests" / "golden"
SERIES = {  # what grows, and in which unit
    "frames": "frames of 1280x720",
    "size": "megapixels",
    "batch": "frames in one pass",
}


def write_files(folder: Path, frames: int, height: int) -> tuple[Path, Path]:
    """Write a photo and a driving video of smooth colours that move, 16:9."""
    width = height * 16 // 9
    y, x = np.mgrid[:height, :width] / height
    pictures = []
    for step in range(8):
        waves = [np.sin(5 * x + 2 * y + 0.1 * step), np.cos(7 * y - x), np.sin(6 * (x - y) - 0.1 * step)]
        pictures.append((127.5 + 120 * np.stack(waves, 2)).astype(np.uint8))
    photo, driving = folder / "photo.png", folder / "driving.mp4"
    write_image(photo, pictures[0])
    with VideoWriter(driving, fps=25) as writer:
        for number in range(frames):
            writer.write(pictures[abs(number % 14 - 7)])
    return photo, driving


def run_alone(network: str, photo: Path, driving: Path, batch: int, threads: int) -> None:
    """Animate once, and print frames, seconds and MB: this is what ``measure_process`` starts."""
    torch.set_num_threads(threads)
    paths = (TINY / "tiny.yaml", TINY / "tiny-cpk.pth.tar") if network == "tiny" else (None, None)
    networks = load_checkpoints(*paths, cpu=True)
    from PIL import Image

    with Image.open(photo) as picture:
        width, height = picture.size
    part = ((width - height) // 2, 0, height, height)
    begun = time.perf_counter()
    count = animate_file(
        photo, driving, photo.with_name("result.mp4"), *networks,
        framing=Framing(crop=part, crop_driving=part, paste_back=True),
        compute=Compute(precision="float32", batch_size=batch), progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    print(count, seconds, peak_memory())


def measure_process(network: str, frames: int, height: int, batch: int, threads: int) -> dict[str, float]:
    """Return the seconds and the memory of a fresh process that animates once."""
    with tempfile.TemporaryDirectory() as folder:
        photo, driving = write_files(Path(folder), frames, height)
        words = [network, str(photo), str(driving), str(batch), str(threads)]
        command = [sys.executable, __file__, "--alone", *words]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count, seconds, peak = (float(word) for word in output.split())
    assert count == frames
    return {"seconds": seconds, "milliseconds_a_frame": 1000 * seconds / frames, "peak_memory_mb": peak}


def measure(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return rows of numbers for each thing that grows, and print them."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, values in (("frames", options.frames), ("size", options.heights), ("batch", options.batches)):
        found[name] = []
        for value in values:
            frames = value if name == "frames" else options.few
            height = value if name == "size" else 720
            batch = value if name == "batch" else 4
            network = "shipped" if name == "batch" else "tiny"
            row = {name: float(value)}
            if name == "size":
                row["size"] = value * (value * 16 // 9) / 1e6
            row |= measure_process(network, frames, height, batch, options.threads)
            found[name].append(row)
            print(
                f"{row[name]:>10.6g} {SERIES[name]:<20}{row['seconds']:>9.1f} s"
                f"{row['milliseconds_a_frame']:>9.1f} ms a frame{row['peak_memory_mb']:>9.0f} MB",
                flush=True,
            )
    return found


def plot(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(10, 5), sharex="col", layout="constrained")
    for column, (name, rows) in enumerate(found.items()):
        across = [row[name] for row in rows]
        for key, axis in zip(("milliseconds_a_frame", "peak_memory_mb"), axes[:, column], strict=True):
            up = [row[key] for row in rows]
            axis.plot(across, up, "o-", color="#2a6f97")
            axis.set_ylim(0, 1.15 * max(up))
            axis.set_xscale("log")
            axis.set_xticks(across, [f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in across])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        axes[1, column].set_xlabel(SERIES[name])
    axes[0, 0].set_ylabel("ms a frame")
    axes[1, 0].set_ylabel("peak memory, MB")
    for axis, title in zip(axes[0], ("tiny network", "tiny network", "weights that ship"), strict=True):
        axis.set_title(title, fontsize=10)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[100, 1000, 10000], help="(default: 100 1000 10000)"
    )
    parser.add_argument(
        "--heights", type=int, nargs="+", default=[360, 720, 1080, 2160], help="(default: 360 720 1080 2160)"
    )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="(default: 1 2 4 8 16 32)"
    )
    parser.add_argument("--few", type=int, default=64, help="frames where other things grow (default: 64)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: torch's)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--plot", type=Path, help="draw them into this file")
    parser.add_argument("--alone", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        network, photo, driving, batch, threads = options.alone
        run_alone(network, Path(photo), Path(driving), int(batch), int(threads))
        return
    found = measure(options)
    *_, before, last = [found["frames"][0], *found["frames"]]
    times = last["peak_memory_mb"] / before["peak_memory_mb"]
    print(f"{last['frames']:.0f} frames take {times:.3f} times the memory of {before['frames']:.0f}")
    write_report(options.json, {"threads": options.threads, "few": options.few}, growth=found)
    if options.plot:
        plot(found, options.plot)
    if times > 1.1:
        raise SystemExit("memory grows with the number of frames: it should stay within a tenth")


if __name__ == "__main__":
    main()
