"""The loops that run per pixel, compiled by numba. Import this module late: it loads numba.

No fast-math and no threads: every machine is to draw the same picture.
"""

import math

import numpy as np

from fomm.heads.compilation import compile_kernel


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
