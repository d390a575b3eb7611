"""Painting and comparing a window of each picture instead of the whole."""

import pytest
import torch
from torch import Tensor
from training_case import MODEL, SIZE, TRAIN, training_config, write_clips

from fomm.checkpoint import build_networks
from fomm.config import Config, config_from_dict
from fomm.errors import ConfigError
from fomm.model import Keypoints
from fomm.training.dataset import Batch
from fomm.training.loop import train
from fomm.training.losses import ImagePyramid, edge_loss, spot_map
from fomm.training.objective import Networks, generator_losses
from fomm.training.windows import Windows, draw_windows

PIXELS = {"l1": 1, "l1_face": 2, "l1_keypoints": 3, "l1_edges": 4}
ONLY = dict.fromkeys(TRAIN["loss_weights"], 0) | {"feature_matching": [], "perceptual": []} | PIXELS


def draw(window: int | None, points: Tensor | None, batch: int, seed: int = 0) -> Windows | None:
    return draw_windows(training_config(window=window), points, batch, torch.Generator().manual_seed(seed))


def random_batch() -> Batch:
    torch.manual_seed(1)
    source, driving = torch.rand(2, 2, 3, SIZE, SIZE)
    truth = [Keypoints(torch.rand(2, 3, 2) - 0.5, torch.eye(2).expand(2, 3, 2, 2)) for _ in range(2)]
    return Batch(source, driving, *truth)


def losses_of(config: Config, windows: Windows | None):
    torch.manual_seed(2)
    assert config.train_params is not None
    networks = Networks(*(network.eval() for network in build_networks(config)))
    pyramid = ImagePyramid(config.train_params.scales, 3)
    weights = config.train_params.loss_weights
    return generator_losses(networks, random_batch(), weights, pyramid, None, None, windows=windows)


def test_windows_lie_around_true_points():
    points = torch.tensor([[[-1.0, -1.0], [-0.9, -1.0]], [[0.0, 0.5], [0.0, 0.5]], [[1.0, 0.0], [3.0, 0.0]]])
    windows = draw(16, points, 3)
    assert windows is not None and (windows.side, windows.cell) == (8, 2)  # the network halves once
    assert windows.corners == [(0, 0), (8, 4), (4, 8)]  # top, left, in 16 cells: as near as the border lets
    assert draw(None, points, 3) is None


def test_windows_lie_anywhere_where_no_point_is_known():
    windows = draw(16, None, 200)
    assert windows is not None
    tops, lefts = zip(*windows.corners, strict=True)
    assert min(tops) == min(lefts) == 0 and max(tops) == max(lefts) == 8
    assert windows.corners != draw(16, None, 200, seed=1).corners  # type: ignore[union-attr]
    assert windows.corners == draw(16, None, 200).corners  # type: ignore[union-attr]


def test_cut_and_fill():
    pictures = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    windows = Windows([(0, 1), (2, 2)], side=2, cell=2)
    parts = windows.cut_pictures(pictures)
    assert torch.equal(parts, torch.stack([pictures[0, :, 0:4, 2:6], pictures[1, :, 4:8, 4:8]]))
    assert torch.equal(windows.cut(pictures)[1], pictures[1, :, 2:4, 2:4])
    filled = windows.fill(pictures, -parts)
    assert torch.equal(windows.cut_pictures(filled), -parts)
    assert int((filled != pictures).sum()) == parts.numel()
    assert pictures.min() == 0  # untouched


def test_a_window_of_the_whole_picture_changes_nothing():
    config = training_config(loss_weights=ONLY)
    wanted, _ = losses_of(config, None)
    got, _ = losses_of(config, Windows([(0, 0)] * 2, side=SIZE // 2, cell=2))
    assert wanted.keys() == got.keys() == PIXELS.keys()
    for name, term in wanted.items():
        assert torch.equal(term, got[name]), name


def test_losses_are_those_of_the_windows():
    config = training_config(loss_weights=ONLY | {"keypoint_shares": [1, 0.5, 0]})
    windows = Windows([(1, 2), (6, 8)], side=8, cell=2)
    terms, output = losses_of(config, windows)
    batch = random_batch()
    assert output is not None and output.generated[1].shape == (2, 3, 16, 16)
    whole = output.generator["prediction"]  # the driving frame around the windows
    outside = windows.fill(torch.ones_like(whole), torch.zeros(2, 3, 16, 16)) > 0
    assert torch.equal(whole[outside], batch.driving[outside])
    got, wanted = windows.cut_pictures(whole), windows.cut_pictures(batch.driving)
    assert torch.equal(output.generated[1], got)
    assert torch.allclose(terms["l1_edges"], 4 * edge_loss(wanted, got))
    assert batch.truth_driving is not None
    spots = spot_map(batch.truth_driving.value, SIZE, SIZE, [1, 0.5, 0])
    share = windows.cut_pictures(spots)
    assert torch.allclose(terms["l1_keypoints"], 3 * ((wanted - got).abs() * share).mean())


def test_shares_are_the_heights_of_spots():
    points = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]])
    spots = spot_map(points, 9, 9, [1, 0.25])
    assert (float(spots[0, 0, 0, 0]), float(spots[0, 0, 8, 8])) == (1, 0.25)


def test_a_run_in_windows(tmp_path):
    data = write_clips(tmp_path / "data")
    config = training_config(window=16, num_epochs=1, loss_weights={"keypoint_shares": [1, 1, 0.5]})
    list(train(config, data, tmp_path / "run", device="cpu"))
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 15}, "window is 15 pixels; it is a multiple of 2"),
        ({"window": 34}, "window is 34 pixels; .* at most 32, the smaller side"),
        ({"loss_weights": {"keypoint_shares": [1, 1]}}, "keypoint_shares has 2 numbers, .* 3 key points"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, changes, words):
    data = write_clips(tmp_path / "data")
    with pytest.raises(ConfigError, match=words):
        list(train(training_config(**changes), data, tmp_path / "run", device="cpu"))


def test_a_discriminator_with_key_points_sees_whole_pictures(tmp_path):
    data = write_clips(tmp_path / "data")
    settings = training_config(window=16).to_dict()
    discriminator = MODEL["discriminator_params"] | {"use_kp": True}
    settings["model_params"] = MODEL | {"discriminator_params": discriminator}
    with pytest.raises(ConfigError, match=r"window does not go with discriminator_params\.use_kp"):
        list(train(config_from_dict(settings), data, tmp_path / "run", device="cpu"))
