"""Samples for the detector: what is said to have changed has changed, and nothing else has."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from fomm.detect.camera import apply_camera, film_scenery, finish_clip, recode
from fomm.detect.changes import (
    animate_clip,
    blend_with_itself,
    face_hull,
    feather,
    find_change,
    paste_face,
)
from fomm.detect.data import cut_clip, draw_recoding, make_samples, read_swapped
from fomm.detect.samples import CHANGED, KINDS, Recoding, Samples, read_samples, write_samples
from fomm.detect.squares import SIZE
from fomm.detect.training import find_pairs
from fomm.errors import InputError
from fomm.face.mesh import Crop
from fomm.heads.dataset import render_clip
from fomm.media import save_video


@pytest.fixture(scope="module")
def clips():
    return [render_clip(4, person, 0, 3, 256, step=4) for person in (0, 1)]


def test_a_change_is_found_where_it_is():
    before = np.full((64, 64, 3), 100, np.uint8)
    after = before.copy()
    after[20:40, 10:18] = after[20:40, 30:38] = 150  # a gap of 12 pixels
    found = find_change(before, after)
    assert found[22:38, 12:36].all()
    assert not found[:16].any() and not found[44:].any() and not found[:, 42:].any()
    assert not find_change(before, before + np.uint8(3)).any()


@pytest.mark.parametrize("make", [paste_face, lambda clip, other, rng: blend_with_itself(clip, rng)])
def test_what_is_laid_over_changes_its_area_alone(clips, make):
    clip, other = clips
    frames, changed = make(clip, other, np.random.default_rng(1))
    assert frames.shape == clip.frames.shape and changed.shape == frames.shape[:3]
    difference = np.abs(frames.astype(int) - clip.frames).max(-1)
    for number in range(len(frames)):
        assert 0.01 < changed[number].mean() < 0.6
        assert difference[number][changed[number]].mean() > 3
        near = face_hull(clip.landmarks[number], 256) | changed[number]
        far = distance_transform_edt(~near) > 26  # four times the widest blur of a border, and a bend
        assert far.mean() > 0.2 and difference[number][far].max() == 0


def test_a_pasted_face_is_the_other_ones(clips):
    clip, other = clips
    frames, changed = paste_face(clip, clip, np.random.default_rng(1))
    # a face laid over itself is nearly itself: the map is the identity, and the colours fit
    assert np.abs(frames.astype(int) - clip.frames).mean() < 1
    foreign, _ = paste_face(clip, other, np.random.default_rng(1))
    own = np.abs(frames.astype(int) - clip.frames)[changed].mean()
    assert np.abs(foreign.astype(int) - clip.frames)[changed].mean() > 5 * max(own, 0.2)


def test_animated_clips_move(clips):
    for way in ("mesh", "keypoints"):
        frames, changed, moments = animate_clip(*clips, way)
        assert len(set(moments.tolist())) == 2 and set(moments.tolist()) < {0, 1, 2}  # one frame is left out
        assert frames.shape == (2, 256, 256, 3) and frames.dtype == np.uint8
        assert changed.any(axis=(1, 2)).all() and changed.mean() < 0.9


def test_a_soft_border_lies_inside():
    mask = np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    soft = feather(mask, 3)
    assert soft[40, 40] > 0.99 and soft[~mask].max() < 0.5 and soft[18:22].max() < 0.6
    parts = face_hull(np.random.default_rng(0).random((68, 2)) * 40 + 12, 64, "mouth")
    assert parts.dtype == bool and parts.any()


def test_written_and_read_again(clips):
    frames = clips[0].frames
    errors = [np.abs(recode(frames, crf).astype(int) - frames).mean() for crf in (18, 35)]
    assert 0 < errors[0] < errors[1] < 8
    assert recode(frames[:, :200], 30).shape == (3, 200, 256, 3)


def test_squares_of_a_scaled_clip_show_the_same_change(clips):
    frames, changed = paste_face(*clips, np.random.default_rng(1))
    whole = cut_clip(frames, changed, "pasted", Recoding(20, 1.0), np.random.default_rng(2))
    half = cut_clip(frames, changed, "pasted", Recoding(20, 0.5), np.random.default_rng(2))
    assert len(whole) == len(half) == 3
    assert whole.pictures.shape == (3, SIZE, SIZE, 3) and whole.changed.shape == (3, SIZE, SIZE)
    assert set(whole.kinds) == {KINDS.index("pasted")} and set(half.scales) == {0.5}
    assert (whole.changed ^ half.changed).mean() < 0.06  # the detector's boxes differ a little
    nothing = cut_clip(frames, changed & False, "pasted", Recoding(20, 1.0), np.random.default_rng(2))
    assert len(nothing) == 0  # a change that is not seen teaches nothing
    empty = np.zeros((2, 64, 64, 3), np.uint8)
    assert not len(
        cut_clip(empty, empty[..., 0] > 0, "untouched", Recoding(20, 1.0), np.random.default_rng(0))
    )


def test_cameras_differ(clips):
    rng = np.random.default_rng(0)
    for landmarks in (None, clips[0].landmarks):
        results = [apply_camera(clips[0].frames, rng, landmarks) for _ in range(8)]
        assert all(
            result.shape == clips[0].frames.shape
            and result.dtype == np.uint8
            and np.abs(result.astype(int) - clips[0].frames).mean() < 20
            for result in results
        )
        assert len({result.tobytes() for result in results}) == 8
    again = [apply_camera(clips[0].frames, np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*again)
    finished = [finish_clip(clips[0].frames, np.random.default_rng(seed)) for seed in range(12)]
    untouched = sum(np.array_equal(clips[0].frames, result) for result in finished)
    assert 3 < untouched < 12


def test_ways_of_writing():
    rng = np.random.default_rng(0)
    recodings = [draw_recoding(rng) for _ in range(100)]
    assert {18, 35} <= {recoding.crf for recoding in recodings} <= set(range(18, 36))
    assert 30 < sum(recoding.scale == 1 for recoding in recodings) < 70


def test_scenery_is_filmed():
    picture = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    frames = film_scenery(picture, np.random.default_rng(1))
    assert frames.shape == (5, 256, 256, 3) and frames.dtype == np.uint8
    assert not np.array_equal(frames[0], frames[-1])


def test_a_square_of_scenery_needs_no_face():
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    frames, mask = np.stack([picture] * 2), np.zeros((2, 64, 64), bool)
    mask[:, :32] = True
    square = Crop((32.0, 32.0), 64.0, 0.0)
    for scale in (1.0, 0.5):
        found = cut_clip(
            frames, mask, "blended", Recoding(18, scale), np.random.default_rng(1), np.array([4, 7]), square
        )
        assert found.moments.tolist() == [4, 7] and 0.4 < found.changed.mean() < 0.6
        assert found.changed[:, :48].all() and not found.changed[:, -48:].any()


@pytest.mark.slow
def test_samples_of_two_people():
    scenery = [np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)]
    (one,) = make_samples(range(2), 5, recodings=(Recoding(20, 1.0),), scenery=scenery)
    (again,) = make_samples(range(2), 5, recodings=(Recoding(20, 1.0),), scenery=scenery)
    assert np.array_equal(one.pictures, again.pictures) and np.array_equal(one.changed, again.changed)
    assert {KINDS[kind] for kind in one.kinds} == {"untouched", *CHANGED} - {"swapped"}
    for clip in np.unique(one.clips):
        assert len(set(one.kinds[one.clips == clip])) == 1
    assert not one.changed[one.kinds == 0].any()
    assert one.changed[one.kinds > 0].any(axis=(1, 2)).all()
    # of each moment there is one untouched picture at most, and one of each kind
    for moment in np.unique(one.moments):
        here = one.moments == moment
        assert (one.kinds[here] == 0).sum() <= 1 and len(set(one.kinds[here])) == here.sum()
    # what was blended is nearer to the untouched picture of its moment than to all others
    blended = [pair for pair in find_pairs(one) if KINDS[one.kinds[pair[1]]] == "blended"]
    originals = one.pictures[[untouched for untouched, _ in blended]].astype(int)
    nearest = [
        int(np.abs(originals - one.pictures[changed]).mean((1, 2, 3)).argmin()) for _, changed in blended
    ]
    assert np.mean(np.array(nearest) == np.arange(len(blended))) > 0.5  # by chance one in 15


def test_people_come_two_by_two():
    with pytest.raises(InputError, match="two by two; 3 came"):
        next(make_samples(range(3), 0))


def test_swapped_clips_come_from_a_folder(clips, tmp_path):
    with pytest.raises(InputError, match=r"has no NAME\.mp4"):
        next(read_swapped(tmp_path))
    frames, _ = paste_face(*clips, np.random.default_rng(1))
    save_video(tmp_path / "a.mp4", list(frames), fps=25)
    save_video(tmp_path / "a.original.mp4", list(clips[0].frames), fps=25)
    ((name, samples),) = read_swapped(tmp_path, [Recoding(23, 1.0)])
    assert name == "a" and len(samples) == 6
    assert samples.kinds.tolist() == [5, 5, 5, 0, 0, 0] and samples.clips.tolist() == [0, 0, 0, 1, 1, 1]
    assert 0.02 < samples.changed[:3].mean() < 0.75 and not samples.changed[3:].any()
    write_samples(tmp_path / "s.npz", samples)
    assert np.array_equal(read_samples(tmp_path / "s.npz").pictures, samples.pictures)
    assert len(samples.without("swapped")) == 3 and isinstance(samples, Samples)
    save_video(tmp_path / "a.original.mp4", [frame[:128] for frame in clips[0].frames], fps=25)
    with pytest.raises(InputError, match="its original"):
        next(read_swapped(tmp_path))
