"""Painting and comparing a window of each picture instead of the whole, and painting from the true motion."""

import numpy as np
import pytest
import torch
from surfaces import patch, surface_maps
from torch import Tensor
from training_case import MODEL, SIZE, TRAIN, state_of, training_config, write_clips

from fomm.checkpoint import build_networks
from fomm.config import Config, config_from_dict
from fomm.errors import ConfigError
from fomm.model import Keypoints
from fomm.model.dense_motion import DenseMotion
from fomm.model.geometry import coordinate_grid, warp
from fomm.training.dataset import Batch
from fomm.training.flow import Flow
from fomm.training.loop import train
from fomm.training.losses import ImagePyramid, edge_loss, source_detail_loss, spot_map
from fomm.training.objective import Networks, generator_losses, painter_losses
from fomm.training.terms import Criteria
from fomm.training.visualize import picture_grid
from fomm.training.windows import Windows, draw_windows

PIXELS = {"l1": 1, "l1_face": 2, "l1_keypoints": 3, "l1_edges": 4, "contrast": 5, "source_details": 6}
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
    return generator_losses(networks, random_batch(), Criteria(weights, pyramid), windows=windows)


def test_windows_lie_around_true_points():
    points = torch.tensor([[[-1.0, -1.0], [-0.9, -1.0]], [[0.0, 0.5], [0.0, 0.5]], [[1.0, 0.0], [3.0, 0.0]]])
    windows = draw(16, points, 3)
    assert windows is not None
    assert (windows.side, windows.cell) == (8, 2)  # the network halves once
    assert windows.corners == [(0, 0), (8, 4), (4, 8)]  # top, left, in 16 cells: as near as the border lets
    assert draw(None, points, 3) is None


def test_windows_lie_anywhere_where_no_point_is_known():
    windows = draw(16, None, 200)
    assert windows is not None
    tops, lefts = zip(*windows.corners, strict=True)
    assert min(tops) == min(lefts) == 0
    assert max(tops) == max(lefts) == 8
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
    assert output is not None
    assert output.generated[1].shape == (2, 3, 16, 16)
    got, wanted = output.maps["prediction"], windows.cut_pictures(batch.driving)
    assert torch.equal(output.generated[1], got)
    assert torch.allclose(terms["l1_edges"], 4 * edge_loss(wanted, got))
    assert batch.truth_driving is not None
    spots = spot_map(batch.truth_driving.value, SIZE, SIZE, [1, 0.5, 0])
    share = windows.cut_pictures(spots)
    assert torch.allclose(terms["l1_keypoints"], 3 * ((wanted - got).abs() * share).mean())


@pytest.mark.parametrize("cells", [0, 1])
def test_source_details_are_those_of_the_pixels_where_the_features_go(cells, monkeypatch):
    config = training_config(loss_weights=ONLY)
    generator, kp_detector = (network.eval() for network in build_networks(config)[:2])
    batch, windows = random_batch(), Windows([(2, 2)] * 2, side=8, cell=2)
    grid = coordinate_grid(SIZE // 2, SIZE // 2, batch.source)
    grid[..., 0] += cells * 2 / (SIZE // 2 - 1)  # the next cells to the right are shown
    position, shown = grid.expand(2, -1, -1, -1), torch.ones(2, 1, SIZE // 2, SIZE // 2)
    motion = DenseMotion(position, shown, torch.empty(0), torch.empty(0))
    monkeypatch.setattr(generator.dense_motion_network, "forward", lambda *_: motion)
    monkeypatch.setattr(generator, "paint", lambda _: windows.cut_pictures(batch.source.roll(-2 * cells, -1)))
    criteria = Criteria(config.train_params.loss_weights, ImagePyramid([1], 3))
    terms, output = generator_losses(Networks(generator, kp_detector), batch, criteria, windows=windows)
    assert terms["source_details"] < 1e-4
    moved = windows.cut_pictures(output.maps["deformed"])
    assert source_detail_loss(output.generated[1], moved, torch.ones(2, 1, 16, 16)) > 1e-3


def test_the_picture_of_a_run_has_the_driving_frame_around_windows():
    batch, windows = random_batch(), Windows([(1, 2), (6, 8)], side=8, cell=2)
    _, output = losses_of(training_config(loss_weights=ONLY), windows)
    assert output is not None
    picture = torch.from_numpy(np.array(picture_grid(batch, output))).permute(2, 0, 1)  # 5 columns, 2 rows
    column = picture[:, :, 2 * SIZE : 3 * SIZE]
    shown = torch.stack((column[:, :SIZE], column[:, SIZE:])) / 255
    inside = windows.cut_pictures(shown)
    assert (inside - output.maps["prediction"]).abs().max() < 0.5 / 255 + 1e-6
    around = windows.fill(shown, torch.zeros_like(inside)) - windows.fill(
        batch.driving, torch.zeros_like(inside)
    )
    assert around.abs().max() < 0.5 / 255 + 1e-6


def test_shares_are_the_heights_of_spots():
    points = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]])
    spots = spot_map(points, 9, 9, [1, 0.25])
    assert (float(spots[0, 0, 0, 0]), float(spots[0, 0, 8, 8])) == (1, 0.25)


