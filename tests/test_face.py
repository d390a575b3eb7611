import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from convert_face_weights import convert_identity, convert_mediapipe
from PIL import Image
from safetensors import safe_open

from fomm.errors import CheckpointError, InputError
from fomm.face import Face, detect_faces, detect_faces_in, face_mesh, face_meshes
from fomm.face import detector as detector_module
from fomm.face import mesh as mesh_module
from fomm.face.blocks import WEIGHTS
from fomm.face.crop import Rect, iou
from fomm.face.mesh import Crop

pytestmark = pytest.mark.smoke

GOLDEN = Path(__file__).parent / "golden" / "face"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "golden.npz")


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def picture(name, astronaut):
    if name == "astronaut":
        return astronaut
    if name == "half":  # 256x256
        return astronaut.reshape(256, 2, 256, 2, 3).mean((1, 3)).round().astype(np.uint8)
    return np.asarray(Image.open(GOLDEN / f"{name}.jpg"))


PICTURES = ["astronaut", "half", "head0", "head1", "head2"]


def test_detector_network_equals_tflite(astronaut, golden):
    image = torch.from_numpy(astronaut[::4, ::4] / 127.5 - 1).permute(2, 0, 1)[None].float()
    scores, places = detector_module.load_detector(torch.device("cpu"))(image)
    np.testing.assert_allclose(scores[0].numpy(), golden["detector_scores"], atol=2e-3)
    np.testing.assert_allclose(places[0].numpy(), golden["detector_places"], atol=2e-3)


def test_mesh_network_equals_tflite(astronaut, golden):
    image = torch.from_numpy(astronaut[32:224, 129:321] / 255).permute(2, 0, 1)[None].float()
    points, presence = mesh_module.load_mesh_network(torch.device("cpu"))(image)
    np.testing.assert_allclose(points[0].numpy(), golden["mesh_points"], atol=2e-3)
    np.testing.assert_allclose(presence.numpy(), golden["mesh_presence"], atol=2e-3)


@pytest.mark.parametrize("name", PICTURES)
def test_faces_agree_with_mediapipe(name, astronaut, golden):
    image = picture(name, astronaut)
    face = detect_faces(image)[0]
    mesh = face_mesh(image, face)
    to_256 = 256 / image.shape[1]
    box_error = np.abs(np.append(face.box, face.points) - golden[f"{name}_face"]).mean() * to_256
    distances = np.linalg.norm(mesh.points[:, :2] - golden[f"{name}_points"][:, :2], axis=1) * to_256
    depth_error = np.abs(mesh.points[:, 2] - golden[f"{name}_points"][:, 2]).mean() * to_256
    assert box_error < 0.1, f"box and points are {box_error:.2f} pixels off at 256x256"
    assert distances.mean() < 1, f"the mesh is {distances.mean():.2f} pixels off at 256x256"
    assert depth_error < 1, f"the mesh's z is {depth_error:.2f} pixels off at 256x256"
    assert mesh.presence > 0.9


def test_every_face_that_mediapipe_finds_is_found(many_faces):
    pictures, golden = many_faces
    found = [[Rect(*face.box.tolist()) for face in faces] for faces in detect_faces_in(pictures)]
    overlaps = [
        max((iou(Rect(*box), face) for face in found[number]), default=0.0)
        for number, box in zip(golden["picture"], golden["boxes"].tolist(), strict=True)
    ]
    assert len(overlaps) == 62 and set(golden["picture"]) == set(range(62))
    assert min(overlaps) > 0.99, f"picture {int(np.argmin(overlaps))}: overlap {min(overlaps):.3f}"


