"""Faces in pictures: where they are, and 468 points on each. Small networks whose weights ship with fomm."""

from fomm.face.detector import Face, detect_faces, detect_faces_in
from fomm.face.mesh import Mesh, face_mesh, face_meshes

__all__ = ["Face", "Mesh", "detect_faces", "detect_faces_in", "face_mesh", "face_meshes"]
