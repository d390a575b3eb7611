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
def attention():
    """Give what MediaPipe answers with its attention mesh, see golden/face/make_attention.py."""
    return np.load(GOLDEN / "attention.npz")


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


def test_mesh_network_equals_the_original(many_faces, attention):
    """Also where what it samples around an eye reaches beyond the border of its picture."""
    windows = []
    for number, top, left, side in attention["windows"]:
        part = many_faces[0][number][top : top + side, left : left + side]
        windows.append(part.repeat(192 // side, axis=0).repeat(192 // side, axis=1))
    images = torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).float() / 255
    points, presence = mesh_module.load_mesh_network(torch.device("cpu"))(images)
    np.testing.assert_allclose(points.numpy(), attention["window_points"], atol=2e-3)
    np.testing.assert_allclose(presence.numpy(), attention["window_presence"], atol=2e-3)


@pytest.mark.parametrize("name", PICTURES)
def test_faces_agree_with_mediapipe(name, astronaut, golden, attention):
    image = picture(name, astronaut)
    face = detect_faces(image)[0]
    mesh = face_mesh(image, face)
    wanted = attention[f"{name}_points"]
    to_256 = 256 / image.shape[1]
    box_error = np.abs(np.append(face.box, face.points) - golden[f"{name}_face"]).mean() * to_256
    distances = np.linalg.norm(mesh.points[:, :2] - wanted[:, :2], axis=1) * to_256
    depth_error = np.abs(mesh.points[:, 2] - wanted[:, 2]).mean() * to_256
    assert box_error < 0.1, f"box and points are {box_error:.2f} pixels off at 256x256"
    assert distances.mean() < 0.5, f"the mesh is {distances.mean():.2f} pixels off at 256x256"
    assert depth_error < 0.5, f"the mesh's z is {depth_error:.2f} pixels off at 256x256"
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


@pytest.fixture(scope="module")
def many_meshes(many_faces):
    """Both portraits and 60 heads: their meshes, 62x478x2 pixels."""
    pictures, _ = many_faces
    meshes = face_meshes(pictures, [found[0] for found in detect_faces_in(pictures)])
    return np.stack([mesh.points[:, :2] for mesh in meshes])


def test_meshes_of_many_faces_agree_with_mediapipe(many_meshes, attention):
    known = ~np.isnan(attention["points"]).any((1, 2))
    assert known.sum() == 61 and known[:2].all()  # MediaPipe's mesh is not sure of one, seen from the side
    distances = np.linalg.norm(many_meshes - attention["points"].astype(float), axis=-1)[
        known
    ]  # pixels of 256
    lids = [*mesh_module.LEFT_EYE[: mesh_module.LIDS], *mesh_module.RIGHT_EYE[: mesh_module.LIDS]]
    parts = {"mesh": list(range(478)), "lips": list(mesh_module.LIPS), "lids": lids}
    parts |= {"irises": list(range(468, 478))}
    for bound, name in ((0.3, "mesh"), (0.3, "lips"), (0.3, "lids"), (0.3, "irises")):
        errors = distances[:, parts[name]].mean(1)
        assert errors.mean() < bound, f"{name}: {errors.mean():.2f} pixels off"
        assert errors.max() < 0.8, f"{name}: {errors.max():.2f} pixels off in one picture"
        assert errors[:2].max() < 0.4, f"{name}: {errors[:2]} pixels off in the portraits"


def test_the_numbers_of_points_mean_what_they_meant(many_meshes, many_faces):
    """MediaPipe's mesh without attention, of 468 points, has each of them nearly where this one has it."""
    before = many_faces[1]["points"].astype(float)
    distances = np.linalg.norm(many_meshes[:, :468] - before, axis=-1)
    typical = np.nanmedian(distances, axis=0)  # of each point
    assert typical.max() < 6, f"point {typical.argmax()} is {typical.max():.1f} pixels from where it was"
    assert np.median(typical) < 2.5


def test_irises_lie_between_the_lids(many_meshes):
    """On the portraits, who look at the camera: the middle of each iris is in the middle of its eye."""
    for middle, rim, corners in ((468, range(469, 473), (33, 133)), (473, range(474, 478), (362, 263))):
        first, last = many_meshes[:2, corners[0]], many_meshes[:2, corners[1]]
        width = np.linalg.norm(last - first, axis=-1)
        iris = many_meshes[:2, middle]
        assert (np.linalg.norm(iris - (first + last) / 2, axis=-1) < 0.25 * width).all()
        radii = np.linalg.norm(many_meshes[:2, list(rim)] - iris[:, None], axis=-1)
        assert (radii > 0.1 * width[:, None]).all() and (radii < 0.35 * width[:, None]).all(), radii / width


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
    square = detector_module.letterbox(np.full((64, 128, 3), 255, np.uint8))[0]
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
