"""Draw how one frame is made, step by step, with the networks that ship and the bundled photo and clip.

    python tools/draw_how_it_works.py

Every panel of ``docs/how-it-works.jpg`` is computed, none is painted by hand. Needs matplotlib
(``pip install -e '.[bench]'``).
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fomm import load_checkpoints
from fomm.animation.driving import DrivingVideo
from fomm.animation.framing import photo_squares
from fomm.animation.paste import Paste
from fomm.face.crop import Rect
from fomm.media import VideoReader, read_image
from fomm.media.resize import cut_out
from fomm.model import Keypoints, OcclusionAwareGenerator, movement_scale, open_like, relative_motion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "examples" / "group.jpg"
DRIVING = ROOT / "examples" / "driving.mp4"
PICTURE = ROOT / "docs" / "how-it-works.jpg"
PORTRAIT = slice(24, 494)  # rows and columns of the group photo in which its first portrait lies
FRAME = 45  # of the clip: the head turns and the mouth is open

INK, DIM, GREY, BLUE, ORANGE = "#24292f", "#6a6d73", "#8a9099", "#2369b0", "#ef7d1a"
SIDE, GAP, DOWN, HEAD = 2.5, 0.5, 0.42, 0.5  # inches: panels, the room between them, their titles
MARGIN = 0.2


@dataclass(frozen=True)
class Steps:
    """What each step gives for one frame."""

    photo: np.ndarray  # HxWx3 uint8
    part: Rect  # of the photo, that moves
    driving: np.ndarray  # HxWx3 uint8, the driving frame at the networks' size
    source: Tensor  # 1x3xHxW in [0, 1]
    kp_source: Keypoints
    kp_driving: Keypoints
    kp_first: Keypoints
    kp_moved: Keypoints
    shares: Tensor  # 1x(K+1)xhxw: of each key point's motion in a pixel's, background first
    deformation: Tensor  # 1xhxwx2: where in the source each pixel comes from, xy in [-1, 1]
    shown: Tensor  # 1x1xhxw in [0, 1], the occlusion map: 1 where the source shows it
    warped: Tensor  # 1x3xHxW: the source, moved, nothing painted
    painted: Tensor  # 1x3xHxW
    result: np.ndarray  # as the photo


def compute_steps() -> Steps:
    """Run every step of one frame."""
    generator, kp_detector = load_checkpoints(cpu=True)
    assert isinstance(generator, OcclusionAwareGenerator)
    height, width, _ = generator.frame_shape or (256, 256, 3)
    photo = read_image(PHOTO)[PORTRAIT, PORTRAIT]
    (part,) = photo_squares(photo, "auto", None, PHOTO.name, 0)
    with VideoReader(DRIVING) as reader, DrivingVideo(reader, "auto", (height, width)).frames() as frames:
        first = next(frames)
        driving = next(islice(frames, FRAME - 1, None))
    square = cut_out(photo, part, (height, width))

    def as_tensor(picture: np.ndarray) -> Tensor:
        return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255

    with torch.inference_mode():
        source = as_tensor(square)
        kp_source, kp_driving, kp_first = (
            kp_detector(as_tensor(picture)) for picture in (square, driving, first)
        )
        moved = relative_motion(kp_source, kp_driving, kp_first, movement_scale(kp_source, kp_first))
        if kp_detector.openings is not None:
            moved = open_like(moved, kp_source, kp_driving, kp_first, kp_detector.openings)
        network, features = generator.dense_motion_network, generator.encode(source)
        motion = network(source, kp_source, moved)
        painted = generator.decode(features, motion, source)
        rest = generator.decode(features, network(source, kp_source, kp_source), source)
        warped = generator.deform(source, motion.deformation)
        result = photo.copy()
        Paste(photo, part, rest)(result, painted, motion.deformation, motion.occlusion_map)
    return Steps(
        photo=photo, part=part, driving=driving, source=source,
        kp_source=kp_source, kp_driving=kp_driving, kp_first=kp_first, kp_moved=moved,
        shares=motion.mask, deformation=motion.deformation, shown=motion.occlusion_map,
        warped=warped, painted=painted, result=result,
    )  # fmt: skip


def as_picture(tensor: Tensor) -> np.ndarray:
    """Return 1x3xHxW in [0, 1] as HxWx3."""
    return tensor[0].permute(1, 2, 0).clamp(0, 1).numpy()


def as_pixels(keypoints: Keypoints, size: int) -> np.ndarray:
    """Return the places of key points in a square picture, Kx2 xy in pixels."""
    return (keypoints.value[0].numpy() + 1) / 2 * (size - 1)


def colour_shares(mask: Tensor) -> np.ndarray:
    """Return a picture of 1x(K+1)xhxw shares: a colour for each key point, light grey for the background."""
    from matplotlib import colormaps

    hues = np.array([colormaps["hsv"](place / (mask.shape[1] - 1))[:3] for place in range(mask.shape[1] - 1)])
    hues = hues[np.argsort(np.arange(len(hues)) * 7 % len(hues))]  # neighbours get unlike colours
    colours = np.concatenate([[[0.9, 0.91, 0.92]], 0.25 + 0.7 * hues])
    return np.einsum("khw,kc->hwc", mask[0].numpy(), colours).clip(0, 1)


class Sheet:
    """A figure with square panels in two rows and five columns."""

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.width = 5 * SIDE + 4 * GAP + 2 * MARGIN
        self.height = 2 * (SIDE + HEAD) + DOWN + 2 * MARGIN
        self.figure: Figure = Figure(figsize=(self.width, self.height), dpi=100, facecolor="white")
        self.boxes: dict[tuple[int, int], tuple[float, float, float, float]] = {}

    def add_panel(self, row: int, column: int, title: str, what: str, picture: np.ndarray) -> "Axes":
        """Show a picture with its title and a line that says what it is."""
        left = MARGIN + column * (SIDE + GAP)
        bottom = self.height - MARGIN - HEAD - SIDE - row * (SIDE + HEAD + DOWN)
        self.boxes[row, column] = (left, bottom, left + SIDE, bottom + SIDE)
        place = (left / self.width, bottom / self.height, SIDE / self.width, SIDE / self.height)
        axes = self.figure.add_axes(place)
        axes.imshow(picture, interpolation="bilinear", cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(GREY)
        x, head = left / self.width, (bottom + SIDE) / self.height
        self.figure.text(x, head + 0.28 / self.height, title, fontsize=11.5, fontweight="bold", color=INK)
        self.figure.text(x, head + 0.09 / self.height, what, fontsize=9.2, color=DIM)
        return axes

    def add_arrow(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Lead from one panel to the next: to the right, downwards, or upwards to the right."""
        from matplotlib.patches import FancyArrowPatch

        left, bottom, right, top = self.boxes[start]
        to_left, to_bottom, _, to_top = self.boxes[end]
        if start[1] == end[1]:
            middle = (left + right) / 2
            points = [(middle, bottom - 0.05), (middle, to_top + HEAD - 0.02)]
        elif start[0] == end[0]:
            points = [(right + 0.05, (bottom + top) / 2), (to_left - 0.05, (to_bottom + to_top) / 2)]
        else:
            points = [(right + 0.05, top - 0.35), (to_left - 0.05, to_bottom + 0.3)]
        (x0, y0), (x1, y1) = ((x / self.width, y / self.height) for x, y in points)
        self.figure.add_artist(
            FancyArrowPatch(
                (x0, y0),
                (x1, y1),
                arrowstyle="-|>",
                mutation_scale=16,
                linewidth=2,
                color=INK,
                shrinkA=0,
                shrinkB=0,
            )
        )


