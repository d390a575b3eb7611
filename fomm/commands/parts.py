"""How a part of a picture, and a face in it, are named on the command line."""

from fomm.job_options import crop_option, face_option

__all__ = ["crop_option", "face_option"]
