"""Draw what becomes of the bundled photos in each of twelve situations: the strips of docs/situations.md.

    python tools/draw_situations.py --clip carphone_pristine.mp4

A strip shows the driving frames above and the photos below, in the same moments. The drivers are drawn heads.
``--clip`` is the film of ``benchmarks/real_clip.py``, whose frames are not shown; without it, the strips of a
real driver stay as they are.
"""

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fomm import load_checkpoints
from fomm.animation.animate import animate_file
from fomm.animation.framing import photo_squares
from fomm.animation.options import Framing, Motion
from fomm.face.crop import Rect
from fomm.heads.bust import load_bust
from fomm.heads.glasses import add_glasses
from fomm.heads.motion import FPS, HeadMotion
from fomm.heads.people import make_person
from fomm.heads.render import Renderer, pose
from fomm.heads.scene import Scene, make_scene
from fomm.media import VideoReader, VideoWriter, read_image
from fomm.media.resize import cut_out
from fomm.model import Detector, Generator

ROOT = Path(__file__).resolve().parent.parent
STRIPS = ROOT / "docs" / "situations"
ASTRONAUT = ROOT / "examples" / "astronaut.png"
HOPPER = ROOT / "examples" / "grace_hopper.jpg"
GROUP = ROOT / "examples" / "group.jpg"
SIZE = 256  # of the driving frames, pixels
TILE, GROUP_TILE, GAP = 128, 180, 4  # pixels: the height of a strip's pictures, and between them
QUALITY = 64  # of the JPEGs
_PERSON, _SCENE, _GLASSES = (9, 0, 34), (9, 1, 34), 5
_ANGLES = ("yaw", "pitch", "roll")

Networks = tuple[Generator, Detector]
Pose = dict[str, float]  # radians; "right" and "up" as shares of the picture's side; actions of the face


@dataclass(frozen=True)
class Row:
    """A photo, and how it is moved."""

    photo: Path
    motion: Motion = Motion()
    face: str | None = None


@dataclass(frozen=True)
class Situation:
    """What a driver does, and what it does it to.

    A drawn driver goes smoothly from pose to pose, and these are the moments that are shown. For the film,
    the numbers of its frames are given in place of poses.
    """

    name: str
    rows: tuple[Row, ...]
    poses: tuple[Pose, ...] = ()
    step: int = 12  # frames from pose to pose
    zoom: float = 0.85  # of the camera
    glasses: bool = False
    close: bool = False  # show the face alone, not all of the photo
    shown: tuple[int, ...] = ()  # frames of the film

    @property
    def frames(self) -> tuple[int, ...]:
        """Return the numbers of the frames that are shown."""
        return self.shown or tuple(range(0, self.step * len(self.poses), self.step))


