"""Skin, lips, brows, beard and scalp, in one texture that is wrapped around the head like a cylinder.

The colour of a texel depends on where it lies on the unchanged bust. So brows, beard and hair line are curves
over x (metres to the side) and z (metres up), and not over texture coordinates.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from fomm.heads.bust import HEAD_AXIS_Y, SKIN, load_bust

SIZE = 1024  # texels around the head, and as many from z = BOTTOM up to z = BOTTOM + SPAN
BOTTOM, SPAN = 0.50, 0.37  # metres

# The hair line: at each angle from the middle of the forehead (radians) its height (metres).
_HAIRLINE_ANGLES = (0, 0.5, 0.85, 1.15, 1.35, 1.75, 2.1, 3.2)
_HAIRLINE_HEIGHTS = (0.793, 0.797, 0.785, 0.755, 0.70, 0.705, 0.66, 0.64)


@dataclass(frozen=True)
class Complexion:
    """What the texture shows of a person. Colours are linear RGB in [0, 1], amounts in [0, 1]."""

    skin: np.ndarray
    hair: np.ndarray
    brow: np.ndarray
    lip: np.ndarray
    redness: float
    freckles: float
    blotches: float
    beard: float
    moustache: float
    eye_shadow: float
    brow_height: float  # metres
    brow_thickness: float
    brow_strength: float
    scalp_hair: float
    hairline_shift: float  # metres, up


def compute_texcoords(points: np.ndarray) -> np.ndarray:
    """Return texture coordinates ...x2 of points ...x3 on the unchanged bust.

    The first is the angle around the head in turns, 0.5 in front. The second is the height, in [0, 1].
    """
    around = np.arctan2(points[..., 0], HEAD_AXIS_Y - points[..., 1]) / (2 * np.pi) + 0.5
    return np.stack([around, (points[..., 2] - BOTTOM) / SPAN], -1)


def measure_above_hairline(points: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Return how many metres above the hair line points ...x3 of the unchanged bust lie.

    ``shift`` moves the hair line up, metres.
    """
    angle = np.abs(np.arctan2(points[..., 0], HEAD_AXIS_Y - points[..., 1]))
    return points[..., 2] - np.interp(angle, _HAIRLINE_ANGLES, _HAIRLINE_HEIGHTS) - shift


@lru_cache(maxsize=1)
def _chart_surface() -> tuple[np.ndarray, np.ndarray]:
    """Return what lies under each texel of the bust.

    Returns:
        The point, SIZExSIZEx3 float32, metres; and how much of it is lip, SIZExSIZE float32 in [0, 1].
    """
    from fomm.heads.kernels import rasterize

    bust = load_bust()
    uv = compute_texcoords(bust.template)
    faces = bust.faces[bust.parts == SKIN]
    faces = faces[np.ptp(uv[faces][..., 0], axis=1) < 0.5]  # without those across the seam behind the head
    radius = np.hypot(bust.template[:, 0], bust.template[:, 1] - HEAD_AXIS_Y)
    depth = 1 / (0.05 + radius)  # where surfaces lie above each other, the outermost counts
    points = np.stack([uv[:, 0] * SIZE, (1 - uv[:, 1]) * SIZE, depth], 1)
    inverse_depth, weights = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE, 2))
    ids = np.zeros((SIZE, SIZE), np.int64)
    rasterize(points, faces, np.zeros(len(faces)), inverse_depth, ids, weights)
    nearest = distance_transform_edt(ids < 0, return_distances=False, return_indices=True)
    # No triangle covers the crown and the seam: they get their neighbours' values.
    ids, weights = ids[tuple(nearest)], weights[tuple(nearest)]
    weights = np.concatenate([weights, 1 - weights.sum(-1, keepdims=True)], -1)
    corners = faces[ids]
    place = np.einsum("hwkc,hwk->hwc", bust.template[corners], weights)
    lips = (bust.lips[corners] * weights).sum(-1)
    lips = np.clip(gaussian_filter(lips, 2.2) * 1.25, 0, 1)
    return place.astype(np.float32), lips.astype(np.float32)


def _fall_off(distance: np.ndarray) -> np.ndarray:
    """Return 1 at distance 0, falling to 0 as a gaussian does."""
    return np.exp(-(distance**2))


def _blend(albedo: np.ndarray, colour: np.ndarray, amount: np.ndarray) -> None:
    """Blend a colour (3, or HxWx3) into the albedo HxWx3, in place, by an amount HxW in [0, 1]."""
    albedo += (colour - albedo) * amount[..., None]


