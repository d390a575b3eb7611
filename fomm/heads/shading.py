"""The colour of every pixel that a head covers, compiled by numba. Import this module late: it loads numba.

Without fast-math and threads, so that every machine draws the same picture. Colours are linear RGB.
"""

import math
from typing import NamedTuple

import numpy as np

from fomm.heads.bust import GLASSES, HAIR, LASHES, LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE
from fomm.heads.compilation import compile_kernel

EYE_RADIUS = 0.0138  # metres
_FRONT_TEETH = -0.15  # y of the front of the teeth on the unchanged bust, metres
_MOUTH_DARKENS = 0.016  # metres: so much deeper in the mouth, 1/e of the light is left


class Coverage(NamedTuple):
    """Which point of which triangle each pixel shows; what ``kernels.rasterize`` fills."""

    face_ids: np.ndarray  # HxW, -1 where there is no triangle
    barycentric: np.ndarray  # HxWx2 weights of the triangle's first two corners


class SurfaceMesh(NamedTuple):
    """A posed head: V vertices, F triangles."""

    faces: np.ndarray  # Fx3 vertices of each triangle
    parts: np.ndarray  # F, see ``Bust.parts``
    vertices: np.ndarray  # Vx3 metres
    normals: np.ndarray  # Vx3 unit vectors
    template: np.ndarray  # Vx3 metres: the same points on the unchanged bust
    texcoords: np.ndarray  # Vx2


class Materials(NamedTuple):
    """What the parts of a head are made of."""

    texture: np.ndarray  # HxWx4: colour of the skin and strength of its shine
    cloth: np.ndarray  # 10 numbers, see ``_wear_cloth``
    eye_centres: np.ndarray  # 2x3 metres, left and right, on the unchanged bust
    iris: np.ndarray  # 3
    iris_radius: float  # in radii of the eyeball
    teeth: np.ndarray  # 3
    tongue: np.ndarray  # 3
    hair: np.ndarray  # 3
    glasses: np.ndarray  # 3


class Lighting(NamedTuple):
    """Lamps that are infinitely far away, and light from everywhere."""

    directions: np.ndarray  # Lx3 unit vectors towards the lamps
    colours: np.ndarray  # Lx3
    ambient: np.ndarray  # 3


class _Finish(NamedTuple):
    """How one point of a surface answers to light."""

    red: float
    green: float
    blue: float
    specular: float  # strength of the highlight
    gloss: float  # exponent of the highlight: higher is smaller and sharper
    open_sky: float  # share of the light that reaches the point


@compile_kernel
def shade(coverage, mesh, materials, lighting, camera, out):
    """Write the colour of every covered pixel into HxWx4 ``out``; its fourth channel is 1 there, 0 elsewhere.

    Args:
        coverage: a ``Coverage``.
        mesh: a ``SurfaceMesh``.
        materials: a ``Materials``.
        lighting: a ``Lighting``.
        camera: 3, its place in metres.
        out: HxWx4 float64, overwritten.
    """
    height, width = coverage.face_ids.shape
    for row in range(height):
        for column in range(width):
            face = coverage.face_ids[row, column]
            if face < 0:
                out[row, column] = 0.0
                continue
            corners = mesh.faces[face, 0], mesh.faces[face, 1], mesh.faces[face, 2]
            w0, w1 = coverage.barycentric[row, column, 0], coverage.barycentric[row, column, 1]
            weights = w0, w1, 1.0 - w0 - w1
            px, py, pz = _interpolate(mesh.vertices, corners, weights)
            nx, ny, nz = _interpolate(mesh.normals, corners, weights)
            length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            nx, ny, nz = nx / length, ny / length, nz / length
            ex, ey, ez = camera[0] - px, camera[1] - py, camera[2] - pz
            length = math.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex / length, ey / length, ez / length
            part = mesh.parts[face]
            if part == HAIR and nx * ex + ny * ey + nz * ez < 0:  # hair is a sheet: both of its sides show
                nx, ny, nz = -nx, -ny, -nz
            finish = _find_finish(part, corners, weights, mesh, materials)
            r, g, b = _light(finish, (nx, ny, nz), (ex, ey, ez), lighting)
            out[row, column, 0] = r
            out[row, column, 1] = g
            out[row, column, 2] = b
            out[row, column, 3] = 1.0


