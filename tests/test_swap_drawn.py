"""Two drawn people and the truth of their swap: what they share, and what they do not."""

import numpy as np
import pytest

from fomm.cli import main
from fomm.errors import InputError
from fomm.face import face_identities, face_mesh
from fomm.face.pose import head_pose
from fomm.face.search import find_faces
from fomm.media import VideoReader
from fomm.swap.drawn import CLIPS, draw_clip, render_pair

SIZE = 192


@pytest.fixture(scope="module")
def pair():
    return render_pair(seed=1, frames=4, size=SIZE)


def watch(frames):
    """Return poses, Tx3 degrees, and identities, Tx128."""
    meshes = [face_mesh(frame, find_faces(frame)[0]) for frame in frames]
    return head_pose(np.stack([mesh.points for mesh in meshes])), face_identities(list(frames), meshes)


def test_shapes_and_repetition(pair):
    for clip in pair:
        assert clip.shape == (4, SIZE, SIZE, 3) and clip.dtype == np.uint8
    again = next(draw_clip("truth", seed=1, frames=4, size=SIZE))
    assert np.array_equal(again, pair.truth[0])
    assert not np.array_equal(next(draw_clip("a", seed=2, frames=4, size=SIZE)), pair.a[0])


def test_the_truth_moves_as_a_and_is_b(pair):
    (pose_a, a), (pose_b, b), (pose_truth, truth) = map(watch, pair)
    assert np.abs(pose_truth - pose_a)[:, [0, 2]].max() < 6  # the mesh's own error, between two people
    assert np.abs(pose_b - pose_a).max() > 10  # another motion
    to_b = np.linalg.norm(truth - b.mean(0), axis=1)
    to_a = np.linalg.norm(truth - a.mean(0), axis=1)
    assert (to_b < to_a).all()


def test_what_surrounds_them_is_the_same(pair):
    """Corners show the background with its noise, which is that of B's own clip for B alone."""
    corner = np.s_[:, :24, :24]
    assert np.array_equal(pair.a[corner], pair.truth[corner])
    assert np.abs(pair.a[corner].astype(float) - pair.b[corner]).mean() < 8
    shirt = np.s_[:, -6:, SIZE // 2 - 20 : SIZE // 2 + 20]
    assert np.abs(pair.a[shirt].mean((0, 1, 2)) - pair.truth[shirt].mean((0, 1, 2))).max() < 15
    assert (pair.a != pair.truth).any(-1).mean() > 0.1


def test_files(tmp_path, capsys, pair):
    folder = tmp_path / "new" / "pair"
    assert main(["swap", "draw", str(folder), "--frames", "4", "--size", str(SIZE), "--seed", "1"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.mp4" for name in CLIPS)
    assert capsys.readouterr().out.count("mp4") == 3
    for name, frames in zip(CLIPS, pair, strict=True):
        with VideoReader(folder / f"{name}.mp4") as reader:
            assert reader.fps == 25
            found = np.stack(list(reader))
        assert np.abs(found.astype(float) - frames).mean() < 2.0, name  # what the codec loses


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"frames": 0}, {"size": 0}])
def test_what_cannot_be_drawn(wrong):
    with pytest.raises(InputError, match="a pair needs"):
        render_pair(**{"seed": 0, "frames": 1, "size": 8} | wrong)


def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["swap", "draw", str(tmp_path / "file"), "--frames", "1", "--size", "16"]) == 1