def draw_texture(complexion: Complexion, seed: int) -> np.ndarray:
    """Return SIZExSIZEx4 float32: linear RGB albedo in [0, 1], and the strength of the shine."""
    from fomm.heads.kernels import make_fractal_noise

    def noise(cells: int, octaves: int, gain: float, salt: int) -> np.ndarray:
        return make_fractal_noise(SIZE, SIZE, cells, cells, octaves, gain, seed + 100 * salt)

    place, lips = _chart_surface()
    x, y, z = np.moveaxis(place, -1, 0)
    side, front = np.abs(x), y < -0.08
    broad, fine = noise(6, 4, 0.55, 0), noise(64, 4, 0.75, 1)
    texture = np.ones((SIZE, SIZE, 4), np.float32)
    albedo, shine = texture[..., :3], texture[..., 3]

    tone = 1 + (0.12 + 0.2 * complexion.blotches) * (broad - 0.5) + 0.16 * (fine - 0.5)
    albedo[:] = complexion.skin.astype(np.float32) * tone[..., None]
    cheeks = np.hypot((side - 0.042) / 0.02, (z - 0.69) / 0.018)
    nose = np.hypot(x / 0.012, (z - 0.692) / 0.012)
    red = complexion.redness * (_fall_off(cheeks) * front + 0.8 * _fall_off(nose) * (y < -0.13))
    albedo *= 1 + red[..., None] * np.array([0.12, -0.10, -0.10], np.float32)
    if complexion.freckles:
        spots = np.clip((noise(256, 1, 1.0, 2) - 0.82) * 12, 0, 1) * np.clip(2 * broad, 0, 1)
        amount = complexion.freckles * spots * (side < 0.06) * _fall_off((z - 0.705) / 0.035) * front
        albedo *= 1 - amount[..., None] * np.array([0.3, 0.45, 0.5], np.float32)

    _draw_beard(albedo, shine, complexion, place, broad, fine)
    _blend(albedo, complexion.lip * (1 + 0.25 * (fine[..., None] - 0.5)), 0.85 * lips)
    shine += 1.3 * lips
    lids = _fall_off(np.hypot((side - 0.031) / 0.02, (z - 0.735) / 0.012)) * front
    albedo *= 1 - complexion.eye_shadow * lids[..., None] * np.array([0.25, 0.3, 0.25], np.float32)
    _draw_brows(albedo, shine, complexion, place, noise(180, 2, 0.55, 3))

    edge = measure_above_hairline(place, complexion.hairline_shift) + 0.010 * (noise(40, 3, 0.55, 4) - 0.5)
    scalp = np.clip(edge / 0.008, 0, 1) * (z > 0.63) * complexion.scalp_hair
    streaks = 0.65 + 0.7 * make_fractal_noise(SIZE, SIZE, 24, 512, 1, 1.0, seed + 500)
    _blend(albedo, complexion.hair * streaks[..., None], scalp)
    shine *= 1 - 0.4 * scalp
    np.clip(albedo, 0, 1, out=albedo)
    return texture


def _draw_beard(
    albedo: np.ndarray,
    shine: np.ndarray,
    complexion: Complexion,
    place: np.ndarray,
    broad: np.ndarray,
    fine: np.ndarray,
) -> None:
    """Draw beard and moustache into albedo and shine, in place."""
    if not complexion.beard and not complexion.moustache:
        return
    x, y, z = np.moveaxis(place, -1, 0)
    side = np.abs(x)
    ragged = 0.012 * (broad - 0.5) + 0.006 * (fine - 0.5)
    upper = np.interp(side, [0, 0.02, 0.05, 0.075], [0.668, 0.668, 0.672, 0.71]) + ragged
    lower = 0.612 + 0.25 * np.clip(y + 0.13, 0, 1) + ragged
    chin = np.clip((upper - z) / 0.012, 0, 1) * np.clip((z - lower) / 0.018, 0, 1) * (y < -0.03)
    lip = _fall_off((z - 0.682) / 0.006) * np.clip((0.034 - side) / 0.008, 0, 1) * (y < -0.08)
    strength = np.maximum(chin * complexion.beard, lip * complexion.moustache) * np.clip(
        0.4 + 1.2 * fine, 0, 1
    )
    _blend(albedo, complexion.brow, strength)
    shine *= 1 - 0.6 * strength


def _draw_brows(
    albedo: np.ndarray, shine: np.ndarray, complexion: Complexion, place: np.ndarray, strands: np.ndarray
) -> None:
    """Draw the brows into albedo and shine, in place."""
    x, y, z = np.moveaxis(place, -1, 0)
    side = np.abs(x)
    height = np.interp(side, [0.010, 0.020, 0.035, 0.050, 0.056], [0.7475, 0.7515, 0.7565, 0.7525, 0.747])
    half = np.interp(side, [0.008, 0.014, 0.035, 0.055], [0.0034, 0.0042, 0.0036, 0.0012])
    across = np.abs(z - height - complexion.brow_height) / (half * complexion.brow_thickness)
    ends = np.clip((side - 0.008) / 0.003, 0, 1) * np.clip((0.059 - side) / 0.004, 0, 1)
    strength = np.exp(-(across**3)) * ends * (y < -0.07) * (0.65 + 0.7 * strands)
    strength = np.clip(strength, 0, 1) * complexion.brow_strength
    _blend(albedo, complexion.brow * 0.8, strength)
    shine *= 1 - 0.7 * strength
