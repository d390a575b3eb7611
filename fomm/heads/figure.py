"""A head: its shape, which can be posed, and all that is needed to draw it."""

from dataclasses import dataclass

import numpy as np

from fomm.heads.bust import LEFT_EYE, RIGHT_EYE, load_bust


@dataclass(frozen=True)
class Figure:
    """The shape of a head, which can be posed. Its V vertices begin with the bust's."""

    vertices: np.ndarray  # Vx3 float64, metres, with a neutral face
    skin_weights: np.ndarray  # Vx4, see ``Bust.skin_weights``
    joints: np.ndarray  # 4x3, metres

    @property
    def eye_height(self) -> float:
        """Height of the eyes, metres. Cameras stand near it."""
        eyes = np.flatnonzero(np.isin(load_bust().vertex_parts, (LEFT_EYE, RIGHT_EYE)))
        return float(self.vertices[eyes, 2].mean())


@dataclass(frozen=True)
class Person(Figure):
    """A head that can be posed and drawn.

    It has V vertices, the bust's and then those of hair and glasses, and F triangles. Colours are linear RGB.
    """

    template: np.ndarray  # Vx3 float64, metres: the same points on the unchanged bust; colours depend on it
    faces: np.ndarray  # Fx3 int64
    parts: np.ndarray  # F uint8, see ``Bust.parts``
    texcoords: np.ndarray  # Vx2, see ``compute_texcoords``
    texture: np.ndarray  # HxWx4 float32, see ``draw_texture``
    eye_centres: np.ndarray  # 2x3, metres, on the template
    iris: np.ndarray  # 3, as the colours below
    iris_radius: float  # in radii of the eyeball
    teeth: np.ndarray
    tongue: np.ndarray
    hair: np.ndarray
    glasses: np.ndarray  # of the frame
