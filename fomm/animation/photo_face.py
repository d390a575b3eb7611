"""The face in the photo: where its key points go when it moves as another face does.

The photo's own mesh is turned as the driver's head turns, and the driver's expression is added to it. So its
key points move like those of one solid head, and the face stays itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from fomm.animation.motion import FaceMotion, measure_motion
from fomm.animation.options import PARTS, Motion
from fomm.animation.units import BROWS, EXPRESSION, SMILE, WIDE_OPEN, turn_of
from fomm.config.schema import LABELS
from fomm.face import Face, detect_faces, face_meshes
from fomm.face.search import keep_confirmed
from fomm.model import Keypoints

STILL, FREE = 0.03, 0.16  # shares of a picture's side, from its border: nothing moves; everything does
# How far a head may leave its place, since it stays on its neck: in units of its size (``FaceMotion.size``),
# and for its own size as the logarithm of the ratio. Small motion is carried over whole.
_FARTHEST, _LARGEST = 0.3, 0.1
_MOST_TURN = np.radians([25.0, 30.0, 40.0])  # about x, y and z: pitch, yaw, roll
_WIDEST = 1.3  # of an eye, over how wide it is at rest
_UPPER_LID = 0.7  # how much of a lid's way the upper one goes
_LIDS_GAIN = 1.3  # by how much more lids move: those of a shut eye never quite meet for the mesh
_LIPS, _LIDS = (6, 7), ((0, 2), (1, 3))  # places in LABELS: upper, lower
_FACE = len(LABELS) - 1  # key points on the face; the last is the neck
_LID_POINTS, _BROW_POINTS = [0, 1, 2, 3], [10, 11]  # places in LABELS, as all that follow
_MOUTH_POINTS, _HEAD_POINTS = [4, 5, 6, 7, 9], [8, 12, 13, 14]  # corners, lips, chin; what is left

# What is asked of the networks when they are calibrated: gaps of the lips in units of the face's size, and
# turns in radians.
_ASKED_LIPS = np.array([0.0, 0.05, 0.1, 0.16, 0.24, 0.34, 0.46, 0.6, 0.8])
_ASKED_TURNS = np.radians([[10.0, 0, 0], [-10.0, 0, 0], [0, 15.0, 0], [0, -15.0, 0]])
_MOST_GAIN = 1.8  # of a turn: more would tear the picture
_ENOUGH = 0.95  # of the widest mouth that was painted
_STEEPEST = 3.0  # by which a wanted opening may change what is asked for

Render = Callable[[Keypoints], np.ndarray]  # what the networks paint for T key points: TxHxWx3 uint8


class Gains(NamedTuple):
    """What has to be asked for, so that the wanted motion is what is painted."""

    lips: np.ndarray  # what was painted for each of ``_ASKED_LIPS``
    turn: np.ndarray  # by how much more a turn about x, y and z has to be asked for


class PhotoFace:
    """The face of a photo, as the networks see it.

    Args:
        rest: how the face looks at rest, a motion of one frame in units of [-1, 1], see ``measure_rest``.
        detected: the picture's key points, as the detector finds them; those of the neck are kept.
        gains: what has to be asked for; None: what is wanted, until it is known by ``calibrate``.

    Attributes:
        keypoints: of the picture at rest, 1x16x2: on the face those of its mesh.
        rest, gains: as given, or learnt.
    """

    def __init__(self, rest: FaceMotion, detected: Keypoints, gains: Gains | None = None) -> None:
        assert detected.jacobian is not None
        self.rest, self.gains = rest, gains or Gains(_ASKED_LIPS, np.ones(3))
        self._jacobian = detected.jacobian
        value = detected.value.clone()
        value[:, :_FACE] = torch.from_numpy(self._place(rest)).to(value)
        self.keypoints = Keypoints(value, detected.jacobian)

    def calibrate(self, render: Render, face: Face) -> None:
        """Learn what has to be asked for, by painting the face with some turns and openings and measuring it.

        Args:
            render: paints key points.
            face: where it is in what is painted.
        """
        count = len(_ASKED_LIPS) + len(_ASKED_TURNS)
        lips, turns = np.full(count, self.rest.lips[0]), np.zeros((count, 3))
        lips[: len(_ASKED_LIPS)] = _ASKED_LIPS
        turns[len(_ASKED_LIPS) :] = _ASKED_TURNS
        moved = self._move(
            Rotation.from_rotvec(turns).as_matrix(),
            lips,
            np.repeat(self.rest.lids, count, 0),
            np.zeros((count, _FACE, 3)),
            np.zeros((count, 2)),
            np.ones(count),
        )
        seen = _measure(list(render(moved)), face)
        seen_turns = Rotation.from_matrix(seen.rotation @ self.rest.rotation[0].T).as_rotvec()
        turn = np.ones(3)
        for axis, rows in ((0, slice(-4, -2)), (1, slice(-2, None))):
            came = np.ptp(seen_turns[rows, axis]) / np.ptp(turns[rows, axis])
            turn[axis] = np.clip(1 / max(came, 1e-6), 1, _MOST_GAIN)
        self.gains = Gains(seen.lips[: len(_ASKED_LIPS)], turn)

    def move(
        self,
        driver: FaceMotion,
        reference: FaceMotion,
        motion: Motion = Motion(),
        usual: FaceMotion | None = None,
    ) -> Keypoints:
        """Return where the key points of the photo go, Tx16x2 in [-1, 1], with their jacobians.

        Args:
            driver: how its face moves, T frames.
            reference: the driver's face where the photo is at rest, one frame; its ``lids`` are open.
            motion: how much of that each part of the face makes, and what is changed in it.
            usual: how this face mostly looks, one frame, where the picture is one of a video. What it does
                there with a part that moves now is taken back first. None: it is at rest.
        """
        rest, gains, edit = self.rest, self.gains, motion.edit
        usual = usual or rest
        pose, mouth, eyes, brows = (motion.strength_of(part) for part in PARTS)
        turns = Rotation.from_matrix(driver.rotation @ reference.rotation[0].T).as_rotvec() * pose
        turns = (turn_of(edit) * Rotation.from_rotvec(turns)).as_rotvec()
        turned = Rotation.from_rotvec(_limit(turns * gains.turn, _MOST_TURN)).as_matrix()

        away = (driver.centre - reference.centre) / reference.size * pose
        distance = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        away = away / distance * _limit(distance, _FARTHEST)
        growth = _limit(np.log(driver.size / reference.size) * pose, _LARGEST)

        wanted = rest.lips + mouth * (driver.lips - rest.lips) + edit.mouth * WIDE_OPEN
        lips = _ask(wanted, gains.lips, _ASKED_LIPS)
        # a mouth that nobody moves stays exactly as it is in the photo
        lips += (1 - min(mouth, 1.0)) * (rest.lips - _ask(rest.lips, gains.lips, _ASKED_LIPS))
        open_share = 1 + _LIDS_GAIN * eyes * (driver.lids / np.maximum(reference.lids, 1e-6) - 1)
        lids = np.clip(open_share * edit.eyes, 0, _WIDEST) * usual.lids
        lids += (1 - min(eyes, 1.0)) * (rest.lids - usual.lids)

        shares = np.full(_FACE, pose)
        for strength, points in ((eyes, _LID_POINTS), (mouth, _MOUTH_POINTS), (brows, _BROW_POINTS)):
            shares[points] = strength
        expression = (driver.shape - reference.shape) * (shares[:, None] * EXPRESSION)
        if usual is not rest:
            own = np.minimum(shares, 1)
            own[_HEAD_POINTS] = 0
            expression = expression + own[:, None] * (usual.shape - rest.shape)
        expression = expression + edit.smile * SMILE + edit.brows * BROWS
        return self._move(
            turned,
            lips,
            lids,
            expression * rest.size[0],
            away * (rest.size[0] * motion.shift),
            np.exp(growth * motion.shift),
        )

    def _move(
        self,
        turned: np.ndarray,
        lips: np.ndarray,
        lids: np.ndarray,
        expression: np.ndarray,
        away: np.ndarray,
        growth: np.ndarray,
    ) -> Keypoints:
        """Return the key points of T frames.

        Args:
            turned: Tx3x3, since the face at rest.
            lips, lids: gaps (T and Tx2), in units of the face's size.
            expression: Tx15x3, added to the face that looks into the camera.
            away: Tx2, shift of the head.
            growth: T, of its size.
        """
        rest = self.rest
        rotation = turned @ rest.rotation
        shape = rest.shape * rest.size
        middle = rest.centre + away

        def place(shape: np.ndarray) -> np.ndarray:
            seen = np.einsum("tij,tkj->tki", rotation, np.broadcast_to(shape, (len(turned), _FACE, 3)))
            return (seen * growth[:, None, None])[..., :2] + middle[:, None]

        solid, value = place(shape), place(shape + expression)
        at_rest = self._place(rest)[0]

        def missing(pair: tuple[int, int], length: np.ndarray) -> np.ndarray:
            """Return what the vector between two points lacks to be the solid head's, made so long."""
            upper, lower = pair
            now, before = solid[:, lower] - solid[:, upper], at_rest[lower] - at_rest[upper]
            ratio = np.maximum(length, 0) / max(float(np.linalg.norm(before)), 1e-6)
            return now * ratio[:, None] - (value[:, lower] - value[:, upper])

        def apart(pair: tuple[int, int]) -> float:
            return float(np.linalg.norm(at_rest[pair[1]] - at_rest[pair[0]]))

        opened = missing(_LIPS, apart(_LIPS) + (lips - rest.lips) * rest.size)
        for point, share in ((7, 1.0), (9, 0.8), (4, 0.3), (5, 0.3)):
            value[:, point] += share * opened
        for eye, pair in enumerate(_LIDS):
            lacking = missing(pair, apart(pair) + (lids[:, eye] - rest.lids[:, eye]) * rest.size)
            value[:, pair[0]] -= _UPPER_LID * lacking
            value[:, pair[1]] += (1 - _UPPER_LID) * lacking

        kept = self.keypoints.value
        points = kept.repeat(len(turned), 1, 1)
        points[:, :_FACE] = torch.from_numpy(value).to(kept)
        jacobian = self._jacobian.repeat(len(turned), 1, 1, 1)
        linear = torch.from_numpy(turned[:, :2, :2] * growth[:, None, None]).to(kept)
        jacobian[:, :_FACE] = linear[:, None] @ self._jacobian[:, :_FACE]
        return Keypoints(points, jacobian)

    @staticmethod
    def _place(motion: FaceMotion) -> np.ndarray:
        """Return where the labelled points of a measured face lie, Tx15x2."""
        seen = np.einsum("tij,tkj->tki", motion.rotation, motion.shape) * motion.size[:, None, None]
        return seen[..., :2] + motion.centre[:, None]


