"""A head: its shape, which can be posed, and what else is needed to draw it."""

from dataclasses import dataclass

import numpy as np

from fomm.heads.bust import LEFT_EYE, RIGHT_EYE, load_bust


@dataclass(frozen=True)
class Figure:
    """The shape of a head, which can be posed: V vertices, the bust's first."""

    vertices: np.ndarray  # Vx3 float64, metres, neutral
    skin_weights: np.ndarray  # Vx4
    joints: np.ndarray  # 4x3, metres

    @property
    def eye_height(self) -> float:
        """Height of the eyes in metres, where cameras look."""
        eyes = np.flatnonzero(np.isin(load_bust().vertex_parts, (LEFT_EYE, RIGHT_EYE)))
        return float(self.vertices[eyes, 2].mean())


@dataclass(frozen=True)
class Person(Figure):
    """A head that can be posed and drawn: V vertices (the bust's, then hair's and glasses'), F triangles."""

    template: np.ndarray  # Vx3 float64: the same points on the unchanged bust; colours are decided there
    faces: np.ndarray  # Fx3 int64
    parts: np.ndarray  # F uint8
    texcoords: np.ndarray  # Vx2
    texture: np.ndarray  # HxWx4 float32
    eye_centres: np.ndarray  # 2x3, on the template
    iris: np.ndarray  # linear RGB
    iris_radius: float  # in radii of the eyeball
    teeth: np.ndarray
    tongue: np.ndarray
    hair: np.ndarray
    glasses: np.ndarray  # of their frame
