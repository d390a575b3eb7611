"""Pairs in which eyes shut or a mouth moves are drawn as often as asked, by the truth beside the clips."""

from pathlib import Path

import numpy as np
import pytest

from fomm.config import AugmentationParams, CameraParams, DatasetParams, FlipParams
from fomm.data.clips import find_clips, sidecar_of
from fomm.errors import InputError, MediaError
from fomm.heads.dataset import make_dataset
from fomm.training.extremes import (
    Changes,
    Mouth,
    find_gap_changes,
    find_shutting_mouths,
    find_slight_changes,
    read_gaps,
    read_mouths,
)
from fomm.training.sampler import PairSampler

LIDS, LIPS = ((0, 2), (1, 3)), (6, 7)
STILL = np.full(8, 0.2)
BLINK = np.array([0.2, 0.2, 0.19, 0.18, 0.02, 0.02, 0.18, 0.2])  # shut in frames 4 and 5
SPEECH = np.array([0.1, 0.5, 0.5, 0.1, 0.1, 0.3, 0.45, 0.1])  # open in 1, 2 and 6, half in 5
EITHER_ORDER = FlipParams(time_flip=True)


# Mouths, as gap and width over the face's size.
TALK = Mouth(np.array([0, 0.02, 0.06, 0.12, 0.3, 0.5, 0.2, 0.01]), np.full(8, 0.8))
SMILE = Mouth(np.array([0.01] * 4 + [0.15] * 4), 0.8 + np.array([0, 0.03, 0.09, 0.3] * 2))
QUIET = Mouth(np.full(8, 0.3), np.full(8, 0.8))


def place_landmarks(mouth: Mouth) -> np.ndarray:
    """Return 68 landmarks in each frame, Tx68x2, that show a mouth and have the size of a face, 1."""
    points = np.zeros((len(mouth.gap), 68, 2))
    points[:, 62, 1], points[:, 66, 1] = -mouth.gap / 2, mouth.gap / 2
    points[:, 60, 0], points[:, 64, 0] = -mouth.width / 2, mouth.width / 2
    # two others, as far from the middle as it takes for the mean square of all to be 1
    rest = 68 - (points**2).sum((1, 2))
    points[:, 0, 1], points[:, 16, 1] = -np.sqrt(rest / 2), np.sqrt(rest / 2)
    return points


def write_clip(
    folder: Path, name: str, lids=STILL, lips=STILL, mouth=QUIET, *, size: float = 1.0, turn: float = 0.0
) -> Path:
    """Write a clip's truth alone, since no frame is read to draw."""
    points = np.zeros((len(lids), 16, 2))
    points[:, 8:, 0] = np.linspace(-1, 1, 8)  # the rest of the face
    for pair, gap in ((LIDS[0], lids), (LIDS[1], lids), (LIPS, lips)):
        points[:, pair[0], 1], points[:, pair[1], 1] = -gap / 2, gap / 2
    matrix = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    np.savez(
        folder / f"{name}.landmarks.npz",
        keypoints=(points @ matrix.T + 0.1).astype("f4"),
        landmarks=(100 * place_landmarks(mouth) @ matrix.T + 128).astype("f4"),
    )
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


def collect(shown: list[np.ndarray]) -> Changes:
    changes = Changes()
    for clip, pairs in enumerate(shown):
        changes.add(clip, pairs)
    return changes


@pytest.mark.parametrize("opens", [False, True])
def test_a_change_goes_from_one_end_to_the_other(opens):
    assert not len(collect([find_gap_changes(np.zeros(8), opens=opens)]))  # shut throughout
    changes = collect([find_gap_changes(gap, opens=opens) for gap in (STILL, BLINK, SPEECH)])
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


def test_mouths_are_of_the_faces_size_however_it_is_held(tmp_path):
    for name, size, turn in (("a", 1.0, 0.0), ("b", 0.3, 1.2)):
        (mouth,) = read_mouths([write_clip(tmp_path, name, mouth=SMILE, size=size, turn=turn)])
        assert np.allclose(mouth.gap, SMILE.gap, atol=1e-5) and np.allclose(
            mouth.width, SMILE.width, atol=1e-5
        )


def test_a_mouth_that_shuts_shows_teeth_before_and_none_after():
    assert not find_shutting_mouths(QUIET).any()
    sources, driving = np.nonzero(find_shutting_mouths(TALK))
    assert set(sources) == {3, 4, 5, 6}  # a tenth of the face and more
    assert set(driving) == {0, 1, 7}