def free_inside(small: Tensor) -> Tensor:
    """Return how much of its motion each place of a picture (1xCxhxw) makes: 1xhxw, 0 at the border.

    So nothing that moves is cut off at the border: the motion ends softly before it.
    """
    rows, columns = (_rise_from_border(length).to(small) for length in small.shape[2:])
    return (rows[:, None] * columns)[None]


def _rise_from_border(length: int) -> Tensor:
    place = (torch.arange(length) + 0.5) / length
    share = ((torch.minimum(place, 1 - place) - STILL) / (FREE - STILL)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def measure_rest(picture: np.ndarray, face: Face) -> FaceMotion:
    """Return how a face looks in a picture (HxWx3 uint8): a motion of one frame, in units of [-1, 1]."""
    return _measure([picture], face)


def _measure(pictures: Sequence[np.ndarray], face: Face) -> FaceMotion:
    """Return how the face at one place looks in T pictures of one size, in units of [-1, 1]."""
    meshes = face_meshes(pictures, [face] * len(pictures))
    height, width = pictures[0].shape[:2]
    unit = np.array([2 / width, 2 / height, 2 / width])
    return measure_motion(np.stack([mesh.points * unit - [1, 1, 0] for mesh in meshes]))


def find_photo_face(picture: np.ndarray) -> Face | None:
    """Return the face that fills most of a picture (HxWx3 uint8); None where none is found."""
    faces = keep_confirmed(picture, detect_faces(picture))
    return max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])), default=None)


def _limit(values: np.ndarray, most: float | np.ndarray) -> np.ndarray:
    """Return the values, small ones as they are, large ones bounded softly by ``most``."""
    return most * np.tanh(values / most)


def _ask(wanted: np.ndarray, painted: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return what to ask for, given what was ``painted`` for what was ``asked``, which ascends.

    Where hardly anything changes in the picture, what is asked for does not jump. It ends where more of it
    brought no more.
    """
    end = int(np.argmax(painted >= _ENOUGH * painted.max())) + 1
    painted, asked = np.maximum.accumulate(painted[:end]), asked[:end]
    steps = np.maximum(np.diff(painted), np.diff(asked) / _STEEPEST)
    curve = np.concatenate([painted[:1], painted[0] + np.cumsum(steps)])
    return np.interp(wanted, curve, asked)
