"""Glasses: two rims, a bridge and two temples. Each is a tube that turns with the head."""

from dataclasses import replace

import numpy as np

from fomm.heads.attached import Sheet, Skull, attach
from fomm.heads.bust import EYE_CENTRES, GLASSES
from fomm.heads.figure import Person

# Linear RGB: horn and plastic, then metal.
_COLOURS = np.array(
    [[0.01, 0.01, 0.012], [0.08, 0.03, 0.015], [0.2, 0.02, 0.03], [0.02, 0.03, 0.1], [0.4, 0.28, 0.12],
     [0.35, 0.35, 0.37]]
)  # fmt: skip
_SIDES = 6  # points around a tube; the last lies where the first does, so a cross-section has 5 corners
_EAR = np.array([0.076, -0.058, 0.735])  # where the left temple ends, on the unchanged bust, metres


def _make_tube(line: np.ndarray, radius: float) -> np.ndarray:
    """Return points MxSx3 on a tube around a line Mx3, metres."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, [0.31, 0.93, 0.2])  # a direction that no tube runs in
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    up = np.cross(along, across)
    angle = np.linspace(0, 2 * np.pi, _SIDES)
    ring = np.cos(angle)[:, None] * across[:, None] + np.sin(angle)[:, None] * up[:, None]
    return line[:, None] + radius * ring


def _make_lines(rng: np.random.Generator) -> list[np.ndarray]:
    """Return the lines in the middle of each tube, Mx3 on the unchanged bust, metres."""
    width, height = rng.uniform(0.021, 0.029), rng.uniform(0.015, 0.024)
    roundness = rng.uniform(1.8, 4)  # of the superellipse: 2 is an ellipse
    forward, drop, tilt = rng.uniform(0.024, 0.03), rng.uniform(0.0, 0.005), rng.uniform(0, 0.15)
    angle = np.linspace(0, 2 * np.pi, 33)
    c, s = np.cos(angle), np.sin(angle)
    x = width * np.sign(c) * np.abs(c) ** (2 / roundness)
    z = height * np.sign(s) * np.abs(s) ** (2 / roundness)
    lines = []
    for sign, eye in zip((1, -1), EYE_CENTRES, strict=True):
        middle = eye + np.array([0, -forward, -drop])
        wrap = 4 * np.square(np.maximum(sign * x, 0))  # the outer edge lies farther back
        rim = middle + np.stack([x, wrap - tilt * z, z], 1)
        lines.append(rim)
        outer = middle + np.array([sign * width, 4 * width**2, 0.3 * height])
        ear = _EAR * [sign, 1, 1]
        lines.append(outer + np.linspace(0, 1, 12)[:, None] * (ear - outer))
    gap = EYE_CENTRES[0, 0] - width
    across = np.linspace(-1, 1, 9)
    arch = 0.003 * (1 - across**2)
    level = EYE_CENTRES[0] + np.array([0, -forward, -drop + 0.25 * height])
    lines.append(np.stack([gap * across, level[1] - arch, level[2] + arch], 1))
    return lines


def add_glasses(person: Person, rng: np.random.Generator) -> Person:
    """Return the person with glasses of a random shape and colour."""
    thickness = rng.uniform(0.0007, 0.003)
    skull = Skull(person)
    sheets = []
    for line in _make_lines(rng):
        points = _make_tube(line, thickness)
        rows, columns = points.shape[:2]
        sheets.append(
            Sheet(points, skull.move(points), np.zeros((rows, columns, 2)), np.ones((rows, columns)))
        )
    colour = _COLOURS[rng.integers(len(_COLOURS))] * rng.uniform(0.7, 1.3)
    return replace(attach(person, sheets, GLASSES), glasses=colour)
