"""What surrounds a head: light and background from an environment map, clothes, the camera and its flaws."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from fomm.heads.bust import ASSETS

_BRIGHTEST = 6  # so many cells of the environment become lamps; the others give light from everywhere


@dataclass(frozen=True)
class Environment:
    """A picture of all that surrounds a head, and how much light comes from where."""

    code: np.ndarray  # HxWx3 uint8, see ``decode_radiance``
    scale: float  # the mean radiance
    light: np.ndarray  # 16x32x3, irradiance of a surface facing that cell; row 0 is overhead

    def decode_radiance(self) -> np.ndarray:
        """Return the radiance x, HxWx3 float64, of which the code is 255 sqrt(x / (x + scale))."""
        share = (np.minimum(self.code, 250) / 255.0) ** 2
        return self.scale * share / (1 - share)


@dataclass(frozen=True)
class Scene:
    """Light, background and camera of one clip."""

    lights: np.ndarray  # Lx3 unit vectors towards the lamps
    light_colours: np.ndarray  # Lx3 linear RGB
    ambient: np.ndarray  # linear RGB
    background: np.ndarray  # SxSx3 linear RGB
    cloth: np.ndarray  # 10 numbers, see shading._wear_cloth
    distance: float  # of the camera, metres
    focal: float  # in picture widths
    camera_height: float  # relative to the eyes, metres
    contrast: float
    blur: float  # standard deviation in picture widths
    noise: float  # standard deviation in grey levels


@cache
def _list_environments() -> tuple[str, ...]:
    """Return the names of the environment maps, in the order of their numbers."""
    with np.load(ASSETS / "environments.npz") as raw:
        return tuple(map(str, raw["names"]))


@cache
def load_environment(index: int) -> Environment:
    """Return the environment map of that number, which is read once in a process."""
    from PIL import Image

    with np.load(ASSETS / "environments.npz") as raw:
        scale, light = float(raw["scales"][index]), raw["lights"][index].astype(np.float64)
    with Image.open(ASSETS / f"{_list_environments()[index]}.png") as image:
        return Environment(np.asarray(image), scale, light)


def _make_light_directions() -> np.ndarray:
    """Return unit vectors towards the 8x16 cells that lamps are made of, 8x16x3.

    The middle of the map lies behind the head.
    """
    latitude = (0.5 - (np.arange(8) + 0.5) / 8) * np.pi
    longitude = ((np.arange(16) + 0.5) / 16 - 0.5) * 2 * np.pi
    level = np.cos(latitude)[:, None]
    parts = (np.sin(longitude) * level, np.cos(longitude) * level, np.sin(latitude)[:, None] * np.ones(16))
    return np.stack(parts, -1)


def _make_background(
    rng: np.random.Generator, radiance: np.ndarray, turn: int, gain: float, size: int
) -> np.ndarray:
    """Return SxSx3 linear RGB: a blurred view of the environment behind the head."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    height, width = radiance.shape[:2]
    view, tilt, blur = rng.uniform(0.5, 1.1), rng.uniform(-0.05, 0.2), math.exp(rng.uniform(-5.2, -3.4))
    line = np.tan((np.arange(size) + 0.5) / size * view - view / 2)
    x, z = np.meshgrid(line, tilt - line)
    column = (np.arctan2(x, 1) / (2 * np.pi) + 0.5) * width - 0.5 - turn
    row = (0.5 - np.arctan2(z, np.hypot(x, 1)) / np.pi) * height - 0.5
    seen = np.minimum(radiance * gain, 4)
    places = [np.clip(row, 0, height - 1), column % width]
    planes = [map_coordinates(seen[..., k], places, order=1, mode="grid-wrap") for k in range(3)]
    return np.clip(np.stack([gaussian_filter(plane, blur * size) for plane in planes], -1), 0, 1.2)


def _make_cloth(rng: np.random.Generator) -> np.ndarray:
    """Return a random garment as 10 numbers, see shading._wear_cloth."""
    line = [rng.uniform(0.565, 0.60), rng.uniform(0.05, 0.3), rng.choice([0, 0, 0.05, 0.08])]
    colours = [rng.random(3) ** 1.5 * 0.8 * rng.uniform(0.3, 1.0) for _ in range(2)]
    grey = rng.uniform(0.0, 0.8)  # most clothes are not of a pure colour
    colours = [colour + (colour.mean() - colour) * grey for colour in colours]
    return np.array([*line, *colours[0], *colours[1], rng.choice([0, 0, 250, 500])], float)


def make_scene(rng: np.random.Generator, size: int) -> Scene:
    """Return a random scene for pictures of ``size`` x ``size`` pixels."""
    environment = load_environment(int(rng.integers(len(_list_environments()))))
    turn = int(rng.integers(16))  # in cells of the lamps' grid
    cells = environment.light.reshape(8, 2, 16, 2, 3).sum((1, 3))
    cells = np.roll(cells, turn, 1).reshape(-1, 3)
    directions = _make_light_directions().reshape(-1, 3)
    chosen = np.argsort(-cells.sum(-1), kind="stable")[:_BRIGHTEST]
    lights, colours = directions[chosen], cells[chosen] / np.pi
    ambient = (cells.sum(0) - cells[chosen].sum(0)) / (4 * np.pi)
    # The exposure is for the face: the light that falls on it from the front comes to about one.
    frontal = (colours * np.clip(0.3 - 0.8 * lights[:, 1], 0.1, 1)[:, None]).sum(0) + ambient
    gain = rng.uniform(0.65, 1.1) / frontal.mean()
    # One more lamp in front, so that no face is black.
    lamp = np.array([rng.normal(0, 0.6), -1.0, rng.uniform(0, 0.8)])
    radiance = environment.decode_radiance()
    return Scene(
        lights=np.concatenate([lights, [lamp / np.linalg.norm(lamp)]]),
        light_colours=np.concatenate([colours * gain, np.full((1, 3), rng.uniform(0.05, 0.4))]),
        ambient=ambient * gain * 1.4,
        background=_make_background(rng, radiance, turn * radiance.shape[1] // 16, 0.8 * gain, size),
        cloth=_make_cloth(rng),
        distance=(distance := rng.uniform(0.75, 1.5)),
        focal=2.75 * (distance - 0.1) * rng.uniform(0.8, 1.3),
        camera_height=rng.normal(-0.045, 0.02),
        contrast=rng.uniform(0.9, 1.15),
        blur=rng.choice([0.0, rng.uniform(0.0, 0.004)]),
        noise=rng.uniform(0.0, 4.0),
    )
