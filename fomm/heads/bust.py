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

# The exported mesh has a tongue that fills the mouth. Teeth and tongue are moved by so many metres, to where
# they lie in people who talk.
_SETTLED = {TEETH: (0.0, 0.002, -0.0015), TONGUE: (0.0, 0.006, -0.008)}

# Left, right; metres.
EYE_CENTRES = np.array([[0.0308, -0.1246, 0.7284], [-0.0308, -0.1246, 0.7284]])
HEAD_AXIS_Y = -0.075  # the vertical axis of the skull goes through x = 0 and this y
NECK_SHARES = (0.2, 0.25, 0.25, 0.3)  # parts of a rotation that the three neck joints and the head make


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
    skin_weights: np.ndarray  # Vx4 float64, of three neck joints and the head; what lacks to 1 stays still
    joints: np.ndarray  # 4x3 float64, metres
    phenotype_mask: np.ndarray  # Nx26 bool: which traits must meet for each phenotype shape
    phenotype_shapes: np.ndarray  # Nx3xV int16
    local_names: tuple[str, ...]
    local_shapes: np.ndarray  # 2Lx3xV int16: rows 2i and 2i + 1 for positive and negative amounts of trait i
    action_names: tuple[str, ...]  # the 52 face actions
    action_shapes: np.ndarray  # 52x3xV int16
    phenotype_step: float
    shape_step: float

    def sum_shapes(self, shapes: np.ndarray, amounts: np.ndarray, step: float) -> np.ndarray:
        """Return the sum of the shapes (Nx3xV int16), each times its amount (N): Vx3 float64, metres.

        They are added one by one and not as a matrix product, so that every machine gets the same sum.
        """
        total = np.zeros(shapes.shape[1:])
        for index in np.flatnonzero(amounts):
            total += shapes[index] * (amounts[index] * step)
        return total.T

    def find_action(self, name: str) -> np.ndarray:
        """Return how far one face action at full strength moves the vertices: Vx3 float64, metres."""
        index = self.action_names.index(name)
        return self.action_shapes[index].T * self.shape_step


def _unpack_shapes(packed: np.ndarray) -> np.ndarray:
    """Undo ``pack_shapes`` of tools/pack_bust.py: 2xNx3xV uint8 -> Nx3xV int16."""
    zigzag = packed[0].astype(np.uint16) | packed[1].astype(np.uint16) << 8
    delta = (zigzag >> 1).astype(np.int16) ^ -(zigzag & 1).astype(np.int16)
    return np.cumsum(delta, axis=2, dtype=np.int16)


@lru_cache(maxsize=1)
def load_bust() -> Bust:
    """Return the bust, which is read once in a process (about 0.3 s)."""
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
            # The export has joints for the eyes as well. Here face actions turn the eyes, so that the weights
            # of these joints count for the head.
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


def make_rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the 3x3 matrix of a head rotation, angles in radians.

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


def find_angles(matrix: np.ndarray) -> tuple[float, float, float]:
    """Return yaw, pitch and roll in radians of a 3x3 rotation. It undoes :func:`make_rotation`."""
    yaw = math.atan2(-matrix[0, 1], matrix[1, 1])
    pitch = math.asin(min(max(matrix[2, 1], -1.0), 1.0))
    roll = math.atan2(-matrix[2, 0], matrix[2, 2])
    return yaw, pitch, roll


def bend(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, yaw_pitch_roll: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the head on its neck (linear blend skinning).

    Args:
        vertices: Vx3, metres.
        weights: Vx4, how much each joint moves a vertex.
        joints: 4x3, metres.
        yaw_pitch_roll: 3 angles in radians.

    Returns:
        The moved vertices Vx3, and the 3x3 rotation of the head itself.
    """
    linear, offset = np.eye(3), np.zeros(3)
    moved = vertices * (1 - weights.sum(1, keepdims=True))
    for index, (joint, share) in enumerate(zip(joints, NECK_SHARES, strict=True)):
        turn = make_rotation(*(share * yaw_pitch_roll))
        offset = linear @ (joint - turn @ joint) + offset
        linear = linear @ turn
        moved += weights[:, index : index + 1] * (vertices @ linear.T + offset)
    return moved, linear


def make_action_amounts(bust: Bust, amounts: Mapping[str, float]) -> np.ndarray:
    """Return the amounts of named face actions, in [0, 1], as a vector of all 52."""
    vector = np.zeros(len(bust.action_names))
    for name, amount in amounts.items():
        vector[bust.action_names.index(name)] = amount
    return vector
