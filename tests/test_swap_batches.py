"""Batches: loaded in [0, 1], the same for the same seed, bent on one side alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from swap_case import draw_side

from fomm.errors import InputError, MediaError
from fomm.swap import MASKS, FaceSet, write_faces
from fomm.swap import batches as module
from fomm.swap.batches import (
    GRID,
    SHIFT,
    TURN,
    WARP,
    ZOOM,
    base_grid,
    change_light,
    draw_batch,
    draw_moves,
    draw_warp,
    load_faces,
    load_folder,
    load_pairs,
    load_sides,
    normalise,
)


def make_faces(count=60, size=64) -> FaceSet:
    rng = np.random.default_rng(0)
    return FaceSet(
        pictures=rng.integers(0, 256, (count, size, size, 3), np.uint8),
        masks=rng.random((count, size, size, len(MASKS))) < 0.5,
        points=np.zeros((count, 478, 2), np.float32),
        transforms=np.zeros((count, 2, 3), np.float32),
        frames=np.arange(count),
    )


def rng(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_pictures(folder, names, size=(48, 40)) -> None:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 10, 0, 0)).save(folder / name)


# -- loading -----------------------------------------------------------------------------------------


def test_faces_are_loaded_as_they_are():
    faces = make_faces()
    loaded = load_faces(faces, 64, "a")
    assert np.array_equal(loaded.pictures.permute(0, 2, 3, 1).numpy(), faces.pictures)
    assert np.array_equal(loaded.masks[:, 0].numpy(), faces.masks[..., MASKS.index("face")])
    assert np.array_equal(loaded.masks[:, 1].numpy(), faces.masks[..., MASKS.index("eyes")])
    values = normalise(loaded.pictures)
    assert values.dtype == torch.float32 and values.min() == 0 and values.max() == 1


def test_larger_faces_are_shrunk_and_smaller_ones_refused():
    faces = make_faces(2, 128)
    faces.pictures[:] = np.repeat(np.repeat(make_faces(2, 64).pictures, 2, 1), 2, 2)
    faces.masks[:, :, :64], faces.masks[:, :, 64:] = True, False
    loaded = load_faces(faces, 64, "a")
    assert loaded.pictures.shape == (2, 3, 64, 64) and loaded.pictures.dtype == torch.uint8
    assert loaded.masks[..., :31].all() and not loaded.masks[..., 33:].any()
    whole = normalise(loaded.pictures).mean(), faces.pictures.mean() / 255
    assert abs(whole[0] - whole[1]) < 0.002
    with pytest.raises(
        InputError, match=r"a has faces of 64 pixels, and 128 are wanted; extract them with --size 128"
    ):
        load_faces(make_faces(2, 64), 128, "a")


def test_two_persons(tmp_path):
    write_faces(tmp_path / "a.npz", make_faces())
    write_faces(tmp_path / "b.npz", replace(make_faces(), frames=np.arange(60) * 2))
    a, b = load_sides(tmp_path / "a.npz", tmp_path / "b.npz", 64)
    assert (a.name, len(a), b.name, b.size) == ("a", 60, "b", 64)


def test_persons_that_do_not_go_together(tmp_path):
    small, large, few = (tmp_path / f"{name}.npz" for name in ("small", "large", "few"))
    write_faces(small, make_faces())
    write_faces(large, make_faces(60, 128))
    write_faces(few, make_faces(3))
    with pytest.raises(
        InputError, match=r"small\.npz has faces of 64 pixels and .*large\.npz of 128; extract both"
    ):
        load_sides(small, large, 64)
    with pytest.raises(InputError, match=r"small\.npz is given for both persons"):
        load_sides(small, tmp_path / "." / "small.npz", 64)
    with pytest.warns(
        UserWarning, match=r"few\.npz has 3 faces; with fewer than 50 networks learn them by heart"
    ):
        load_sides(small, few, 64)
    with pytest.raises(MediaError, match="cannot be read as faces"):
        load_sides(small, tmp_path / "none.npz", 64)
    with pytest.raises(
        InputError, match="is a folder; give faces of fomm swap extract, or --any for pictures"
    ):
        load_sides(small, tmp_path, 64)


def test_folders_of_pictures(tmp_path):
    write_pictures(tmp_path / "a", ["1.png", "2.jpg", "3.webp"])
    (tmp_path / "a" / "notes.txt").touch()
    loaded = load_folder(tmp_path / "a", 32)
    assert loaded.pictures.shape == (3, 3, 32, 32) and loaded.name == "a"
    assert loaded.pictures[1, 0].float().mean() == pytest.approx(10, abs=2)
    assert loaded.masks[:, 0].all() and not loaded.masks[:, 1].any()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no pictures"):
        load_folder(tmp_path / "empty", 32)
    with pytest.raises(InputError, match="none is no folder"):
        load_folder(tmp_path / "none", 32)
    (tmp_path / "a" / "4.png").write_bytes(b"<html>")
    with pytest.raises(MediaError, match=r"4\.png"):
        load_folder(tmp_path / "a", 32)


def test_pairs_have_one_name(tmp_path):
    write_pictures(tmp_path / "a", ["x.png", "y.png"])
    write_pictures(tmp_path / "b", ["y.jpg", "x.jpg"])
    one, other = load_pairs(tmp_path / "a", tmp_path / "b", 32)
    assert one.pictures[:, 0].float().mean((1, 2)).tolist() == pytest.approx([0, 10])
    assert other.pictures[:, 0].float().mean((1, 2)).tolist() == pytest.approx([10, 0], abs=2)  # x.jpg first
    write_pictures(tmp_path / "b", ["z.png"])
    with pytest.raises(InputError, match=r"1 pictures of .* have no partner of the same name, among them z"):
        load_pairs(tmp_path / "a", tmp_path / "b", 32)


# -- drawing -----------------------------------------------------------------------------------------


def test_a_batch_follows_from_its_generator_alone():
    a, b = draw_side("a"), draw_side("b")
    one, again, other = (draw_batch(a, b, 4, rng(seed)) for seed in (1, 1, 2))
    for side, same, different in zip(one, again, other, strict=True):
        for part, copy in zip(side, same, strict=True):
            assert torch.equal(part, copy)
        assert not torch.equal(side.target, different.target)


def test_what_is_in_a_batch():
    batch = draw_batch(draw_side("a"), draw_side("b"), 8, rng())
    for side in batch:
        assert side.warped.shape == side.target.shape == (8, 3, 32, 32)
        assert side.mask.shape == side.eyes.shape == (8, 1, 32, 32)
        for picture in (side.warped, side.target):
            assert picture.dtype == torch.float32 and picture.min() >= 0 and picture.max() <= 1
        for mask in (side.mask, side.eyes):
            assert set(mask.unique().tolist()) == {0, 1}
        assert not torch.equal(side.warped, side.target)
    red = batch.a.target[:, :1] - batch.a.target[:, 1:2] > 0.3  # the disc of a, where its mask is
    inside = batch.a.mask.bool() & ~batch.a.eyes.bool()
    assert (red == inside)[~batch.a.eyes.bool().expand_as(red)].float().mean() > 0.97


def test_without_a_warp_the_encoder_sees_the_target():
    batch = draw_batch(draw_side("a"), draw_side("b"), 4, rng(), warp=0)
    assert torch.equal(batch.a.warped, batch.a.target)


def test_the_warp_moves_the_points_of_a_grid_and_all_between_follow():
    size = 65
    bend = draw_warp(2000, size, rng())
    points = bend[:, :: (size - 1) // (GRID - 1), :: (size - 1) // (GRID - 1)]
    assert points.shape == (2000, GRID, GRID, 2)
    assert points.std(0).mean().item() == pytest.approx(2 * WARP, rel=0.02)  # 5 of 160 pixels, a side being 2
    assert abs(points.mean(0)).max() < 0.01
    step = (bend[:, 1:] - bend[:, :-1]).std()  # pixels that moved apart from each other would have 1.4
    assert step < 0.2 * 2 * WARP  # points 16 pixels apart, a line between them: 1.4 / 16


def test_a_face_is_turned_zoomed_shifted_and_flipped_within_bounds():
    moves = draw_moves(2000, rng())
    linear, shift = moves[..., :2], moves[..., 2]
    flipped = torch.linalg.det(linear) < 0
    assert 0.45 < flipped.float().mean() < 0.55
    scale = torch.linalg.det(linear).abs().sqrt()
    assert scale.min() >= 1 - ZOOM - 1e-5 and scale.max() <= 1 + ZOOM + 1e-5 and scale.std() > 0.4 * ZOOM
    turn = torch.atan2(linear[:, 1, 0], linear[:, 1, 1]).rad2deg().abs()
    assert TURN * 0.95 < turn.max() <= TURN + 1e-3
    assert SHIFT * 1.9 < shift.abs().max() <= 2 * SHIFT
    square = linear @ linear.transpose(1, 2) / scale[:, None, None] ** 2
    torch.testing.assert_close(square, torch.eye(2).expand(2000, 2, 2))  # a similarity


def test_pixels_have_their_centres_where_torch_has_them():
    grid = base_grid(8)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(F.grid_sample(x, grid, align_corners=False), x)


def test_light_changes_a_little():
    x = torch.full((500, 3, 2, 2), 0.5)
    changed = change_light(x, rng())
    assert 0.44 < changed.min() < 0.47 and 0.53 < changed.max() < 0.56
    assert abs(changed.mean() - 0.5) < 0.005


def test_pairs_come_together_and_are_moved_alike():
    a = draw_side("a")
    batch = draw_batch(a, a, 4, rng(), paired=True)
    assert torch.equal(batch.a.target, batch.b.target) and torch.equal(batch.a.mask, batch.b.mask)
    assert torch.equal(batch.a.warped, batch.a.target)
    b = draw_side("b")  # drawn at the same places as a
    batch = draw_batch(a, b, 8, rng(), paired=True)
    both = batch.a.mask * batch.b.mask
    assert both.sum() > 0.9 * torch.minimum(batch.a.mask.sum(), batch.b.mask.sum())


def test_all_that_is_drawn_moves_target_and_warped_alike(monkeypatch):
    monkeypatch.setattr(
        module, "draw_warp", lambda count, size, rng, spread: torch.zeros(count, size, size, 2)
    )
    batch = draw_batch(draw_side("a"), draw_side("b"), 4, rng())
    torch.testing.assert_close(batch.a.warped, batch.a.target)
