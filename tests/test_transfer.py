"""Pairs of frames that are driven as another person would."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_case import SIZE, training_config, write_clips

from fomm.config import AugmentationParams, CameraParams, Config
from fomm.data.clips import sidecar_of
from fomm.errors import ConfigError, InputError, MediaError
from fomm.heads.dataset import make_dataset, render_clip
from fomm.model import Keypoints, relative_motion
from fomm.training.augmentation import augment
from fomm.training.dataset import Batch
from fomm.training.loop import train
from fomm.training.step import draw_subset
from fomm.training.transfer import transfer

ALL = torch.ones(2, dtype=torch.bool)


def random_points(seed: int, batch: int = 2, count: int = 6) -> Keypoints:
    torch.manual_seed(seed)
    return Keypoints(torch.rand(batch, count, 2) - 0.5, torch.eye(2) + 0.3 * torch.randn(batch, count, 2, 2))


def batch_of(source: Keypoints, driving: Keypoints, initial: Keypoints, other: Keypoints) -> Batch:
    picture = torch.zeros(len(source.value), 3, 8, 8)
    return Batch(picture, picture, source, driving, None, initial, other)


def turned(points: Keypoints, angle: float, scale: float = 1, shift: float = 0) -> Keypoints:
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = scale * torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float32)
    assert points.jacobian is not None
    return Keypoints(points.value @ matrix.T + shift, matrix @ points.jacobian)


def assert_close(one: Keypoints, other: Keypoints) -> None:
    for name, a, b in zip(Keypoints._fields, one, other, strict=True):
        torch.testing.assert_close(
            a, b, atol=2e-5, rtol=1e-5, msg=lambda words, name=name: f"{name}: {words}"
        )


def test_a_larger_twin_elsewhere_asks_for_the_same():
    source, driving, found = (random_points(seed) for seed in range(3))
    twin = (turned(points, 0, 1.7, -0.2) for points in (source, driving))
    assert_close(transfer(found, batch_of(source, driving, *twin), ALL), found)


def test_what_moves_the_whole_head_is_left_out():
    """The other's head leans, comes nearer and goes aside; its face does what the person's does."""
    source, found = random_points(0), random_points(2)
    driving = turned(source, 0.2)
    other = turned(driving, 0.4, 1.3, 0.1)
    assert_close(transfer(found, batch_of(source, driving, source, other), ALL), found)


def test_found_points_change_as_the_true_ones_do_for_another():
    """Where the detector finds the true points, it is relative motion, laid over them."""
    source, driving, initial = (random_points(seed) for seed in range(3))
    other = driving._replace(value=initial.value.clone())
    other.value[:, 0, 1] += 0.2  # the first point alone moves
    got = transfer(driving, batch_of(source, driving, initial, other), ALL)
    asked = relative_motion(source, other, initial)
    assert asked.jacobian is not None
    assert got.jacobian is not None

    def shape(value: torch.Tensor) -> torch.Tensor:
        distance = torch.cdist(value, value)
        return distance / distance.mean((1, 2), keepdim=True)

    spread = source.value.std(1).norm(dim=-1) / initial.value.std(1).norm(dim=-1)
    moved = source.value.clone()
    moved[:, 0, 1] += 0.2 * spread
    assert torch.allclose(shape(got.value), shape(moved), atol=1e-4)
    turn = got.jacobian @ torch.linalg.inv(asked.jacobian)  # one and the same for all points of a picture
    assert torch.allclose(turn, turn[:, :1].expand_as(turn), atol=1e-3)
    assert torch.allclose(turn[..., 0, 0], turn[..., 1, 1], atol=1e-3)
    assert torch.allclose(turn[..., 0, 1], -turn[..., 1, 0], atol=1e-3)


def test_other_pairs_stay_and_gradients_flow():
    points = [random_points(seed) for seed in range(5)]
    found = points[0].map(lambda t: t.requires_grad_())
    got = transfer(found, batch_of(*points[1:]), torch.tensor([False, True]))
    assert got.jacobian is not None
    assert found.jacobian is not None
    assert torch.equal(got.value[0], found.value[0])
    assert torch.equal(got.jacobian[0], found.jacobian[0])
    assert (got.value[1] != found.value[1]).all()
    assert (got.jacobian[1] != found.jacobian[1]).any()
    (got.value.sum() + got.jacobian.sum()).backward()
    assert torch.equal(found.value.grad, torch.ones_like(found.value))
    assert (found.jacobian.grad != 0).any()
    assert transfer(Keypoints(found.value), batch_of(*points[1:]), ALL).jacobian is None


def test_so_many_pairs_are_chosen():
    rng = torch.Generator().manual_seed(0)
    assert draw_subset(0, 8, rng) is None
    chosen = draw_subset(0.3, 2000, rng)
    assert chosen is not None
    assert 0.27 < chosen.float().mean() < 0.33
    assert draw_subset(1, 8, rng).all()  # type: ignore[union-attr]


def test_cameras_move_the_other_along():
    points = [random_points(seed) for seed in range(2)]
    batch = batch_of(*points, *points)
    params = AugmentationParams(camera_param=CameraParams(0.2, (0.8, 1.2), 0.1))
    moved = augment(batch, params, torch.Generator().manual_seed(0))
    assert moved.truth_source is not None
    assert moved.other_source is not None
    assert moved.truth_driving is not None
    assert moved.other_driving is not None
    assert_close(moved.truth_source, moved.other_source)
    assert_close(moved.truth_driving, moved.other_driving)
    assert (moved.other_source.value != points[0].value).all()


def test_a_drawn_clip_knows_another_head_in_the_same_motion():
    """The lips of both open together; the heads are held otherwise."""
    clip = render_clip(1, 2, 0, 12, 32, step=9)
    assert clip.other_keypoints.shape == (12, 16, 2)
    assert clip.other_jacobians.shape == (12, 16, 2, 2)
    for above, below in ((6, 7), (0, 2), (1, 3)):  # lips, lids
        own, other = (
            np.linalg.norm(points[:, below] - points[:, above], axis=-1)
            for points in (clip.keypoints, clip.other_keypoints)
        )
        assert np.corrcoef(own, other)[0, 1] > 0.7, (above, below)
    nose = [points[:, 8] - points[:, [13, 14]].mean(1) for points in (clip.keypoints, clip.other_keypoints)]
    assert np.abs(nose[0] - nose[1]).mean() > 0.03
    assert np.corrcoef(nose[0][:, 0], nose[1][:, 0])[0, 1] > 0.8


def add_another(data, **changes) -> None:
    """Add another's key points beside each clip: the person's own, or as ``changes`` has them."""
    for path in data.glob("train/*.landmarks.npz"):
        with np.load(path) as truth:
            known = dict(truth)
        other = {f"other_{name}": known[name] for name in ("keypoints", "jacobians")}
        np.savez(path, **known, **(other | changes))


def finding(count: int, **settings) -> Config:
    """Return a configuration of networks that find so many key points."""
    config = training_config(**settings)
    common = replace(config.model_params.common_params, num_kp=count)
    return replace(config, model_params=replace(config.model_params, common_params=common))


def deformation_loss(tmp_path, name: str, **settings) -> float:
    """Return its mean over the first 50 steps of a training of key points and motion alone."""
    weights = dict.fromkeys(("l1", "l1_face", "l1_keypoints", "l1_edges", "generator_gan"), 0)
    config = training_config(None, loss_weights=weights | {"feature_matching": []}, num_epochs=9, **settings)
    return next(iter(train(config, tmp_path / "data", tmp_path / name, device="cpu")))["deformation"]


def test_training_from_a_twin_is_the_same_and_from_another_is_not(tmp_path):
    data = write_clips(tmp_path / "data")
    add_another(data)
    own, twin = (deformation_loss(tmp_path, f"run{share}", transfer=share) for share in (0, 1))
    for path in (data / "train").glob("*.landmarks.npz"):
        with np.load(path) as truth:
            known = dict(truth)
        known["other_keypoints"][:, 0] *= 0.5
        np.savez(path, **known)
    another = deformation_loss(tmp_path, "another", transfer=1)
    assert twin == pytest.approx(own, rel=0.01)
    assert abs(another / own - 1) > 0.05, (own, another)


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_missing_or_does_not_fit_is_named(tmp_path, in_memory):
    data = write_clips(tmp_path / "data")

    def run():
        config = training_config(transfer=0.5)
        list(train(config, data, tmp_path / "run", device="cpu", in_memory=in_memory, max_steps=20))

    with pytest.raises(MediaError, match=r"#.\.landmarks\.npz .*other_keypoints"):
        run()
    add_another(data, other_keypoints=np.zeros((5, 2, 2), "f4"))
    with pytest.raises(MediaError, match=r"holds other key points \(5, 2, 2\) and jacobians \(5, 3, 2, 2\)"):
        run()
    for clip in (data / "train").glob("*#?.npz"):
        sidecar_of(clip).unlink()
    with pytest.raises(InputError, match=r"transfer needs its other_keypoints.*set it to 0"):
        run()


def test_true_motion_has_no_key_points_to_transfer(tmp_path):
    write_clips(tmp_path / "data")
    with pytest.raises(ConfigError, match="true_motion does without them"):
        deformation_loss(tmp_path, "run", transfer=0.5, true_motion=True)


def test_other_numbers_of_key_points_are_named(tmp_path):
    write_clips(tmp_path / "data")
    config = finding(4, loss_weights={"keypoints": 1})
    with pytest.raises(InputError, match="3 true key points each, but the networks find 4"):
        list(train(config, tmp_path / "data", tmp_path / "run", device="cpu", max_steps=1))


def test_drawn_heads_train_with_transfer(tmp_path):
    make_dataset(tmp_path / "data", people=2, frames=3, size=SIZE, test_fraction=0)
    config = finding(16, transfer=1, loss_weights={"flow": 1, "occlusion": 1})
    list(train(config, tmp_path / "data", tmp_path / "run", device="cpu", max_steps=2))
    assert (tmp_path / "run" / "weights.safetensors").exists()