def test_a_slight_change_is_one_to_four_pixels_of_a_mouth_that_is_nearly_shut():
    assert not find_slight_changes(QUIET).any()
    talk, smile = find_slight_changes(TALK), find_slight_changes(SMILE)
    assert (talk == talk.T).all() and (smile == smile.T).all()  # from either to the other
    assert {(a, b) for a, b in zip(*np.nonzero(talk), strict=True) if a < b} == {
        (0, 2), (1, 2), (1, 3), (2, 3), (2, 7)
    }  # not 0 and 1, too little; nor 3 and 6, too far open  # fmt: skip
    # corners that move by 0.03 to 0.09 with lips together; not by 0.3, and not those of parted lips
    assert {(a, b) for a, b in zip(*np.nonzero(smile), strict=True) if a < b} == {(0, 1), (0, 2), (1, 2)}


def test_drawn_heads_have_mouths_that_shut_and_that_change_slightly(tmp_path):
    """The pairs that are chosen of real drawn clips, by their landmarks in pixels of a picture of 256."""
    make_dataset(tmp_path, people=6, frames=16, size=32, test_fraction=0, progress=False)
    clips = find_clips(tmp_path / "train")
    truth = [np.load(sidecar_of(clip))["landmarks"] * (256 / 32) for clip in clips]
    for name in ("shut_mouths", "slight_mouths"):
        params = DatasetParams((32, 32, 3), **{name: 1.0})
        numbers, places = PairSampler(clips, params, 300, 0, 0, 1).draw(0)
        source, driving = (
            np.stack([truth[clip][int(place * 16)] for clip, place in zip(numbers, side, strict=True)])
            for side in places
        )
        gaps = [np.linalg.norm(points[:, 62] - points[:, 66], axis=-1) for points in (source, driving)]
        widths = [np.linalg.norm(points[:, 60] - points[:, 64], axis=-1) for points in (source, driving)]
        if name == "shut_mouths":
            assert gaps[0].min() > 2.5 and gaps[1].max() < 1.5
        else:
            assert np.minimum(*gaps).max() < 6
            assert np.median(np.abs(gaps[0] - gaps[1])) < 4  # heads that turn and come nearer add to it
            assert np.abs(gaps[0] - gaps[1]).max() < 8 and np.abs(widths[0] - widths[1]).max() < 16


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


@pytest.mark.parametrize("share", ["shut_eyes", "open_mouths", "shut_mouths", "slight_mouths"])
def test_data_that_cannot_tell_are_named(clips, tmp_path, share):
    asked = {share: 0.1}
    with pytest.raises(InputError, match=rf"no clip shows what dataset_params.{share} asks for"):
        draw(clips[:1], **asked)
    with pytest.raises(InputError, match=r"e#0.npz has no e#0.landmarks.npz beside it.* other data"):
        draw([*clips, tmp_path / "e#0.npz"], **asked)
    wrong = {"keypoints": np.zeros((8, 10, 2), "f4"), "landmarks": np.zeros((8, 10, 2), "f4")}
    np.savez(tmp_path / "e#0.landmarks.npz", **wrong)
    count = 68 if share in ("shut_mouths", "slight_mouths") else 16
    with pytest.raises(InputError, match=rf"\(8, 10, 2\).*\(T, {count}, 2\): set them to 0"):
        draw([*clips, tmp_path / "e#0.npz"], **asked)
    (tmp_path / "e#0.landmarks.npz").write_bytes(b"no")
    with pytest.raises(MediaError, match=r"e#0.landmarks.npz cannot be read"):
        draw([*clips, tmp_path / "e#0.npz"], **asked)


def test_clips_that_come_later_are_drawn_too_and_what_none_shows_yet_is_not_asked_for(clips, tmp_path):
    params = DatasetParams((32, 32, 3), shut_eyes=0.5, slight_mouths=0.5, id_sampling=True)
    sampler = PairSampler(clips[:1], params, 600, 0, 0, 1, growing=True)
    plain = PairSampler(clips[:1], DatasetParams((32, 32, 3), id_sampling=True), 600, 0, 0, 1)
    assert all(np.array_equal(*pair) for pair in zip(sampler.draw(3), plain.draw(3), strict=True))
    late = [*clips[1:], write_clip(tmp_path, "a#1", mouth=TALK)]
    sampler.add(late, sampler.find_changes(late))
    assert sampler.groups == [[0, 4], [1], [2], [3]]
    whole = PairSampler([*clips, late[-1]], params, 600, 0, 0, 1)
    assert all(np.array_equal(*pair) for pair in zip(sampler.draw(3), whole.draw(3), strict=True))
    assert set(sampler.draw(3)[0]) == set(range(5))
