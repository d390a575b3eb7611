"""The loops that run per pixel, compiled by numba. Import this module late: it loads numba.

No fast-math and no threads: every machine is to draw the same picture.
"""

import math

import numpy as np

from fomm.heads.bust import GLASSES, HAIR, LASHES, LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE
from fomm.heads.compilation import compile_kernel

EYE_RADIUS = 0.0138  # metres
_FRONT_TEETH = -0.15  # y of their front on the unchanged bust, metres
_MOUTH_DARKENS = 0.016  # metres of depth in the mouth that take all but 1/e of the light


@compile_kernel
def rasterize(points, faces, recess, inverse_depth, face_ids, barycentric):
    """Z-buffer of the triangles ``faces`` Fx3 over ``points`` Vx3 (x, y in pixels, depth > 0).

    ``recess`` F holds back a triangle by that share of its depth where others are as near. Fills HxW
    ``inverse_depth`` (0 where empty), ``face_ids`` (-1 where empty) and HxWx2 ``barycentric``
    (perspective-correct weights of the first two corners). A pixel is sampled at its centre.
    """
    height, width = face_ids.shape
    inverse_depth[:] = 0.0
    face_ids[:] = -1
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        x0, y0, x1, y1, x2, y2 = (
            points[a, 0],
            points[a, 1],
            points[b, 0],
            points[b, 1],
            points[c, 0],
            points[c, 1],
        )
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0:
            continue
        left = max(0, math.ceil(min(x0, x1, x2) - 0.5))
        right = min(width - 1, math.floor(max(x0, x1, x2) - 0.5))
        top = max(0, math.ceil(min(y0, y1, y2) - 0.5))
        bottom = min(height - 1, math.floor(max(y0, y1, y2) - 0.5))
        held = 1.0 - recess[i]
        near0, near1, near2 = 1.0 / points[a, 2], 1.0 / points[b, 2], 1.0 / points[c, 2]
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                w0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                w1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                w2 = 1.0 - w0 - w1
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                near = w0 * near0 + w1 * near1 + w2 * near2
                if near * held > inverse_depth[row, column]:
                    inverse_depth[row, column] = near * held
                    face_ids[row, column] = i
                    barycentric[row, column, 0] = w0 * near0 / near
                    barycentric[row, column, 1] = w1 * near1 / near


@compile_kernel
def vertex_normals(vertices, faces):
    """Area-weighted unit normals Vx3."""
    normals = np.zeros_like(vertices)
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(vertices.shape[0]):
        length = math.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        normals[i] /= length
    return normals


