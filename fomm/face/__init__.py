"""Find faces in pictures, 478 points on each, and who they are, with small networks that ship with fomm."""

from fomm.face.alignment import face_alignment_is_ready, landmarks_68
from fomm.face.detector import Face, detect_faces, detect_faces_in
from fomm.face.identity import FaceIdentity, face_identities
from fomm.face.mesh import Mesh, face_mesh, face_meshes

__all__ = [
    "Face",
    "FaceIdentity",
    "Mesh",
    "detect_faces",
    "detect_faces_in",
    "face_alignment_is_ready",
    "face_identities",
    "face_mesh",
    "face_meshes",
    "landmarks_68",
]
