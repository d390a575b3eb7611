"""One person's face in another person's video, by autoencoders and adversarial networks."""

from fomm.swap.faces import MASKS, FaceSet, read_faces, write_faces

__all__ = ["MASKS", "FaceSet", "read_faces", "write_faces"]
