"""A photo whose face is changed, without a driving video."""

from __future__ import annotations

import numpy as np

from fomm.animation.frames import Picture, take_picture
from fomm.animation.motion import FaceMotion
from fomm.animation.options import Compute, Edit, Framing, Motion
from fomm.animation.photo import MovedPhoto
from fomm.animation.watch import measure_face
from fomm.model import Detector, Generator


def edit(
    photo: Picture,
    change: Edit,
    generator: Generator,
    kp_detector: Detector,
    *,
    like: Picture | None = None,
    relative: bool = True,
    framing: Framing = Framing(),
    compute: Compute = Compute(),
    alpha: bool = False,
) -> np.ndarray:
    """Return the photo with another pose or expression.

    Args:
        photo: a file, or HxWx3, uint8 or floats in [0, 1].
        change: what is changed in the face.
        generator, kp_detector: as ``load_checkpoints`` gives them; weights that know lips and lids, as those
            that ship.
        like: a picture of another face: the photo takes its pose and expression first.
        relative: with ``like``, turn the photo's head as far as the other one is turned away from the
            camera; otherwise it takes the other one's very pose.
        framing: which face, and what the result shows, see ``animate_file``.
        compute: what computes, and how exactly.
        alpha: keep the transparency of a file; otherwise it is laid over white.

    Returns:
        HxWx3 uint8: the whole photo, unless ``framing`` says otherwise. It carries no mark that says what
        made it. With ``alpha`` HxWx4, if the file is transparent in parts.

    Raises:
        InputError: a picture or an option cannot be used, or no face was found.
        MediaError: a file cannot be read.
    """
    name, picture = take_picture(photo, "the photo", alpha=alpha)
    other = None
    if like is not None:
        other_name, other_picture = take_picture(like, "the picture of the other face")
        other = measure_face(other_picture, other_name)
    moved = MovedPhoto(
        picture,
        name,
        generator,
        kp_detector,
        framing=framing,
        motion=Motion(driver="mesh"),
        compute=compute,
    )
    return show_edit(moved, change, other, relative=relative)


def show_edit(
    photo: MovedPhoto, change: Edit, like: FaceMotion | None = None, *, relative: bool = True
) -> np.ndarray:
    """Return what ``edit`` does, of a photo that is ready; ``like``: a face, one frame."""
    return photo.show([animator.edit(change, like, relative=relative) for animator in photo.animators])