def test_meshes_of_many_faces_agree_with_mediapipe(many_faces):
    pictures, golden = many_faces
    faces = [found[0] for found in detect_faces_in(pictures)]
    meshes = face_meshes(pictures, faces)
    known = np.flatnonzero(~np.isnan(golden["points"]).any((1, 2)))
    assert len(known) == 61  # MediaPipe's mesh is not sure of one, seen from the side
    errors = np.array(
        [
            np.linalg.norm(meshes[i].points[:, :2] - golden["points"][i].astype(float), axis=1).mean()
            * (256 / pictures[i].shape[1])
            for i in known
        ]
    )
    assert errors.mean() < 0.6, f"the meshes are {errors.mean():.2f} pixels off at 256x256"
    assert errors.max() < 1.1, f"picture {known[errors.argmax()]} is {errors.max():.2f} pixels off"


def test_mesh_lies_where_the_detector_saw_the_parts(astronaut):
    face = detect_faces(astronaut)[0]
    points = face_mesh(astronaut, face).points[:, :2]
    left_eye, right_eye = points[[33, 133]].mean(0), points[[362, 263]].mean(0)
    for expected, got in zip(
        face.points[[0, 1, 3]], (left_eye, right_eye, points[[13, 14]].mean(0)), strict=True
    ):
        assert np.linalg.norm(expected - got) < 8, (expected, got)


def test_turned_picture_gives_turned_points(astronaut):
    upright = picture("half", astronaut)
    turned = np.asarray(Image.fromarray(upright).rotate(20, Image.Resampling.BICUBIC))  # against the clock
    points = face_mesh(upright, detect_faces(upright)[0]).points[:, :2]
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    expected = (points - 128) @ np.array([[cos, sin], [-sin, cos]]).T + 128
    got = face_mesh(turned, detect_faces(turned)[0]).points[:, :2]
    error = np.linalg.norm(got - expected, axis=1).mean()
    assert error < 1.5, f"{error:.2f} pixels"


def test_batches_equal_single_images(astronaut):
    images = [astronaut, picture("head0", astronaut), picture("half", astronaut)]
    together = [faces[0] for faces in detect_faces_in(images)]
    for image, face, mesh in zip(images, together, face_meshes(images, together), strict=True):
        np.testing.assert_allclose(face.box, detect_faces(image)[0].box, atol=1e-2)
        np.testing.assert_allclose(mesh.points, face_mesh(image, face).points, atol=1e-2)


def test_no_face_in_noise_and_in_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert detect_faces(noise) == []
    assert detect_faces(np.zeros((1, 1, 3), np.uint8)) == []
    assert detect_faces_in([]) == []


def test_presence_tells_a_face_from_none(astronaut):
    face = detect_faces(astronaut)[0]
    elsewhere = Face(face.box + np.float32([200, 200, 200, 200]), face.score, face.points + np.float32(200))
    assert face_mesh(astronaut, elsewhere).presence < 0.1 < face_mesh(astronaut, face).presence


def test_answers_become_pixels_of_the_whole_picture():
    """In 200x400 pixels the square is 400 wide and begins 100 above the picture."""
    scores, places = np.zeros(896), np.zeros((896, 16))
    scores[512 + 6 * 9] = (
        0.75  # the anchor at (1.5, 1.5) of 8x8 cells: (75, 75) in the square, (75, -25) here
    )
    places[512 + 6 * 9, :6] = [0.25, 0.5, 0.1, 0.2, 0.0, 0.25]  # centre, size, the first point
    [face] = detector_module.faces_from_answers(scores, places, (200, 400), 0.5)
    assert face.score == 0.75
    np.testing.assert_allclose(face.box, [175 - 20, 175 - 40, 175 + 20, 175 + 40], atol=1e-4)
    np.testing.assert_allclose(face.points[:2], [[75, 75], [75, -25]], atol=1e-4)


def test_letterbox_puts_the_picture_in_the_middle():
    square = detector_module.letterbox(torch.ones(1, 3, 64, 128))[0, 0]
    assert square.shape == (128, 128)
    np.testing.assert_array_equal(square[:, 5].numpy(), np.repeat([0, 1, 0], [32, 64, 32]))


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), [[1]]])
def test_only_uint8_rgb_is_taken(image):
    with pytest.raises(InputError, match="uint8 array of shape HxWx3"):
        detect_faces(image)


