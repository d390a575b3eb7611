import numpy as np
import pytest
import torch
from golden_data import GOLDEN as ALL_GOLDEN
from PIL import Image

from fomm.errors import InputError
from fomm.face import FaceIdentity, Mesh, detect_faces, face_identities, face_mesh
from fomm.face.identity import fit_chip, load_identity_network

GOLDEN = ALL_GOLDEN / "face"


@pytest.fixture
def with_meshes(portraits):
    """Each portrait, its mirror image, and the meshes of all."""
    pictures = portraits + [np.ascontiguousarray(picture[:, ::-1]) for picture in portraits]
    return pictures, [face_mesh(picture, detect_faces(picture)[0]) for picture in pictures]


def test_a_mirrored_face_is_nearer_than_another_person(with_meshes):
    found = face_identities(*with_meshes)
    assert found.shape == (4, 128) and found.dtype == np.float32
    distance = np.linalg.norm(found[:, None] - found, axis=-1)
    assert distance[0, 2] < 0.4 and distance[1, 3] < 0.4, distance  # one person
    assert distance[:2, 1::2][0].min() > 0.6, distance  # two


def test_size_and_turn_of_the_picture_hardly_matter(with_meshes):
    picture = with_meshes[0][0]
    small = picture[::2, ::2]
    wide = np.pad(picture, ((40, 0), (90, 10), (0, 0)), mode="edge")
    changed = [small, wide]
    meshes = [face_mesh(item, detect_faces(item)[0]) for item in changed]
    first = face_identities([picture], with_meshes[1][:1])
    for item in face_identities(changed, meshes):
        assert np.linalg.norm(item - first) < 0.25


def test_a_face_that_stands_as_dlib_puts_it_is_taken_as_it_is():
    """The points are dlib's own places of eye corners and nose in a chip of 150 pixels."""
    places = np.array([[0.86, 0.213], [0.646, 0.229], [0.12, 0.214], [0.334, 0.229], [0.49, 0.628]])
    points = np.zeros((478, 3), np.float32)
    points[[263, 362, 33, 133, 2], :2] = (places + 0.25) / 1.5 * 150
    chip = fit_chip(Mesh(points, 1.0))
    assert np.allclose(chip.centre, (75, 75), atol=0.2), chip
    assert chip.side == pytest.approx(150, abs=0.3) and abs(chip.angle) < 0.002, chip
    turned = points.copy()
    turned[:, 0], turned[:, 1] = (
        400 - 2 * points[:, 1],
        10 + 2 * points[:, 0],
    )  # a quarter turn, twice the size
    chip = fit_chip(Mesh(turned, 1.0))
    assert np.allclose(chip.centre, (250, 160), atol=0.4), chip
    assert chip.side == pytest.approx(300, abs=0.6) and chip.angle == pytest.approx(np.pi / 2, abs=0.002)


def test_eyes_and_nose_in_one_point_are_no_face():
    with pytest.raises(InputError, match="the eyes and the nose of a face lie in one point"):
        fit_chip(Mesh(np.full((478, 3), 7, np.float32), 1.0))


def test_the_network_has_gradients():
    image = torch.rand(1, 3, 150, 150, requires_grad=True)
    network = load_identity_network(torch.device("cpu"))
    assert isinstance(network, FaceIdentity)
    network(image).sum().backward()
    assert image.grad is not None and image.grad.abs().max() > 0


def test_each_image_needs_its_mesh(with_meshes):
    with pytest.raises(InputError, match="4 images and 1 meshes"):
        face_identities(with_meshes[0], with_meshes[1][:1])
    assert face_identities([], []).shape == (0, 128)


def test_distances_are_those_of_the_original():
    """Of 12 faces, 66 pairs; the original is TensorFlow.js, see golden/face/make_identities.mjs."""
    chips = np.asarray(Image.open(GOLDEN / "chips.jpg")).reshape(150, 12, 150, 3).swapaxes(0, 1)
    images = torch.from_numpy(np.ascontiguousarray(chips)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        ours = load_identity_network(torch.device("cpu"))(images).numpy()
    wanted = np.load(GOLDEN / "identities.npy")
    assert np.abs(ours - wanted).max() < 2e-3, f"off by {np.abs(ours - wanted).max()}"
    pairs = np.triu_indices(12, 1)
    distances = [np.linalg.norm(found[:, None] - found, axis=-1)[pairs] for found in (ours, wanted)]
    correlation = np.corrcoef(*distances)[0, 1]
    assert correlation > 0.99, f"distances correlate with {correlation}"