def test_a_run_in_windows(tmp_path):
    data = write_clips(tmp_path / "data")
    config = training_config(window=16, num_epochs=1, loss_weights={"keypoint_shares": [1, 1, 0.5]})
    list(train(config, data, tmp_path / "run", device="cpu"))
    assert (tmp_path / "run" / "weights.safetensors").exists()


def shifted(columns: float, rows: float) -> Flow:
    """Both pictures' pieces come from so many of 16x16 cells further right and down."""
    position = coordinate_grid(16, 16, torch.zeros(())) + torch.tensor([columns, rows]) * 2 / 15
    seen = (position.abs() <= 1).all(-1)
    return Flow(*(part.expand(2, *part.shape) for part in (position, seen, torch.ones_like(seen))))


@pytest.mark.parametrize("align_corners", [True, False])
def test_squares_of_the_sources_hold_what_the_windows_show(align_corners):
    features, flow = torch.rand(2, 4, 16, 16), shifted(1.5, -2.25)
    windows = Windows([(4, 5), (0, 9)], side=6, cell=2)
    squares, position, seen = windows.follow(flow, 10, align_corners=align_corners)
    assert (squares.side, squares.cell) == (10, 2)
    if align_corners:  # the middles are those of the windows, moved; at the border they stay within
        assert squares.corners == [(0, 4), (0, 6)]
    whole = windows.cut(warp(features, flow.position, align_corners=align_corners))
    cut = warp(squares.cut(features), position, align_corners=align_corners)
    assert torch.equal(seen[0], windows.cut(flow.seen[:, None])[0])
    assert seen[0].all()
    assert not seen[1].all()  # two rows lie above the picture
    assert seen[1].any()
    assert ((whole - cut).abs() * seen).max() < 1e-5


def paint_truly(windows: Windows | None, source_window: int | None = None, found: Tensor | None = None):
    torch.manual_seed(2)
    config = training_config(loss_weights=ONLY)
    assert config.train_params is not None
    networks = Networks(*(network.eval() for network in build_networks(config)))
    criteria = Criteria(config.train_params.loss_weights, ImagePyramid(config.train_params.scales, 3))
    batch = random_batch()._replace(flow=shifted(1, 0))
    terms, output = painter_losses(networks, batch, criteria, windows, source_window, found)
    return terms, output, networks, batch


def test_true_motion_takes_the_place_of_what_the_networks_find():
    terms, output, (generator, _, _), batch = paint_truly(None)
    assert terms.keys() == PIXELS.keys()
    moved = torch.zeros(2, 8, 16, 16)
    moved[..., :-1] = generator.encode(batch.source)[..., 1:]  # of one cell; nothing comes in at the right
    assert torch.allclose(output.maps["prediction"], generator.paint(moved), atol=1e-5)
    torch.stack(list(terms.values())).sum().backward()
    without = {name.split(".")[0] for name, weight in generator.named_parameters() if weight.grad is None}
    assert without == {"dense_motion_network"}


