"""Ways in which clips are changed: animated, with another face laid over, blended with themselves.

For each pixel it is known whether it was changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, map_coordinates

from fomm.animation.animator import Animator
from fomm.animation.options import Compute, Motion
from fomm.checkpoint import load_checkpoints
from fomm.face.mesh import Crop
from fomm.heads.dataset import Clip
from fomm.media.resize import resize
from fomm.model import Detector, Generator

_GAP = 8  # pixels: half the width of gaps in a change that are filled


@dataclass(frozen=True)
class Footage:
    """T frames as a camera took them, and what the networks for animation make of them."""

    frames: np.ndarray  # TxSxSx3 uint8
    landmarks: np.ndarray  # Tx68x2, pixels
    pose: np.ndarray  # Tx3, degrees, as in ``Clip``
    animated: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # by kind: frames, changed, moments
    square: Crop | None = None  # where to look, if it shows no face


@lru_cache(maxsize=4)
def _load(checkpoint: str | None) -> tuple[Generator, Detector]:
    return load_checkpoints(checkpoint_path=checkpoint, cpu=True)


def animate_clip(
    photo: Clip, driver: Clip, way: str, checkpoint: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a frame of one clip moved by another clip, where it changed, and by which frames it was driven.

    They are (T-1)xHxWx3 uint8, (T-1)xHxW bool, and T-1 numbers.

    Args:
        photo: its frame that looks at the camera most is moved.
        driver: drives it, from the like frame on, which is left out of the result: nothing has moved in it.
        way: ``"mesh"`` or ``"keypoints"``, see ``Motion``.
        checkpoint: None: the weights that ship.

    Raises:
        InputError: the way is the mesh, and no face is found.
    """
    generator, detector = _load(checkpoint)
    still = photo.frames[find_frontal(photo)]
    first = find_frontal(driver)
    motion = Motion(driver=way, best_frame=first if way == "mesh" else None)  # type: ignore[arg-type]
    animator = Animator(still, generator, detector, motion=motion, compute=Compute("cpu"))
    reference = animator.find_reference(driver.frames[first]) if way == "keypoints" else None
    moved = np.stack(list(animator.animate(list(driver.frames), reference)))
    frames = (np.delete(moved, first, axis=0) * 255).round().astype(np.uint8)
    changed = np.stack([find_change(still, frame) for frame in frames])
    return frames, changed, np.delete(np.arange(len(moved)), first)


def find_frontal(clip: Clip) -> int:
    """Return the number of the frame whose head looks at the camera most."""
    return int(np.linalg.norm(clip.pose[:, :2], axis=1).argmin())


def find_change(before: np.ndarray, after: np.ndarray, least: float = 6.0) -> np.ndarray:
    """Return where a picture was changed, HxW bool, from both states, HxWx3 uint8.

    A pixel counts where the largest difference of the colours, blurred by a pixel and a half, is above
    ``least`` levels of 255. Gaps of up to 16 pixels between such pixels, and holes in them, are filled: skin
    that moved over skin of the same colour changed, too.
    """
    difference = np.abs(after.astype(np.float32) - before.astype(np.float32)).max(axis=2)
    mask = gaussian_filter(difference, 1.5) > least
    if not mask.any():
        return mask
    edged = np.pad(mask, 2 * _GAP)
    grown = distance_transform_edt(~edged) <= _GAP
    closed = distance_transform_edt(grown) > _GAP
    return binary_fill_holes(closed[2 * _GAP : -2 * _GAP, 2 * _GAP : -2 * _GAP])


def face_hull(landmarks: np.ndarray, size: int, part: str = "face") -> np.ndarray:
    """Return the area of a face, or of a part of it, in a picture: SxS bool.

    It is the convex hull of its landmarks, and of brows moved up by a third of the face's height for the
    forehead.

    Args:
        landmarks: 68x2, pixels, the iBUG order. size: S.
        part: ``"face"``, ``"mouth"`` (the lower half: mouth and chin) or ``"eyes"`` (with the brows).
    """
    from scipy.spatial import ConvexHull
    from skimage.draw import polygon2mask

    lift = np.array([0.0, 0.35]) * (landmarks[8, 1] - landmarks[17:27, 1].mean())
    points = {
        "face": np.concatenate([landmarks, landmarks[17:27] - lift]),
        "mouth": np.concatenate([landmarks[3:14], landmarks[48:68], landmarks[31:36]]),
        "eyes": np.concatenate([landmarks[17:27], landmarks[36:48], landmarks[28:30]]),
    }[part].astype(np.float64)
    return polygon2mask((size, size), points[ConvexHull(points).vertices][:, ::-1])


