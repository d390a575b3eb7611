"""How often the invisible mark is read after attacks on videos and pictures, and how often where none is.

    python benchmarks/marks.py hits --heads data/heads-heldout/test
    python benchmarks/marks.py alarms --heads data/heads-heldout/test --video any.mp4

``hits`` animates bundled photos and drawn heads, marks each result several times, with other random numbers,
and attacks it. ``alarms`` reads clips and pictures that carry no mark: drawn heads, scikit-image's pictures
and parts of them, noise, and pieces of a video.
"""

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import skimage
from PIL import Image
from scipy.ndimage import gaussian_filter

from fomm import Excerpt, Framing, Marking, animate_file, load_checkpoints
from fomm.bundled import bundled
from fomm.data.clips import find_clips, read_frames
from fomm.errors import MediaError
from fomm.marks import FALSE_ALARM, Marker, Origin, mark, read_mark
from fomm.media import VideoReader, read_image, save_video, write_image
from fomm.media.ffmpeg import run

Frames = list[np.ndarray]
H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]


def encode(video: Path, crf: int, *filters: str) -> Path:
    """Encode a video again with H.264, and return the new one."""
    out = video.with_name(f"{video.stem}-.mp4")
    chosen = ["-vf", ",".join(filters)] if filters else []
    arguments = ["-loglevel", "error", "-y", "-i", str(video), *chosen, *H264, "-crf", str(crf), str(out)]
    code, _, log = run(arguments)
    if code:
        raise MediaError(log)
    return out


HALF = "scale=trunc(iw/4)*2:trunc(ih/4)*2:flags=bicubic"


def crop(rng: np.random.Generator) -> str:
    """Return a filter that cuts off a quarter of one side, shared at random between its ends."""
    share = rng.random()
    if rng.random() < 0.5:
        return f"crop=trunc(iw*3/8)*2:ih:iw/4*{share:.3f}:0:exact=1"
    return f"crop=iw:trunc(ih*3/8)*2:0:ih/4*{share:.3f}:exact=1"


