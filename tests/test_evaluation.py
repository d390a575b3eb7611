import json
import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

from fomm.errors import InputError, MediaError
from fomm.evaluation import runner
from fomm.evaluation.clips import Clip, list_clips, list_hash, read_clip
from fomm.evaluation.metrics import Box
from fomm.evaluation.traits import TRAITS, followed, measure_traits
from fomm.face import detect_faces, face_mesh
from fomm.model import Keypoints

GOLDEN = Path(__file__).parent / "golden"
SIZE, FRAMES = 128, 5


def write_clip(folder, name, frames, landmarks, pose=None):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", frames=frames)
    pose = np.zeros((len(frames), 3), np.float32) if pose is None else pose
    np.savez(folder / f"{name}.landmarks.npz", landmarks=np.float32(landmarks), pose=pose)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of two people: the astronaut, and her mirror image, leaning left and right.

    Its landmarks are 68 of the mesh's points, as far as they matter here: only their box counts.
    """
    folder = tmp_path_factory.mktemp("heads")
    photo = Image.fromarray(skimage.data.astronaut()[0:256, 96:352])
    for person, start in (("ann", 0), ("bob", 12)):
        angles = [start, start + 10, start - 10, start + 20, start + 5]
        frames = [photo.rotate(angle, Image.Resampling.BICUBIC).resize((SIZE, SIZE)) for angle in angles]
        frames = np.stack([np.asarray(frame)[:, :: 1 if person == "ann" else -1] for frame in frames])
        meshes = [face_mesh(frame, detect_faces(frame)[0]).points[::6][:68, :2] for frame in frames]
        roll = np.float32(angles) * (-1 if person == "ann" else 1)
        write_clip(folder / "test", f"{person}#0", frames, meshes, np.stack([0 * roll, 0 * roll, roll], 1))
    return folder


class StubDetector(nn.Module):
    """Its "key points" are the frames themselves."""

    def forward(self, image):
        return Keypoints(image)


class StubGenerator(nn.Module):
    """Paints the driving frame, or the source, by the choice of ``copy``."""

    def __init__(self, copy):
        super().__init__()
        self.copy, self.frame_shape, self.weights_hash = copy, (SIZE, SIZE, 3), "00" * 32
        self.anchor = nn.Parameter(torch.zeros(1))

    def encode(self, source):
        return source

    def dense_motion_network(self, source, kp_source, kp_driving):
        return kp_driving.value

    def decode(self, features, motion):
        return motion if self.copy == "driving" else features.expand_as(motion)


def evaluate_stub(monkeypatch, copy, data, **options):
    monkeypatch.setattr(
        runner, "load_checkpoints", lambda config, checkpoint, device: (StubGenerator(copy), StubDetector())
    )
    return runner.evaluate("stub.safetensors", data, progress=False, device="cpu", **options)


def test_a_perfect_network_has_no_error(monkeypatch, data):
    report = evaluate_stub(monkeypatch, "driving", data)
    assert report["l1_face"]["result"] == pytest.approx(0, abs=1e-6)
    assert report["l1_face"]["ratio"] == pytest.approx(0, abs=1e-5)
    assert report["l1_face"]["unchanged"] > 0.02
    assert report["sharpness"] == pytest.approx(1, abs=1e-4)
    for trait in TRAITS:
        for kind in ("pooled", "pooled_centred", "clip_mean", "clip_median"):
            assert report["correlation"][trait][kind] == pytest.approx(1), (trait, kind)
    for which in ("driving", "result"):  # the mesh follows the exact roll
        assert report["against_exact"][which]["roll"]["pooled_centred"] > 0.95
    assert report["frames_without_face"] == {"driving": 0, "result": 0}


def test_an_idle_network_equals_the_unchanged_source(monkeypatch, data):
    report = evaluate_stub(monkeypatch, "source", data)
    for name in ("l1_face", "l1_frame"):
        assert report[name]["ratio"] == pytest.approx(1, abs=1e-5)
    for trait in TRAITS:
        assert report["correlation"][trait]["clips"] == 0  # a face that stands still follows nothing
        assert report["correlation"][trait]["clip_mean"] is None
        assert report["correlation"][trait]["pooled_centred"] is None
        assert report["correlation"][trait]["pooled"] == report["correlation_unchanged"][trait]["pooled"]


def test_errors_by_hand(monkeypatch, tmp_path):
    """A black first frame, then one with a bright part: three quarters of the box."""
    frames = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    frames[1, 32:80, 48:64] = 255  # 48 * 16 pixels
    write_clip(tmp_path, "eve#3", frames, np.zeros((2, 68, 2)))
    monkeypatch.setattr(
        runner.metrics, "face_box", lambda points, size: Box(48, 32, 64, 96)
    )  # 64 * 16 pixels
    report = evaluate_stub(monkeypatch, "source", tmp_path)
    assert report["l1_face"] == {"result": 0.375, "unchanged": 0.375, "ratio": 1.0}  # the mean of 0 and 0.75
    assert report["l1_frame"]["result"] == pytest.approx(48 * 16 / SIZE**2 / 2)
    assert report["frames_without_face"] == {"driving": 2, "result": 2}
    assert report["clips"][0]["correlation"]["yaw"] is None


def test_report_is_json_with_its_origin(monkeypatch, data, tmp_path):
    report = evaluate_stub(monkeypatch, "driving", data, out=tmp_path / "numbers.json", limit=1)
    assert json.loads((tmp_path / "numbers.json").read_text()) == report
    assert report["checkpoint"] == {"file": "stub.safetensors", "sha256": "00" * 32}
    assert report["data"] == {"clips": 1, "frames": FRAMES, "sha256": list_hash(list_clips(data, 1))}
    assert set(report["versions"]) == {"fomm", "torch", "numpy", "python"}
    assert report["clips"][0]["name"] == "ann#0"
    assert len(report["clips"][0]["result"]["yaw"]) == FRAMES


@pytest.mark.parametrize("mode", ["reconstruction", "animation"])
def test_real_networks(data, mode):
    options = {"config": GOLDEN / "tiny.yaml", "progress": False, "device": "cpu", "mode": mode}
    report = runner.evaluate(GOLDEN / "tiny-cpk.pth.tar", data, **options)
    assert [clip["name"] for clip in report["clips"]] == ["ann#0", "bob#0"]
    sources = [clip["source"] for clip in report["clips"]]
    assert sources == (["ann#0", "bob#0"] if mode == "reconstruction" else ["bob#0", "ann#0"])
    assert ("l1_face" in report) == ("against_exact" in report) == (mode == "reconstruction")
    assert len(report["checkpoint"]["sha256"]) == 64
    assert report == runner.evaluate(GOLDEN / "tiny-cpk.pth.tar", data, **options)  # the same again


def test_pairs_are_of_two_people_and_follow_the_seed(tmp_path):
    paths = [tmp_path / f"{person}#{clip}.npz" for person in ("a", "b", "c") for clip in (0, 1)]
    sources = runner.pair_sources(paths, seed=1)
    assert all(source.name[0] != path.name[0] for source, path in zip(sources, paths, strict=True))
    assert sources == runner.pair_sources(paths, seed=1)
    assert len({tuple(runner.pair_sources(paths, seed)) for seed in range(5)}) > 1
    with pytest.raises(InputError, match="two people; all 2 are of a"):
        runner.pair_sources(paths[:2], seed=0)


def test_the_face_of_the_box_is_measured():
    """Two faces side by side: the box says which."""
    photo = skimage.data.astronaut()[0:256, 96:352]
    both = np.concatenate([photo, photo[:, ::-1]], axis=1)[None]
    left = measure_traits(both, [Box(0, 0, 256, 256)])
    right = measure_traits(both, [Box(256, 0, 512, 256)])
    assert left["roll"][0] == pytest.approx(-right["roll"][0], abs=1.5) and left["roll"][0] > 1
    nowhere = measure_traits(both, [Box(0, 250, 10, 256)])
    assert all(np.isnan(nowhere[trait][0]) for trait in TRAITS)


def test_followed_by_hand():
    up, nan = np.array([0.0, 1.0, 2.0]), math.nan
    numbers = followed([up, up + 10], [up, 2 - up])
    assert numbers["clips"] == 2
    assert numbers["clip_mean"] == numbers["clip_median"] == pytest.approx(0)
    assert numbers["pooled_centred"] == pytest.approx(0)
    # 0 1 2 10 11 12 against 0 1 2 2 1 0: deviations -6 -5 -4 4 5 6 and -1 0 1 1 0 -1.
    assert numbers["pooled"] == pytest.approx((6 - 4 + 4 - 6) / math.sqrt(154 * 4))
    seen = followed([np.array([0.0, 1.0, 2.0, 50.0])], [np.array([5.0, 6.0, 7.0, nan])])
    assert seen["pooled_centred"] == pytest.approx(1)


def test_clips_are_listed_by_name(data, tmp_path):
    assert [path.name for path in list_clips(data)] == ["ann#0.npz", "bob#0.npz"]
    assert list_clips(data / "test") == list_clips(data)
    assert [path.name for path in list_clips(data, 1)] == ["ann#0.npz"]
    with pytest.raises(InputError, match="holds no clip"):
        list_clips(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        list_clips(tmp_path / "missing")
    with pytest.raises(InputError, match="at least 1, not 0"):
        list_clips(data, 0)


def test_the_hash_sees_names_and_contents(tmp_path):
    frames, landmarks = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 68, 2))
    hashes = set()
    for folder, name, value in (("a", "x#0", 0), ("b", "x#0", 0), ("c", "y#0", 0), ("d", "x#0", 1)):
        write_clip(tmp_path / folder, name, frames + np.uint8(value), landmarks)
        hashes.add(list_hash(list_clips(tmp_path / folder)))
    assert len(hashes) == 3  # a and b are equal


def test_resized_clip():
    frames = np.full((1, 64, 64, 3), 40, np.uint8)
    frames[:, :, 32:] = 200
    clip = Clip("ann#0", frames, np.full((1, 68, 2), 64, np.float32), np.zeros((1, 3), np.float32))
    small = clip.resized(32, 16)
    assert small.frames.shape == (1, 32, 16, 3) and small.frames.dtype == np.uint8
    assert (small.frames[0, :, [0, 15]] == [[[40]], [[200]]]).all()
    np.testing.assert_allclose(small.landmarks[0, 0], [16, 32])
    assert clip.resized(64, 64) is clip


def test_mp4_clips_are_read(tmp_path):
    from fomm.media import save_video

    frames = np.full((3, 32, 32, 3), 90, np.uint8)
    save_video(tmp_path / "ann#0.mp4", frames, fps=25)
    np.savez(tmp_path / "ann#0.landmarks.npz", landmarks=np.zeros((3, 68, 2)), pose=np.zeros((3, 3)))
    clip = read_clip(list_clips(tmp_path)[0])
    assert clip.name == "ann#0" and clip.person == "ann"
    assert np.abs(clip.frames.astype(int) - 90).max() <= 3


@pytest.mark.parametrize(
    ("frames", "landmarks", "message"),
    [
        (np.zeros((2, 8, 8, 3)), np.zeros((2, 68, 2)), "frames float64"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 68, 2)), r"x#0\.npz has 2 frames"),
    ],
)
def test_clips_that_do_not_fit(tmp_path, frames, landmarks, message):
    write_clip(tmp_path, "x#0", frames, landmarks)
    with pytest.raises(MediaError, match=message):
        read_clip(tmp_path / "x#0.npz")


def test_damaged_clips(tmp_path):
    write_clip(tmp_path, "x#0", np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 68, 2)))
    (tmp_path / "x#0.npz").write_bytes(b"no zip")
    with pytest.raises(MediaError, match=r"x#0\.npz cannot be read"):
        read_clip(tmp_path / "x#0.npz")
    (tmp_path / "x#0.landmarks.npz").unlink()
    with pytest.raises(MediaError, match=r"x#0\.landmarks\.npz is missing"):
        read_clip(tmp_path / "x#0.npz")


def test_unknown_mode(data):
    with pytest.raises(InputError, match="reconstruction, animation, not 'both'"):
        runner.evaluate(None, data, mode="both")


@pytest.mark.parametrize(
    ("name", "yaw", "roll", "mouth"),
    [
        ("head0", -27.3, -2.9, (0.06, 0.2)),
        ("head1", -15.4, -1.3, (0.06, 0.2)),
        ("head2", -24.5, 6.0, (0, 0.03)),
    ],
)
def test_rendered_heads_of_known_pose(name, yaw, roll, mouth):
    """The exact pose is the renderer's; the jaws of the first two are open."""
    with Image.open(GOLDEN / "face" / f"{name}.jpg") as image:
        traits = measure_traits(np.asarray(image)[None], [Box(0, 0, 256, 256)])
    assert traits["yaw"][0] == pytest.approx(yaw, abs=3)
    assert traits["roll"][0] == pytest.approx(roll, abs=3)
    assert mouth[0] < traits["mouth"][0] < mouth[1]
    assert 0.3 < traits["eyes"][0] < 0.45


@pytest.mark.slow
def test_the_mesh_follows_rendered_heads():
    from fomm.evaluation.metrics import face_box
    from fomm.heads.dataset import render_clip

    clips = [render_clip(7, person, 0, 12, 128, step=3) for person in range(6)]
    boxes = [[face_box(points, (128, 128)) for points in clip.landmarks] for clip in clips]
    traits = [measure_traits(clip.frames, box) for clip, box in zip(clips, boxes, strict=True)]
    for axis, (trait, lowest) in enumerate((("yaw", 0.95), ("pitch", 0.75), ("roll", 0.85))):
        numbers = followed([clip.pose[:, axis] for clip in clips], [series[trait] for series in traits])
        assert numbers["pooled_centred"] > lowest, (trait, numbers)