@compile_kernel
def _lattice(seed, x, y):
    """A number in [0, 1) that depends only on its three whole-number arguments."""
    h = np.uint32(seed) + np.uint32(x) * np.uint32(0x9E3779B1) + np.uint32(y) * np.uint32(0x85EBCA77)
    h = np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = np.uint32(h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return np.uint32(h ^ (h >> np.uint32(15))) / 4294967296.0


@compile_kernel
def fractal_noise(height, width, cells_y, cells_x, octaves, gain, seed):
    """HxW float32 value noise in [0, 1]; each octave doubles the cells and weighs ``gain`` times the last.

    It wraps around in x.
    """
    out = np.zeros((height, width), np.float32)
    total, weight = 0.0, 1.0
    for octave in range(octaves):
        ny, nx = cells_y << octave, cells_x << octave
        for row in range(height):
            v = row * ny / height
            iy = int(v)
            fy = v - iy
            fy = fy * fy * (3.0 - 2.0 * fy)
            last = -1
            low = high = 0.0
            for column in range(width):
                u = column * nx / width
                ix = int(u)
                if ix != last:  # the two sides of this cell, blended along y
                    a, b = ix % nx, (ix + 1) % nx
                    low = _lattice(seed + octave, a, iy) * (1 - fy) + _lattice(seed + octave, a, iy + 1) * fy
                    high = _lattice(seed + octave, b, iy) * (1 - fy) + _lattice(seed + octave, b, iy + 1) * fy
                    last = ix
                fx = u - ix
                fx = fx * fx * (3.0 - 2.0 * fx)
                out[row, column] += weight * (low + (high - low) * fx)
        total += weight
        weight *= gain
    return out / np.float32(total)


@compile_kernel
def _texel(texture, u, v):
    """Bilinear sample of an HxWx4 texture at u (wraps, to the right) and v (up) in [0, 1]."""
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
def _cloth(x, y, z, cloth):
    """Whether the point of the unposed bust is covered by cloth, and the cloth's colour there.

    ``cloth``: height of the neck line, its slope, depth of a V, two colours, frequency of the stripes.
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
def _eye(x, y, z, iris, iris_radius):
    """Colour of the eyeball at a point relative to its centre, unposed, in metres."""
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
def _light_in_mouth(y):
    """The share of the light that reaches the depth ``y`` (metres) of the unchanged bust's mouth."""
    return math.exp(-max(0.0, y - _FRONT_TEETH) / _MOUTH_DARKENS)


@compile_kernel
def shade(
    face_ids, barycentric, faces, parts, vertices, normals, template, texcoords, texture,
    eye_centres, iris, iris_radius, teeth, tongue, hair, glasses, cloth,
    lights, light_colours, ambient, camera, out,
):  # fmt: skip
    """Linear RGB of every covered pixel into HxWx4 ``out``; the fourth channel is 1 there, 0 elsewhere."""
    height, width = face_ids.shape
    for row in range(height):
        for column in range(width):
            i = face_ids[row, column]
            if i < 0:
                out[row, column] = 0.0
                continue
            a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
            w0, w1 = barycentric[row, column, 0], barycentric[row, column, 1]
            w2 = 1.0 - w0 - w1
            px = vertices[a, 0] * w0 + vertices[b, 0] * w1 + vertices[c, 0] * w2
            py = vertices[a, 1] * w0 + vertices[b, 1] * w1 + vertices[c, 1] * w2
            pz = vertices[a, 2] * w0 + vertices[b, 2] * w1 + vertices[c, 2] * w2
            tx = template[a, 0] * w0 + template[b, 0] * w1 + template[c, 0] * w2
            ty = template[a, 1] * w0 + template[b, 1] * w1 + template[c, 1] * w2
            tz = template[a, 2] * w0 + template[b, 2] * w1 + template[c, 2] * w2
            nx = normals[a, 0] * w0 + normals[b, 0] * w1 + normals[c, 0] * w2
            ny = normals[a, 1] * w0 + normals[b, 1] * w1 + normals[c, 1] * w2
            nz = normals[a, 2] * w0 + normals[b, 2] * w1 + normals[c, 2] * w2
            length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            nx, ny, nz = nx / length, ny / length, nz / length
            ex, ey, ez = camera[0] - px, camera[1] - py, camera[2] - pz
            length = math.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex / length, ey / length, ez / length
            part = parts[i]
            if part == HAIR and nx * ex + ny * ey + nz * ez < 0:  # the shell of hair has two sides
                nx, ny, nz = -nx, -ny, -nz
            specular, gloss, open_sky = 0.35, 18.0, 1.0
            if part == SKIN:
                covered, r, g, bl = _cloth(tx, ty, tz, cloth)
                if covered:
                    specular = 0.03
                else:
                    ua, ub, uc = texcoords[a, 0], texcoords[b, 0], texcoords[c, 0]
                    ub += (ua - ub > 0.5) - (ub - ua > 0.5)  # across the seam behind the head
                    uc += (ua - uc > 0.5) - (uc - ua > 0.5)
                    v = texcoords[a, 1] * w0 + texcoords[b, 1] * w1 + texcoords[c, 1] * w2
                    r, g, bl, s = _texel(texture, ua * w0 + ub * w1 + uc * w2, v)
                    specular *= s
            elif part == LEFT_EYE or part == RIGHT_EYE:
                k = part - LEFT_EYE
                dz = tz - eye_centres[k, 2]
                r, g, bl = _eye(tx - eye_centres[k, 0], ty - eye_centres[k, 1], dz, iris, iris_radius)
                specular, gloss = 1.4, 90.0
                open_sky = 0.85 - 0.3 * min(1.0, max(0.0, dz / 0.007))  # in the shade of the upper lid
            elif part == TEETH:
                r, g, bl = teeth[0], teeth[1], teeth[2]
                specular, gloss, open_sky = 0.5, 40.0, 0.8 * _light_in_mouth(ty)
            elif part == TONGUE:
                r, g, bl = tongue[0], tongue[1], tongue[2]
                specular, open_sky = 0.3, 0.8 * _light_in_mouth(ty)
            elif part == LASHES:
                r, g, bl = 0.03, 0.02, 0.02
                specular = 0.0
            elif part == HAIR:
                u = texcoords[a, 0] * w0 + texcoords[b, 0] * w1 + texcoords[c, 0] * w2
                v = texcoords[a, 1] * w0 + texcoords[b, 1] * w1 + texcoords[c, 1] * w2
                m = (
                    0.85
                    + 0.16 * math.sin(u * 260 + 2 * math.sin(v * 9 + u * 31))
                    + 0.12 * math.sin(u * 733 + v * 5)
                )
                m *= 0.8 + 0.2 * math.sin(u * 47 + v * 3)
                r, g, bl = hair[0] * m, hair[1] * m, hair[2] * m
                specular, gloss = 0.25, 10.0
            elif part == GLASSES:
                r, g, bl = glasses[0], glasses[1], glasses[2]
                specular, gloss = 1.2, 30.0
            else:
                r, g, bl = 0.28, 0.06, 0.05
                specular, open_sky = 0.05, 0.8 * _light_in_mouth(ty)
            sky = 0.775 + 0.225 * nz
            dr, dg, db = ambient[0] * sky, ambient[1] * sky, ambient[2] * sky
            sr = sg = sb = 0.0
            for k in range(lights.shape[0]):
                facing = nx * lights[k, 0] + ny * lights[k, 1] + nz * lights[k, 2]
                soft = max(0.0, (facing + 0.25) / 1.25)  # light that went through the skin, red most
                hard = max(0.0, facing)
                dr += light_colours[k, 0] * soft
                dg += light_colours[k, 1] * (0.85 * hard + 0.15 * soft)
                db += light_colours[k, 2] * (0.88 * hard + 0.12 * soft)
                if hard > 0.0 and specular > 0.0:
                    hx, hy, hz = lights[k, 0] + ex, lights[k, 1] + ey, lights[k, 2] + ez
                    half = (nx * hx + ny * hy + nz * hz) / (math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9)
                    if half > 0.5:
                        s = 0.3 * specular * half**gloss * hard
                        sr += light_colours[k, 0] * s
                        sg += light_colours[k, 1] * s
                        sb += light_colours[k, 2] * s
            out[row, column, 0] = (r * dr + sr) * open_sky
            out[row, column, 1] = (g * dg + sg) * open_sky
            out[row, column, 2] = (bl * db + sb) * open_sky
            out[row, column, 3] = 1.0
