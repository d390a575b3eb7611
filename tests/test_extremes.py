"""Pairs in which eyes shut or a mouth opens are drawn as often as asked, from the true key points."""

from pathlib import Path

import numpy as np
import pytest

from fomm.config import AugmentationParams, CameraParams, DatasetParams, FlipParams
from fomm.errors import InputError, MediaError
from fomm.training.extremes import GapChanges, read_gaps
from fomm.training.sampler import PairSampler

LIDS, LIPS = ((0, 2), (1, 3)), (6, 7)
STILL = np.full(8, 0.2)
BLINK = np.array([0.2, 0.2, 0.19, 0.18, 0.02, 0.02, 0.18, 0.2])  # shut in frames 4 and 5
SPEECH = np.array([0.1, 0.5, 0.5, 0.1, 0.1, 0.3, 0.45, 0.1])  # open in 1, 2 and 6, half in 5
EITHER_ORDER = FlipParams(time_flip=True)


def write_clip(
    folder: Path, name: str, lids=STILL, lips=STILL, *, size: float = 1.0, turn: float = 0.0
) -> Path:
    """Write a clip's key points alone, since no frame is read to draw."""
    points = np.zeros((len(lids), 16, 2))
    points[:, 8:, 0] = np.linspace(-1, 1, 8)  # the rest of the face
    for pair, gap in ((LIDS[0], lids), (LIDS[1], lids), (LIPS, lips)):
        points[:, pair[0], 1], points[:, pair[1], 1] = -gap / 2, gap / 2
    matrix = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    np.savez(folder / f"{name}.landmarks.npz", keypoints=(points @ matrix.T + 0.1).astype("f4"))
    return folder / f"{name}.npz"


@pytest.fixture
def clips(tmp_path):
    """Of a nothing changes, b blinks, c speaks, d does both."""
    return [
        write_clip(tmp_path, "a#0"),
        write_clip(tmp_path, "b#0", lids=BLINK),
        write_clip(tmp_path, "c#0", lips=SPEECH),
        write_clip(tmp_path, "d#0", lids=BLINK, lips=SPEECH),
    ]


def draw(clips, batch_size=600, step=0, rank=0, world_size=1, still=0.0, **shares):
    augmentation = AugmentationParams(flip_param=EITHER_ORDER, camera_param=CameraParams(still=still))
    params = DatasetParams((32, 32, 3), augmentation_params=augmentation, **shares)
    numbers, places = PairSampler(clips, params, batch_size, 0, rank, world_size).draw(step)
    return numbers, (places * 8).astype(int)


def test_gaps_are_of_the_faces_size_however_it_is_held(tmp_path):
    one = read_gaps([write_clip(tmp_path, "a", BLINK, SPEECH)])
    other = read_gaps([write_clip(tmp_path, "b", BLINK, SPEECH, size=0.3, turn=1.2)])
    assert np.allclose(one.lids, other.lids, atol=1e-6)
    assert np.allclose(one.lips, other.lips, atol=1e-6)
    assert np.corrcoef(one.lids[0], BLINK)[0, 1] > 0.999
    assert np.corrcoef(one.lips[0], SPEECH)[0, 1] > 0.99  # wide mouths make the face a little larger


@pytest.mark.parametrize("opens", [False, True])
def test_a_change_goes_from_one_end_to_the_other(opens):
    assert not len(GapChanges([np.zeros(8)], opens=opens))  # shut throughout
    changes = GapChanges([STILL, BLINK, SPEECH], opens=opens)
    assert len(changes) == 2  # nothing shuts in the first
    clips, (sources, driving) = changes.draw(np.random.default_rng(0), 400)
    assert set(clips) == {1, 2}
    open_frames = {1: {0, 1, 2, 3, 6, 7}, 2: {1, 2, 6}}
    shut_frames = {1: {4, 5}, 2: {0, 3, 4, 7}}
    for clip in (1, 2):
        found = [set((side[clips == clip] * 8).astype(int)) for side in (sources, driving)]
        if opens:  # a source that is half open is one that can open
            assert found == [shut_frames[clip] | ({5} if clip == 2 else set()), open_frames[clip]]
        else:
            assert found == [open_frames[clip] | ({5} if clip == 2 else set()), shut_frames[clip]]


def test_shares_of_the_pairs_blink_and_speak_and_the_rest_is_as_without(clips):
    plain, plain_frames = draw(clips, still=0.25)
    numbers, frames = draw(clips, still=0.25, shut_eyes=0.3, open_mouths=0.2)
    changed = (numbers != plain) | (frames != plain_frames).any(0)
    assert changed.mean() == pytest.approx(1 - 0.7 * 0.8, abs=0.06)
    lids, lips = (
        np.stack([a, b, c, d])
        for a, b, c, d in [(STILL, BLINK, STILL, BLINK), (STILL, STILL, SPEECH, SPEECH)]
    )
    shuts = (lids[numbers, frames[0]] > 0.15) & (lids[numbers, frames[1]] < 0.05)
    opens = (lips[numbers, frames[0]] < 0.35) & (lips[numbers, frames[1]] > 0.4)
    assert (shuts | opens)[changed].all()
    # some pairs would have done so anyway; the second choice takes a fifth from the first
    assert shuts[changed].sum() / 600 == pytest.approx(0.3 * 0.8, abs=0.07)


def test_processes_share_the_batch(clips):
    whole = draw(clips, 12, step=3, shut_eyes=0.5, open_mouths=0.5)
    shares = [
        draw(clips, 12, step=3, rank=rank, world_size=3, shut_eyes=0.5, open_mouths=0.5) for rank in range(3)
    ]
    for part, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert np.array_equal(part, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("share", ["shut_eyes", "open_mouths"])
def test_data_that_cannot_tell_are_named(clips, tmp_path, share):
    asked = {share: 0.1}
    with pytest.raises(InputError, match=rf"no clip shows what dataset_params.{share} asks for"):
        draw(clips[:1], **asked)
    with pytest.raises(InputError, match=r"e#0.npz has no e#0.landmarks.npz beside it.* other data"):
        draw([*clips, tmp_path / "e#0.npz"], **asked)
    np.savez(tmp_path / "e#0.landmarks.npz", keypoints=np.zeros((8, 10, 2), "f4"))
    with pytest.raises(InputError, match=r"\(8, 10, 2\).*\(T, 16, 2\): set them to 0"):
        draw([*clips, tmp_path / "e#0.npz"], **asked)
    (tmp_path / "e#0.landmarks.npz").write_bytes(b"no")
    with pytest.raises(MediaError, match=r"e#0.landmarks.npz cannot be read"):
        draw([*clips, tmp_path / "e#0.npz"], **asked)
