"""Which triangle each pixel shows, normals, and noise, compiled by numba.

Import this module late: it loads numba. Nothing uses fast-math or threads, so that every machine draws the
same picture.
"""

import math

import numpy as np

from fomm.heads.compilation import compile_kernel


@compile_kernel
def rasterize(points, faces, recess, inverse_depth, face_ids, barycentric):
    """Find the nearest triangle at the centre of each pixel (a z-buffer), and write it into the last three.

    Args:
        points: Vx3: x and y in pixels, and depth > 0.
        faces: Fx3 vertices of each triangle.
        recess: F. A triangle is taken to lie farther away, by about this share of its depth.
        inverse_depth: HxW, overwritten; 0 where no triangle is.
        face_ids: HxW numbers of triangles, overwritten; -1 where none is.
        barycentric: HxWx2, overwritten: perspective-correct weights of the triangle's first two corners.
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
def compute_normals(vertices, faces):
    """Return unit normals Vx3: the mean of the triangles at each vertex, weighted by their areas."""
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
def _hash(seed, x, y):
    """Return a number in [0, 1) that depends on nothing but the three whole numbers."""
    h = np.uint32(seed) + np.uint32(x) * np.uint32(0x9E3779B1) + np.uint32(y) * np.uint32(0x85EBCA77)
    h = np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = np.uint32(h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return np.uint32(h ^ (h >> np.uint32(15))) / 4294967296.0


@compile_kernel
def make_fractal_noise(height, width, cells_y, cells_x, octaves, gain, seed):
    """Return HxW float32 value noise in [0, 1] that wraps around in x.

    Args:
        height, width: H and W.
        cells_y, cells_x: cells of the first octave; each further octave has twice as many in both directions.
        octaves: how many layers of noise are added.
        gain: how much an octave counts, times the one before.
        seed: a whole number; another gives other noise.
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
                    low = _hash(seed + octave, a, iy) * (1 - fy) + _hash(seed + octave, a, iy + 1) * fy
                    high = _hash(seed + octave, b, iy) * (1 - fy) + _hash(seed + octave, b, iy + 1) * fy
                    last = ix
                fx = u - ix
                fx = fx * fx * (3.0 - 2.0 * fx)
                out[row, column] += weight * (low + (high - low) * fx)
        total += weight
        weight *= gain
    return out / np.float32(total)
