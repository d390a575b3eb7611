"""A video with another face in it: what changes, what stays, and what it says of itself."""

import json

import numpy as np
import pytest
import torch
from hostile import ffmpeg
from torch import nn

from fomm.animation.options import Marking
from fomm.bundled import bundled, sha256_of
from fomm.cli import main
from fomm.errors import CheckpointError, InputError, MediaError
from fomm.face import face_identities, face_mesh
from fomm.face.search import find_faces
from fomm.marks import inspect_file
from fomm.media import VideoReader, VideoWriter, read_image, write_image
from fomm.swap.checkpoint import save_swap
from fomm.swap.convert import Conversion, Converted, convert_video, find_identity, swap_frames
from fomm.swap.drawn import render_pair
from fomm.swap.families import FAMILIES
from fomm.swap.family import Card, Family
from fomm.swap.tracking import follow_face

ASTRONAUT = bundled("examples", "astronaut.png")
FPS, SIZE = 12.5, 192
HIDDEN = 3  # the frame without a face


class Inverted(Family):
    """A family for tests: side b is the face with its colours inverted, side a the face itself."""

    name = "inverted"

    def __init__(self, size: int = 64) -> None:
        super().__init__(size)
        self.faces = nn.ModuleDict({"scale": nn.Linear(1, 1)})

    def encode(self, x):
        return x

    def decode(self, z, side):
        lines = torch.linspace(-1, 1, z.shape[-1])
        disc = (lines[:, None] ** 2 + lines**2 < 0.4).float().expand(len(z), 1, -1, -1)
        return (1 - z if side == "b" else z), disc


@pytest.fixture(scope="module", autouse=True)
def family():
    """Make the family known to checkpoints for these tests, and give it."""
    FAMILIES["inverted"] = Inverted
    yield Inverted()
    del FAMILIES["inverted"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, family):
    """Give a folder with a clip that has a sound and a frame without a face, and with a checkpoint."""
    root = tmp_path_factory.mktemp("swap")
    pair = render_pair(seed=1, frames=6, size=SIZE)
    frames = [*pair.a[:HIDDEN], np.full_like(pair.a[0], 90), *pair.a[HIDDEN:]]
    with VideoWriter(root / "still.mp4", fps=FPS, for_training=True) as writer:
        for frame in frames:
            writer.write(frame)
    ffmpeg("-i", root / "still.mp4", "-f", "lavfi", "-i", "sine=d=0.56", "-c:v", "copy", root / "a.mp4")
    write_image(root / "a.png", pair.a[0])
    group = [np.concatenate(sides, 1) for sides in zip(pair.a, pair.b, strict=True)]
    with VideoWriter(root / "group.mp4", fps=FPS, for_training=True) as writer:
        for frame in group:
            writer.write(frame)
    write_image(root / "b.png", pair.truth[0])
    save_swap(root / "swap.safetensors", family, Card(7, (("a.npz", 10), ("b.npz", 12))))
    return root


def read(path):
    with VideoReader(path) as reader:
        return np.stack(list(reader)).astype(np.float32)


def differ(one, other):
    """Return the mean difference of each frame in levels, T."""
    return np.abs(one - other).mean((1, 2, 3))


@pytest.fixture(scope="module")
def result(folder):
    """Give the converted clip with its sidecar, and what was told of it."""
    path = folder / "out.mp4"
    done = convert_video(
        folder / "a.mp4", folder / "swap.safetensors", path, colour="none", marking=Marking(sidecar=True)
    )
    return path, done


def test_every_frame_with_a_face_shows_the_other(folder, result):
    path, done = result
    assert done == Converted(7, {"nobody": 1}) and done.swapped == 6
    change = differ(read(path), read(folder / "a.mp4"))
    assert change[HIDDEN] < 2.5  # the mark, and the codec
    assert np.delete(change, HIDDEN).min() > 10