def draw_dots(axes: "Axes", points: np.ndarray, colour: str, *, hollow: bool = False) -> None:
    """Draw key points, Kx2 xy in pixels."""
    face = "none" if hollow else colour
    edge = colour if hollow else "white"
    axes.scatter(points[:, 0], points[:, 1], s=26, facecolors=face, edgecolors=edge, linewidths=1.1, zorder=3)


def draw_moves(axes: "Axes", start: np.ndarray, end: np.ndarray, colour: str, width: float) -> None:
    """Draw arrows between Kx2 places, xy in pixels."""
    move = end - start
    axes.quiver(
        start[:, 0], start[:, 1], move[:, 0], move[:, 1], angles="xy", scale_units="xy", scale=1,
        color=colour, width=width, headwidth=4, headlength=4.5, headaxislength=4, zorder=2,
    )  # fmt: skip


def draw_sheet(steps: Steps) -> "Figure":
    """Draw all panels, and the arrows from step to step."""
    from matplotlib.patches import Rectangle

    sheet = Sheet()
    source = as_picture(steps.source)
    size = source.shape[0]
    here, there = as_pixels(steps.kp_source, size), as_pixels(steps.kp_moved, size)
    before, now = as_pixels(steps.kp_first, size), as_pixels(steps.kp_driving, size)
    part = steps.part

    axes = sheet.add_panel(0, 0, "1  The photo", "the square around one face is cut out", steps.photo)
    frame = Rectangle(
        (part.x0, part.y0), part.width, part.height, fill=False, edgecolor=ORANGE, linewidth=2.5
    )
    axes.add_patch(frame)
    sheet.add_panel(1, 0, "2  The driving video", "one of its frames", steps.driving)

    axes = sheet.add_panel(0, 1, "3  Its key points", "found once", source)
    draw_dots(axes, here, ORANGE)
    axes = sheet.add_panel(1, 1, "4  The driver's key points", "grey: first frame, blue: now", steps.driving)
    draw_moves(axes, before, now, BLUE, 0.008)
    draw_dots(axes, before, "#d5d8dc", hollow=True)
    draw_dots(axes, now, BLUE)

    faded = 0.45 * source + 0.55
    axes = sheet.add_panel(0, 2, "5  Their new places", "they move as the driver's do", faded)
    draw_moves(axes, here, there, INK, 0.008)
    draw_dots(axes, here, ORANGE)
    draw_dots(axes, there, BLUE)
    shares = colour_shares(steps.shares)
    axes = sheet.add_panel(1, 2, "6  Which point moves what", "a colour for each; grey: stands still", shares)
    draw_dots(axes, there * (shares.shape[0] - 1) / (size - 1), INK)

    axes = sheet.add_panel(
        0, 3, "7  The motion", "the photo moved, nothing painted", as_picture(steps.warped)
    )
    grid = steps.deformation[0].numpy()
    height, width = grid.shape[:2]
    y, x = (axis.ravel() for axis in np.mgrid[3:height:5, 3:width:5])
    end = np.stack([x / (width - 1), y / (height - 1)], -1) * (size - 1)
    start = (grid[y, x] + 1) / 2 * (size - 1)
    far = np.linalg.norm(end - start, axis=1) > 3
    draw_moves(axes, start[far], end[far], "white", 0.005)
    shown = steps.shown[0, 0].numpy()
    sheet.add_panel(1, 3, "8  What the photo shows", "dark: hidden, has to be painted", shown)

    sheet.add_panel(0, 4, "9  Painted", "the network's picture, 256x256", as_picture(steps.painted))
    axes = sheet.add_panel(1, 4, "10  Put back", "with the photo's own detail", steps.result)

    arrows = "00>01 10>11 01>02 11>02 02>03 02>12 12>03 12>13 03>04 13>04 04>14"  # row and column
    for arrow in arrows.split():
        row, column, to_row, to_column = (int(arrow[place]) for place in (0, 1, 3, 4))
        sheet.add_arrow((row, column), (to_row, to_column))
    return sheet.figure


def main() -> None:
    """Draw the picture."""
    from io import BytesIO

    from PIL import Image

    drawn = BytesIO()
    draw_sheet(compute_steps()).savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").save(PICTURE, quality=92, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