@compile_kernel
def _interpolate(values, corners, weights):
    """Return the mean of three rows of Vx3 ``values`` by ``weights``, as three numbers."""
    (a, b, c), (w0, w1, w2) = corners, weights
    return (
        values[a, 0] * w0 + values[b, 0] * w1 + values[c, 0] * w2,
        values[a, 1] * w0 + values[b, 1] * w1 + values[c, 1] * w2,
        values[a, 2] * w0 + values[b, 2] * w1 + values[c, 2] * w2,
    )


@compile_kernel
def _find_finish(part, corners, weights, mesh, materials):
    """Return the ``_Finish`` of a point of a triangle of that part."""
    if part == HAIR:
        return _finish_hair(corners, weights, mesh.texcoords, materials.hair)
    if part == LASHES:
        return _Finish(0.03, 0.02, 0.02, 0.0, 18.0, 1.0)
    if part == GLASSES:
        frame = materials.glasses
        return _Finish(frame[0], frame[1], frame[2], 1.2, 30.0, 1.0)
    x, y, z = _interpolate(mesh.template, corners, weights)
    if part == SKIN:
        return _finish_skin(x, y, z, corners, weights, mesh.texcoords, materials.texture, materials.cloth)
    if part == LEFT_EYE or part == RIGHT_EYE:  # noqa: SIM109 (compiled by numba)
        centres, eye = materials.eye_centres, part - LEFT_EYE
        x, y, z = x - centres[eye, 0], y - centres[eye, 1], z - centres[eye, 2]
        return _finish_eye(x, y, z, materials.iris, materials.iris_radius)
    # What is left lies in the mouth.
    open_sky = 0.8 * math.exp(-max(0.0, y - _FRONT_TEETH) / _MOUTH_DARKENS)
    if part == TEETH:
        teeth = materials.teeth
        return _Finish(teeth[0], teeth[1], teeth[2], 0.5, 40.0, open_sky)
    if part == TONGUE:
        tongue = materials.tongue
        return _Finish(tongue[0], tongue[1], tongue[2], 0.3, 18.0, open_sky)
    return _Finish(0.28, 0.06, 0.05, 0.05, 18.0, open_sky)


@compile_kernel
def _finish_skin(x, y, z, corners, weights, texcoords, texture, cloth):
    """Return the finish of skin, or of the cloth over it, at a point of the unchanged bust in metres."""
    covered, r, g, b = _wear_cloth(x, y, z, cloth)
    if covered:
        return _Finish(r, g, b, 0.03, 18.0, 1.0)
    (i, j, k), (w0, w1, w2) = corners, weights
    ua, ub, uc = texcoords[i, 0], texcoords[j, 0], texcoords[k, 0]
    ub += (ua - ub > 0.5) - (ub - ua > 0.5)  # the triangle crosses the texture's seam behind the head
    uc += (ua - uc > 0.5) - (uc - ua > 0.5)
    v = texcoords[i, 1] * w0 + texcoords[j, 1] * w1 + texcoords[k, 1] * w2
    r, g, b, shine = _sample(texture, ua * w0 + ub * w1 + uc * w2, v)
    return _Finish(r, g, b, 0.35 * shine, 18.0, 1.0)


@compile_kernel
def _sample(texture, u, v):
    """Sample an HxWx4 texture bilinearly at u (wraps, to the right) and v (up) in [0, 1]."""
    height, width = texture.shape[0], texture.shape[1]
    x = (u - math.floor(u)) * width - 0.5
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.001)
    ix, iy = math.floor(x), int(y)
    fx, fy = x - ix, y - iy
    right, left = (ix + 1) % width, ix % width
    w00, w10, w01, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    top, low = texture[iy], texture[iy + 1]
    r = top[left, 0] * w00 + top[right, 0] * w10 + low[left, 0] * w01 + low[right, 0] * w11
    g = top[left, 1] * w00 + top[right, 1] * w10 + low[left, 1] * w01 + low[right, 1] * w11
    b = top[left, 2] * w00 + top[right, 2] * w10 + low[left, 2] * w01 + low[right, 2] * w11
    s = top[left, 3] * w00 + top[right, 3] * w10 + low[left, 3] * w01 + low[right, 3] * w11
    return r, g, b, s