def test_sound_and_frame_rate_stay(folder, result):
    with VideoReader(folder / "a.mp4") as source, VideoReader(result[0]) as reader:
        assert (reader.fps, reader.has_audio, reader.size) == (FPS, True, source.size)
        assert reader.num_frames == source.num_frames == 7


def test_it_says_what_it_is(folder, result):
    weights = sha256_of(folder / "swap.safetensors")
    found = inspect_file(result[0])
    assert found.names_fomm
    assert f"(face swap by inverted, weights {weights[:12]}). AI-generated." in found.comment
    assert found.comment.startswith("Made with fomm ")
    assert found.mark is not None and found.mark.origin.weights == weights[:6]
    assert found.sidecar["matches"] and found.sidecar["weights_sha256"] == weights
    assert found.sidecar["photo"] == {"name": "a.mp4", "sha256": sha256_of(folder / "a.mp4")}
    told = found.sidecar["options"]
    assert (told["family"], told["checkpoint"], told["steps"]) == ("inverted", "swap.safetensors", 7)
    assert (told["side"], told["colour"], told["mask"], told["blend"]) == ("b", "none", "learned", "alpha")
    assert told["like"] is None and told["mark"] is True


def test_inspect_prints_it(result, capsys):
    assert main(["inspect", str(result[0])]) == 0
    assert "face swap by inverted" in capsys.readouterr().out


def test_the_face_is_where_it_was(folder, family):
    """What the family does to the aligned face is seen in the frame, and nothing outside of its mask."""
    (face,) = list(follow_face(folder / "a.mp4"))[:1]
    middle = face.points[1]  # the tip of the nose
    x, y = middle.astype(int)
    part = np.s_[y - 8 : y + 8, x - 8 : x + 8]
    ((frame, missing),) = swap_frames([face], family, Conversion(colour="none"))
    assert missing == "" and frame.dtype == np.uint8
    assert np.abs(frame[part].astype(float) - (255 - face.picture[part])).mean() < 6
    changed = (frame != face.picture).any(-1)
    assert 0.03 < changed.mean() < 0.5
    assert not changed[:20].any() and not changed[-20:].any()


def test_the_own_side_hardly_changes_the_frame(folder, family):
    """A face that is cut out and put back in is a little softer, and nothing else."""
    face = next(iter(follow_face(folder / "a.mp4")))
    for colour in ("none", "reinhard", "histogram"):
        for blend in ("alpha", "poisson"):
            how = Conversion(side="a", colour=colour, mask="feathered", blend=blend)
            ((frame, _),) = swap_frames([face], family, how)
            assert np.abs(frame.astype(float) - face.picture).mean() < 1, (colour, blend)


def test_reinhard_brings_back_the_light(folder, family):
    """An inverted face is dark or bright; with the colours matched its mean is the old one's."""
    face = next(iter(follow_face(folder / "a.mp4")))
    x, y = face.points[1].astype(int)
    part = np.s_[y - 8 : y + 8, x - 8 : x + 8]
    gaps = []
    for colour in ("none", "reinhard"):
        ((frame, _),) = swap_frames([face], family, Conversion(colour=colour))
        gaps.append(np.abs(frame[part].mean((0, 1)) - face.picture[part].mean((0, 1))).mean())
    assert gaps[1] < 0.5 * gaps[0]


def test_one_person_of_a_group(folder):
    """``like`` chooses who is replaced; the other one stays."""
    source, halves = read(folder / "group.mp4"), (np.s_[:, :, :SIZE], np.s_[:, :, SIZE:])
    for picture, changed in (("a.png", 0), ("b.png", 1)):
        out = folder / f"group-{picture}.mp4"
        done = convert_video(
            folder / "group.mp4", folder / "swap.safetensors", out,
            colour="none", like=folder / picture, marking=Marking(mark=False),
        )  # fmt: skip
        assert done.swapped >= 5
        moved = [differ(read(out)[half], source[half]).mean() for half in halves]
        assert moved[changed] > 8 and moved[1 - changed] < 2, (picture, moved)


