"""The bust that every head is made from: its mesh, its blend shapes and how the neck turns it.

World coordinates: metres, x to the person's left (the right of a picture), y away from the camera, z up.
The head looks along -y.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parent / "assets"

# Values of `Bust.parts`, one per triangle.
SKIN, LEFT_EYE, RIGHT_EYE, TEETH, TONGUE, LASHES, HAIR, MOUTH_INSIDE, GLASSES = range(9)

# The mesh's tongue fills the mouth. This is where people who talk have it and their teeth, metres.
_SETTLED = {TEETH: (0.0, 0.002, -0.0015), TONGUE: (0.0, 0.006, -0.008)}

# Left, right; metres.
EYE_CENTRES = np.array([[0.0308, -0.1246, 0.7284], [-0.0308, -0.1246, 0.7284]])
HEAD_AXIS_Y = -0.075  # the vertical axis of the skull goes through x = 0 and this y
NECK_SHARES = (0.2, 0.25, 0.25, 0.3)  # how the three neck joints and the head share a rotation


@dataclass(frozen=True)
class Bust:
    """V vertices and F triangles of head, neck and shoulders, with their blend shapes.

    Shapes are displacements of all vertices as whole numbers of ``*_step`` metres.
    """

    template: np.ndarray  # Vx3 float64, metres
    faces: np.ndarray  # Fx3 int64
    parts: np.ndarray  # F uint8
    vertex_parts: np.ndarray  # V uint8; MOUTH_INSIDE counts as SKIN here
    lips: np.ndarray  # V float64, 1 on the lips
    skin_weights: np.ndarray  # Vx4 float64: three neck joints and the head; the rest is the still body
    joints: np.ndarray  # 4x3 float64, metres
    phenotype_mask: np.ndarray  # Nx26 bool: which traits a phenotype shape needs together
    phenotype_shapes: np.ndarray  # Nx3xV int16
    local_names: tuple[str, ...]
    local_shapes: np.ndarray  # 2Lx3xV int16: 2i for a positive, 2i + 1 for a negative amount of trait i
    action_names: tuple[str, ...]  # the 52 face actions
    action_shapes: np.ndarray  # 52x3xV int16
    phenotype_step: float
    shape_step: float

    def displacement(self, shapes: np.ndarray, amounts: np.ndarray, step: float) -> np.ndarray:
        """Sum of the shapes (Nx3xV int16), each by its amount (N): Vx3 float64 in metres.

        Added one by one and not as a matrix product, so that every machine gets the same sum.
        """
        total = np.zeros(shapes.shape[1:])
        for index in np.flatnonzero(amounts):
            total += shapes[index] * (amounts[index] * step)
        return total.T

    def action(self, name: str) -> np.ndarray:
        """Displacement Vx3 float64 in metres of one face action at full strength."""
        index = self.action_names.index(name)
        return self.action_shapes[index].T * self.shape_step


def _unpack_shapes(packed: np.ndarray) -> np.ndarray:
    """The inverse of ``pack_shapes`` in tools/pack_bust.py: 2xNx3xV uint8 -> Nx3xV int16."""
    zigzag = packed[0].astype(np.uint16) | packed[1].astype(np.uint16) << 8
    delta = (zigzag >> 1).astype(np.int16) ^ -(zigzag & 1).astype(np.int16)
    return np.cumsum(delta, axis=2, dtype=np.int16)


@lru_cache(maxsize=1)
def load_bust() -> Bust:
    """The bust, read once per process (about 0.3 s)."""
    with np.load(ASSETS / "bust.npz") as raw:
        weights = raw["skin_weights"] / 65535.0
        template = raw["template"].astype(np.float64)
        for part, move in _SETTLED.items():
            template[raw["vertex_parts"] == part] += move
        phenotype_step, shape_step = raw["steps"]
        return Bust(
            template=template,
            faces=raw["faces"].astype(np.int64),
            parts=raw["parts"],
            vertex_parts=raw["vertex_parts"],
            lips=raw["lips"] / 255.0,
            # The eyes have joints of their own, which the face actions make superfluous.
            skin_weights=np.concatenate([weights[:, :3], weights[:, 3:].sum(1, keepdims=True)], 1),
            joints=raw["joints"][:4],
            phenotype_mask=raw["phenotype_mask"],
            phenotype_shapes=_unpack_shapes(raw["phenotype_shapes"]),
            local_names=tuple(map(str, raw["local_names"])),
            local_shapes=_unpack_shapes(raw["local_shapes"]),
            action_names=tuple(map(str, raw["action_names"])),
            action_shapes=_unpack_shapes(raw["action_shapes"]),
            phenotype_step=float(phenotype_step),
            shape_step=float(shape_step),
        )


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """3x3 matrix of a head rotation in radians.

    Positive yaw turns the nose to the right of the picture (the person's own left), positive pitch lowers
    the nose, positive roll leans the top of the head to the right of the picture.
    """
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    lean = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return turn @ nod @ lean


def angles(matrix: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in radians of a 3x3 rotation; the inverse of :func:`rotation`."""
    yaw = math.atan2(-matrix[0, 1], matrix[1, 1])
    pitch = math.asin(min(max(matrix[2, 1], -1.0), 1.0))
    roll = math.atan2(-matrix[2, 0], matrix[2, 2])
    return yaw, pitch, roll


def bend(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, yaw_pitch_roll: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turns the head on its neck (linear blend skinning).

    ``vertices`` Vx3, ``weights`` Vx4, ``joints`` 4x3, angles in radians. Returns the moved vertices Vx3 and
    the 3x3 rotation of the head itself.
    """
    linear, offset = np.eye(3), np.zeros(3)
    moved = vertices * (1 - weights.sum(1, keepdims=True))
    for index, (joint, share) in enumerate(zip(joints, NECK_SHARES, strict=True)):
        turn = rotation(*(share * yaw_pitch_roll))
        offset = linear @ (joint - turn @ joint) + offset
        linear = linear @ turn
        moved += weights[:, index : index + 1] * (vertices @ linear.T + offset)
    return moved, linear


def action_amounts(bust: Bust, amounts: Mapping[str, float]) -> np.ndarray:
    """Named face actions in [0, 1] as a vector of 52."""
    vector = np.zeros(len(bust.action_names))
    for name, amount in amounts.items():
        vector[bust.action_names.index(name)] = amount
    return vector