KEYPOINTS = Motion(driver="keypoints")
BOTH = Row(ASTRONAUT), Row(HOPPER)
SMILE = {"mouthSmile": 0.8, "mouthUpperUp": 0.6, "mouthLowerDown": 0.4}
SITUATIONS = (
    Situation(
        "turns",
        (*BOTH, Row(HOPPER, KEYPOINTS)),
        ({}, {"yaw": 0.3}, {"yaw": 0.6}, {"yaw": -0.3}, {"yaw": -0.6}, {"pitch": 0.3}, {"pitch": -0.3}),
    ),
    Situation(
        "shift",
        (*BOTH, Row(HOPPER, KEYPOINTS)),
        ({}, {"right": -0.25}, {}, {"right": 0.25}, {"up": 0.25}, {}, {"up": -0.25}),
        zoom=0.65,
    ),
    Situation(
        "leaning",
        BOTH,
        ({}, {"roll": 0.2, "right": 0.05}, {"roll": 0.4, "right": 0.15}, {}, {"roll": -0.2, "right": -0.05},
         {"roll": -0.4, "right": -0.15, "yaw": 0.2}, {}),
        zoom=0.7,
    ),
    Situation("leaning-real", (*BOTH, Row(HOPPER, KEYPOINTS)), shown=(0, 20, 40, 60, 80, 100, 118)),
    Situation(
        "lost",
        BOTH,
        ({}, {"yaw": 0.3, "right": 0.2}, {"yaw": 0.3, "right": 0.9}, {"right": 0.9}, {"right": 0.9},
         {"yaw": -0.3, "right": 0.2}, {"yaw": -0.3}),
        step=14,
        zoom=0.7,
    ),
    Situation(
        "turned-first",
        (*BOTH, Row(HOPPER, Motion(best_frame=0))),
        ({"yaw": 0.6}, {"yaw": 0.6, "jawOpen": 0.4}, {"yaw": 0.3}, {}, {"jawOpen": 0.4}, {"yaw": -0.3},
         {"yaw": -0.6}),
    ),
    Situation(
        "speech",
        (*BOTH, Row(HOPPER, KEYPOINTS)),
        ({}, {"jawOpen": 0.75}, {"mouthPress": 0.5}, {"jawOpen": 0.45, "mouthStretch": 0.45},
         {"jawOpen": 0.5, "mouthFunnel": 0.6}, {"jawOpen": 0.2, "mouthStretch": 0.7}, {}),
        step=5,
        close=True,
    ),
    Situation("speech-real", BOTH, shown=(4, 21, 38, 55, 72, 89, 106), close=True),
    Situation(
        "barely-open",
        (*BOTH, Row(HOPPER, KEYPOINTS)),
        ({}, {"jawOpen": 0.08}, {}, {"jawOpen": 0.15}, {}, {"jawOpen": 0.25}, {}),
        step=6,
        close=True,
    ),
    Situation(
        "smile",
        BOTH,
        (SMILE, SMILE | {"jawOpen": 0.3}, {"mouthSmile": 0.4}, {}, {"mouthPress": 0.5}, {"mouthPucker": 0.7},
         SMILE),
        step=10,
        close=True,
    ),
    Situation(
        "blink",
        (*BOTH, Row(ASTRONAUT, KEYPOINTS)),
        ({}, {"eyeBlink": 0.5}, {"eyeBlink": 1}, {"eyeBlink": 0.5}, {}, {"eyeWide": 1},
         {"eyeBlink": 1, "yaw": 0.35}),
        step=5,
        close=True,
    ),
    Situation(
        "glasses",
        BOTH,
        ({}, {"yaw": 0.4}, {"eyeBlink": 1}, {"yaw": -0.4, "eyeBlink": 1}, {"pitch": 0.25},
         {"roll": 0.25}, {}),
        glasses=True,
        close=True,
    ),
    Situation(
        "hat",
        (Row(HOPPER), Row(HOPPER, KEYPOINTS)),
        ({}, {"pitch": 0.35}, {"pitch": -0.35}, {"yaw": 0.5, "pitch": 0.2}, {"yaw": -0.5, "pitch": -0.2},
         {"roll": 0.35}, {"up": 0.12}),
    ),
    Situation(
        "group",
        (Row(GROUP, face="all"),),
        ({}, {"yaw": 0.45, "jawOpen": 0.5}, {"yaw": -0.45, "roll": 0.2}, {"pitch": 0.25, "eyeBlink": 1}),
    ),
)  # fmt: skip


def make_motion(situation: Situation, scene: Scene) -> HeadMotion:
    """Return the motion from pose to pose, and a few frames of rest at the end."""
    bust, count = load_bust(), situation.frames[-1] + 5
    time = np.arange(count) / situation.step
    before = np.minimum(time.astype(int), len(situation.poses) - 1)
    after = np.minimum(before + 1, len(situation.poses) - 1)
    share = (1 - np.cos(np.pi * np.clip(time - before, 0, 1))) / 2

    def follow(*names: str) -> np.ndarray:
        amounts = np.array([next((p[n] for n in names if n in p), 0.0) for p in situation.poses])
        return amounts[before] * (1 - share) + amounts[after] * share

    # a name without a side stands for both sides
    actions = np.stack(
        [follow(n, n.removesuffix("Left").removesuffix("Right")) for n in bust.action_names], 1
    )
    metres = scene.distance / (scene.focal * situation.zoom)
    return HeadMotion(
        np.stack([follow(name) for name in _ANGLES], 1),
        np.stack([follow("right"), follow("up")], 1) * metres,
        np.full(count, situation.zoom),
        actions,
    )