def test_find_identity(folder):
    pixels = read_image(folder / "a.png")
    (face,) = find_faces(pixels)
    (expected,) = face_identities([pixels], [face_mesh(pixels, face)])
    assert np.allclose(find_identity(folder / "a.png"), expected, atol=1e-5)


def test_a_picture_becomes_a_picture(folder):
    out = folder / "out.png"
    done = convert_video(ASTRONAUT, folder / "swap.safetensors", out, marking=Marking(sidecar=True))
    assert done == Converted(1, {})
    assert read_image(out).shape == read_image(ASTRONAUT).shape
    found = inspect_file(out)
    assert "face swap by inverted" in found.comment and found.mark is not None and found.sidecar["matches"]
    assert found.sidecar["options"]["family"] == "inverted"


def test_nothing_is_left_where_nobody_is(folder):
    grey = folder / "grey.mp4"
    with VideoWriter(grey, fps=10) as writer:
        for _ in range(3):
            writer.write(np.full((96, 96, 3), 120, np.uint8))
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match=r"grey\.mp4: a face was found in none of its 3 frames"):
        convert_video(grey, folder / "swap.safetensors", folder / "none.mp4")
    assert sorted(folder.iterdir()) == before


def test_a_failure_leaves_what_was_there(folder, family, monkeypatch):
    """The networks fail in the middle: an older result of that name stays, and nothing else."""
    out = folder / "old.mp4"
    out.write_bytes(b"old")
    before = sorted(folder.iterdir())

    def fail(self, z, side):
        raise RuntimeError("no")

    monkeypatch.setattr(Inverted, "decode", fail)
    with pytest.raises(RuntimeError, match="no"):
        convert_video(folder / "a.mp4", folder / "swap.safetensors", out)
    assert sorted(folder.iterdir()) == before and out.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["a.mp4", "swap.safetensors", "b.png"])
def test_no_input_is_written_over(folder, name):
    before = sha256_of(folder / name)
    with pytest.raises(InputError, match="choose another name"):
        convert_video(folder / "a.mp4", folder / "swap.safetensors", folder / name, like=folder / "b.png")
    assert sha256_of(folder / name) == before


def test_what_cannot_be_used(folder):
    video, checkpoint, out = folder / "a.mp4", folder / "swap.safetensors", folder / "x.mp4"
    for option, words in (
        ({"side": "c"}, "side is a or b"),
        ({"colour": "lab"}, "colour is one of none, mean, reinhard, histogram, not 'lab'"),
        ({"mask": "oval"}, "mask is one of"),
        ({"blend": "seamless"}, "blend is one of alpha, poisson"),
        ({"detector": "eyes"}, "detector"),
    ):
        with pytest.raises(InputError, match=words):
            convert_video(video, checkpoint, out, **option)
    with pytest.raises(MediaError, match=r"the suffix must be \.png"):
        convert_video(folder / "a.png", checkpoint, out)
    with pytest.raises(InputError, match="cannot hold content credentials"):
        convert_video(folder / "a.png", checkpoint, folder / "x.png", marking=Marking(credentials=str(video)))
    with pytest.raises(CheckpointError):
        convert_video(video, video, out)
    with pytest.raises(MediaError, match="as a picture of a person"):
        convert_video(video, checkpoint, out, like=folder / "group.mp4")
    assert not out.exists()


def test_the_command(folder, capsys):
    out = folder / "command.mp4"
    words = ["swap", "convert", str(folder / "a.mp4"), "--checkpoint", str(folder / "swap.safetensors")]
    assert main([*words, "-o", str(out), "--blend", "poisson", "--mask", "hull", "--sidecar"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{out}: the face in 6 of 7 frames; left as they are: 1 without a face\n"
    told = json.loads((folder / "command.mp4.json").read_text(encoding="utf-8"))["options"]
    assert (told["blend"], told["mask"]) == ("poisson", "hull")