def first_frame(video: Path) -> np.ndarray:
    """Return a frame in the middle of a video."""
    with VideoReader(video) as frames:
        listed = list(frames)
    return listed[len(listed) // 2]


VIDEO_ATTACKS: dict[str, Callable[[Path, np.random.Generator], Path | np.ndarray]] = {
    "as written": lambda video, rng: video,
    "H.264, crf 23": lambda video, rng: encode(video, 23),
    "H.264, crf 28": lambda video, rng: encode(video, 28),
    "H.264, crf 35": lambda video, rng: encode(video, 35),
    "half the size, crf 18": lambda video, rng: encode(video, 18, HALF),
    "a quarter cut off, crf 18": lambda video, rng: encode(video, 18, crop(rng)),
    "crf 28 twice": lambda video, rng: encode(encode(video, 28), 28),
    "crf 28, one frame alone": lambda video, rng: first_frame(encode(video, 28)),
    "half the size, crf 23": lambda video, rng: encode(video, 23, HALF),
    "a quarter cut off, crf 28": lambda video, rng: encode(video, 28, crop(rng)),
    "half the size, crf 28": lambda video, rng: encode(video, 28, HALF),
    "a quarter cut off, half, crf 28": lambda video, rng: encode(video, 28, crop(rng), HALF),
    "a quarter cut off, half, crf 28 twice": lambda video, rng: encode(
        encode(video, 28), 28, crop(rng), HALF
    ),
}


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Return a picture after JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def half(picture: np.ndarray) -> np.ndarray:
    """Return a picture at half its size."""
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width // 2, height // 2), Image.Resampling.BICUBIC))


def cut(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return three quarters of a picture: one side is cut, shared at random between its ends."""
    axis = int(rng.integers(2))
    kept = picture.shape[axis] * 3 // 4
    start = int(rng.integers(picture.shape[axis] - kept + 1))
    return np.take(picture, range(start, start + kept), axis)


PICTURE_ATTACKS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "as written": lambda picture, rng: picture,
    "JPEG 75": lambda picture, rng: jpeg(picture, 75),
    "JPEG 50": lambda picture, rng: jpeg(picture, 50),
    "half the size": lambda picture, rng: half(picture),
    "a quarter cut off": cut,
    "half the size, JPEG 75": lambda picture, rng: jpeg(half(picture), 75),
    "a quarter cut off, JPEG 50": lambda picture, rng: jpeg(cut(picture, rng), 50),
    "a quarter cut off, half, JPEG 75": lambda picture, rng: jpeg(half(cut(picture, rng)), 75),
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio, in dB."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def list_pictures(smallest: int = 200) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the photographs that come with scikit-image."""
    for path in sorted((Path(skimage.__file__).parent / "data").iterdir()):
        drawn = path.stem in (
            "horse",
            "logo",
            "phantom",
            "color",
            "chessboard_GRAY",
            "chessboard_RGB",
            "text",
        )
        if path.suffix in (".png", ".jpg") and not drawn:
            picture = read_image(path)
            if min(picture.shape[:2]) >= smallest:
                yield path.name, picture


def make_results(heads: Path | None, folder: Path, seconds: float) -> Iterator[tuple[str, Frames]]:
    """Animate photos without a mark, and yield the frames of each result."""
    photos = {
        name: bundled("examples", f"{name}") for name in ("astronaut.png", "grace_hopper.jpg", "group.jpg")
    }
    astronaut = Image.fromarray(read_image(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    wide = np.asarray(astronaut.resize((1280, 1280), Image.Resampling.LANCZOS))[100:820]
    write_image(folder / "wide.png", wide)
    photos["astronaut, 1280x720"] = folder / "wide.png"
    for clip in [] if heads is None else find_clips(heads, 5):
        write_image(folder / f"{clip.stem[:6]}.png", read_frames(clip)[0])
        photos[f"drawn head {clip.stem[:6]}"] = folder / f"{clip.stem[:6]}.png"
    networks = load_checkpoints()
    for name, photo in photos.items():
        out = folder / f"frames of {photo.stem}"
        framing = Framing(face="all" if photo.stem == "group" else None)
        animate_file(
            photo, bundled("examples", "driving.mp4"), out, *networks, framing=framing,
            excerpt=Excerpt(duration=seconds), marking=Marking(mark=False), progress=False,
        )  # fmt: skip
        with VideoReader(out) as frames:
            yield name, list(frames)


def is_read(what: Path | np.ndarray, origin: Origin) -> bool:
    """Return whether the mark of ``origin`` is read; another one is worth an error."""
    if isinstance(what, Path):
        with VideoReader(what) as frames:
            reading = read_mark(frames)
    else:
        reading = read_mark(what)
    assert reading is None or reading.origin == origin
    return reading is not None


def print_hits(attacks: list[str], hits: Counter[tuple[str, str]], kinds: dict[str, int]) -> None:
    """Print a table: attacks down, kinds of results to the right."""
    print(f"| | {' | '.join(kinds)} |\n|{' --- |' * (len(kinds) + 1)}")
    for attack in attacks:
        cells = [f"{hits[attack, kind]} of {count}" for kind, count in kinds.items()]
        print(f"| {attack} | {' | '.join(cells)} |")


def measure_hits(heads: Path | None, seconds: float, times: int) -> None:
    """Print the tables of hits, of videos and of pictures."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hits: Counter[tuple[str, str]] = Counter()
        kinds: dict[str, int] = {}
        for host, frames in make_results(heads, folder, seconds):
            kind = "videos of 256x256" if min(frames[0].shape[:2]) <= 300 else "videos of 720 lines or more"
            for time in range(times):
                marker = Marker(Origin(weights="fd8492", number=rng.bytes(4).hex()))
                begin = perf_counter()
                marked = [marker(frame) for frame in frames]
                spent = (perf_counter() - begin) / len(frames) * 1000
                save_video(folder / "v.mp4", marked, 25)
                kinds[kind] = kinds.get(kind, 0) + 1
                missed = []
                for attack, change in VIDEO_ATTACKS.items():
                    hit = is_read(change(folder / "v.mp4", rng), marker.origin)
                    hits[attack, kind] += hit
                    missed += [] if hit else [attack]
                if not time:
                    lowest = min(map(psnr, marked, frames))
                    size = f"{frames[0].shape[1]}x{frames[0].shape[0]}"
                    print(f"{host}, {size}: {lowest:.1f} dB, {spent:.2f} ms a frame", flush=True)
                print(f"    missed: {', '.join(missed) or 'none'}", flush=True)
        print_hits(list(VIDEO_ATTACKS), hits, kinds)
    hits, kinds, lowest = Counter(), {}, 99.0
    for _, picture in list_pictures():
        side = min(picture.shape[:2])
        kind = "pictures of 200 to 359 pixels" if side < 360 else "pictures of 360 pixels or more"
        for _ in range(times):
            origin = Origin(number=rng.bytes(4).hex())
            marked = mark(picture, origin)
            lowest = min(lowest, psnr(marked, picture))
            kinds[kind] = kinds.get(kind, 0) + 1
            for attack, change in PICTURE_ATTACKS.items():
                hits[attack, kind] += is_read(change(marked, rng), origin)
    print(f"pictures: {lowest:.1f} dB or more")
    print_hits(list(PICTURE_ATTACKS), hits, kinds)


def list_unmarked(heads: Path | None, video: Path | None) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield clips and pictures that carry no mark, each with the name of its kind."""
    rng = np.random.default_rng(1)
    for clip in [] if heads is None else find_clips(heads, 1000):
        frames = list(read_frames(clip))
        yield "clips of drawn heads", frames
        for index in (3, 9):
            yield "pictures of drawn heads", frames[index : index + 1]
    for _, picture in list_pictures(60):
        yield "scikit-image's pictures", [picture]
        for _ in range(8):
            height, width = (int(rng.integers(min(90, side), side + 1)) for side in picture.shape[:2])
            y, x = (
                int(rng.integers(0, n - m + 1)) for n, m in zip(picture.shape, (height, width), strict=False)
            )
            yield "parts of scikit-image's pictures", [picture[y : y + height, x : x + width]]
    for index in range(40):
        size = int(rng.integers(100, 500))
        noise = rng.standard_normal((size, size + 40))
        noise = gaussian_filter(noise, 0.3 * index) if index % 2 else noise
        levels = (128 + 40 * noise / noise.std()).clip(0, 255).astype(np.uint8)
        yield "noise, white and smooth", [np.repeat(levels[..., None], 3, 2)]
    if video is not None:
        with VideoReader(video) as reader:
            frames = list(reader)
        for start in range(0, len(frames) - 7, 8):
            yield "pieces of a video of a real person", frames[start : start + 8]


def count_alarms(heads: Path | None, video: Path | None) -> None:
    """Print how many clips and pictures without a mark were read as marked."""
    read: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    for kind, frames in list_unmarked(heads, video):
        read[kind] += 1
        reading = read_mark(frames)
        if reading is not None:
            alarms[kind] += 1
            print(f"ALARM: {kind}, {reading}")
    print("| | read | false alarms |\n| --- | --- | --- |")
    for kind, count in read.items():
        print(f"| {kind} | {count} | {alarms[kind]} |")
    total, found = read.total(), alarms.total()
    print(f"| together | {total} | {found} |")
    if not found:
        print(f"below {3 / total:.2%} with a confidence of 95 %; by construction below {FALSE_ALARM:.1g}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("hits", "alarms"))
    parser.add_argument("--heads", type=Path, help="a folder of clips of drawn heads")
    parser.add_argument("--video", type=Path, help="for alarms: a video that carries no mark")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each result")
    parser.add_argument("--times", type=int, default=4, help="that each result is marked")
    options = parser.parse_args()
    if options.what == "hits":
        measure_hits(options.heads, options.seconds, options.times)
    else:
        count_alarms(options.heads, options.video)


if __name__ == "__main__":
    main()
