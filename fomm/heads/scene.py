"""What surrounds a head: light and background from an environment map, clothes, camera and its flaws."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from fomm.heads.bust import ASSETS

_BRIGHTEST = 6  # cells of the environment that become lamps of their own


@dataclass(frozen=True)
class Environment:
    """One environment map: what is seen (HxWx3 uint8 code) and how much light comes from where."""

    code: np.ndarray
    scale: float
    light: np.ndarray  # 16x32x3, irradiance of a surface facing that cell; row 0 is overhead

    def radiance(self) -> np.ndarray:
        """HxWx3 float64; the code is 255 sqrt(x / (x + scale))."""
        share = (np.minimum(self.code, 250) / 255.0) ** 2
        return self.scale * share / (1 - share)


@dataclass(frozen=True)
class Scene:
    """Light, background and camera of one clip."""

    lights: np.ndarray  # Lx3 unit vectors towards the lamps
    light_colours: np.ndarray  # Lx3 linear RGB
    ambient: np.ndarray  # linear RGB
    background: np.ndarray  # SxSx3 linear RGB
    cloth: np.ndarray  # 10 numbers, see kernels._cloth
    distance: float  # of the camera, metres
    focal: float  # in picture widths
    camera_height: float  # relative to the eyes, metres
    contrast: float
    blur: float  # standard deviation in picture widths
    noise: float  # standard deviation in grey levels


@cache
def _environment_names() -> tuple[str, ...]:
    with np.load(ASSETS / "environments.npz") as raw:
        return tuple(map(str, raw["names"]))


@cache
def load_environment(index: int) -> Environment:
    """One of the environment maps, read once per process."""
    from PIL import Image

    with np.load(ASSETS / "environments.npz") as raw:
        scale, light = float(raw["scales"][index]), raw["lights"][index].astype(np.float64)
    with Image.open(ASSETS / f"{_environment_names()[index]}.png") as image:
        return Environment(np.asarray(image), scale, light)


def _light_directions() -> np.ndarray:
    """8x16x3 unit vectors of the cells that lamps are made of; the middle of the map is behind the head."""
    latitude = (0.5 - (np.arange(8) + 0.5) / 8) * np.pi
    longitude = ((np.arange(16) + 0.5) / 16 - 0.5) * 2 * np.pi
    level = np.cos(latitude)[:, None]
    parts = (np.sin(longitude) * level, np.cos(longitude) * level, np.sin(latitude)[:, None] * np.ones(16))
    return np.stack(parts, -1)


def _background(
    rng: np.random.Generator, radiance: np.ndarray, turn: int, gain: float, size: int
) -> np.ndarray:
    """SxSx3 linear RGB: a blurred view of the environment behind the head."""
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


def _cloth(rng: np.random.Generator) -> np.ndarray:
    line = [rng.uniform(0.565, 0.60), rng.uniform(0.05, 0.3), rng.choice([0, 0, 0.05, 0.08])]
    colours = [rng.random(3) ** 1.5 * 0.8 * rng.uniform(0.3, 1.0) for _ in range(2)]
    grey = rng.uniform(0.0, 0.8)  # most clothes are not of a pure colour
    colours = [colour + (colour.mean() - colour) * grey for colour in colours]
    return np.array([*line, *colours[0], *colours[1], rng.choice([0, 0, 250, 500])], float)


def make_scene(rng: np.random.Generator, size: int) -> Scene:
    """A random scene for pictures of ``size`` pixels."""
    environment = load_environment(int(rng.integers(len(_environment_names()))))
    turn = int(rng.integers(16))  # in cells of the lamps' grid
    cells = environment.light.reshape(8, 2, 16, 2, 3).sum((1, 3))
    cells = np.roll(cells, turn, 1).reshape(-1, 3)
    directions = _light_directions().reshape(-1, 3)
    chosen = np.argsort(-cells.sum(-1), kind="stable")[:_BRIGHTEST]
    lights, colours = directions[chosen], cells[chosen] / np.pi
    ambient = (cells.sum(0) - cells[chosen].sum(0)) / (4 * np.pi)
    # Exposed for the face: what falls on it from the front comes to about one.
    frontal = (colours * np.clip(0.3 - 0.8 * lights[:, 1], 0.1, 1)[:, None]).sum(0) + ambient
    gain = rng.uniform(0.65, 1.1) / frontal.mean()
    lamp = np.array([rng.normal(0, 0.6), -1.0, rng.uniform(0, 0.8)])  # so that no face is black
    radiance = environment.radiance()
    return Scene(
        lights=np.concatenate([lights, [lamp / np.linalg.norm(lamp)]]),
        light_colours=np.concatenate([colours * gain, np.full((1, 3), rng.uniform(0.05, 0.4))]),
        ambient=ambient * gain * 1.4,
        background=_background(rng, radiance, turn * radiance.shape[1] // 16, 0.8 * gain, size),
        cloth=_cloth(rng),
        distance=(distance := rng.uniform(0.75, 1.5)),
        focal=2.75 * (distance - 0.1) * rng.uniform(0.8, 1.3),
        camera_height=rng.normal(-0.045, 0.02),
        contrast=rng.uniform(0.9, 1.15),
        blur=rng.choice([0.0, rng.uniform(0.0, 0.004)]),
        noise=rng.uniform(0.0, 4.0),
    )