def test_one_face_for_each_image(astronaut):
    with pytest.raises(InputError, match="1 images and 0 faces"):
        face_meshes([astronaut], [])


def test_anchor_order():
    anchors = detector_module.anchors()
    assert anchors.shape == (896, 2)
    np.testing.assert_allclose(anchors[[0, 1, 2]] * 16, [[0.5, 0.5], [0.5, 0.5], [1.5, 0.5]])  # x runs first
    np.testing.assert_allclose(
        anchors[[32, 512, 517, 518]] * 8, [[0.25, 0.75], [0.5, 0.5], [0.5, 0.5], [1.5, 0.5]]
    )


def test_overlapping_answers_become_one():
    def answer(x):  # the box [x, x + 1] x [0, 1] and six points at x
        return [[x, 0], [x + 1, 1]] + [[x, 0.5]] * 6

    merged = detector_module.merge_answers(
        np.array([answer(0.0), answer(5.0), answer(0.5)]), np.array([0.9, 0.8, 0.3])
    )
    # Boxes 0 and 0.5 share 0.5 of a union of 1.5 (one third, above 0.3): x = 0.5 * 0.3 / (0.9 + 0.3) = 0.125.
    assert [score for _, score in merged] == [0.9, 0.8]
    np.testing.assert_allclose(merged[0][0], answer(0.125))
    np.testing.assert_allclose(merged[1][0], answer(5.0))


def test_cut_and_back():
    """A bright pixel lands in the crop where the crop's own points say that it is."""
    image = np.zeros((200, 160, 3), np.uint8)
    image[90, 70] = 255  # its centre is at x = 70.5, y = 90.5
    crop = Crop(centre=(75.0, 80.0), side=96.0, angle=0.5)  # two crop pixels for one of the image
    cut = mesh_module.sample_crop(image, crop)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(192.0) + 0.5, torch.arange(192.0) + 0.5, indexing="ij")
    centre = [float((columns * cut).sum() / cut.sum()), float((rows * cut).sum() / cut.sum()), 1.0]
    np.testing.assert_allclose(
        mesh_module.crop_to_image(np.array([centre]), crop), [[70.5, 90.5, 0.5]], atol=0.05
    )


@pytest.mark.parametrize("name", ["detector", "mesh"])
def test_weights_tell_their_origin(name):
    with safe_open(WEIGHTS / f"{name}.safetensors", "np") as file:
        origin = file.metadata()["origin"]
        assert origin.startswith("mediapipe 0.10.21, mediapipe/modules/") and "Apache-2.0" in origin
        names = file.keys()
        assert {file.get_slice(name).get_dtype() for name in names} == {"F16"}
    assert "Apache License" in (WEIGHTS / "LICENSE").read_text()


def test_a_wheel_without_models_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        wheel.writestr("empty.txt", "")
    with pytest.raises(
        CheckpointError, match=r"other\.whl holds no .*; give the wheel of mediapipe 0\.10\.21"
    ):
        convert_mediapipe(tmp_path / "other.whl")


def test_a_package_without_the_identity_network_is_refused(tmp_path):
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as package:
        package.addfile(tarfile.TarInfo("package/README.md"))
    with pytest.raises(CheckpointError, match=r"other\.tgz holds no .*; give the package of @vladmandic"):
        convert_identity(tmp_path / "other.tgz")


def test_the_identity_weights_tell_their_origin():
    with safe_open(WEIGHTS / "identity.safetensors", "np") as file:
        about = json.loads(file.metadata()["fomm"])
        assert "face-api 1.7.15" in about["origin"] and about["origin"].endswith("MIT")
        assert set(about["steps"]) == set(file.keys())
    assert "Vladimir Mandic" in (WEIGHTS / "LICENSE.identity").read_text()