def draw_driver(situation: Situation, path: Path) -> None:
    """Draw the driving video, a folder of PNGs."""
    person = make_person(np.random.default_rng(_PERSON))
    if situation.glasses:
        person = add_glasses(person, np.random.default_rng(_GLASSES))
    scene = make_scene(np.random.default_rng(_SCENE), SIZE)
    motion, renderer = make_motion(situation, scene), Renderer(SIZE)
    with VideoWriter(path, fps=FPS) as writer:
        for frame in range(len(motion.zoom)):
            view = pose(person, scene, motion, frame)
            writer.write(renderer.draw(person, scene, view, np.random.default_rng(frame)))


def animate_row(row: Row, driving: Path, result: Path, networks: Networks) -> None:
    """Move a photo, and write a folder of PNGs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small heads, and a face that is lost: the strips show it
        animate_file(
            row.photo, driving, result, *networks,
            framing=Framing(face=row.face), motion=row.motion, progress=False,
        )  # fmt: skip


def take_frames(video: Path, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return the frames of those numbers, which ascend."""
    with VideoReader(video) as reader:
        return [frame for number, frame in enumerate(reader) if number in numbers]


def find_view(picture: np.ndarray, name: str, close: bool) -> Rect:
    """Return the part of a picture that a strip shows: the square around the face, or all of it."""
    return photo_squares(picture, "auto" if close else "none", None, name, 0)[0]


def lay_out(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return rows of pictures, all as high, below each other; narrower ones stand in the middle."""
    height, width = rows[0][0].shape[0], max(picture.shape[1] for row in rows for picture in row)
    sheet = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            top, left = number * (height + GAP), column * (width + GAP) + (width - picture.shape[1]) // 2
            sheet[top : top + height, left : left + picture.shape[1]] = picture
    return sheet


def draw_strip(situation: Situation, clip: Path | None, folder: Path, networks: Networks) -> np.ndarray:
    """Draw the driver, move the photos, and return the strip. ``folder``: for what is made on the way."""
    height = GROUP_TILE if situation.name == "group" else TILE
    rows: list[list[np.ndarray]] = []

    def add_row(video: Path, still: np.ndarray, name: str) -> None:
        """Add a row of frames, all cut as ``still`` is."""
        view = find_view(still, name, situation.close)
        size = height, round(height * view.width / view.height)
        rows.append([cut_out(frame, view, size) for frame in take_frames(video, situation.frames)])

    if situation.poses:
        driving = folder / situation.name
        if not driving.exists():
            draw_driver(situation, driving)
        add_row(driving, take_frames(driving, [0])[0], situation.name)
    else:
        assert clip is not None
        driving = clip
    for number, row in enumerate(situation.rows):
        result = folder / f"{situation.name}-{number}"
        if not result.exists():
            animate_row(row, driving, result, networks)
        add_row(result, read_image(row.photo), row.photo.name)
    return lay_out(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clip", type=Path, help="the film; without it, strips that need it are left alone")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these strips; without it, all")
    parser.add_argument("--folder", type=Path, help="keep all frames here, and take those that are")
    options = parser.parse_args()
    networks = load_checkpoints()
    STRIPS.mkdir(exist_ok=True)
    for situation in SITUATIONS:
        if (options.only and situation.name not in options.only) or not (situation.poses or options.clip):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            strip = draw_strip(situation, options.clip, options.folder or Path(temporary), networks)
        path = STRIPS / f"{situation.name}.jpg"
        Image.fromarray(strip).save(path, quality=QUALITY, optimize=True)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
