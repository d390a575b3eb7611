"""Long hair: sheets of strands that run from a parting over the skull and then hang down."""

from dataclasses import dataclass

import numpy as np

from fomm.heads.attached import SKULL_CENTRE, Sheet, Skull, attach
from fomm.heads.bust import HAIR
from fomm.heads.figure import Person
from fomm.heads.texture import measure_above_hairline

_STRANDS, _ON_SKULL, _HANGING = 40, 14, 14  # in a sheet; points of a strand on the skull, and below it


@dataclass(frozen=True)
class Hairstyle:
    """How the hair of one person falls; angles in radians, lengths in metres."""

    parting: float  # how far the parting is turned to the side, radians
    front_edge: float  # angle from the middle of the forehead where the hair beside the face begins
    thickness: float
    length: float  # below the ears
    flare: float  # how far the tips go outwards
    wave_height: float
    waves: float  # waves per metre
    fringe: float | None  # height above the eyes' middle where a fringe ends; None for no fringe


def make_hairstyle(rng: np.random.Generator) -> Hairstyle:
    """Return a random style of long hair."""
    return Hairstyle(
        parting=rng.uniform(-0.45, 0.45),
        front_edge=rng.uniform(1.15, 1.5),
        thickness=rng.uniform(0.007, 0.018),
        length=rng.uniform(0.03, 0.24),
        flare=rng.uniform(-0.02, 0.03),
        wave_height=rng.choice([0.0, rng.uniform(0.002, 0.008)]),
        waves=rng.uniform(100, 220),
        fringe=rng.uniform(0.02, 0.045) if rng.random() < 0.3 else None,
    )


def _point_towards(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Return unit vectors ...x3. Azimuth 0 looks where the face does, a positive one to its left."""
    level = np.cos(elevation)
    return np.stack([np.sin(azimuth) * level, -np.cos(azimuth) * level, np.sin(elevation)], -1)


def _follow_great_circle(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Return the shortest way on a sphere between unit vectors, Nx3 and Nx3 -> N x ``steps`` x3."""
    angle = np.arccos(np.clip((start * end).sum(-1), -1, 1))[:, None, None]
    t = np.linspace(0, 1, steps)[None, :, None]
    return (np.sin((1 - t) * angle) * start[:, None] + np.sin(t * angle) * end[:, None]) / np.sin(angle)


def _lift_above_face(points: np.ndarray, edge: float) -> np.ndarray:
    """Lift points ...x3 that would lie on the face up to the hair line."""
    angle = np.abs(np.arctan2(points[..., 0], SKULL_CENTRE[1] - points[..., 1]))
    sunk = np.maximum(-measure_above_hairline(points) - 0.004, 0) * (angle < edge + 0.1)
    return points + sunk[..., None] * np.array([0, 0.35, 1.0])


def _make_side(
    style: Hairstyle, skull: Skull, sign: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hair left (``sign`` 1) or right (-1) of the parting.

    Returns:
        N strands of M points, NxMx3 on the unchanged bust, and how far the person's shape moves them; metres.
    """
    along = np.linspace(0, 1, _STRANDS)
    over = 0.75 + along * 1.7  # from the hair line over the top to the back of the head
    roots = np.stack([np.zeros(_STRANDS), -np.cos(over), np.sin(over)], -1)
    c, s = np.cos(style.parting), np.sin(style.parting)
    roots = roots @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    azimuth = sign * (style.front_edge + along * (np.pi + 0.05 - style.front_edge))
    ends = _point_towards(azimuth, np.full(_STRANDS, -0.35))
    lift = style.thickness * (0.35 + 0.65 * np.sin(np.linspace(0.15, 1, _ON_SKULL) * np.pi / 2))
    on_skull, move = skull(
        _follow_great_circle(roots, ends, _ON_SKULL), np.broadcast_to(lift, (_STRANDS, _ON_SKULL))
    )
    on_skull = _lift_above_face(on_skull, style.front_edge)

    ragged = np.convolve(rng.uniform(0.8, 1.1, _STRANDS + 4), np.ones(5) / 5, "valid")
    depth = np.linspace(0, 1, _HANGING + 1)[1:] * (style.length * ragged)[:, None]
    outward = np.stack([np.sin(azimuth), -np.cos(azimuth), np.zeros(_STRANDS)], -1)[:, None]
    wave = style.wave_height * np.sin(depth * style.waves + 0.35 * np.arange(_STRANDS)[:, None])
    swing = style.flare * (depth / style.length) ** 2 + wave
    hanging = on_skull[:, -1:] + outward * swing[..., None] - np.array([0, 0, 1.0]) * depth[..., None]
    points = np.concatenate([on_skull, hanging], 1)
    return points, np.concatenate([move, np.repeat(move[:, -1:], _HANGING, 1)], 1)


def _make_fringe(
    style: Hairstyle, height: float, skull: Skull, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a fringe that ends ``height`` metres above the eyes' middle, as ``_make_side`` does."""
    azimuth = np.linspace(-0.95, 0.95, _STRANDS)
    ragged = np.convolve(rng.uniform(-0.008, 0.008, _STRANDS + 2), np.ones(3) / 3, "valid")
    roots = _point_towards(0.8 * azimuth, np.full(_STRANDS, 1.25))
    ends = _point_towards(azimuth, np.arctan2(height - 0.007 + ragged, 0.09))
    lift = style.thickness * np.sin(np.linspace(0.2, 0.8, _ON_SKULL) * np.pi)
    return skull(_follow_great_circle(roots, ends, _ON_SKULL), np.broadcast_to(lift, (_STRANDS, _ON_SKULL)))


def add_hair(person: Person, rng: np.random.Generator) -> Person:
    """Return the person with long hair in a random style."""
    style = make_hairstyle(rng)
    skull = Skull(person)
    parts = [_make_side(style, skull, sign, rng) for sign in (1, -1)]
    if style.fringe is not None:
        parts.append(_make_fringe(style, style.fringe, skull, rng))
    sheets = []
    for number, (points, move) in enumerate(parts):
        strands, steps = points.shape[:2]
        across, along = np.meshgrid(np.linspace(0, 1, strands), np.linspace(0, 1, steps), indexing="ij")
        held = np.clip((points[..., 2] - 0.50) / 0.12, 0, 1)  # the lowest points stay on the shoulders
        sheets.append(Sheet(points, move, np.stack([across + 1.7 * number, along], -1), held))
    return attach(person, sheets, HAIR)
