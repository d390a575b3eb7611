"""From a posed person and a scene to a picture."""

from dataclasses import dataclass

import numpy as np

from fomm.heads.bust import TEETH, TONGUE, bend, load_bust
from fomm.heads.figure import Figure, Person
from fomm.heads.motion import HeadMotion
from fomm.heads.scene import Scene

SUPERSAMPLING = 2
GAMMA = 2.2
# Corners are rounded to so many steps in a pixel. Else the rounding errors of a machine would decide which
# triangle covers a pixel.
_SUBPIXELS = 256
# Teeth and tongue are drawn as if they lay farther away, by this share of the distance. So lips that a face's
# shape moves a little into the teeth still cover them.
_MOUTH_RECESS = 0.004


@dataclass(frozen=True)
class View:
    """The geometry of one frame: V vertices and a camera."""

    vertices: np.ndarray  # Vx3, metres
    rotation: np.ndarray  # 3x3 of the head
    points: np.ndarray  # Vx3: x, y in [0, 1] of the picture (y down), and depth in metres
    camera: np.ndarray  # 3, metres


def pose(figure: Figure, scene: Scene, motion: HeadMotion, frame: int) -> View:
    """Return the figure and the camera as they are at one frame of the motion."""
    bust = load_bust()
    vertices = figure.vertices.copy()
    vertices[: len(bust.template)] += bust.sum_shapes(
        bust.action_shapes, motion.actions[frame], bust.shape_step
    )
    vertices, rotation = bend(vertices, figure.skin_weights, figure.joints, motion.angles[frame])
    right, up = motion.shift[frame]
    camera = np.array([-right, -scene.distance, figure.eye_height + scene.camera_height - up])
    return View(vertices, rotation, _project(vertices, camera, scene.focal * motion.zoom[frame]), camera)


def _project(vertices: np.ndarray, camera: np.ndarray, focal: float) -> np.ndarray:
    """Project vertices Vx3, metres, into a camera that looks along +y.

    Returns:
        Vx3: x and y in [0, 1] of the picture (y down), and depth in metres.
    """
    offset = vertices - camera
    depth = offset[:, 1]
    return np.stack([0.5 + focal * offset[:, 0] / depth, 0.5 - focal * offset[:, 2] / depth, depth], 1)


class Renderer:
    """Draws pictures of ``size`` x ``size`` pixels, and keeps its buffers from one to the next."""

    def __init__(self, size: int):
        self.size = size
        n = size * SUPERSAMPLING
        self.inverse_depth = np.zeros((n, n))  # of the last view drawn; 0 where nothing is
        self.face_ids = np.zeros((n, n), np.int64)  # of its triangles; -1 where nothing is
        self.barycentric = np.zeros((n, n, 2))  # weights of their first two corners
        self._colour = np.zeros((n, n, 4))

    def draw(self, person: Person, scene: Scene, view: View, rng: np.random.Generator) -> np.ndarray:
        """Draw a person as SxSx3 uint8. ``rng`` makes the noise of the camera's sensor."""
        from fomm.heads import kernels, shading

        n = self.size * SUPERSAMPLING
        pixels = view.points * [n, n, 1]
        pixels[:, :2] = np.round(pixels[:, :2] * _SUBPIXELS) / _SUBPIXELS
        recess = np.where(np.isin(person.parts, (TEETH, TONGUE)), _MOUTH_RECESS, 0.0)
        kernels.rasterize(pixels, person.faces, recess, self.inverse_depth, self.face_ids, self.barycentric)
        mesh = shading.SurfaceMesh(
            faces=person.faces,
            parts=person.parts,
            vertices=view.vertices,
            normals=kernels.compute_normals(view.vertices, person.faces),
            template=person.template,
            texcoords=person.texcoords,
        )
        materials = shading.Materials(
            texture=person.texture,
            cloth=scene.cloth,
            eye_centres=person.eye_centres,
            iris=person.iris,
            iris_radius=person.iris_radius,
            teeth=person.teeth,
            tongue=person.tongue,
            hair=person.hair,
            glasses=person.glasses,
        )
        lighting = shading.Lighting(scene.lights, scene.light_colours, scene.ambient)
        coverage = shading.Coverage(self.face_ids, self.barycentric)
        shading.shade(coverage, mesh, materials, lighting, view.camera, self._colour)
        cells = self._colour.reshape(self.size, SUPERSAMPLING, self.size, SUPERSAMPLING, 4).mean((1, 3))
        return _develop(cells[..., :3] + (1 - cells[..., 3:]) * scene.background, scene, rng)


def _develop(light: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Turn linear RGB SxSx3 into uint8, with the lens's blur, contrast, gamma and the sensor's noise."""
    if scene.blur:
        from scipy.ndimage import gaussian_filter

        sigma = scene.blur * len(light)
        light = gaussian_filter(light, (sigma, sigma, 0))
    values = np.clip(light, 0, 1) ** (scene.contrast / GAMMA) * 255
    values += scene.noise * rng.standard_normal(values.shape, np.float32)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
