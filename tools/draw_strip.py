"""Draw the picture at the top of the README, those of docs/photos.md, and the one of docs/control.md.

    python tools/draw_strip.py

Everything is made by ``fomm animate``'s defaults from the bundled photos and the bundled clip.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fomm import Edit, Framing, Motion, animate_file, load_checkpoints
from fomm.animation.edit import show_edit
from fomm.animation.photo import MovedPhoto
from fomm.media import VideoReader, read_image
from fomm.media.resize import resize

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, DOCS = ROOT / "examples", ROOT / "docs"
CLIP = EXAMPLES / "driving.mp4"
MOMENTS = (0, 40, 46, 62, 75, 88, 121, 136, 163)  # frames of the clip
GROUP_MOMENTS = (0, 62, 88, 136)
EDITS = (
    Edit(), Edit(yaw=-12), Edit(yaw=12), Edit(pitch=10), Edit(roll=10), Edit(mouth=0.6), Edit(eyes=0),
    Edit(smile=1), Edit(smile=-1), Edit(brows=1),
)  # fmt: skip
TILE, GROUP_WIDTH = 144, 400  # pixels


def take_frames(video: Path, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return the frames of those numbers."""
    with VideoReader(video) as reader:
        frames = {number: frame for number, frame in enumerate(reader) if number in numbers}
    return [frames[number] for number in numbers]


def main() -> None:
    """Draw all of them."""
    networks = load_checkpoints()

    def move(photo: str, moments: Sequence[int], face: str | None = None) -> list[np.ndarray]:
        """Return a photo in some moments of the clip."""
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "frames"
            animate_file(
                EXAMPLES / photo, CLIP, result, *networks, framing=Framing(face=face), progress=False
            )
            return take_frames(result, moments)

    rows = [[np.full((TILE, TILE, 3), 255, np.uint8), *take_frames(CLIP, MOMENTS)]]
    for photo in ("astronaut.png", "grace_hopper.jpg"):
        rows.append([read_image(EXAMPLES / photo), *move(photo, MOMENTS)])
    tiles = [[resize(picture, (TILE, TILE)) for picture in row] for row in rows]
    strip = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in tiles]))
    strip.save(EXAMPLES / "strip.png", optimize=True)
    for name, face in (("group-strip", None), ("group-all-strip", "all")):
        frames = move("group.jpg", GROUP_MOMENTS, face)
        size = (GROUP_WIDTH * frames[0].shape[0] // frames[0].shape[1], GROUP_WIDTH)
        row = np.concatenate([resize(frame, size) for frame in frames], axis=1)
        Image.fromarray(row).save(DOCS / f"{name}.jpg", quality=80, optimize=True)
    rows = []
    for photo in ("astronaut.png", "grace_hopper.jpg"):
        ready = MovedPhoto(read_image(EXAMPLES / photo), photo, *networks, motion=Motion(driver="mesh"))
        rows.append([resize(show_edit(ready, edit), (TILE, TILE)) for edit in EDITS])
    edits = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))
    edits.save(DOCS / "edit-strip.jpg", quality=80, optimize=True)


if __name__ == "__main__":
    main()