def feather(mask: np.ndarray, blur: float) -> np.ndarray:
    """Return a mask with soft borders inside of it, HxW float32 in [0, 1], from HxW bool.

    It is blurred twice by ``blur`` pixels: what the first blur leaves above a half is the mask of the second.
    """
    inner = gaussian_filter(mask.astype(np.float32), blur) > 0.75
    return gaussian_filter(inner.astype(np.float32), blur)


def paste_face(
    clip: Clip | Footage, other: Clip | Footage, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip with the face of another one laid over, TxHxWx3 uint8, and where it changed, TxHxW bool.

    For each frame the other clip's frame of the nearest pose is taken. The affine map that fits its landmarks
    to the frame's moves it, its colours get mean and deviation of those that it covers, and its borders are
    soft. It is what swapping was before networks, and what stays of any swap whose face is laid over.
    """
    size, blur = clip.frames.shape[1], rng.uniform(1.5, 6.0)
    frames, changed = [], []
    for number, frame in enumerate(clip.frames):
        nearest = int(np.linalg.norm(other.pose - clip.pose[number], axis=1).argmin())
        here, there = clip.landmarks[number], other.landmarks[nearest]
        ones = np.ones((68, 1))
        to_other = np.linalg.lstsq(np.concatenate([here, ones], 1), there, rcond=None)[0]  # 3x2
        y, x = np.mgrid[:size, :size] + 0.5
        places = np.stack([x, y, np.ones_like(x)], -1) @ to_other  # SxSx2, pixels of the other frame
        face = _sample(other.frames[nearest], places)
        hull = face_hull(here, size)
        inside = face[hull]
        scale = frame[hull].std(0) / np.maximum(inside.std(0), 1)
        face = (face - inside.mean(0)) * np.clip(scale, 0.5, 2) + frame[hull].mean(0)
        alpha = feather(hull, blur)
        frames.append(_lay_over(frame, face, alpha))
        changed.append(alpha > 0.2)
    return np.stack(frames), np.stack(changed)


def blend_with_itself(clip: Clip | Footage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip blended with a changed copy of itself, TxHxWx3 uint8, and where, TxHxW bool.

    K. Shiohara and T. Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: the colours,
    sharpness and place of the copy differ a little; a mask of the face or a part of it, bent and feathered,
    chooses where it is seen, wholly or half. So the borders of a change are shown, whatever made it. Choices
    hold for the whole clip.
    """
    size = clip.frames.shape[1]
    part = str(rng.choice(["face", "face", "mouth", "eyes"]))
    amount, blur = float(rng.choice([0.6, 0.8, 1.0, 1.0, 1.0])), rng.uniform(1.0, 6.0)
    shift, grow = rng.uniform(-0.02, 0.02, 2) * size, 1 + rng.uniform(-0.04, 0.04)
    gain, offset = 1 + rng.uniform(-0.06, 0.06, 3), rng.uniform(-8, 8) + rng.uniform(-4, 4, 3)
    filter = rng.choice(["blur", "sharpen", "shrink"])
    strength = rng.uniform(0.5, 1.5)
    bend = [gaussian_filter(rng.normal(size=(size, size)), 12) for _ in range(2)]
    bend = [wave / np.abs(wave).max() * rng.uniform(0, 8) for wave in bend]
    y, x = np.mgrid[:size, :size] + 0.5
    frames, changed = [], []
    for frame, landmarks in zip(clip.frames, clip.landmarks, strict=True):
        floats = frame.astype(np.float32)
        if filter == "shrink":
            small = resize(frame, (int(size / (1 + strength)),) * 2, "bilinear")
            copy = resize(small, (size, size), "bilinear").astype(np.float32)
        else:
            soft = gaussian_filter(floats, (strength, strength, 0))
            copy = soft if filter == "blur" else floats + strength * (floats - soft)
        middle = landmarks.mean(0)
        places = (np.stack([x, y], -1) - middle - shift) / grow + middle
        copy = _sample(copy * gain + offset, places)
        hull = face_hull(landmarks, size, part).astype(np.float32)
        bent = map_coordinates(hull, [y - 0.5 + bend[0], x - 0.5 + bend[1]], order=1, mode="nearest") > 0.5
        alpha = feather(bent, blur) * amount
        frames.append(_lay_over(frame, copy, alpha))
        changed.append(alpha > 0.2 * amount)
    return np.stack(frames), np.stack(changed)


def _sample(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return a picture HxWx3 at places (...x2, xy in pixels), ...x3 float32, sampled linearly."""
    grid = [places[..., 1] - 0.5, places[..., 0] - 0.5]
    planes = [
        map_coordinates(picture[..., k].astype(np.float32), grid, order=1, mode="nearest") for k in range(3)
    ]
    return np.stack(planes, -1)


def _lay_over(frame: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    mixed = frame + alpha[..., None] * (above - frame)
    return mixed.round().clip(0, 255).astype(np.uint8)
