"""Find faces by one of three detectors, and give them all the form that the face mesh starts from.

The mesh expects a box from the brows to the chin and from cheek to cheek, and the eyes, as BlazeFace finds
them. MTCNN's boxes reach from the forehead to the chin, and those of OpenCV's cascade are squares about the
nose; where BlazeFace's box would be is told by what they find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from fomm.errors import InputError, MissingExtraError
from fomm.face import Face
from fomm.face.search import FaceFinder, keep_confirmed, shrink_for_detection
from fomm.swap.mtcnn import detect_by_mtcnn

Detector = Literal["blazeface", "mtcnn", "haar"]
DETECTORS: tuple[Detector, ...] = get_args(Detector)

# Where things are in BlazeFace's box, xy in [0, 1]: the median of two portraits and 60 drawn heads, made
# symmetric. First what MTCNN finds: eyes, nose tip, corners of the mouth; then BlazeFace's own six points.
_FIVE = np.array([[0.29, 0.265], [0.71, 0.265], [0.5, 0.508], [0.325, 0.72], [0.675, 0.72]])
_SIX = np.array([[0.28, 0.28], [0.72, 0.28], [0.5, 0.53], [0.5, 0.73], [0.07, 0.375], [0.93, 0.375]])
# BlazeFace's box in the cascade's square, of the same pictures: shift of its middle down, and its side.
_CASCADE_DOWN, _CASCADE_SIDE = 0.1, 0.87
_CASCADE = "haarcascade_frontalface_default.xml"
_CASCADE_STEP = 1.1  # from one size of the search to the next
_CASCADE_NEIGHBOURS = 5  # so many answers at one place make a face
_SMALLEST = 24  # pixels of the reduced picture: the smallest faces that are looked for


def check_detector(detector: str) -> None:
    """Raise ``InputError`` unless there is such a detector."""
    if detector not in DETECTORS:
        raise InputError(f"detector is one of {', '.join(DETECTORS)}, not {detector!r}")


def find_faces_by(detector: Detector, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
    """Find the faces of pictures, HxWx3 uint8 RGB, and return a list for each, the best score first.

    Pictures are reduced by a whole factor that leaves a shorter side of 256 pixels or more.

    Raises:
        InputError: there is no such detector. MissingExtraError: its package cannot be loaded.
    """
    check_detector(detector)
    if detector == "blazeface":
        finder = FaceFinder(confirm=True)
        for number, picture in enumerate(pictures):
            finder.add(number, picture)
        return [faces for _, faces in finder.results()]
    find: Callable[[np.ndarray], list[Face]] = _find_by_mtcnn if detector == "mtcnn" else _find_by_cascade
    found = []
    for picture in pictures:
        small = shrink_for_detection(picture)
        scale = picture.shape[0] / small.shape[0]
        faces = [Face(face.box * scale, face.score, face.points * scale) for face in find(small)]
        found.append(keep_confirmed(picture, faces))
    return found


def _find_by_mtcnn(picture: np.ndarray) -> list[Face]:
    return [face_from_five(item.points, item.score) for item in detect_by_mtcnn(picture, smallest=_SMALLEST)]


def face_from_five(points: np.ndarray, score: float) -> Face:
    """Return the face on which eyes, nose tip and corners of the mouth lie, 5x2 pixels xy.

    The box is where a similarity, fitted to the five points, takes BlazeFace's.
    """
    from skimage.transform import SimilarityTransform

    fit = SimilarityTransform.from_estimate(_FIVE, points.astype(np.float64))
    if not fit:  # skimage answers with the reason instead
        return Face(np.tile(points[0], 2), 0.0, np.repeat(points[:1], 6, axis=0))
    (middle,) = fit(np.array([[0.5, 0.5]]))
    box = np.concatenate([middle - fit.scale / 2, middle + fit.scale / 2]).astype(np.float32)
    six = fit(_SIX).astype(np.float32)
    six[:3] = points[:3]
    return Face(box, score, six)


def _find_by_cascade(picture: np.ndarray) -> list[Face]:
    """Find faces by the cascade, whose answers have no scores: they are taken for unsure ones."""
    cv2, cascade = load_cascade()
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    smallest = (_SMALLEST, _SMALLEST)
    squares = cascade.detectMultiScale(gray, _CASCADE_STEP, _CASCADE_NEIGHBOURS, minSize=smallest)
    return [face_from_square(*(float(value) for value in square[:3])) for square in squares]


def face_from_square(x: float, y: float, side: float) -> Face:
    """Return the face in one of the cascade's squares, given by its upper left corner and its side.

    The cascade knows upright faces alone, so the eyes are level.
    """
    half = _CASCADE_SIDE * side / 2
    middle = np.array([x, y]) + side / 2 + [0, _CASCADE_DOWN * side]
    box = np.concatenate([middle - half, middle + half]).astype(np.float32)
    return Face(box, 0.5, (middle + (_SIX - 0.5) * 2 * half).astype(np.float32))


@lru_cache(maxsize=1)
def load_cascade() -> tuple[Any, Any]:
    """Return OpenCV and its cascade for faces from the front, loaded once.

    Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features", 2001.

    Raises:
        MissingExtraError: OpenCV is missing, cannot be loaded, or is one of version 5, which has none.
    """
    advice = (
        "the detector haar needs OpenCV 4: pip install --force-reinstall --no-deps "
        "'opencv-python-headless<5'; or take the detector blazeface or mtcnn"
    )
    try:
        import cv2
    except ImportError as reason:  # of the package, or of libGL, which opencv-python needs
        raise MissingExtraError(f"OpenCV cannot be loaded ({reason}); {advice}") from reason
    if not hasattr(cv2, "CascadeClassifier"):
        raise MissingExtraError(f"OpenCV {cv2.__version__} has no cascades; {advice}")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + _CASCADE)  # type: ignore[attr-defined]
    if cascade.empty():
        raise MissingExtraError(f"OpenCV {cv2.__version__} came without {_CASCADE}; {advice}")
    return cv2, cascade
