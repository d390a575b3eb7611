"""face-alignment's weights cannot be had without a download: a stand-in answers in its place."""

import sys
from typing import ClassVar

import numpy as np
import pytest

from fomm.errors import InputError, MissingExtraError
from fomm.face import alignment, face_alignment_is_ready, landmarks_68

IMAGE = np.zeros((40, 60, 3), np.uint8)


class FaceAlignment:
    """Finds two faces in bright pictures, and puts all points of a face into the middle of its box."""

    made: ClassVar[list] = []

    def __init__(self, kind, device, compile):
        type(self).made.append((kind, device, compile))
        self.face_detector = self

    def detect_from_image(self, image):
        return [(0, 0, 10, 10, 0.6), (20, 10, 40, 30, 0.9)] if image.max() else []

    def get_landmarks_from_image(self, image, detected_faces):
        return [np.tile([(x0 + x1) / 2, (y0 + y1) / 2], (68, 1)) for x0, y0, x1, y1, _ in detected_faces]


@pytest.fixture
def package(face_alignment_package, monkeypatch):
    face_alignment_package.FaceAlignment = FaceAlignment
    monkeypatch.setattr(FaceAlignment, "made", [])
    return face_alignment_package


def test_the_surest_face_counted_from_the_corners_of_pixels(package):
    points, nothing = landmarks_68([IMAGE + 255, IMAGE])
    assert points.shape == (68, 2) and points.dtype == np.float32 and nothing is None
    assert (points == [30.5, 20.5]).all()  # pixel 30's centre
    landmarks_68([IMAGE])
    assert FaceAlignment.made == [("2d", "cpu", False)]  # once, and never compiled


def test_ready_are_its_weights_in_the_cache(package, hub):
    assert not face_alignment_is_ready()
    (hub / "checkpoints").mkdir()
    for name in alignment.WEIGHTS:
        assert not face_alignment_is_ready()
        (hub / "checkpoints" / name).touch()
    assert face_alignment_is_ready() and not FaceAlignment.made


def test_the_files_are_those_that_the_package_fetches():
    api = pytest.importorskip("face_alignment.api", exc_type=ImportError)
    detector = pytest.importorskip("face_alignment.detection.sfd.sfd_detector", exc_type=ImportError)
    urls = detector.models_urls["s3fd"], api.models_urls["2DFAN-4"]
    assert tuple(url.rpartition("/")[2] for url in urls) == alignment.WEIGHTS


def test_without_the_weights_or_the_package_the_error_says_what_to_do(package, monkeypatch):
    def fetch(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(package, "FaceAlignment", fetch)
    with pytest.raises(MissingExtraError, match=r"no route to host.*s3fd-619a316812\.pth"):
        landmarks_68([IMAGE])
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(MissingExtraError, match=r"pip install face-alignment.*opencv-python-headless"):
        landmarks_68([IMAGE])


def test_only_pictures_are_taken(package):
    with pytest.raises(InputError, match="uint8 array"):
        landmarks_68([IMAGE / 255])