@compile_kernel
def _wear_cloth(x, y, z, cloth):
    """Return whether cloth covers a point of the unchanged bust (metres), and the cloth's colour there.

    ``cloth``: the neck line's height and slope, the depth of its V, two colours (3 numbers each), and the
    frequency of stripes in radians a metre, 0 for none.
    """
    out = math.sqrt(x * x + (y + 0.02) ** 2)
    line = cloth[0] + cloth[1] * (out - 0.06)
    if y < -0.04:
        line -= cloth[2] * max(0.0, 1.0 - abs(x) / 0.05)
    if z >= line:
        return False, 0.0, 0.0, 0.0
    k = 6 if cloth[9] > 0 and math.sin(z * cloth[9]) > 0 else 3
    weave = 0.95 + 0.05 * math.sin(x * 700) * math.sin(z * 700)
    if line - z < 0.006:
        weave *= 0.75
    return True, cloth[k] * weave, cloth[k + 1] * weave, cloth[k + 2] * weave


@compile_kernel
def _finish_eye(x, y, z, iris, iris_radius):
    """Return the finish of the eyeball at a point, in metres from its centre on the unchanged bust."""
    r, g, b = _colour_eye(x, y, z, iris, iris_radius)
    open_sky = 0.85 - 0.3 * min(1.0, max(0.0, z / 0.007))  # the upper lid throws a shadow
    return _Finish(r, g, b, 1.4, 90.0, open_sky)


@compile_kernel
def _colour_eye(x, y, z, iris, iris_radius):
    """Return the colour of the white, the iris or the pupil at a point as in ``_finish_eye``."""
    d = math.sqrt(x * x + z * z) / EYE_RADIUS
    if y > 0 or d > iris_radius:
        vein = 1.0 - 0.12 * min(1.0, max(0.0, d - iris_radius))
        return 0.74, 0.71 * vein, 0.69 * vein
    if d < iris_radius * 0.42:
        return 0.01, 0.01, 0.01
    angle = math.atan2(x, z)
    m = 0.75 + 0.175 * math.sin(angle * 17 + 3 * math.sin(angle * 5)) + 0.3 * (d / iris_radius - 0.6)
    if d > iris_radius * 0.88:
        m *= 0.45
    return iris[0] * m, iris[1] * m, iris[2] * m


@compile_kernel
def _finish_hair(corners, weights, texcoords, colour):
    """Return the finish of long hair: ``colour`` with strands lighter and darker."""
    (a, b, c), (w0, w1, w2) = corners, weights
    u = texcoords[a, 0] * w0 + texcoords[b, 0] * w1 + texcoords[c, 0] * w2
    v = texcoords[a, 1] * w0 + texcoords[b, 1] * w1 + texcoords[c, 1] * w2
    m = 0.85 + 0.16 * math.sin(u * 260 + 2 * math.sin(v * 9 + u * 31)) + 0.12 * math.sin(u * 733 + v * 5)
    m *= 0.8 + 0.2 * math.sin(u * 47 + v * 3)
    return _Finish(colour[0] * m, colour[1] * m, colour[2] * m, 0.25, 10.0, 1.0)


@compile_kernel
def _light(finish, normal, view, lighting):
    """Return the colour of a point in the light: diffuse for its surface, and highlights of the lamps.

    ``normal`` and ``view`` (towards the camera) are unit vectors of three numbers.
    """
    (nx, ny, nz), (ex, ey, ez) = normal, view
    ambient, directions, colours = lighting.ambient, lighting.directions, lighting.colours
    sky = 0.775 + 0.225 * nz
    dr, dg, db = ambient[0] * sky, ambient[1] * sky, ambient[2] * sky
    sr = sg = sb = 0.0
    for k in range(directions.shape[0]):
        facing = nx * directions[k, 0] + ny * directions[k, 1] + nz * directions[k, 2]
        soft = max(0.0, (facing + 0.25) / 1.25)  # light that went through the skin, red more than the others
        hard = max(0.0, facing)
        dr += colours[k, 0] * soft
        dg += colours[k, 1] * (0.85 * hard + 0.15 * soft)
        db += colours[k, 2] * (0.88 * hard + 0.12 * soft)
        if hard > 0.0 and finish.specular > 0.0:
            hx, hy, hz = directions[k, 0] + ex, directions[k, 1] + ey, directions[k, 2] + ez
            half = (nx * hx + ny * hy + nz * hz) / (math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9)
            if half > 0.5:
                s = 0.3 * finish.specular * half**finish.gloss * hard
                sr += colours[k, 0] * s
                sg += colours[k, 1] * s
                sb += colours[k, 2] * s
    return (
        (finish.red * dr + sr) * finish.open_sky,
        (finish.green * dg + sg) * finish.open_sky,
        (finish.blue * db + sb) * finish.open_sky,
    )
