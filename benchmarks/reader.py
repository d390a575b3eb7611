"""How many frames a second training gets from each kind of clip, for each worker.

    python benchmarks/reader.py --json reader.json

A few clips of synthetic heads are drawn and written in every format, and ``fomm.training.dataset`` reads
batches of pairs from them. The formats take turns, so that other work of the machine slows all of them alike;
the median of the rounds is reported. Files are in the system's cache when they are read, so no disk is
measured.
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
from PIL import Image

from fomm.config import DatasetParams
from fomm.heads.dataset import render_clip
from fomm.media import VideoWriter, save_video
from fomm.training.dataset import Pairs, open_pairs


def write_png_folder(path: Path, frames: np.ndarray) -> None:
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{number:07d}.png")


def write_training_mp4(path: Path, frames: np.ndarray) -> None:
    with VideoWriter(path, fps=25, for_training=True) as writer:
        for frame in frames:
            writer.write(frame)


# What each is called, its suffix, and what writes it.
FORMATS: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "npz, stored": (".npz", lambda path, frames: np.savez(path, frames=frames)),
    "npz, compressed": (".npz", lambda path, frames: np.savez_compressed(path, frames=frames)),
    "folder of PNGs": ("", write_png_folder),
    "PNGs side by side": (".png", lambda path, frames: Image.fromarray(np.concatenate(frames, 1)).save(path)),
    "mp4, as prepared": (".mp4", write_training_mp4),
    "mp4, usual": (".mp4", lambda path, frames: save_video(path, frames, 25)),
    "gif": (".gif", lambda path, frames: save_video(path, frames, 25)),
}


def write_clips(folder: Path, clips: int, frames: int, size: int) -> None:
    """Write the same clips in every format, each format in a folder of its own."""
    for name in FORMATS:
        (folder / name).mkdir()
    for clip in range(clips):
        drawn = render_clip(0, clip, 0, frames, size, step=1).frames
        for name, (suffix, write) in FORMATS.items():
            write(folder / name / f"{clip:03d}#0{suffix}", drawn)


def bytes_per_frame(folder: Path, count: int) -> float:
    """Return the size of the files in a folder for each of ``count`` frames."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / count


def measure_speed(pairs: Pairs, steps: int, batch_size: int, first: int, device: torch.device) -> float:
    """Read the batches from step ``first`` on, and return frames a second."""
    begun = time.perf_counter()
    for _ in pairs.stream(first, first + steps):
        pass
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 2 * steps * batch_size / (time.perf_counter() - begun)


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, float | str]]:
    """Return a row for each format and number of workers."""
    params = DatasetParams(frame_shape=(options.size, options.size, 3))
    device = torch.device(options.device)
    contestants: dict[tuple[str, int], Pairs] = {}
    for workers in options.workers:
        for name in FORMATS:
            contestants[name, workers] = open_pairs(
                folder / name, params, options.batch_size, 0, in_memory=False, device=device, workers=workers
            )
    stored = folder / next(iter(FORMATS))
    contestants["in memory", 1] = open_pairs(
        stored, params, options.batch_size, 0, in_memory=True, device=device
    )
    speeds: dict[tuple[str, int], list[float]] = {key: [] for key in contestants}
    for turn in range(options.rounds + 1):
        for key, pairs in contestants.items():
            speed = measure_speed(pairs, options.steps, options.batch_size, turn * options.steps, device)
            if turn:  # in the first all clips are opened
                speeds[key].append(speed)
    rows: list[dict[str, float | str]] = []
    for (name, workers), found in speeds.items():
        source = folder / name if name in FORMATS else stored
        size = bytes_per_frame(source, options.clips * options.frames)
        median = statistics.median(found)
        rows.append(
            {
                "format": name,
                "workers": workers,
                "frames_per_second": median,
                "frames_per_second_per_worker": median / workers,
                "slowest_round": min(found),
                "fastest_round": max(found),
                "bytes_per_frame": size,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="of the frames, pixels (default: 128)")
    parser.add_argument("--frames", type=int, default=64, help="of each clip (default: 64)")
    parser.add_argument("--clips", type=int, default=4, help="(default: 4)")
    parser.add_argument("--batch-size", type=int, default=16, help="pairs (default: 16)")
    parser.add_argument("--steps", type=int, default=2, help="batches in a round (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--device", default="cpu", help="where the batches go (default: cpu)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_clips(Path(folder), options.clips, options.frames, options.size)
        rows = measure(Path(folder), options)
    print(f"{'format':<20}{'workers':>8}{'frames/s':>12}{'per worker':>12}{'bytes/frame':>13}")
    for row in rows:
        print(
            f"{row['format']:<20}{row['workers']:>8}{row['frames_per_second']:>12.0f}"
            f"{row['frames_per_second_per_worker']:>12.0f}{row['bytes_per_frame']:>13.0f}"
        )
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    write_report(options.json, settings, rows=rows)


if __name__ == "__main__":
    main()