def test_windows_of_the_whole_change_nothing_where_the_motion_is_true():
    wanted, *_ = paint_truly(None)
    whole = Windows([(0, 0)] * 2, side=SIZE // 2, cell=2)
    for options in ((whole,), (whole, SIZE)):
        got, output, *_ = paint_truly(*options)
        assert output.maps["occlusion_map"].shape == (2, 1, 16, 16)
        for name, term in wanted.items():
            assert torch.allclose(term, got[name]), name


def test_some_pairs_are_painted_from_the_motion_that_is_found():
    _, true, *_ = paint_truly(None)
    terms, mixed, (generator, kp_detector, _), batch = paint_truly(None, found=torch.tensor([False, True]))
    points = [kp_detector(picture) for picture in (batch.source, batch.driving)]
    found = generator(batch.source, kp_source=points[0], kp_driving=points[1])
    got = mixed.maps
    assert torch.allclose(got["prediction"][0], true.maps["prediction"][0], atol=1e-6)
    assert torch.allclose(got["prediction"][1], found["prediction"][1], atol=1e-5)
    assert not torch.allclose(got["prediction"][1], true.maps["prediction"][1], atol=1e-3)
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is None for weight in generator.dense_motion_network.parameters())
    assert all(weight.grad is None for weight in kp_detector.parameters())


def write_surfaces(data):
    """Write a surface beside each clip: all of the picture, moved by a cell from frame to frame."""
    cells, places = patch(20)
    surface, vertices = surface_maps(16, np.stack([cells - (t, 0) for t in range(5)]), places)
    for path in data.glob("train/*.landmarks.npz"):
        with np.load(path) as truth:
            np.savez(path, **truth, surface=surface, vertices=vertices)
    return data


@pytest.mark.parametrize(
    "extra", [{}, {"window": 16}, {"window": 16, "source_window": 24}, {"window": 16, "found_motion": 0.5}]
)
def test_with_true_motion_the_painter_alone_trains(tmp_path, extra):
    data = write_surfaces(write_clips(tmp_path / "data"))
    for number, out in enumerate(("before", "after")):
        config = training_config(true_motion=True, loss_weights=ONLY, ema_decay=None, **extra)
        list(train(config, data, tmp_path / out, device="cpu", max_steps=1 + 3 * number))
    before, after = (state_of(tmp_path / out)["networks"] for out in ("before", "after"))
    changed = {
        f"{network}.{key.split('.')[0]}"
        for network, weights in before.items()
        for key, value in weights.items()
        if not torch.equal(value, after[network][key])
    }
    parts = ("first", "down_blocks", "bottleneck", "up_blocks", "final")
    assert changed == {f"generator.{part}" for part in parts}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 15}, "window is 15 pixels; it is a multiple of 2"),
        ({"window": 34}, "window is 34 pixels; .* at most 32, the smaller side"),
        (
            {"window": 16, "true_motion": True, "source_window": 34},
            "source_window is 34 pixels; .* at most 32, the smaller side",
        ),
        ({"window": 16, "source_window": 24}, "source_window goes with window and true_motion alone"),
        ({"true_motion": True, "source_window": 24}, "source_window goes with window and true_motion alone"),
        (
            {"loss_weights": {"flow": 1}, "augmentation": {"crop_param": {"size": [SIZE, SIZE]}}},
            "the true motion .* crop_param cuts",
        ),
        ({"found_motion": 0.5}, "found_motion says .* set true_motion too"),
        ({"loss_weights": {"keypoint_shares": [1, 1]}}, "keypoint_shares has 2 numbers, .* 3 key points"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, changes, words):
    data = write_clips(tmp_path / "data")
    with pytest.raises(ConfigError, match=words):
        list(train(training_config(**changes), data, tmp_path / "run", device="cpu"))


def test_true_motion_wants_an_occlusion_map(tmp_path):
    data = write_clips(tmp_path / "data")
    settings = training_config(true_motion=True).to_dict()
    settings["model_params"]["generator_params"]["estimate_occlusion_map"] = False
    with pytest.raises(ConfigError, match="an occlusion map does; set"):
        list(train(config_from_dict(settings), data, tmp_path / "run", device="cpu"))


def test_a_discriminator_with_key_points_sees_whole_pictures(tmp_path):
    data = write_clips(tmp_path / "data")
    settings = training_config(window=16).to_dict()
    discriminator = MODEL["discriminator_params"] | {"use_kp": True}
    settings["model_params"] = MODEL | {"discriminator_params": discriminator}
    with pytest.raises(ConfigError, match=r"window does not go with discriminator_params\.use_kp"):
        list(train(config_from_dict(settings), data, tmp_path / "run", device="cpu"))
